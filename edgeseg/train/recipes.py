"""Training settings by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..errors import UnknownNameError, UsageError

SCHEDULES = ("cosine", "one_cycle")
ROTATIONS = ("none", "quarter", "any")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class Recipe:
    """All that decides a training run beside the model and the data.

    Attributes:
        name: Of the preset it started from.
        loss: Key of `edgeseg.train.losses.LOSSES`.
        epochs: Passes over the training images.
        batch_size: Images a step.
        learning_rate: Of AdamW; the peak for `one_cycle`, the start for `cosine`.
        weight_decay: Of AdamW.
        schedule: "cosine" (restarts every `2 * cosine_period` epochs, by epoch) or "one_cycle"
            (by step).
        cosine_period: Epochs from the highest to the lowest rate.
        min_learning_rate: Lowest rate of the cosine.
        flip_probability: Of a flip along each axis.
        rotation: "none", "quarter" (multiples of 90 degrees) or "any" (0 to 360, half of the
            time, border filled with zeros).
        precision: As Lightning Fabric names it.
        channels_last: Keep the channels of a pixel side by side in memory. Twice as fast on a
            CPU where depthwise convolutions rule; the same function.
        seed: Of weights, order and augmentation.
    """

    name: str
    loss: str = "deep_supervised_bce_dice"
    epochs: int = 300
    batch_size: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    schedule: str = "cosine"
    cosine_period: int = 50
    min_learning_rate: float = 1e-5
    flip_probability: float = 0.5
    rotation: str = "any"
    precision: str = "32-true"
    channels_last: bool = False
    seed: int = 42

    def __post_init__(self) -> None:
        for name, known in (
            ("schedule", SCHEDULES),
            ("rotation", ROTATIONS),
            ("precision", PRECISIONS),
        ):
            if getattr(self, name) not in known:
                raise UnknownNameError(name, str(getattr(self, name)), known)
        for name in ("epochs", "batch_size", "learning_rate", "cosine_period"):
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be above zero.")
        if not 0 <= self.flip_probability <= 1:
            raise UsageError(f"flip_probability is {self.flip_probability}; it lies in 0..1.")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Recipe:
        known = {field.name for field in fields(cls)}
        for name in record:
            if name not in known:
                raise UnknownNameError("recipe setting", name, known)
        return cls(**record)

    def changed(self, **settings: Any) -> Recipe:
        """Copy with the settings that are not None replaced."""
        given = {name: value for name, value in settings.items() if value is not None}
        return replace(self, **given)


# The paper's settings (arXiv:2307.08473, section 3.2), and a shorter schedule that reaches the
# same Dice on isic2018_task1 in an eighth of the epochs: what the shipped weights were made with.
RECIPES: dict[str, dict[str, Recipe]] = {
    "egeunet": {
        "published": Recipe("published"),
        "short": Recipe(
            "short", epochs=35, learning_rate=2e-3, schedule="one_cycle", rotation="quarter"
        ),
    },
}


def find_recipe(model: str, name: str) -> Recipe:
    """Preset `name` of a model.

    Raises:
        UnknownNameError: The model has no such preset.
    """
    presets = RECIPES.get(model, {})
    if name not in presets:
        raise UnknownNameError(f"recipe of {model}", name, presets)
    return presets[name]
