"""Kits for Android and iOS."""
