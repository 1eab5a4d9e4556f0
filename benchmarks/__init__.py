"""Measuring what a deployed artefact costs and what it gets right."""
