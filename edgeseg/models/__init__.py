"""Networks by name: what they are, without importing torch, and how to make one.

Each network is a folder: its `__init__.py` states SPEC, with RECIPES and TAPS, and `network.py`
holds the module, which loads torch when it is asked for.
"""

from .find import find_model, is_registered, list_models
from .recipe import Recipe
from .registry import MODELS
from .spec import ModelSpec, ShippedWeights
from .trained import TrainedModel

__all__ = [
    "MODELS",
    "ModelSpec",
    "Recipe",
    "ShippedWeights",
    "TrainedModel",
    "find_model",
    "is_registered",
    "list_models",
]
