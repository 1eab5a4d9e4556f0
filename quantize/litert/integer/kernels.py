"""What LiteRT computes on integers, and on how many bits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgeseg.errors import CalibrationError

from ..edit import Grid

# First version of each operator that takes int8. Others have no such kernel.
VERSIONS = {
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "DEPTH_TO_SPACE": 1,
    "GELU": 1,
    "HARD_SWISH": 1,
    "LEAKY_RELU": 2,
    "LOGISTIC": 2,
    "MAX_POOL_2D": 2,
    "MEAN": 2,
    "MUL": 2,
    "PAD": 2,
    "PRELU": 1,
    "RELU": 2,
    "RESHAPE": 1,
    "RESIZE_BILINEAR": 2,
    "RESIZE_NEAREST_NEIGHBOR": 2,
    "SLICE": 2,
    "SOFTMAX": 2,
    "SPACE_TO_DEPTH": 1,
    "SPLIT": 2,
    "STRIDED_SLICE": 2,
    "SUB": 2,
    "SUM": 2,
    "TANH": 2,
    "TRANSPOSE": 2,
}
CONVERSIONS = {"QUANTIZE": 2, "DEQUANTIZE": 2}  # from one grid to another, too
# The same for int16.
WIDE_VERSIONS = {
    "ADD": 3,
    "AVERAGE_POOL_2D": 3,
    "CONCATENATION": 3,
    "CONV_2D": 4,
    "DEPTHWISE_CONV_2D": 5,
    "DIV": 2,
    "GELU": 3,
    "LEAKY_RELU": 2,
    "LOGISTIC": 3,
    "MAX_POOL_2D": 3,
    "MEAN": 3,
    "MUL": 4,
    "PAD": 2,
    "RELU": 3,
    "RESHAPE": 1,
    "RESIZE_BILINEAR": 4,
    "RESIZE_NEAREST_NEIGHBOR": 4,
    "SLICE": 4,
    "SOFTMAX": 3,
    "SPLIT": 4,
    "SQRT": 2,
    "STRIDED_SLICE": 4,
    "SUB": 5,
    "SUM": 2,
    "TANH": 3,
    "TRANSPOSE": 4,
}
JOINING = "CONCATENATION"
CONVOLUTION = "CONV_2D"
INVERSE_ROOT = "RSQRT"  # its table of int16 is wrong near 0: it becomes SQRT and DIV
NEGATION = "NEG"  # has no int8 kernel: it becomes a product with -1
BECOMES = {NEGATION: "MUL"}
SLOPED = "PRELU"  # what LiteRT computes for it on int16 is another function: it becomes a sum
WITH_CONSTANTS = frozenset({"ADD", "DIV", JOINING, "MUL", SLOPED, "SUB"})
KNOWN = frozenset({*VERSIONS, *WIDE_VERSIONS, INVERSE_ROOT, NEGATION})


def require_kernels(kinds: Mapping[str, int]) -> None:
    """Refuse operators that LiteRT cannot compute on integers.

    Args:
        kinds: How many operators of each kind there are.

    Raises:
        CalibrationError: One is not among `KNOWN`; the message names all such.
    """
    missing = {kind: count for kind, count in sorted(kinds.items()) if kind not in KNOWN}
    if missing:
        told = ", ".join(f"{count} {kind}" for kind, count in missing.items())
        raise CalibrationError(
            f"LiteRT has no integer kernel for {told}. Choose a network without such operators, "
            "or leave --method out, which keeps them in float."
        )


def bits_of(kind: str, tensors: Iterable[int], grids: Mapping[int, Grid]) -> int:
    """Of the integers that an operator computes on: 16 next to an int16 tensor, if it can.

    Args:
        tensors: What it reads and gives.
    """
    kernel = BECOMES.get(kind, kind)
    if kernel not in VERSIONS and kernel in WIDE_VERSIONS:
        return 16
    wide = any(grids[index].bits == 16 for index in tensors if index in grids)
    return 16 if wide and takes_int16(kind) else 8


def takes_int16(kind: str) -> bool:
    """Whether an operator can compute on int16, by a kernel or by several."""
    return BECOMES.get(kind, kind) in WIDE_VERSIONS or kind == SLOPED
