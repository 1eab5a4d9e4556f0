"""How much of a convolution is computed at once, and in which order."""

from __future__ import annotations

from dataclasses import dataclass

from ..expressions import loads
from ..ir import Convolution
from .writer import Writer

PACKED = 6  # outputs whose weights lie side by side, on all machines: one file serves them all
L1, L2 = 32_000, 1_000_000  # bytes that are hoped to stay in a cache


@dataclass(frozen=True)
class Tile:
    """How much a kernel computes at once.

    Attributes:
        lanes: Floats of a vector.
        order: Of the loops, the outermost first: "o" over outputs, "y" over rows, "x" over columns.
    """

    rows: int
    vectors: int
    outputs: int
    lanes: int
    order: str = "oyx"


def default_tile(writer: Writer, step: Convolution, rows_of_strip: int = 0) -> Tile:
    """A tile that fits the registers, in an order that fits the caches."""
    machine = writer.machine
    sums = machine.registers * 3 // 4
    height, width = computed_size(writer, step, rows_of_strip)
    lanes = machine.lanes
    while lanes > 4 and width < lanes:
        lanes //= 2
    while step.pooled and lanes > 4 and width % (2 * lanes):
        lanes //= 2
    vectors = min(2, max(1, width // lanes))
    rows = min(2, height)
    if step.is_depthwise:
        rows = min(4, height)
        while rows * vectors > sums:
            rows //= 2
        return Tile(rows, vectors, 1, lanes)
    if sums < 16 and not step.pooled:
        vectors = 1
    if height == 1:
        vectors = min(4 if sums >= 16 else 2, max(1, width // lanes))
    if vectors == 1 and sums >= 4 * PACKED and not step.pooled:
        rows = min(4, height)
    each = step.weight.shape[0] // step.groups
    outputs = max(1, min(each, PACKED, sums // (rows * vectors)))
    return Tile(rows, vectors, outputs, lanes, _order(step))


def _order(step: Convolution) -> str:
    """Outputs first where weights are large and the input stays in the cache anyway."""
    if step.groups > 1:
        return "oyx"
    weights, pixels = 4 * step.weight.size, 4 * step.source.pixels * step.source.channels
    if weights > L1 and (pixels < L2 or weights > L2):
        return "oyx"
    return "yxo"


def computed_size(writer: Writer, step: Convolution, rows: int = 0) -> tuple[int, int]:
    """Height and width of the sums; one row where rows lie one behind the other in all tensors.

    Args:
        rows: Of a strip; 0 where the step runs on the whole image.
    """
    scale = 2 if step.pooled else 1
    height, width = rows or step.out.height * scale, step.out.width * scale
    tensors = [step.source, step.out, *loads(step.epilogue)]
    if (
        step.window.is_point
        and not rows
        and not step.pooled
        and width % 8 == 0
        and all(one.pixels == 1 or writer.pitch(one) == width for one in tensors)
    ):
        return 1, height * width
    return height, width
