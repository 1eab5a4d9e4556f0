"""Values of a program, and expressions of them: what is computed for one element.

A tensor has the shape (channels, height, width); values of other ranks are seen as one row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Shape: TypeAlias = tuple[int, int, int]
Floats: TypeAlias = NDArray[np.float32]


@dataclass(eq=False)
class Tensor:
    """A value: computed, or constant.

    Attributes:
        name: That of the ONNX value, for messages.
        shape: Channels, height, width.
        constant: Its content in that shape; None where it is computed.
    """

    name: str
    shape: Shape
    constant: Floats | None = None

    @property
    def channels(self) -> int:
        return self.shape[0]

    @property
    def height(self) -> int:
        return self.shape[1]

    @property
    def width(self) -> int:
        return self.shape[2]

    @property
    def pixels(self) -> int:
        return self.height * self.width


@dataclass(frozen=True)
class Scalar:
    """The same number everywhere."""

    value: float


@dataclass(frozen=True)
class Load:
    """The element of a tensor at the place that is computed; axes of size one are repeated."""

    tensor: Tensor


@dataclass(frozen=True)
class Sum:
    """What the convolution has summed up, bias included, in whose epilogue this stands."""


@dataclass(frozen=True)
class Call:
    """A function of the prelude, or an operator: see `functions`."""

    function: str
    arguments: tuple[Expression, ...]


Expression: TypeAlias = Scalar | Load | Sum | Call


def leaves(expression: Expression) -> Iterator[Scalar | Load | Sum]:
    if isinstance(expression, Call):
        for argument in expression.arguments:
            yield from leaves(argument)
    else:
        yield expression


def loads(expression: Expression) -> list[Tensor]:
    """Tensors that are read, each once, in order of appearance."""
    return list(dict.fromkeys(leaf.tensor for leaf in leaves(expression) if isinstance(leaf, Load)))


def replace_leaf(expression: Expression, old: Expression, new: Expression) -> Expression:
    """The expression with one leaf exchanged everywhere."""
    if expression == old:
        return new
    if isinstance(expression, Call):
        arguments = tuple(replace_leaf(one, old, new) for one in expression.arguments)
        return Call(expression.function, arguments)
    return expression


def calls(expression: Expression) -> Iterator[str]:
    """Functions that are called, as often as they are."""
    if isinstance(expression, Call):
        yield expression.function
        for argument in expression.arguments:
            yield from calls(argument)


def image_shape(shape: Sequence[int]) -> Shape | None:
    """An ONNX shape as (channels, height, width); None where it is a batch or has more axes."""
    if len(shape) == 4:
        return (shape[1], shape[2], shape[3]) if shape[0] == 1 else None
    if len(shape) <= 3:
        padded = (1,) * (3 - len(shape)) + tuple(shape)
        return (padded[0], padded[1], padded[2])
    return None
