"""How a network is trained, whatever teaches it: what train, distill and adapt are asked alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..models import ModelSpec
from .recipes import Recipe, find_recipe


@dataclass(frozen=True)
class TrainingOptions:
    """Recipe of a run, and how it is carried out.

    Attributes:
        recipe: Name; None takes the network's first recipe.
        settings: Settings of the recipe that differ, by name; None as a value keeps the recipe's.
        resume: Continue the run in the output folder.
        workers: Threads that load images ahead.
        accelerator: Name as in Lightning Fabric.
    """

    recipe: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    resume: bool = False
    workers: int = 0
    accelerator: str = "auto"

    def find_recipe(self, spec: ModelSpec) -> Recipe:
        """The recipe of a network with the settings that differ.

        Raises:
            UnknownNameError: The network has no recipe of that name.
            UsageError: A setting is out of bounds.
        """
        return find_recipe(spec, self.recipe).changed(**self.settings)
