"""What SQL knows of the blobs. Only this package writes SQL, in words that SQLite and PostgreSQL share."""
