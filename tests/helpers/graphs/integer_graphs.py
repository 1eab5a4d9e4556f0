"""Tiny networks that become models of integers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tiny_graphs import INPUT, node, pointwise
from tiny_litert import Made, save_sized_graph

from edgeseg.formats.tflite import observe_tensors, read_tflite

CHANNELS = 4


def weight(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)


def convolve(sources: list[str], result: str, **attributes: Any) -> Any:
    import onnx

    return onnx.helper.make_node("Conv", sources, [result], pads=[1, 1, 1, 1], **attributes)


def save_network(path: Path) -> Path:
    """All kinds of the networks that EdgeSeg ships but norms: attention, PReLU, pyramids."""
    nodes = [
        convolve([INPUT, "w0", "b0"], "c0"),
        node("PRelu", ["c0", "slopes"], "p0"),
        convolve(["p0", "w1"], "c1", group=CHANNELS),
        node("MaxPool", ["c1"], "small", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["small", "w2"], "c2"),
        node("Sigmoid", ["c2"], "g2"),
        node("Mul", ["small", "g2"], "weighted"),
        node("Add", ["weighted", "small"], "sum"),
        node("Mul", ["sum", "gains"], "gained"),
        node("Resize", ["gained", "", "scales"], "large", mode="linear"),
        node("Concat", ["large", "p0"], "both", axis=1),
        node("Conv", ["both", "head"], "logits"),
        node("Neg", ["logits"], "minus"),
        node("Sigmoid", ["minus"], "y"),
    ]
    constants = {
        "w0": weight(0, CHANNELS, 3, 3, 3) / 64,
        "b0": weight(1, CHANNELS),
        "slopes": np.array([-0.5, 0.2, 1, 1.7], np.float32).reshape(CHANNELS, 1, 1),
        "w1": weight(2, CHANNELS, 1, 3, 3),
        "w2": pointwise(weight(3, CHANNELS, CHANNELS)),
        "gains": np.linspace(0.5, 2, CHANNELS, dtype=np.float32).reshape(1, CHANNELS, 1, 1),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "head": pointwise(weight(4, 1, 2 * CHANNELS)),
    }
    return save_sized_graph(path, nodes, constants)


def save_norms(path: Path) -> Path:
    """A norm over all pixels, and one over the channels of each pixel."""
    nodes = [
        node("Constant", [], "rows_and_columns", value_ints=[2, 3]),
        node("Constant", [], "channels", value_ints=[1]),
        convolve([INPUT, "w0"], "c"),
        *norm("c", "n0", "rows_and_columns")[:-2],
        node("Div", ["one", "n0_r"], "inverse"),
        node("Mul", ["n0_d", "inverse"], "n0"),
        node("Relu", ["n0"], "r"),
        *norm("r", "n1", "channels"),
        node("Conv", ["n1", "head"], "logits"),
        node("Sigmoid", ["logits"], "y"),
    ]
    constants = {
        "w0": weight(0, CHANNELS, 3, 3, 3) / 64,
        "one": [1.0],
        "least": [1e-5],
        "gains": np.linspace(0.5, 2, CHANNELS, dtype=np.float32).reshape(1, CHANNELS, 1, 1),
        "head": pointwise(weight(4, 1, CHANNELS)),
    }
    return save_sized_graph(path, nodes, constants)


def norm(source: str, result: str, axes: str) -> list[Any]:
    """(x - mean) / sqrt(variance + constant) * gains."""
    named = {part: f"{result}_{part}" for part in ("mean", "d", "s", "v", "e", "r", "q")}
    return [
        node("ReduceMean", [source, axes], named["mean"], keepdims=1),
        node("Sub", [source, named["mean"]], named["d"]),
        node("Mul", [named["d"], named["d"]], named["s"]),
        node("ReduceMean", [named["s"], axes], named["v"], keepdims=1),
        node("Add", [named["v"], "least"], named["e"]),
        node("Sqrt", [named["e"]], named["r"]),
        node("Div", [named["d"], named["r"]], named["q"]),
        node("Mul", [named["q"], "gains"], result),
    ]


def start_of(made: Made) -> Any:
    """The float model, with ranges from the smallest to the largest value of its images."""
    from edgeseg.quantize.litert.integer.grids import (
        Start,
        group_tensors,
        plan_of,
        see_values,
        whole_range,
    )
    from edgeseg.quantize.litert.ptq import tensors_of

    path = made.source.folder / made.source.files[0]
    model = read_tflite(path)
    groups = group_tensors(model)
    wanted = tensors_of(model, model.operators)
    seen = see_values(groups, lambda: observe_tensors(path, made.images, wanted))
    return Start(path.read_bytes(), groups, lambda some: plan_of(some, seen, whole_range))
