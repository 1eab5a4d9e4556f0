"""Passes that change a program and not what it computes, in the order of `PASSES`."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ..ir import Program
from .depthwise import merge_depthwise
from .maps import inline_maps, maps_into_epilogues, rename_rsqrt
from .nests import join_nests, keep_in_registers
from .norms import (
    factors_into_norms,
    pool_before_scale,
    pools_into_convolutions,
    sums_into_convolutions,
)
from .unused import drop_dead, drop_unread
from .weights import scales_into_weights

PASSES: tuple[Callable[[Program], int], ...] = (
    drop_dead,
    factors_into_norms,
    pool_before_scale,
    sums_into_convolutions,
    pools_into_convolutions,
    inline_maps,
    rename_rsqrt,
    maps_into_epilogues,
    merge_depthwise,
    scales_into_weights,
    join_nests,
    keep_in_registers,
    drop_unread,
)


def fuse(program: Program, without: Collection[str] = ()) -> dict[str, int]:
    """Apply all passes in place, but for those named; returns how many places each changed."""
    return {one.__name__: one(program) for one in PASSES if one.__name__ not in without}
