"""The store: blobs by digest, and a catalog that says what they are.

route -> operation -> catalog and blob store. Routes translate HTTP and nothing else; an operation owns its
transaction; only `catalog/` writes SQL; only `blobs/` knows where bytes live.
"""
