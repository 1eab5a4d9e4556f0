"""Processes that measure one network each, and what they need. What travels stands alone."""
