"""Files that bundles carry: they import numpy and one runtime, and nothing of edgeseg."""
