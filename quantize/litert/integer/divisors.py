"""Keeps divisors from 0, where the integer kernel of DIV fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeseg.errors import CalibrationError

from ..edit import Grid
from ..file import TfliteFile
from ..matching import LAYOUTS
from .kernels import INVERSE_ROOT

ROUNDED_UP = 1.5  # steps that stay one or more, however a kernel rounds


def lift_divisors(file: TfliteFile, grids: Mapping[int, Grid]) -> None:
    """Raise the constants that keep divisors from 0 to 1.5 steps of the sums that they are part of.

    A divisor must be the root of a variance plus a constant, as in norms.

    Raises:
        CalibrationError: One is something else.
    """
    for operator in file.operators:
        kind = file.kind_of(operator)
        if kind in ("DIV", INVERSE_ROOT):
            _lift(file, operator, kind, grids)


def _lift(file: TfliteFile, operator: Any, kind: str, grids: Mapping[int, Grid]) -> None:
    root = operator if kind == INVERSE_ROOT else _root(file, int(operator.inputs[1]))
    total = None if root is None else _sum_before(file, root)
    if total is None:
        raise CalibrationError(
            f"The divisor of {kind} '{file.name(int(operator.outputs[0]))}' may become 0 as an "
            "integer: it is not the root of a variance plus a constant. Choose a network without "
            "such a division, or leave --method out, which keeps it in float."
        )
    summand = _summand(file, total)
    least = np.float32(ROUNDED_UP * grids[int(total.outputs[0])].scale)
    lifted = file.add_float(np.maximum(file.constant(summand), least))
    total.inputs = np.array(
        [lifted if index == summand else index for index in total.inputs], np.int32
    )


def _root(file: TfliteFile, tensor: int) -> Any | None:
    maker = _maker(file, tensor)
    return maker if maker is not None and file.kind_of(maker) == "SQRT" else None


def _sum_before(file: TfliteFile, root: Any) -> Any | None:
    """What adds a constant above 0 to the variance that a root reads."""
    total = _maker(file, int(root.inputs[0]))
    kind = file.kind_of(total) if total is not None else ""
    if total is None or kind not in ("ADD", "CONV_2D"):
        return None
    if kind in LAYOUTS and file.constant(int(total.inputs[1])).min() < 0:
        return None  # it may take away what the constant adds
    summand = _summand(file, total)
    return total if summand >= 0 and file.constant(summand).min() > 0 else None


def _maker(file: TfliteFile, tensor: int) -> Any | None:
    place = file.maker(tensor)
    return file.operators[place] if place >= 0 else None


def _summand(file: TfliteFile, operator: Any) -> int:
    """The constant that an ADD or a convolution adds; -1 where there is none."""
    stored = [int(index) for index in operator.inputs if index >= 0]
    if file.kind_of(operator) in LAYOUTS:
        return stored[2] if len(stored) > 2 else -1
    return next((index for index in stored if file.is_constant(index)), -1)
