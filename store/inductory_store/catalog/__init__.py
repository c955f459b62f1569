"""What SQL knows of the blobs. Only this package writes SQL, and none that SQLite or PostgreSQL alone understands."""
