"""pycuda as far as edgeseg calls it; see fakes/tensorrt.py."""
