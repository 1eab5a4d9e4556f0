"""What half precision holds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

HALF_LARGEST = 65504.0


def is_too_large(values: NDArray[Any]) -> bool:
    """Whether any value becomes infinite."""
    return bool(np.abs(values).max(initial=0) > HALF_LARGEST)


def vanishes(values: NDArray[Any]) -> bool:
    """Whether all that is not 0 becomes 0."""
    return bool(values.any() and not values.astype(np.float16).any())
