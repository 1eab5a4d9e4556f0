"""LiteRT's on-device program benchmark_model: how it is called, and what it takes and prints.

Source: tools/benchmark in the LiteRT and TensorFlow repositories, whose README names the flags.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import BenchmarkError
from edgeseg.records import Artifact

from ..device_program import DeviceProgram, ProgramCall, ProgramTimings

INPUT_NAME = "image"  # the program takes inputs in their order; names need not be the graph's
_NUMBER = r"([0-9.]+(?:e[+-]?[0-9]+)?)"
_TIMINGS = re.compile(
    rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}, "
    rf"Warmup \(avg\): {_NUMBER}, Inference \(avg\): {_NUMBER}"
)
_COUNT = re.compile(r"\bcount=([0-9]+)\b")
_FOOTPRINT = re.compile(rf"Memory footprint delta.*overall={_NUMBER}")


@dataclass(frozen=True)
class TfliteTensorForm:
    """How a graph takes or gives values (1, C, H, W): channels last, maybe as integers.

    Attributes:
        shape: Of the tensor, (1, H, W, C).
        dtype: Name of its type for numpy.
        scale, zero_point: value = scale * (quantized value - zero_point); None where the type is
            a float.
    """

    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None

    @classmethod
    def of(cls, record: Mapping[str, Any], shape: Sequence[int]) -> Self:
        """From the manifest's record of a tensor of values of `shape`, (1, C, H, W).

        Raises:
            BenchmarkError: The record has another layout.
        """
        if record["layout"] != "NHWC":
            raise BenchmarkError(
                f"The graph takes images as {record['layout']}, which cannot be measured over adb. "
                "Build the bundle anew for target android."
            )
        batch, channels, height, width = shape
        return cls(
            (batch, height, width, channels),
            record["dtype"],
            record["scale"],
            record["zero_point"],
        )

    @property
    def size_bytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    def encode(self, values: NDArray[np.float32]) -> bytes:
        """Raw tensor of values (1, C, H, W)."""
        values = values.transpose(0, 2, 3, 1)
        kind = np.dtype(self.dtype)
        if self.scale is not None:
            limits = np.iinfo(kind)
            values = np.rint(values / np.float32(self.scale)) + np.float32(self.zero_point or 0)
            values = values.clip(limits.min, limits.max)
        content: bytes = values.astype(kind).tobytes()
        return content

    def decode(self, content: bytes) -> NDArray[np.float32]:
        """Values (1, C, H, W) of a raw tensor."""
        values = np.frombuffer(content, self.dtype).reshape(self.shape).astype(np.float32)
        if self.scale is not None:
            values = (values - np.float32(self.zero_point or 0)) * np.float32(self.scale)
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


class BenchmarkModel(DeviceProgram):
    """See the module."""

    name = "benchmark_model"
    build_advice = "LiteRT's build for the device's system and processor"
    output_flag = "--output_filepath"

    def recognizes(self, help_text: str) -> bool:
        return "--graph" in help_text

    def input_form(self, artifact: Artifact, shape: Sequence[int]) -> TfliteTensorForm:
        return TfliteTensorForm.of(artifact.settings["input"], shape)

    def output_form(self, artifact: Artifact, shape: Sequence[int]) -> TfliteTensorForm:
        return TfliteTensorForm.of(artifact.settings["output"], shape)

    def command(self, artifact: Artifact, shape: Sequence[int], call: ProgramCall) -> list[str]:
        tensor_shape = self.input_form(artifact, shape).shape
        has_xnnpack = artifact.settings["delegate"] == "xnnpack"
        return [
            call.program,
            f"--graph={call.graph}",
            f"--num_threads={call.threads}",
            f"--num_runs={call.runs}",
            "--min_secs=0",
            f"--max_secs={call.seconds:g}",
            "--warmup_runs=1",
            "--warmup_min_secs=0",
            f"--input_layer={INPUT_NAME}",
            f"--input_layer_shape={','.join(map(str, tensor_shape))}",
            f"--input_layer_value_files={INPUT_NAME}:{call.input_file}",
            *([f"{self.output_flag}={call.output_file}"] if call.output_file else []),
            f"--use_xnnpack={str(has_xnnpack).lower()}",
        ]

    def parse_timings(self, text: str) -> ProgramTimings:
        timings = _TIMINGS.search(text)
        counts = _COUNT.findall(text)
        if timings is None or not counts:
            raise ValueError("it printed no timings")
        init, first, _, mean = (float(number) / 1e3 for number in timings.groups())
        footprint = _FOOTPRINT.search(text)
        peak = int(float(footprint[1]) * 2**20) if footprint else None
        return ProgramTimings(init, first, mean, int(counts[-1]), peak)
