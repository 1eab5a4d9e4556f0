"""Weights of convolutions of codes, in the form in which their C reads them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..expressions import Floats
from ..ir import Convolution
from ..layout import CODE_OFFSET
from ..passes.codes import EACH
from .writer import Machine


def codes_of(step: Convolution) -> NDArray[np.int8]:
    """Codes of the weights."""
    assert step.codes is not None
    codes = np.rint(step.weight / step.codes.weights[:, None, None, None])
    clipped: NDArray[np.int8] = np.clip(codes, -127, 127).astype(np.int8)
    return clipped


def words_of(step: Convolution) -> Floats:
    """Codes of the weights as `Pack` orders channels: (outputs, words, rows, columns)."""
    codes = codes_of(step)
    missing = -codes.shape[1] % EACH
    filled = np.pad(codes, ((0, 0), (0, missing), (0, 0), (0, 0)))
    grouped = filled.reshape(codes.shape[0], -1, EACH, *codes.shape[2:]).transpose(0, 1, 3, 4, 2)
    words: Floats = np.ascontiguousarray(grouped).view("<f4")[..., 0]
    return words


def factors_of(step: Convolution, machine: Machine) -> tuple[Floats, Floats]:
    """What the sums of codes are multiplied by, and what is added then."""
    assert step.codes is not None
    scales: NDArray[np.float64] = step.codes.weights.astype(np.float64) * step.codes.scale
    zero = step.codes.zero + (CODE_OFFSET if machine.bytes == "unsigned" else 0)
    sums = codes_of(step).astype(np.int64).sum((1, 2, 3))
    bias = step.bias - scales * zero * sums
    return scales.astype(np.float32), bias.astype(np.float32)
