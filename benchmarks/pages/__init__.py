"""Reports of benchmarks as one page that a browser shows without any other file."""
