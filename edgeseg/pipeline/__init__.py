"""Where models, quantisers, targets and benchmarks meet."""
