"""Ways to devices that are not this machine."""
