"""Networks that users bring."""
