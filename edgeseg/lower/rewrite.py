"""The declaration that each rewrite makes beside its function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import onnx_ir as ir

Layout = Literal["any", "channels-last", "channels-first"]


@dataclass(frozen=True)
class Rewrite:
    """An exact rewrite of an ONNX graph.

    Attributes:
        name: The registered name.
        apply: Changes a model in place, keeps the function that it computes, leaves it tidy (see
            `graph.tidy`), and returns how many places it changed.
        moves_statistics: Whether the convolutions that it writes compute means and variances,
            which rounding to INT8 would spoil.
        layout: Memory layout of the kernels that gain from it: runtimes keep the channels of a
            map last, or first. "any" if both gain.
    """

    name: str
    apply: Callable[[ir.Model], int]
    moves_statistics: bool = False
    layout: Layout = "any"

    def __call__(self, model: ir.Model) -> int:
        """Apply the rewrite to a model, in place.

        Returns:
            How many places were changed.
        """
        return self.apply(model)


def as_rewrite(
    name: str, *, layout: Layout = "any", moves_statistics: bool = False
) -> Callable[[Callable[[ir.Model], int]], Rewrite]:
    """Decorator that turns a function of a model into the rewrite of that name.

    Args:
        name, layout, moves_statistics: See `Rewrite`.
    """

    def declare(apply: Callable[[ir.Model], int]) -> Rewrite:
        return Rewrite(name, apply, moves_statistics, layout)

    return declare
