"""Checkpoints as training frameworks write them: reading the files, matching their names."""
