"""Measuring bundles: here, on devices, and beside external toolkits."""
