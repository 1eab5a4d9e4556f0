"""Commands that tell why a bundle is as fast, and what changed."""
