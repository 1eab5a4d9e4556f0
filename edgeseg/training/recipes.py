"""The training recipe of a model by its name."""

from __future__ import annotations

from ..errors import UnknownNameError
from ..models import ModelSpec
from ..models.recipe import Recipe

__all__ = ["Recipe", "find_recipe", "generic_recipes"]


def generic_recipes(channels: int) -> dict[str, Recipe]:
    """Recipes of networks that state none.

    Args:
        channels: Output channels of the network: 1 for a sigmoid mask, else one a class.
    """
    loss = "bce_dice" if channels == 1 else "cross_entropy_dice"
    return {
        "generic": Recipe("generic", loss=loss, epochs=50, schedule="one_cycle", rotation="quarter")
    }


def find_recipe(spec: ModelSpec, name: str | None) -> Recipe:
    """Recipe `name` of a model; None gives its first.

    Raises:
        UnknownNameError: The model has no such recipe.
    """
    recipes = spec.recipes or generic_recipes(spec.outputs.channels)
    if name is None:
        return next(iter(recipes.values()))
    if name not in recipes:
        raise UnknownNameError("recipe", name, recipes, spec.name)
    return recipes[name]
