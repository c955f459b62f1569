"""The contract between clients, builders and the store: pure values, no I/O, no clock, no torch.

This is the only part of the client that the store may import.
"""
