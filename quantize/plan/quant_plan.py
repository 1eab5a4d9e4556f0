"""What calibration decided, in terms of the float ONNX graph: the same for every target.

Convolutions go by the name of their result tensor, as operators may lack names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import CalibrationError
from edgeseg.records import QuantizationRecord

INT8_STEPS = 127  # codes -127..127: -128 is left out so that a range is symmetric about code 0
LOWEST_CODE, HIGHEST_CODE = -128, 127  # what runtimes clip an activation to


@dataclass(frozen=True, eq=False)
class WeightGrid:
    """Weights of a convolution, snapped to a grid of their own for each output channel.

    Attributes:
        codes: int8 (O, I/groups, kh, kw), -127..127.
        scales: float32 (O,), positive: weight = code * scale of its channel, in float32.
    """

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]

    def __post_init__(self) -> None:
        codes, scales = self.codes, self.scales
        if codes.dtype != np.int8 or codes.ndim < 2 or (codes < -INT8_STEPS).any():
            raise CalibrationError(
                f"The codes of a weight are {codes.dtype} {codes.shape}; they must be int8 of "
                "-127..127, the output channels first. Calibrate anew."
            )
        if scales.dtype != np.float32 or scales.shape != codes.shape[:1]:
            raise CalibrationError(
                f"The scales of a weight are {scales.dtype} {scales.shape}; they must be float32 "
                f"({len(codes)},), one for each output channel. Calibrate anew."
            )
        if not (np.isfinite(scales).all() and (scales > 0).all()):
            raise CalibrationError(
                "A scale of a weight is not a positive number. Look for NaN in the checkpoint, or "
                "calibrate anew."
            )

    def weights(self) -> NDArray[np.float32]:
        """The snapped weights, (O, I/groups, kh, kw)."""
        scales = self.scales.reshape(-1, *[1] * (self.codes.ndim - 1))
        return self.codes.astype(np.float32) * scales

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {"codes": self.codes, "scales": self.scales}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WeightGrid):
            return NotImplemented
        return _digest(self.tensors()) == _digest(other.tensors())

    def __hash__(self) -> int:
        return hash(_digest(self.tensors()))


@dataclass(frozen=True)
class Provenance:
    """Where a plan comes from.

    Attributes:
        method: Name of the calibrator.
        settings: Its settings, all of them.
        graph_sha256: Of the ONNX file that it is for.
        images: Name and sha256 of each calibration image.
        seed: Of its random numbers; None where it draws none.
        agreement: What is known of the agreement with the float network on held-back images, such
            as flips per 10,000 pixels; empty where it was not measured.
    """

    method: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    graph_sha256: str = ""
    images: tuple[tuple[str, str], ...] = ()
    seed: int | None = None
    agreement: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "settings": dict(self.settings),
            "graph_sha256": self.graph_sha256,
            "images": [{"name": name, "sha256": digest} for name, digest in self.images],
            "seed": self.seed,
            "agreement": dict(self.agreement),
        }


@dataclass(frozen=True, eq=False)
class QuantPlan:
    """Which convolutions become INT8, and on which grids.

    Attributes:
        limits: Name of an activation tensor -> largest absolute value that its codes cover, in
            the tensor's unit. An activation without one is not rounded.
        float_nodes: Convolutions that stay in float, though they could be INT8.
        weights: Convolution -> its snapped weights. Those without are snapped to the nearest
            point of the grid that covers their largest weight.
        biases: Convolution -> its bias, float32 (O,), in place of the graph's.
        zero_points: Activation -> the code of 0, -128..127, which shifts what its codes cover. 0
            where it is left out: such a plan is symmetric, and fit for every target.
        provenance: Where all this comes from.
    """

    limits: Mapping[str, float]
    float_nodes: tuple[str, ...] = ()
    weights: Mapping[str, WeightGrid] = field(default_factory=dict)
    biases: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    zero_points: Mapping[str, int] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        require_limits(self.limits)
        for name, zero in self.zero_points.items():
            if name not in self.limits or not LOWEST_CODE <= zero <= HIGHEST_CODE:
                raise CalibrationError(
                    f"The activation '{name}' has the zero point {zero}; it must have a range, and "
                    "a zero point of -128..127. Calibrate anew."
                )
        for name, bias in self.biases.items():
            if bias.dtype != np.float32 or bias.ndim != 1 or not np.isfinite(bias).all():
                raise CalibrationError(
                    f"The bias of the convolution '{name}' is {bias.dtype} {bias.shape}; it must "
                    "be finite float32, one number for each output channel. Calibrate anew."
                )

    def scale(self, tensor: str) -> float:
        """Unit of an activation per step of its code: real = (code - zero point) * scale.

        A float32.
        """
        return float(np.float32(self.limits[tensor] / INT8_STEPS))

    def zero_point(self, tensor: str) -> int:
        """The code of 0."""
        return self.zero_points.get(tensor, 0)

    def with_float(self, names: Collection[str]) -> QuantPlan:
        """The same plan with more convolutions left in float.

        Ranges and weights that no INT8 convolution needs any more stay in the plan; emission
        passes over them.
        """
        return replace(self, float_nodes=tuple(sorted({*self.float_nodes, *names})))

    def record(self, layers: Mapping[str, int]) -> QuantizationRecord:
        """For the manifest of an artefact that was made by the plan.

        Args:
            layers: What the emitter knows of it.
        """
        origin = self.provenance
        return QuantizationRecord(origin.method, dict(origin.settings), origin.images, dict(layers))

    def tensors(self) -> dict[str, NDArray[Any]]:
        """All arrays of the plan, by names of their own."""
        grids = {
            f"{name}.{part}": content
            for name, grid in self.weights.items()
            for part, content in grid.tensors().items()
        }
        return {**grids, **{f"{name}.bias": bias for name, bias in self.biases.items()}}

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON, each array as its shape and digest: equal for equal plans only."""
        return {
            "limits": dict(sorted(self.limits.items())),
            "zero_points": dict(sorted(self.zero_points.items())),
            "float_nodes": sorted(self.float_nodes),
            "weights": {
                name: {"shape": list(grid.codes.shape), "sha256": _digest(grid.tensors())}
                for name, grid in sorted(self.weights.items())
            },
            "biases": {
                name: {"shape": list(bias.shape), "sha256": _digest({"bias": bias})}
                for name, bias in sorted(self.biases.items())
            },
            "provenance": self.provenance.to_json(),
        }

    def __eq__(self, other: object) -> bool:
        return self.to_json() == other.to_json() if isinstance(other, QuantPlan) else False

    __hash__ = None  # type: ignore[assignment]

    def save(self, folder: Path) -> None:
        """Write `plan.json` and `plan.safetensors` to a folder, in place of those in it."""
        from .files import save_plan

        save_plan(self, folder)

    @staticmethod
    def load(folder: Path) -> QuantPlan:
        """Read a plan that `save` has written.

        Raises:
            UsageError: There is none.
            CalibrationError: It is damaged or of another version.
        """
        from .files import load_plan

        return load_plan(folder)


def require_limits(limits: Mapping[str, float]) -> None:
    """Refuse a range that is not a positive number.

    Raises:
        CalibrationError: Names the activation.
    """
    for name, limit in limits.items():
        if not 0 < limit < float("inf"):
            raise CalibrationError(
                f"The activation '{name}' has no usable range: its largest absolute value is "
                f"{limit}. Calibrate with real images, or look for a dead layer in the weights."
            )


def _digest(tensors: Mapping[str, NDArray[Any]]) -> str:
    """sha256 of some arrays: their names, kinds, shapes and values."""
    total = hashlib.sha256()
    for name, content in sorted(tensors.items()):
        total.update(f"{name} {content.dtype.str} {content.shape};".encode())
        total.update(np.ascontiguousarray(content).tobytes())
    return total.hexdigest()
