"""Graphs with many branches, so that one compilation tests many operators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Branches:
    """An ONNX graph whose one output has the results of all branches behind one another.

    Args:
        shape: Of the image, (channels, height, width).
    """

    def __init__(self, shape: tuple[int, int, int], seed: int = 0) -> None:
        self.shape = (1, *shape)
        self.generator = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.results: list[str] = []
        self.titles: list[str] = []
        self.known: list[Any] = []  # shapes that ONNX does not infer

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        import onnx

        name = f"c{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def random(self, *shape: int) -> str:
        return self.constant(self.generator.normal(0, 1, shape))

    def node(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add an operator; returns the name of its output, or of each."""
        import onnx

        names = [f"n{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(onnx.helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def channels(self, count: int, value: str = "image", given: int | None = None) -> str:
        """A value of so many channels, made of another by a 1x1 convolution."""
        weight = self.random(count, given or self.shape[1], 1, 1)
        return str(self.node("Conv", value, weight, self.random(count)))

    def end(self, value: str, title: str) -> None:
        """Let a value be compared."""
        flat = self.node("Reshape", value, self.constant([1, -1, 1, 1], np.int64))
        self.results.append(flat)
        self.titles.append(title)

    def say_shape(self, value: str, shape: tuple[int, ...]) -> str:
        """For results of operators whose shapes ONNX does not infer."""
        import onnx

        kind = onnx.TensorProto.FLOAT
        self.known.append(onnx.helper.make_tensor_value_info(value, kind, shape))
        return value

    def save(self, path: Path) -> Path:
        import onnx

        mask = self.node("Concat", *self.results, axis=1)
        graph = onnx.helper.make_graph(
            self.nodes,
            "branches",
            [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, self.shape)],
            [onnx.helper.make_tensor_value_info(mask, onnx.TensorProto.FLOAT, None)],
            self.constants,
            value_info=self.known,
        )
        opset = [onnx.helper.make_opsetid("", 21)]
        model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        onnx.save(model, path)
        return path

    def image(self) -> Array:
        return self.generator.normal(0, 1, self.shape).astype(np.float32)


def reference(path: Path, image: Array) -> Array:
    """What ONNX Runtime computes, operator by operator as they are written."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(path), sess_options=options, providers=["CPUExecutionProvider"]
    )
    made: Array = session.run(None, {"image": image})[0]
    return made


def quantized(graph: Branches, value: str, scale: float, zero: int) -> str:
    factors = graph.constant(scale), graph.constant(zero, np.int8)
    return str(
        graph.node("DequantizeLinear", graph.node("QuantizeLinear", value, *factors), *factors)
    )


def quantized_weights(graph: Branches, *shape: int) -> str:
    """A quantised weight with a scale for each output."""
    codes = graph.constant(graph.generator.integers(-127, 128, shape), np.int8)
    scales = graph.constant(graph.generator.uniform(0.001, 0.01, shape[0]))
    zeros = graph.constant(np.zeros(shape[0]), np.int8)
    return str(graph.node("DequantizeLinear", codes, scales, zeros, axis=0))


def quantized_branches(size: tuple[int, int]) -> Branches:
    graph = Branches((3, *size), seed=sum(size))
    draw = graph.generator
    for number in range(10):
        inputs, outputs = int(draw.integers(3, 40)), int(draw.integers(8, 40))
        kernel = [int(one) for one in draw.integers(1, 6, 2)]
        stride = [int(one) for one in draw.integers(1, 3, 2)]
        source = graph.channels(inputs)
        scale, zero = float(draw.uniform(0.02, 0.1)), int(draw.integers(-128, 128))
        rounded = quantized(graph, source, scale, zero)
        pads = [one // 2 for one in kernel] * 2
        settings = {"strides": stride, "pads": pads, "kernel_shape": kernel}
        bias = graph.random(outputs)
        made = graph.node(
            "Conv", rounded, quantized_weights(graph, outputs, inputs, *kernel), bias, **settings
        )
        if number % 3 == 0:
            made = graph.node("Relu", made)
        if number % 3 == 1:
            made = graph.node("Mul", made, graph.constant(draw.normal(0, 1, (1, outputs, 1, 1))))
        graph.end(made, f"{number}: {inputs} -> {outputs}, {settings}")
    return graph


def compare_codes(given: Array, wanted: Array) -> None:
    """A value within rounding of two codes may take the other one."""
    far = np.abs(given - wanted) > 1e-4 * max(1.0, float(np.abs(wanted).max()))
    assert far.mean() < 2e-3
    assert np.abs(given - wanted).max() < 0.05 * np.abs(wanted).max()
