"""Runtime `onnxruntime`: ONNX Runtime on a CPU, the reference that the others are compared with."""

from __future__ import annotations

import itertools
import shutil
import string
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgeseg.formats.onnx import (
    add_constant,
    constant_of,
    forget_modules,
    input_of,
    is_constant,
    name_of,
)
from edgeseg.lazy import require
from edgeseg.lower.rewrites import rewrites_for
from edgeseg.records import ONNX_FORMAT, Artifact

from .base import Runtime, Written
from .onnx_file import read_graph

if TYPE_CHECKING:
    import onnx_ir as ir

MODEL_FILE = "model.onnx"
PURPOSE = "Building for onnxruntime"
# ONNX Runtime folds constants itself when it loads a graph, so that they need not be stored. Only
# thin convolutions gain from matrix products: the others lose their layout in blocks of channels.
FLOAT_REWRITES = rewrites_for("channels-first", without=("fold-constants", "pointwise-by-product"))


class OnnxRuntime(Runtime):
    """FP32 and INT8 (Q/DQ) as one ONNX file."""

    name = "onnxruntime"
    devices = ("intel", "android", "jetson", "rtx", "web")
    title = "ONNX Runtime on CPUs"
    artifact_format = ONNX_FORMAT
    quantized_from = (ONNX_FORMAT,)
    plan_defaults: ClassVar[Mapping[str, str]] = {
        "zero_points": "true",
        "weight_bits": "7",
    }
    compiled_precisions = ("fp32",)
    quantized_precisions = ("int8",)
    build_packages = ("onnx", "onnx_ir", "onnxruntime")
    run_packages = ("onnxruntime",)
    backend_module = "edgeseg.targets.runners.onnxruntime_backend"
    profiler = "edgeseg.targets.profiling.onnxruntime:profile_layers"
    rewrites: ClassVar[Mapping[str, tuple[str, ...]]] = {"fp32": FLOAT_REWRITES}

    def _write(self, onnx_path: Path, folder: Path, precision: str) -> Written:
        model = read_graph(onnx_path)
        quantize_biases(model.graph)
        leave_out_descriptions(model.graph)
        folder.mkdir(parents=True, exist_ok=True)
        require("onnx_ir", purpose=PURPOSE).save(model, folder / MODEL_FILE)
        return Written((MODEL_FILE,))

    def compile_plain(self, onnx_path: Path, folder: Path) -> Artifact:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(onnx_path, folder / MODEL_FILE)
        return self._artifact(folder, "fp32", Written((MODEL_FILE,)))

    def runtime_settings(self, precision: str) -> dict[str, Any]:
        return {"provider": "CPUExecutionProvider"}

    def runtime_variants(self, precision: str) -> Mapping[str, Mapping[str, Any]]:
        # The last level only changes the layout of convolutions, and then reorders what is between
        # them: for networks of many small operators that can cost more than it gains.
        return {"layout kept": {"optimization": "extended"}}

    def notes(self) -> tuple[str, ...]:
        onnxruntime = require("onnxruntime", purpose="The runtime onnxruntime")
        return (", ".join(onnxruntime.get_available_providers()),)


def leave_out_descriptions(graph: ir.Graph) -> None:
    """Number the operators and inner values of a graph, and forget shapes and modules, in place.

    ONNX Runtime infers shapes itself. Names and shapes are a third of the bytes of a small network.

    Args:
        graph: Its inputs and outputs keep theirs.
    """
    outer = {*graph.inputs, *graph.outputs}
    taken = {value.name for value in outer}
    names = (name for name in map(_number, itertools.count()) if name not in taken)
    stored = list(graph.initializers.values())
    graph.initializers.clear()
    for value in stored:
        if value not in outer:
            value.name, value.shape, value.type = next(names), None, None
        graph.initializers.add(value)
    forget_modules(graph)
    for node in graph:
        node.name = ""
        for value in node.outputs:
            if value not in outer:
                value.name, value.shape, value.type = next(names), None, None


def _number(index: int) -> str:
    """A short name: a, b, ..., z, ba, ..."""
    digits = ""
    while True:
        index, digit = divmod(index, len(string.ascii_lowercase))
        digits = string.ascii_lowercase[digit] + digits
        if not index:
            return digits


def quantize_biases(graph: ir.Graph) -> int:
    """Give the convolutions between Q/DQ operators int32 biases, in place.

    Their scale is that of the sums: that of the input times that of the weight's channel. ONNX
    Runtime 1.21 and later do this themselves. Earlier ones compute such a convolution in float
    where its bias has no DequantizeLinear, and devices have them: 1.19 is the last for Python 3.8.

    Args:
        graph: Without Q/DQ operators it is left as it is.

    Returns:
        How many biases were changed.
    """
    onnx_ir = require("onnx_ir", purpose=PURPOSE)
    count = 0
    for node in graph:
        if node.op_type != "Conv" or len(node.inputs) < 3 or not is_constant(node.inputs[2]):
            continue
        bias = constant_of(node.inputs[2])
        scales = [_scale_of(input_of(node, index)) for index in (0, 1)]
        if scales[0] is None or scales[1] is None:
            continue
        scale = np.broadcast_to(scales[0] * scales[1], bias.shape).astype(np.float32)
        codes = np.rint(bias / scale.astype(np.float64))
        largest = np.iinfo(np.int32).max
        if np.abs(codes).max() > largest:
            continue
        contents = {
            "codes": codes.astype(np.int32),
            "scale": scale,
            "zero_point": np.zeros(len(scale), np.int32),
        }
        label = f"{node.outputs[0].name}_bias"  # results have unique names, nodes may have none
        inputs = [
            add_constant(graph, f"{label}_{name}", content) for name, content in contents.items()
        ]
        dequantize = onnx_ir.node(
            "DequantizeLinear", inputs, attributes={"axis": 0}, name=f"{label}/dequantize"
        )
        dequantize.outputs[0].name = f"{label}_dequantized"
        old = input_of(node, 2)
        graph.insert_before(node, dequantize)
        node.replace_input_with(2, dequantize.outputs[0])
        if not old.uses():
            del graph.initializers[name_of(old)]
        count += 1
    return count


def _scale_of(value: ir.Value) -> Any:
    """Scale, float64, of a value that a DequantizeLinear gives; None for others."""
    producer = value.producer()
    if producer is None or producer.op_type != "DequantizeLinear":
        return None
    scale = producer.inputs[1]
    return constant_of(scale).astype(np.float64) if is_constant(scale) else None
