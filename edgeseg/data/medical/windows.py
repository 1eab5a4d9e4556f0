"""Windows: which of a scanner's values are black and which white."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FROM_FILE = "file"
FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
WHITE = 65535


@dataclass(frozen=True)
class Window:
    """Values from black to white.

    Attributes:
        centre, width: In the values of the file after its rescale, such as Hounsfield units.
        function: As DICOM names it. The window of a spec is LINEAR_EXACT: what lies half a width
            below the centre is black, half a width above it white. LINEAR is DICOM's own, half a
            value off and one value narrower.
    """

    centre: float
    width: float
    function: str = "LINEAR_EXACT"

    def __post_init__(self) -> None:
        least = 1.0 if self.function == "LINEAR" else 0.0
        is_wide = self.width >= least if self.function == "LINEAR" else self.width > least
        if not (np.isfinite(self.centre) and np.isfinite(self.width) and is_wide):
            raise ValueError("The width of a window is above 0 (1 or more for LINEAR), and finite.")
        if self.function not in FUNCTIONS:
            raise ValueError(f"The function of a window is one of {', '.join(FUNCTIONS)}.")

    def shares(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """0 for black to 1 for white, of values of any shape; NaN is black."""
        numbers = np.asarray(values, np.float64)
        if self.function == "SIGMOID":
            power = np.clip(-4 * (numbers - self.centre) / self.width, -700, 700)
            found = 1 / (1 + np.exp(power))
        elif self.function == "LINEAR":
            if self.width == 1:
                found = (numbers > self.centre - 0.5).astype(np.float64)
            else:
                found = (numbers - (self.centre - 0.5)) / (self.width - 1) + 0.5
        else:
            found = (numbers - (self.centre - self.width / 2)) / self.width
        return np.nan_to_num(np.clip(found, 0, 1), nan=0.0)

    def apply(self, values: NDArray[Any]) -> NDArray[np.uint16]:
        """The values as 16-bit grey."""
        return np.rint(self.shares(values) * WHITE).astype(np.uint16)


def spread(values: NDArray[Any], low: float, high: float, bits: int) -> NDArray[Any]:
    """Values from `low` to `high` as 0 to white, uint8 where they had 8 bits or fewer, else uint16.

    8 and 16 bits of unsigned values stay what they are.
    """
    white, kind = (255, np.uint8) if bits <= 8 else (WHITE, np.uint16)
    shares = (np.asarray(values, np.float64) - low) / max(high - low, 1e-300)
    return np.rint(np.clip(np.nan_to_num(shares), 0, 1) * white).astype(kind)


def require_window(window: Any) -> Window | str | None:
    """The window of a contract: None, "file", or a window of (centre, width).

    Raises:
        ValueError: It is none of these.
    """
    if window is None or window == FROM_FILE:
        return None if window is None else FROM_FILE
    is_pair = isinstance(window, (tuple, list)) and len(window) == 2
    if not is_pair or not all(type(number) in (int, float) for number in window):
        raise ValueError(
            f"The window is {window!s:.80}, which is neither 'file' nor a centre and a width."
        )
    return Window(float(window[0]), float(window[1]))


def whole_numbers(values: NDArray[Any]) -> NDArray[Any] | None:
    """The same as integers, as which floating values may stand too; None where they are none."""
    if np.issubdtype(values.dtype, np.integer):
        return values
    is_whole = np.isfinite(values).all() and (values == np.rint(values)).all()
    return values.astype(np.int64) if is_whole and np.abs(values).max() < 2**53 else None
