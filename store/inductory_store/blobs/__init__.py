"""Where bytes live. Blobs are immutable, named by digest, and rest as one zstd frame each."""
