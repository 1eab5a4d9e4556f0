from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import needs

from edgeseg.formats.tflite import (
    HALF_ARITHMETIC,
    Operator,
    TfliteModel,
    notes_of,
    number_tensors,
    observe_tensors,
    read_tflite,
    with_half_arithmetic,
)
from edgeseg.records import Artifact
from edgeseg.targets import find_runtime

pytestmark = needs("onnx2tf", "onnx", "onnx_ir", "onnxruntime", "ai_edge_litert")

TEXT = """
<ir_version: 10, opset_import: ["" : 20]>
net (float[1,3,4,8] image) => (float[1,1,4,8] mask) <float[1,3,1,1] weight = {1, 2, 3}>
{ logits = Conv(image, weight)  mask = Sigmoid(logits) }
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import onnx

    folder = tmp_path_factory.mktemp("tflite")
    onnx.save(onnx.parser.parse_model(TEXT), folder / "net.onnx")
    artifact = find_runtime("litert").compile(folder / "net.onnx", folder / "made", "fp32")
    return artifact.folder / artifact.files[0]


@pytest.fixture(scope="module")
def model(path: Path) -> TfliteModel:
    return read_tflite(path)


def test_operators_come_in_order(model: TfliteModel) -> None:
    assert [operator.kind for operator in model.operators] == ["CONV_2D", "LOGISTIC"]
    assert all(operator.custom_name == "" for operator in model.operators)


def test_tensors_connect_the_operators(model: TfliteModel) -> None:
    convolution, sigmoid = model.operators
    assert sigmoid.inputs == convolution.outputs
    image, weight, *bias = convolution.inputs
    assert "image" in model.names[image]
    assert {weight, *bias} == set(model.constants)


def test_inner_tensors_are_numbered_and_outer_ones_keep_their_names(
    path: Path, model: TfliteModel, tmp_path: Path
) -> None:
    content = path.read_bytes()
    assert number_tensors(content) == content  # the target does so
    (image,) = set(model.operators[0].inputs) - model.constants
    (mask,) = model.operators[-1].outputs
    for index, name in enumerate(model.names):
        assert (name == str(index)) == (index not in (image, mask))


def test_operators_are_plain_data() -> None:
    assert Operator("ADD", "", (1, 2), (3,)) in {Operator("ADD", "", (1, 2), (3,))}


def test_a_file_that_is_no_model_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text.tflite").write_bytes(b"no network")
    with pytest.raises(Exception, match=r".+"):
        read_tflite(tmp_path / "text.tflite")


def test_tensors_are_observed_for_each_image(path: Path, model: TfliteModel) -> None:
    image = np.arange(96, dtype=np.float32).reshape(1, 3, 4, 8) / 96
    convolution, sigmoid = model.operators
    first, second = observe_tensors(path, [image, -image])
    # What the weights 1, 2 and 3 make of the channels, NHWC.
    logits = np.einsum("nchw,c->nhw", image, [1, 2, 3])[..., None]
    for values, sign in ((first, 1), (second, -1)):
        np.testing.assert_allclose(values[convolution.outputs[0]], sign * logits, rtol=1e-6)
        expected = 1 / (1 + np.exp(-sign * logits))
        np.testing.assert_allclose(values[sigmoid.outputs[0]], expected, rtol=1e-6)
    weight = convolution.inputs[1]
    assert first[weight].ravel().tolist() == [1, 2, 3]


def test_only_the_tensors_that_are_asked_for_are_given(path: Path, model: TfliteModel) -> None:
    image = np.ones((1, 3, 4, 8), np.float32)
    wanted = model.operators[0].outputs
    (values,) = observe_tensors(path, [image], wanted)
    assert tuple(values) == wanted


def test_a_note_allows_arithmetic_in_half_precision(path: Path, tmp_path: Path) -> None:
    content = path.read_bytes()
    noted = with_half_arithmetic(content)
    # What XNNPACK looks for, by name and by letter.
    assert notes_of(noted)["reduced_precision_support"] == HALF_ARITHMETIC == b"fp16accfp16"
    assert "reduced_precision_support" not in notes_of(content)
    assert with_half_arithmetic(noted) == noted
    (tmp_path / "noted.tflite").write_bytes(noted)
    assert read_tflite(tmp_path / "noted.tflite").operators == read_tflite(path).operators
    # So does the runtime with the artefact of such a variant, and of no other.
    for settings, content in (({"arithmetic": "fp16"}, noted), ({}, path.read_bytes())):
        (tmp_path / "model.tflite").write_bytes(path.read_bytes())
        files = ("model.tflite",)
        artifact = Artifact("litert", "fp32", "tflite", tmp_path, files, settings)
        find_runtime("litert").finish_variant(artifact)
        assert (tmp_path / "model.tflite").read_bytes() == content
    # A CPU without such arithmetic computes the same as before.
    image = np.ones((1, 3, 4, 8), np.float32)
    before, after = (
        list(next(iter(observe_tensors(one, [image]))).values())
        for one in (path, tmp_path / "noted.tflite")
    )
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def test_constants_behind_the_tables_are_kept(path: Path, tmp_path: Path) -> None:
    """As tools write large files: the tables say where in the file a constant lies."""
    from edgeseg.formats import tflite

    content = path.read_bytes()
    model = tflite.unpack_tflite(content)
    moved = {}
    for number, buffer in enumerate(model.buffers):
        if buffer.data is not None and len(buffer.data):
            moved[number] = bytes(buffer.data)
            buffer.data, buffer.offset, buffer.size = None, 1 << 20, len(moved[number])
    assert moved
    size = len(tflite.pack_tflite(model, len(content)))
    place = -(-size // 16) * 16
    for number, constant in moved.items():
        model.buffers[number].offset = place
        place += -(-len(constant) // 16) * 16
    behind = bytearray(place)
    tables = tflite.pack_tflite(model, len(content))
    behind[: len(tables)] = tables
    for number, constant in moved.items():
        start = model.buffers[number].offset
        behind[start : start + len(constant)] = constant
    assert number_tensors(bytes(behind)) == number_tensors(content)
    (tmp_path / "behind.tflite").write_bytes(behind)
    assert read_tflite(tmp_path / "behind.tflite") == read_tflite(path)
