"""C of each kind of step."""
