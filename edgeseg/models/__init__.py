"""Networks by name: what they are, without importing torch, and how to make one."""

from .registry import MODELS, ModelSpec, ShippedWeights, find_model

__all__ = ["MODELS", "ModelSpec", "ShippedWeights", "find_model"]
