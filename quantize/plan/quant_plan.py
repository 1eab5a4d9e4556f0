"""The result of calibration, in terms of the float ONNX graph: it is the same for every runtime.

A convolution is named by its output tensor, because operators may lack names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import CalibrationError
from edgeseg.records import QuantizationRecord

INT8_STEPS = 127  # -127..127: without -128 a range is symmetric about the quantized value 0
LOWEST_VALUE, HIGHEST_VALUE = -128, 127  # runtimes clip quantized activations to these


@dataclass(frozen=True, eq=False)
class WeightGrid:
    """Quantized weights of a convolution, with one scale for each output channel.

    Attributes:
        values: The quantized values, int8 (O, I/groups, kh, kw), -127..127.
        scales: float32 (O,), positive: weight = value * scale of its channel, in float32.
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]

    def __post_init__(self) -> None:
        values, scales = self.values, self.scales
        if values.dtype != np.int8 or values.ndim < 2 or (values < -INT8_STEPS).any():
            raise CalibrationError(
                f"The quantized values of a weight are {values.dtype} {values.shape}; they must be "
                "int8 from -127 to 127, with the output channels first. Calibrate anew."
            )
        if scales.dtype != np.float32 or scales.shape != values.shape[:1]:
            raise CalibrationError(
                f"The scales of a weight are {scales.dtype} {scales.shape}; they must be float32 "
                f"({len(values)},), one for each output channel. Calibrate anew."
            )
        if not (np.isfinite(scales).all() and (scales > 0).all()):
            raise CalibrationError(
                "A scale of a weight is not a positive number. Look for NaN in the checkpoint, or "
                "calibrate anew."
            )

    def weights(self) -> NDArray[np.float32]:
        """The weights that the quantized values stand for, (O, I/groups, kh, kw)."""
        scales = self.scales.reshape(-1, *[1] * (self.values.ndim - 1))
        return self.values.astype(np.float32) * scales

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {"values": self.values, "scales": self.scales}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WeightGrid):
            return NotImplemented
        return digest_of(self.tensors()) == digest_of(other.tensors())

    def __hash__(self) -> int:
        return hash(digest_of(self.tensors()))


@dataclass(frozen=True)
class Provenance:
    """Where a plan comes from.

    Attributes:
        method: Name of the calibrator.
        settings: All settings of the calibrator.
        graph_sha256: Digest of the ONNX file that the plan is for.
        images: sha256 of each calibration image; names of files may be those of patients.
        seed: Seed of the calibrator's random numbers; None if it draws none.
        agreement: Measures of agreement with the FP32 reference on held-back images, such as
            flips per 10,000 pixels; empty if they were not measured.
    """

    method: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    graph_sha256: str = ""
    images: tuple[str, ...] = ()
    seed: int | None = None
    agreement: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "settings": dict(self.settings),
            "graph_sha256": self.graph_sha256,
            "images": [{"sha256": digest} for digest in self.images],
            "seed": self.seed,
            "agreement": dict(self.agreement),
        }


@dataclass(frozen=True, eq=False)
class QuantPlan:
    """The convolutions that become INT8, with their ranges, weights and biases.

    Attributes:
        ranges: Name of an activation tensor -> largest absolute value that its quantized values
            represent, in the tensor's unit. An activation without a range is not quantized.
        float_nodes: Convolutions that stay in float although they could be INT8.
        weights: Convolution -> its quantized weights. A convolution without an entry gets
            `covering_grid` of its weights.
        biases: Convolution -> its bias, float32 (O,), which replaces the bias in the graph.
        zero_points: Activation -> the quantized value that stands for 0, -128..127. It is 0 for
            an activation without an entry. A plan without zero points is symmetric, and every
            runtime takes it.
        provenance: Where the plan comes from.
    """

    ranges: Mapping[str, float]
    float_nodes: tuple[str, ...] = ()
    weights: Mapping[str, WeightGrid] = field(default_factory=dict)
    biases: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    zero_points: Mapping[str, int] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        require_ranges(self.ranges)
        for name, zero in self.zero_points.items():
            if name not in self.ranges or not LOWEST_VALUE <= zero <= HIGHEST_VALUE:
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
        """Scale of an activation, a float32: real = (quantized value - zero point) * scale."""
        return float(np.float32(self.ranges[tensor] / INT8_STEPS))

    def zero_point(self, tensor: str) -> int:
        """The quantized value that stands for 0."""
        return self.zero_points.get(tensor, 0)

    def with_float(self, names: Collection[str]) -> QuantPlan:
        """The same plan with more convolutions left in float.

        Ranges and weights that no INT8 convolution needs any more stay in the plan; emitters
        ignore them.
        """
        return replace(self, float_nodes=tuple(sorted({*self.float_nodes, *names})))

    def record(self, layers: Mapping[str, int]) -> QuantizationRecord:
        """The record for the manifest of an artefact that was built from the plan.

        Args:
            layers: Counts from the emitter, such as the number of INT8 convolutions.
        """
        origin = self.provenance
        return QuantizationRecord(origin.method, dict(origin.settings), origin.images, dict(layers))

    def tensors(self) -> dict[str, NDArray[Any]]:
        """All arrays of the plan, each under a unique name."""
        grids = {
            f"{name}.{part}": content
            for name, grid in self.weights.items()
            for part, content in grid.tensors().items()
        }
        return {**grids, **{f"{name}.bias": bias for name, bias in self.biases.items()}}

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON, each array as shape and digest; only equal plans give equal JSON."""
        return {
            "ranges": dict(sorted(self.ranges.items())),
            "zero_points": dict(sorted(self.zero_points.items())),
            "float_nodes": sorted(self.float_nodes),
            "weights": {
                name: {"shape": list(grid.values.shape), "sha256": digest_of(grid.tensors())}
                for name, grid in sorted(self.weights.items())
            },
            "biases": {
                name: {"shape": list(bias.shape), "sha256": digest_of({"bias": bias})}
                for name, bias in sorted(self.biases.items())
            },
            "provenance": self.provenance.to_json(),
        }

    def __eq__(self, other: object) -> bool:
        return self.to_json() == other.to_json() if isinstance(other, QuantPlan) else False

    __hash__ = None  # type: ignore[assignment]


def require_ranges(ranges: Mapping[str, float]) -> None:
    """Refuse a range that is not a positive number.

    Raises:
        CalibrationError: A range is not positive or not finite; the message names its activation.
    """
    for name, limit in ranges.items():
        if not 0 < limit < float("inf"):
            raise CalibrationError(
                f"The activation '{name}' has no usable range: its largest absolute value is "
                f"{limit}. Calibrate with real images, or look for a dead layer in the weights."
            )


def digest_of(tensors: Mapping[str, NDArray[Any]]) -> str:
    """sha256 of the names, types, shapes and contents of arrays."""
    total = hashlib.sha256()
    for name, content in sorted(tensors.items()):
        total.update(f"{name} {content.dtype.str} {content.shape};".encode())
        total.update(np.ascontiguousarray(content).tobytes())
    return total.hexdigest()
