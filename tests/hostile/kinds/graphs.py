"""ONNX files that are given as the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
from mutations import HOSTILE_TEXTS, mutate_bytes
from onnx import TensorProto, helper, numpy_helper

from edgeseg.models.foreign.onnx_file import read_onnx_model
from edgeseg.pipeline.inspect import inspect_onnx
from edgeseg.reference.onnx_reference import OnnxReference

Action = Callable[[], object]
SPEC = """
classes = ["background", "disc"]
channels = 1
returns = "logits"
height = 16
width = 24
stride = 8
[normalization]
kind = "min_max"
"""
SIZES = (-1, 0, 3, 2**31, 2**40, 2**62)
KINDS = (
    "", "If", "Loop", "Scan", "Nothing", "a" * 9_000, "Identity", "Sigmoid", "Resize", "Reshape",
    "Expand", "ConstantOfShape", "Tile", "RandomNormalLike", "NonZero", "QuantizeLinear", "\0",
)  # fmt: skip
PLACES = (
    "../../../../../../etc/passwd", "/etc/passwd", "/dev/zero", "", "x" * 5_000, "..", "a\0b",
    "spec.toml", "\x1b[2J",
)  # fmt: skip


def network(opset: int = 17, free: bool = False) -> onnx.ModelProto:
    """Two convolutions, with a map of half the size resized by sizes that the graph computes."""
    draw = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> TensorProto:
        return numpy_helper.from_array(draw.normal(0, 0.5, shape).astype(np.float32), name)

    rows, columns = ("h", "w") if free else (16, 24)
    image = helper.make_tensor_value_info("pixels", 1, [1, 3, rows, columns])
    mask = helper.make_tensor_value_info("logits", 1, [1, 1, rows, columns])
    ints = {"two": [2, 3], "head": [1, 1]}
    constants = [
        numpy_helper.from_array(np.array(one, np.int64), name) for name, one in ints.items()
    ]
    nodes = [
        helper.make_node("Conv", ["pixels", "w1"], ["a"], "/in/Conv", pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Sigmoid", ["a"], ["s"], "/in/Sigmoid"),
        helper.make_node("Conv", ["s", "w2"], ["half"], "/head/Conv"),
        helper.make_node("Shape", ["pixels"], ["shape"], "/up/Shape"),
        helper.make_node("Gather", ["shape", "two"], ["sides"], "/up/Gather"),
        helper.make_node("Concat", ["head", "sides"], ["sizes"], "/up/Concat", axis=0),
        helper.make_node("Resize", ["half", "", "", "sizes"], ["logits"], "/up/Resize",
                         mode="linear"),
    ]  # fmt: skip
    constants += [weights("w1", 4, 3, 3, 3), weights("w2", 1, 4, 1, 1)]
    graph = helper.make_graph(nodes, "net", [image], [mask], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


class Graphs:
    """Sound files with bytes or parts of their structure changed, and other files."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "inputs" / "net.onnx"
        self.spec = folder / "inputs" / "spec.toml"
        self.spec.write_text(SPEC)
        self.sound = [network(opset, free) for opset in (13, 17, 21) for free in (False, True)]

    def make(self, random: Random) -> Action:
        sound = random.choice(self.sound)
        if random.random() < 0.4:
            content = mutate_bytes(sound.SerializeToString(), random)
        else:
            model = onnx.ModelProto.FromString(sound.SerializeToString())
            for _ in range(random.choice((1, 1, 2))):
                random.choice(CHANGES)(model, random)
            content = model.SerializeToString()
        self.path.write_bytes(content)
        pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
        pair = SimpleNamespace(
            name="a", read_image=lambda contract: pixels[..., : contract.channels]
        )

        def use() -> None:
            reference = OnnxReference(read_onnx_model(self.path, self.spec))
            reference.answer([pair])
            reference.write_graph(self.path.parent / "graph.onnx")
            reference.save_weights(self.path.parent / "weights.safetensors")

        return use if random.random() < 0.7 else lambda: inspect_onnx(self.path)


