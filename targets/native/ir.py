"""Steps that compute the values of a network, in the order of computation.

Batches are of one image.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .expressions import Expression, Floats, Shape, Sum, Tensor, loads


@dataclass(eq=False)
class Step:
    """One computation; what it reads and writes decides when it may run."""

    title: str  # of the ONNX node, for the profile and messages

    def reads(self) -> list[Tensor]:
        raise NotImplementedError

    def writes(self) -> list[Tensor]:
        raise NotImplementedError


@dataclass(frozen=True)
class Window:
    """How a window moves over an image.

    Attributes:
        kernel, stride, dilation, before: (vertical, horizontal); `before` is the padding above
            and to the left.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    before: tuple[int, int] = (0, 0)

    @property
    def is_point(self) -> bool:
        """Whether each output is made of the input at its own place."""
        return self == Window((1, 1))

    def reach(self, out: Shape, size: Shape) -> int:
        """How far beyond an image of `size` it looks to make one of `out`, in pixels."""
        far = [
            (out[1 + axis] - 1) * self.stride[axis]
            + (self.kernel[axis] - 1) * self.dilation[axis]
            - self.before[axis]
            - (size[1 + axis] - 1)
            for axis in (0, 1)
        ]
        return max(0, *self.before, *far)


@dataclass(frozen=True)
class Codes:
    """How the image and the weights of a convolution are quantised.

    Attributes:
        scale, zero: The image's: value = (code - zero) * scale, with codes from -128 to 127.
        weights: Scales of the outputs' weights, whose codes are from -127 to 127 about 0.
    """

    scale: float
    zero: int
    weights: Floats


@dataclass(eq=False)
class Pack(Step):
    """Codes of four neighbouring channels in one element, for products of bytes.

    Attributes:
        zero: As in `Codes`.
    """

    source: Tensor
    out: Tensor
    scale: float
    zero: int

    def reads(self) -> list[Tensor]:
        return [self.source]

    def writes(self) -> list[Tensor]:
        return [self.out]


@dataclass(eq=False)
class Convolution(Step):
    """A convolution with what is done to its sums.

    Attributes:
        weight: (outputs, inputs per group, vertical, horizontal).
        codes: How it is quantised; None in float.
        packed: Whether `source` is what `Pack` makes, and the sums are those of codes.
        epilogue: Of `Sum`; it gives `out`.
        pooled: Whether the largest of each 2x2 is kept, after `epilogue`.
        statistics: Receives sums and sums of squares of the channels of `Sum`, (2, outputs, 1).
    """

    source: Tensor
    weight: Floats
    bias: Floats
    groups: int
    window: Window
    out: Tensor
    epilogue: Expression = field(default_factory=Sum)
    pooled: bool = False
    statistics: Tensor | None = None
    codes: Codes | None = None
    packed: bool = False

    @property
    def is_depthwise(self) -> bool:
        return self.weight.shape[1] == 1 and self.groups == self.source.channels > 1

    def reads(self) -> list[Tensor]:
        return [self.source, *loads(self.epilogue)]

    def writes(self) -> list[Tensor]:
        return [self.out, *([self.statistics] if self.statistics else [])]


@dataclass(eq=False)
class Statement:
    """One value of a nest.

    Attributes:
        reduction: "add" or "max": over the channels of `expression`, which leaves one.
        channels: Of `expression`.
        is_stored: Whether it lies in memory afterwards; other reductions live in registers.
    """

    out: Tensor
    expression: Expression
    channels: int
    reduction: str = ""
    is_stored: bool = True


@dataclass(eq=False)
class Nest(Step):
    """Statements that all run at one pixel before the next: maps, and sums over channels."""

    statements: list[Statement]

    @property
    def shape(self) -> tuple[int, int]:
        return self.statements[0].out.shape[1:]

    def reads(self) -> list[Tensor]:
        made = {statement.out for statement in self.statements}
        read = [tensor for one in self.statements for tensor in loads(one.expression)]
        return [tensor for tensor in dict.fromkeys(read) if tensor not in made]

    def writes(self) -> list[Tensor]:
        return [statement.out for statement in self.statements if statement.is_stored]


@dataclass(eq=False)
class GroupScale(Step):
    """Scale and shift of a group norm, from sums over each channel.

    With sums of x of channels with signs s, for the norm of s * x: scale = s * gamma / deviation
    and shift = beta - mean * gamma / deviation.

    Attributes:
        sums: (2, channels, 1): sums and sums of squares.
        count: Pixels of a channel.
    """

    sums: Tensor
    gamma: Floats
    beta: Floats
    signs: Floats
    groups: int
    count: int
    epsilon: float
    scale: Tensor
    shift: Tensor

    def reads(self) -> list[Tensor]:
        return [self.sums]

    def writes(self) -> list[Tensor]:
        return [self.scale, self.shift]


@dataclass(eq=False)
class ChannelSums(Step):
    """Over the pixels of each channel: (2, channels, 1) sums and sums of squares, or one value.

    Attributes:
        kind: "moments", "mean" or "max".
    """

    source: Tensor
    out: Tensor
    kind: str

    def reads(self) -> list[Tensor]:
        return [self.source]

    def writes(self) -> list[Tensor]:
        return [self.out]


