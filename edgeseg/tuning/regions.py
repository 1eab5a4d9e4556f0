"""Regions: neighbouring convolutions that change precision together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

MOST_REGIONS = 8


@dataclass(frozen=True)
class QuantizableConv:
    """A convolution that can be INT8.

    Attributes:
        name: Of its result.
        size: (height, width) of its result; None where it is not known.
        products: Multiplications that it takes.
        weights: How many it has.
        is_depthwise: Whether each input channel has its own filters.
    """

    name: str
    size: tuple[int, int] | None
    products: int = 0
    weights: int = 0
    is_depthwise: bool = False


@dataclass(frozen=True)
class Region:
    """Attributes:
    name: For people.
    convolutions: Names of their results.
    """

    name: str
    convolutions: tuple[str, ...]


def group_convs(convs: Sequence[QuantizableConv], most: int = MOST_REGIONS) -> list[Region]:
    """Runs of convolutions between changes of resolution, the smallest neighbours merged until
    there are at most `most`.

    Args:
        sites: In the order in which they are computed.
    """
    runs = [list(run) for _, run in groupby(convs, key=lambda conv: conv.size)]
    while len(runs) > max(most, 1):
        first = min(range(len(runs) - 1), key=lambda at: len(runs[at]) + len(runs[at + 1]))
        runs[first : first + 2] = [runs[first] + runs[first + 1]]
    return [_region(number, run) for number, run in enumerate(runs, 1)]


def convs_of_statistics(
    convs_of: Callable[[tuple[str, ...]], Sequence[QuantizableConv]],
    rewrites: Sequence[str],
    statistics: Collection[str],
) -> tuple[str, ...]:
    """Names of the convolutions that hold means and variances, which INT8 would round: those that
    only the graph with such rewrites has.

    Args:
        convs_of: Convolutions of the graph with some rewrites.
        statistics: Rewrites that make such convolutions.
    """
    others = tuple(name for name in rewrites if name not in statistics)
    original = {conv.name for conv in convs_of(others)}
    made = [conv.name for conv in convs_of(tuple(rewrites))]
    return tuple(sorted(name for name in made if name not in original))


def single_convs(convs: Sequence[QuantizableConv]) -> list[Region]:
    """Each convolution as a region of its own, those with most to compute first."""
    ordered = sorted(convs, key=lambda conv: -conv.products)
    return [Region(f"convolution {conv.name}", (conv.name,)) for conv in ordered]


def _region(number: int, run: Sequence[QuantizableConv]) -> Region:
    sizes = list(dict.fromkeys(f"{s.size[0]}x{s.size[1]}" if s.size else "?" for s in run))
    shown = sizes[0] if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return Region(
        f"region {number} ({len(run)} convolutions at {shown})", tuple(conv.name for conv in run)
    )