def _change_node(model: onnx.ModelProto, random: Random) -> None:
    if not model.graph.node:
        return
    node = random.choice(list(model.graph.node))
    kind = random.randrange(9)
    text = random.choice([one for one in HOSTILE_TEXTS if one.isascii()])
    if kind == 0:
        node.op_type = random.choice(KINDS)
    elif kind == 1:
        del node.input[:]
    elif kind == 2 and node.input:
        node.input[0] = random.choice((node.output[0], "nowhere", ""))  # itself, nothing
    elif kind == 3 and node.output:
        node.output[0] = random.choice(("pixels", "w1", "logits", ""))
    elif kind == 4:
        node.domain = random.choice(("com.microsoft", "ai.onnx.ml", text))
    elif kind == 5:
        node.name = text
    elif kind == 6:
        model.graph.node.remove(node)
    elif kind == 7:
        del node.attribute[:]
    else:
        values: list[Any] = [2**40, -1, [2**31] * 2, [-1] * 4, [0, 0], 1e38, text, [1.5], []]
        value = random.choice(values)
        name = random.choice(("pads", "strides", "axis", "mode", "group", "dilations", "to"))
        node.attribute.append(
            helper.make_attribute(name, value) if value != [] else onnx.AttributeProto(name=name)
        )


def _change_constant(model: onnx.ModelProto, random: Random) -> None:
    tensor = random.choice(list(model.graph.initializer) or [TensorProto()])
    kind = random.randrange(6)
    if kind == 0 and tensor.dims:
        tensor.dims[0] = random.choice(SIZES)
    elif kind == 1:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=random.choice(PLACES))
        if random.random() < 0.5:
            tensor.external_data.add(key="length", value=random.choice(("-1", "9" * 30, "x")))
    elif kind == 2:
        tensor.data_type = random.choice((0, 2, 7, 8, 10, 11, 14, 16, 23, 99))
    elif kind == 3:
        tensor.raw_data = tensor.raw_data[: random.randrange(9)]
    elif kind == 4:
        tensor.raw_data = random.choice((b"\xff", b"\x7f")) * len(tensor.raw_data)  # NaN, or huge
    else:
        model.graph.initializer.append(tensor)


def _change_ends(model: onnx.ModelProto, random: Random) -> None:
    values = random.choice((model.graph.input, model.graph.output))
    kind = random.randrange(6)
    if not values or kind == 0:
        del values[:]
        return
    shape = values[0].type.tensor_type.shape
    if kind == 1:
        values.append(values[0])
    elif kind == 2 and shape.dim:
        random.choice(list(shape.dim)).dim_value = random.choice(SIZES)
    elif kind == 3:
        values[0].type.tensor_type.elem_type = random.choice((0, 2, 7, 8, 10, 11, 99))
    elif kind == 4:
        values[0].type.sequence_type.elem_type.tensor_type.elem_type = 1
    else:
        values[0].type.tensor_type.ClearField("shape")


def _change_model(model: onnx.ModelProto, random: Random) -> None:
    kind = random.randrange(7)
    if kind == 0:
        model.opset_import[0].version = random.choice((-1, 0, 1, 9, 24, 99, 2**62))
    elif kind == 1:
        del model.opset_import[:]
    elif kind == 2:
        model.ir_version = random.choice((0, 1, 99, 2**62))
    elif kind == 3:
        model.graph.Clear()
    elif kind == 4:  # a branch within a branch, and so on
        inner = model.graph.node[0] if model.graph.node else helper.make_node("Relu", ["a"], ["b"])
        for _ in range(random.choice((2, 20))):
            graph = helper.make_graph([inner], "branch", [], [])
            inner = helper.make_node("If", ["pixels"], ["logits"], "deep", then_branch=graph)
        model.graph.node.append(inner)
    elif kind == 5:  # a function that calls itself
        call = helper.make_node("Again", ["x"], ["y"], domain="own")
        opsets = [helper.make_opsetid("own", 1)]
        model.functions.append(helper.make_function("own", "Again", ["x"], ["y"], [call], opsets))
        model.opset_import.append(opsets[0])
        model.graph.node.append(helper.make_node("Again", ["pixels"], ["more"], domain="own"))
    else:  # maps of very many pixels
        for tensor in model.graph.initializer:
            if tensor.name == "head":
                side = random.choice((0, -1, 2**12, 2**17, 2**40))
                tensor.raw_data = np.array([1, side], np.int64).tobytes()


CHANGES = (_change_node, _change_node, _change_constant, _change_ends, _change_model)
