"""What of an ONNX file is refused, and whether the message names the nodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_files import model_of, save, small_net, two_outputs_net, value

from edgeseg.errors import UsageError
from edgeseg.formats.onnx_files.contract_graph import contract_graph
from edgeseg.formats.onnx_files.reading import choose_output, read_graph, sha256_of_graph
from edgeseg.models.foreign.user import read_description


def quantized_net() -> onnx.ModelProto:
    scale = numpy_helper.from_array(np.float32(0.1), "scale")
    zero = numpy_helper.from_array(np.uint8(0), "zero")
    nodes = [
        helper.make_node("QuantizeLinear", ["pixels", "scale", "zero"], ["q"], "quantize_image"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["logits"], "back"),
    ]
    sizes = (1, 3, 32, 32)
    return model_of(nodes, [value("pixels", sizes)], [value("logits", sizes)], [scale, zero])


def contrib_net() -> onnx.ModelProto:
    node = helper.make_node("FusedConv", ["pixels"], ["logits"], "fused", domain="com.microsoft")
    sizes = (1, 3, 32, 32)
    return model_of([node], [value("pixels", sizes)], [value("logits", sizes)], com_microsoft=1)


def branching_net() -> onnx.ModelProto:
    """The brightness of the image decides."""
    sizes = (1, 3, 32, 32)

    def branch(name: str, kind: str) -> onnx.GraphProto:
        node = helper.make_node(kind, ["pixels"], [name], f"{name}_node")
        return helper.make_graph([node], name, [], [value(name, sizes)])

    zero = numpy_helper.from_array(np.float32(0), "zero")
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["mean"], "brightness", keepdims=0),
        helper.make_node("Greater", ["mean", "zero"], ["bright"], "is_bright"),
        helper.make_node(
            "If", ["bright"], ["logits"], "choose",
            then_branch=branch("bright_map", "Relu"), else_branch=branch("dark_map", "Neg"),
        ),
    ]  # fmt: skip
    return model_of(nodes, [value("pixels", sizes)], [value("logits", sizes)], [zero])


def two_images_net() -> onnx.ModelProto:
    sizes = (1, 3, 32, 32)
    node = helper.make_node("Add", ["before", "after"], ["logits"], "difference")
    return model_of(
        [node], [value("before", sizes), value("after", sizes)], [value("logits", sizes)]
    )


def uint8_net() -> onnx.ModelProto:
    sizes = (1, 3, 32, 32)
    node = helper.make_node("Cast", ["pixels"], ["logits"], "to_float", to=TensorProto.FLOAT)
    return model_of([node], [value("pixels", sizes, TensorProto.UINT8)], [value("logits", sizes)])


def batch_net() -> onnx.ModelProto:
    return small_net(sizes=(8, 3, 32, 32))


def classes_net() -> onnx.ModelProto:
    model = small_net(channels=3, names=("pixels", "map"))
    node = helper.make_node("ArgMax", ["map"], ["classes"], "/argmax", axis=1, keepdims=1)
    outputs = [value("classes", (1, 1, 32, 32), TensorProto.INT64)]
    return model_of([*model.graph.node, node], model.graph.input, outputs, model.graph.initializer)


def no_outputs_net() -> onnx.ModelProto:
    model = small_net()
    del model.graph.output[:]
    return model


REFUSED = [
    (quantized_net, "quantised already, in quantize_image (QuantizeLinear), back", "FP32 file"),
    (contrib_net, "com.microsoft: fused (FusedConv)", "without optimisation for one runtime"),
    (branching_net, "decides while it runs, in choose (If)", "in eval mode"),
    (two_images_net, "has 2 inputs (before float32", "with the others as constants"),
    (uint8_net, "is pixels uint8 (1, 3, 32, 32)", "without what prepares the image"),
    (batch_net, "8 images at once", "with a batch of 1"),
    (classes_net, "classes int64 (1, 1, 32, 32), the numbers of the classes", "before the ArgMax"),
    (no_outputs_net, "has no outputs", "with its mask as one"),
    (lambda: small_net(10), "is of ONNX opset 10; opsets 11 to 23", "onnx.version_converter"),
    (lambda: small_net(channels=5), "and the spec says channels = 1", "Correct channels"),
    (lambda: small_net(sizes=(1, 3, 48, 48)), "fixed to images of 48x48", "dynamic_axes"),
    (lambda: small_net(sizes=(1, "c", 32, 32)), "no axis of 1 to 4 channels", "channels fixed"),
]


@pytest.mark.parametrize(("make", "what", "advice"), REFUSED)
def test_what_cannot_be_built_is_refused_by_its_nodes(
    make: Callable[[], onnx.ModelProto], what: str, advice: str, tmp_path: Path
) -> None:
    path = save(make(), tmp_path)
    spec = read_description("onnx:net", tmp_path / "spec.toml")
    with pytest.raises(UsageError) as refusal:
        contract_graph(path, spec.inputs, spec.outputs, spec.returns, spec.output)
    assert what in str(refusal.value)
    assert advice in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"no onnx", b"\x08\x08\x12\xff\xff\xff", bytes(4096)])
def test_what_is_no_onnx_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="Export"):
        read_graph(path)


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = save(small_net(), tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UsageError, match="is no ONNX file that can be read"):
        read_graph(path)


def test_weights_beside_the_file_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(small_net(), path, save_as_external_data=True, location="net.data", size_threshold=0)
    read_graph(path)
    before = sha256_of_graph(path)
    data = tmp_path / "net.data"
    data.write_bytes(data.read_bytes()[:-1] + b"\0")
    assert sha256_of_graph(path) != before
    data.unlink()
    with pytest.raises(UsageError, match="with its external data beside it"):
        read_graph(path)


def test_an_output_is_named_by_name_or_index(tmp_path: Path) -> None:
    path = save(two_outputs_net(), tmp_path)
    model = read_graph(path).model
    assert choose_output(model, "s", path).name == "s"
    assert choose_output(model, 0, path).name == "logits"
    with pytest.raises(UsageError, match=r"the spec does not say which. Write output = .logits."):
        choose_output(model, None, path)
    with pytest.raises(UsageError, match="says output = 'mask'"):
        choose_output(model, "mask", path)
