"""What calibration decided, in terms of the float ONNX graph: the same for every target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edgeseg.errors import CalibrationError

INT8_STEPS = 127  # codes -127..127: -128 is left out so that a range is symmetric about code 0


@dataclass(frozen=True)
class QuantPlan:
    """Which activations become INT8, and with which range.

    Attributes:
        limits: Name of an activation tensor -> largest absolute value that its codes cover, in
            the tensor's unit. real = code * limit / 127 with code in [-127, 127].
        float_nodes: Convolutions that stay in float.
        method: Name of the calibrator.
        settings: Its settings, all of them.
    """

    limits: Mapping[str, float]
    float_nodes: tuple[str, ...] = ()
    method: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, limit in self.limits.items():
            if not 0 < limit < float("inf"):
                raise CalibrationError(
                    f"The activation '{name}' has no usable range: its largest absolute value is "
                    f"{limit}. Calibrate with real images, or look for a dead layer in the weights."
                )

    def scale(self, tensor: str) -> float:
        """Unit of `tensor` per step of its code."""
        return self.limits[tensor] / INT8_STEPS

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
