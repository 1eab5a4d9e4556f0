"""Which values each tensor of an integer-only model can hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.formats.tflite import Operator, TfliteModel

from ...plan.quant_plan import HIGHEST_VALUE, LOWEST_VALUE, WeightGrid
from ..edit import Grid
from ..ptq import Ranges, widen_ranges
from .kernels import INVERSE_ROOT, JOINING, takes_int16

# Kernels that take one grid for all that they read and write.
ONE_GRID = frozenset(
    {"AVERAGE_POOL_2D", "DEPTH_TO_SPACE", "MAX_POOL_2D", "PAD", "RESHAPE", "RESIZE_BILINEAR"}
    | {"RESIZE_NEAREST_NEIGHBOR", "SLICE", "SPACE_TO_DEPTH", "SPLIT", "STRIDED_SLICE", "TRANSPOSE"}
)
ROOTS = frozenset({INVERSE_ROOT, "SQRT"})
# Make what a root reads from squares of differences; a convolution adds up groups of channels.
VARIANCE = frozenset({"ADD", "CONV_2D", "MEAN", "MUL", "SUM"})
# What kernels of tables give is fixed by the format.
FIXED = {"LOGISTIC": Grid(1 / 256, -128), "SOFTMAX": Grid(1 / 256, -128), "TANH": Grid(1 / 128, 0)}
FIXED_WIDE = Grid(2**-15, 0, 16)  # the same of int16
STEPS = HIGHEST_VALUE - LOWEST_VALUE
WIDE_STEPS = 2**15 - 1  # the largest int16
WIDENING = 2**7  # steps of int16 in one of int8 that becomes int16: 255 of them are in reach
BINS = 4096
FRACTIONS = np.linspace(0.1, 1, 19)  # candidate ends / smallest or largest value

# Gives the tensors of each image by their index; may be called again.
Observe = Callable[[], Iterable[Mapping[int, NDArray[np.float32]]]]
Choose = Callable[[NDArray[np.int64], float, float], tuple[float, float]]


@dataclass(frozen=True)
class Groups:
    """Tensors that share a grid.

    Attributes:
        of_tensor: Activation -> the tensor that stands for its group.
        fixed: Groups whose grid the format fixes.
        wide: Groups of int16: variances and roots of norms, most of which int8 would round to 0.
        may_be_wide: Groups that only operators with kernels on int16 read and give.
    """

    of_tensor: Mapping[int, int]
    fixed: Mapping[int, Grid]
    wide: frozenset[int] = frozenset()
    may_be_wide: frozenset[int] = frozenset()


def group_tensors(model: TfliteModel) -> Groups:
    """The groups of a model's activations, inputs included.

    What a concatenation alone reads shares its grid; what others read too is rounded anew for it.
    So is what has a fixed grid.
    """
    makers = {index: one for one in model.operators for index in one.outputs}
    readers: dict[int, int] = {}
    for operator in model.operators:
        for index in operator.inputs:
            readers[index] = readers.get(index, 0) + 1
    group: dict[int, int] = {}

    def root(index: int) -> int:
        group.setdefault(index, index)
        while group[index] != index:
            index = group[index]
        return index

    def is_free(index: int) -> bool:
        maker = makers.get(index)
        return readers[index] == 1 and maker is not None and maker.kind not in {*ONE_GRID, *FIXED}

    for operator in model.operators:
        activations = [index for index in operator.inputs if index not in model.constants]
        for index in (*activations, *operator.outputs):
            root(index)
        if operator.kind in ONE_GRID:
            for index in operator.outputs:
                group[root(index)] = root(activations[0])
        elif operator.kind == JOINING:
            for index in filter(is_free, activations):
                group[root(index)] = root(operator.outputs[0])
    narrow = {
        root(index)
        for one in model.operators
        if not takes_int16(one.kind)
        for index in (*one.inputs, *one.outputs)
        if index in group
    }
    fixed = {root(one.outputs[0]): FIXED[one.kind] for one in model.operators if one.kind in FIXED}
    may_be_wide = set(map(root, group)) - narrow
    wide = frozenset(map(root, _variances(model, makers))) - fixed.keys()
    return Groups({index: root(index) for index in group}, fixed, wide, frozenset(may_be_wide))


def _variances(model: TfliteModel, makers: Mapping[int, Operator]) -> set[int]:
    """What roots give, and what they read: back to the squares of the differences."""
    found: set[int] = set()
    for operator in model.operators:
        if operator.kind in ROOTS:
            found.update(operator.outputs)
            waiting = list(operator.inputs)
            while waiting:
                index = waiting.pop()
                maker = makers.get(index)
                if index not in found and maker is not None and maker.kind in VARIANCE:
                    found.add(index)
                    waiting += maker.inputs if len(set(maker.inputs)) > 1 else ()
    return found


@dataclass(frozen=True)
class IntegerPlan:
    """What a model of integers holds.

    Attributes:
        grids: Activation -> its grid.
        weights, biases: Output of a convolution -> its quantized weight in ONNX's layout,
            (O, I/groups, kh, kw), and its bias, (O,).
    """

    grids: Mapping[int, Grid]
    weights: Mapping[int, WeightGrid] = field(default_factory=dict)
    biases: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """The values of a float model on the calibration images.

    Attributes:
        ends: Group -> its smallest and largest value, 0 among them.
        counts: Group -> how many values lie in each of `BINS` bins between those.
    """

    ends: Mapping[int, tuple[float, float]]
    counts: Mapping[int, NDArray[np.int64]]


def see_values(groups: Groups, observe: Observe) -> Seen:
    """Look at all values twice, for the ends of each group and for what lies between.

    Raises:
        CalibrationError: A value is NaN or infinite.
    """
    ends: Ranges = {}
    for values in observe():
        for index, value in values.items():
            place = groups.of_tensor[index]
            ends.setdefault(place, (0.0, 0.0))
            widen_ranges(ends, {place: value})
    counts = {place: np.zeros(BINS, np.int64) for place in ends}
    for values in observe():
        for index, value in values.items():
            place = groups.of_tensor[index]
            counts[place] += _count(value, *ends[place])
    return Seen(ends, counts)


def choose_grids(groups: Groups, seen: Seen, choose: Choose) -> dict[int, Grid]:
    """A grid for each activation.

    Args:
        choose: Counts, lowest and highest value of a group -> the ends of its range.
    """
    grids = {}
    for place, (low, high) in seen.ends.items():
        if place in groups.wide:
            grids[place] = FIXED_WIDE if place in groups.fixed else wide_grid(low, high)
        else:
            counts = seen.counts[place]
            grids[place] = groups.fixed.get(place) or grid_of(*choose(counts, low, high))
    return {index: grids[place] for index, place in groups.of_tensor.items() if place in grids}


def plan_of(groups: Groups, seen: Seen, choose: Choose) -> IntegerPlan:
    """The plan of those grids, with the weights and biases of the file."""
    return IntegerPlan(choose_grids(groups, seen, choose))


@dataclass(frozen=True)
class Start:
    """Where the search for a plan begins.

    Attributes:
        content: The float file.
        groups: Its activations.
        plan_of: Groups, some of which may have become int16 -> a plan from the ranges seen.
    """

    content: bytes
    groups: Groups
    plan_of: Callable[[Groups], IntegerPlan]


def whole_range(counts: NDArray[np.int64], low: float, high: float) -> tuple[float, float]:
    """Everything from the smallest to the largest value. Source: arXiv:1712.05877."""
    return low, high


def share_of(share: float) -> Choose:
    """Ranges that cut off as many values at either end, so that `share` of them is below the upper.

    Source: percentile calibration, Wu et al. 2020, arXiv:2004.09602, section 4; both ends, as int8
    kernels have zero points.
    """

    def choose(counts: NDArray[np.int64], low: float, high: float) -> tuple[float, float]:
        total = counts.sum()
        if not total:
            return low, high
        summed, width = np.cumsum(counts) / total, (high - low) / BINS
        first = int(np.searchsorted(summed, 1 - share, side="right"))
        last = min(int(np.searchsorted(summed, share)), BINS - 1)
        return (low + first * width, low + (last + 1) * width) if first <= last else (low, high)

    return choose


def least_squares(counts: NDArray[np.int64], low: float, high: float) -> tuple[float, float]:
    """The range with the least squared error of rounding and clipping, of ends that are scaled.

    Source: Nagel et al. 2021, arXiv:2106.08295, section 3.1, equation 8; both ends.
    """
    centres = low + (np.arange(BINS) + 0.5) * ((high - low) / BINS)
    weights = counts.astype(np.float64)
    best, least = (low, high), np.inf
    for down in FRACTIONS if low < 0 else (1.0,):
        for up in FRACTIONS if high > 0 else (1.0,):
            grid = grid_of(low * down, high * up)
            steps = np.rint(centres / grid.scale) + grid.zero_point
            values = (np.clip(steps, LOWEST_VALUE, HIGHEST_VALUE) - grid.zero_point) * grid.scale
            error = float(weights @ (values - centres) ** 2)
            if error < least:
                best, least = (low * down, high * up), error
    return best


def grid_of(low: float, high: float) -> Grid:
    """The grid of 256 values from `low` to `high`, which has 0; never zero stays 0..1."""
    low, high = min(low, 0.0), max(high, 0.0)
    if high <= low:
        high = 1.0
    scale = float(np.float32((high - low) / STEPS))
    return Grid(scale, int(np.clip(round(LOWEST_VALUE - low / scale), LOWEST_VALUE, HIGHEST_VALUE)))


def wide_grid(low: float, high: float) -> Grid:
    """The grid of int16 that covers a range; its zero point is 0, as its kernels demand."""
    reach = max(-low, high) or 1.0
    return Grid(float(np.float32(reach / WIDE_STEPS)), 0, 16)


def with_bits(grid: Grid, bits: int) -> Grid:
    """The grid of so many bits that holds all values of a grid; fewer bits take larger steps."""
    if bits == grid.bits:
        return grid
    if bits == 8:
        return grid_of(-WIDE_STEPS * grid.scale, WIDE_STEPS * grid.scale)
    return Grid(grid.scale / WIDENING, 0, bits)


def grid_of_constant(values: NDArray[np.float32], bits: int = 8) -> Grid:
    """The grid that covers stored values."""
    of = wide_grid if bits == 16 else grid_of
    return of(float(values.min()), float(values.max()))


def quantized(values: NDArray[np.float32], grid: Grid) -> NDArray[Any]:
    """The nearest values of a grid, int8 or int16."""
    steps = np.rint(values.astype(np.float64) / grid.scale) + grid.zero_point
    low, high = (-WIDE_STEPS, WIDE_STEPS) if grid.bits == 16 else (LOWEST_VALUE, HIGHEST_VALUE)
    codes: NDArray[Any] = np.clip(steps, low, high).astype(f"int{grid.bits}")
    return codes


def _count(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.int64]:
    """How many values lie in each bin from low to high."""
    if high <= low:
        return np.zeros(BINS, np.int64)
    places = ((values.ravel() - low) * (BINS / (high - low))).astype(np.int32)
    return np.bincount(np.clip(places, 0, BINS - 1), minlength=BINS)
