"""The documents of a release, and the signature over them."""
