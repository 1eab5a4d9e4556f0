"""Sweeps: cells of a table, the store that remembers them, and what works on them."""
