"""What the store does, one story a module: each owns its transactions, and knows nothing of HTTP."""
