"""ONNX files as others write them: tiny networks in several opsets, layouts and forms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SPEC = """
classes = ["background", "lesion"]
channels = 1
returns = "logits"
height = 32
width = 32
stride = 2
[normalization]
kind = "min_max"
"""


def weights(name: str, *shape: int, seed: int = 0) -> TensorProto:
    """A float constant."""
    values = np.random.default_rng(seed).normal(0, 0.5, shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def value(name: str, sizes: Sequence[Any], element: int = TensorProto.FLOAT) -> Any:
    """An input or output; a text in `sizes` is a free axis."""
    return helper.make_tensor_value_info(name, element, list(sizes))


def model_of(
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    constants: Sequence[Any] = (),
    opset: int = 17,
    **domains: int,
) -> onnx.ModelProto:
    """A model that nobody has checked."""
    graph = helper.make_graph(list(nodes), "net", list(inputs), list(outputs), list(constants))
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid(name.replace("_", "."), 1) for name in domains]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def small_net(
    opset: int = 17,
    sizes: Sequence[Any] = (1, 3, 32, 32),
    channels: int = 1,
    names: tuple[str, str] = ("pixels", "logits"),
) -> onnx.ModelProto:
    """Two convolutions with a sigmoid between, the second to the mask."""
    nodes = [
        helper.make_node("Conv", [names[0], "w1", "b1"], ["a"], "/enc/conv/Conv", pads=[1] * 4),
        helper.make_node("Sigmoid", ["a"], ["s"], "/enc/act/Sigmoid"),
        helper.make_node("Conv", ["s", "w2"], [names[1]], "/head/Conv"),
    ]
    constants = [
        weights("w1", 4, 3, 3, 3),
        weights("b1", 4, seed=1),
        weights("w2", channels, 4, 1, 1, seed=2),
    ]
    outputs = [value(names[1], (sizes[0], channels, *sizes[2:]))]
    return model_of(nodes, [value(names[0], sizes)], outputs, constants, opset)


def last_channels_net() -> onnx.ModelProto:
    """The same as TensorFlow's converters write it: images and masks (1, H, W, C)."""
    model = small_net(names=("inner", "map"))
    before = helper.make_node("Transpose", ["pixels"], ["inner"], "to_first", perm=[0, 3, 1, 2])
    after = helper.make_node("Transpose", ["map"], ["logits"], "to_last", perm=[0, 2, 3, 1])
    nodes = [before, *model.graph.node, after]
    sizes = (1, 32, 32, 3)
    return model_of(
        nodes, [value("pixels", sizes)], [value("logits", (1, 32, 32, 1))], model.graph.initializer
    )


def half_size_net() -> onnx.ModelProto:
    """Its mask has half the image's sides."""
    model = small_net(names=("pixels", "map"))
    pool = helper.make_node(
        "AveragePool", ["map"], ["logits"], "/pool", kernel_shape=[2, 2], strides=[2, 2]
    )
    outputs = [value("logits", (1, 1, 16, 16))]
    return model_of([*model.graph.node, pool], model.graph.input, outputs, model.graph.initializer)


def two_outputs_net() -> onnx.ModelProto:
    """The mask and a map beside it."""
    model = small_net()
    model.graph.output.append(value("s", (1, 4, 32, 32)))
    return model


def flat_net() -> onnx.ModelProto:
    """Its mask has no axis of channels."""
    model = small_net(names=("pixels", "map"))
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    squeeze = helper.make_node("Squeeze", ["map", "axes"], ["logits"], "/squeeze")
    constants = [*model.graph.initializer, axes]
    return model_of(
        [*model.graph.node, squeeze], model.graph.input, [value("logits", (1, 32, 32))], constants
    )


def save(model: onnx.ModelProto, folder: Path, name: str = "net.onnx", spec: str = SPEC) -> Path:
    """Write a model, and spec.toml beside it; returns the model's path."""
    path = folder / name
    onnx.save(model, path)
    (folder / "spec.toml").write_text(spec)
    return path


def cropped_net() -> onnx.ModelProto:
    """Its first convolution has no padding, so that its mask lacks a margin of one pixel."""
    model = small_net()
    del model.graph.node[0].attribute[:]
    model.graph.output[0].CopyFrom(value("logits", (1, 1, 30, 30)))
    return model


def half_net() -> onnx.ModelProto:
    """The small network in float16, its image and mask too."""
    model = small_net()
    for tensor in model.graph.initializer:
        tensor.CopyFrom(
            numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name)
        )
    for end in (*model.graph.input, *model.graph.output):
        end.type.tensor_type.elem_type = TensorProto.FLOAT16
    return model


def random_net() -> onnx.ModelProto:
    """It adds noise to its mask, as dropout does that was left on."""
    model = small_net(names=("pixels", "map"))
    nodes = [
        helper.make_node("RandomNormalLike", ["map"], ["noise"], "/noise"),
        helper.make_node("Add", ["map", "noise"], ["logits"], "/add"),
    ]
    outputs = [value("logits", (1, 1, 32, 32))]
    nodes = [*model.graph.node, *nodes]
    return model_of(nodes, model.graph.input, outputs, model.graph.initializer)


def broken_net() -> onnx.ModelProto:
    """One of its weights is no number."""
    model = small_net()
    kernel = numpy_helper.to_array(model.graph.initializer[0]).copy()
    kernel[0] = np.nan
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(kernel, "w1"))
    return model
