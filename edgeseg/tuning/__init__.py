"""Placement: which form of a network is the fastest on a target that keeps what it finds."""
