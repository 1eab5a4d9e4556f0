"""All rules, and a model as a TensorFlow function."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import (
    arithmetic,
    grid,
    indexing,
    maps,
    moves,
    pooling,
    products,
    reductions,
    resizing,
)
from .translator import Rule, Translator

if TYPE_CHECKING:
    import onnx_ir as ir

FILES = (arithmetic, grid, indexing, maps, moves, pooling, products, reductions, resizing)
RULES: dict[str, Rule] = {kind: rule for file in FILES for kind, rule in file.RULES.items()}


def function_of(model: ir.Model, tensorflow: Any, *, fuses_gelu: bool) -> Callable[[Any], Any]:
    """From an image (1, H, W, 3) to a mask (1, H, W, C), for TensorFlow to record.

    Args:
        model: Prepared by `prepare_for_translation`.
        fuses_gelu: See `Translator`.
    """

    def compute(image: Any) -> Any:
        return Translator(tensorflow, RULES, fuses_gelu=fuses_gelu).compute(model.graph, image)

    return compute