@dataclass(eq=False)
class Pool(Step):
    """Largest value in a window, of what of it lies in the image."""

    source: Tensor
    window: Window
    out: Tensor

    def reads(self) -> list[Tensor]:
        return [self.source]

    def writes(self) -> list[Tensor]:
        return [self.out]


@dataclass(eq=False)
class Resize(Step):
    """Each output is a mixture of two rows and two columns.

    Attributes:
        rows, columns: For each output row or column: the first of the two that are mixed, and the
            share of the second.
        epilogue: Of `Sum`.
    """

    source: Tensor
    out: Tensor
    rows: tuple[NDArray[np.int32], Floats]
    columns: tuple[NDArray[np.int32], Floats]
    epilogue: Expression = field(default_factory=Sum)

    def reads(self) -> list[Tensor]:
        return [self.source, *loads(self.epilogue)]

    def writes(self) -> list[Tensor]:
        return [self.out]


@dataclass(eq=False)
class Gather(Step):
    """Copies elements one by one: pads, slices, transposes, shuffles, repeats.

    Attributes:
        indices: For each element of `out`, in its order, that of `source`; -1 takes `fill`.
    """

    source: Tensor
    out: Tensor
    indices: NDArray[np.int32]
    fill: float = 0.0

    def reads(self) -> list[Tensor]:
        return [self.source]

    def writes(self) -> list[Tensor]:
        return [self.out]


@dataclass(eq=False)
class MatrixProduct(Step):
    """(batch or 1, rows, inner) times (batch or 1, inner, columns)."""

    left: Tensor
    right: Tensor
    out: Tensor

    def reads(self) -> list[Tensor]:
        return [self.left, self.right]

    def writes(self) -> list[Tensor]:
        return [self.out]


@dataclass(eq=False)
class Concat(Step):
    """Tensors one behind the other along the channels; layout makes it disappear where it can."""

    parts: list[Tensor]
    out: Tensor

    def reads(self) -> list[Tensor]:
        return list(self.parts)

    def writes(self) -> list[Tensor]:
        return [self.out]


@dataclass(eq=False)
class ChannelSlice(Step):
    """Some neighbouring channels of a tensor: no copy."""

    source: Tensor
    first: int
    out: Tensor

    def reads(self) -> list[Tensor]:
        return [self.source]

    def writes(self) -> list[Tensor]:
        return [self.out]


@dataclass(frozen=True)
class Rows:
    """Rows of a step or tensor that belong to those of a strip's last step from `first` to `last`:
    from `first * scale - above` to `last * scale + below`, as far as the image goes.
    """

    scale: int = 1
    above: int = 0
    below: int = 0

    def around(self, window: Window) -> Rows:
        """Of what a window reads to make these."""
        stride, before = window.stride[0], window.before[0]
        after = (window.kernel[0] - 1) * window.dilation[0] + 1 - stride - before
        below = max(0, self.below * stride + after)
        return Rows(self.scale * stride, self.above * stride + before, below)

    def join(self, other: Rows) -> Rows:
        """Both, which have one scale."""
        return Rows(self.scale, max(self.above, other.above), max(self.below, other.below))

    def count(self, rows: int) -> int:
        """Rows that belong to a strip of so many."""
        return rows * self.scale + self.above + self.below


@dataclass(eq=False)
class Strips(Step):
    """Steps that run on some rows before the next rows, so that what they share stays in the cache.

    What a window reads of the ones before is made again for the next strip.

    Attributes:
        rows: Of the last step, at once; a divisor of its height.
        ranges: Rows of each step.
        inner: What nothing else reads, of which memory for some rows is enough, and their rows.
    """

    steps: list[Step]
    rows: int
    ranges: dict[Step, Rows]
    inner: dict[Tensor, Rows]

    def reads(self) -> list[Tensor]:
        made = {tensor for step in self.steps for tensor in step.writes()}
        read = [tensor for step in self.steps for tensor in step.reads()]
        return [tensor for tensor in dict.fromkeys(read) if tensor not in made]

    def writes(self) -> list[Tensor]:
        return [tensor for step in self.steps for tensor in step.writes()]


def steps_of(step: Step) -> list[Step]:
    """A step, or those that run in its strips."""
    return step.steps if isinstance(step, Strips) else [step]


@dataclass(eq=False)
class Program:
    """A network.

    Attributes:
        steps: In an order in which they can run.
    """

    image: Tensor
    mask: Tensor
    steps: list[Step]

    def users(self) -> dict[Tensor, list[Step]]:
        """Steps that read a tensor; the mask has one user more than the list says."""
        users: dict[Tensor, list[Step]] = {}
        for step in self.steps:
            for tensor in dict.fromkeys(step.reads()):
                users.setdefault(tensor, []).append(step)
        return users

    def producers(self) -> dict[Tensor, Step]:
        return {tensor: step for step in self.steps for tensor in step.writes()}
