"""HTTP, and nothing else: addresses, headers and bodies to operations, and their answers back."""
