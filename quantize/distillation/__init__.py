"""Distillation-aware calibration: a quantised network learns to answer as its float self."""
