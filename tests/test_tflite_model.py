from __future__ import annotations

from pathlib import Path

import pytest
from support import needs

from edgeseg.targets import find_target
from edgeseg.tflite_model import Operator, TfliteModel, read_tflite

pytestmark = needs("onnx2tf", "onnx", "onnx_ir", "onnxruntime", "ai_edge_litert")

TEXT = """
<ir_version: 10, opset_import: ["" : 20]>
net (float[1,3,4,8] image) => (float[1,1,4,8] mask) <float[1,3,1,1] weight = {1, 2, 3}>
{ logits = Conv(image, weight)  mask = Sigmoid(logits) }
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TfliteModel:
    import onnx

    folder = tmp_path_factory.mktemp("tflite")
    onnx.save(onnx.parser.parse_model(TEXT), folder / "net.onnx")
    artifact = find_target("android").compile(folder / "net.onnx", folder / "made", "fp32")
    return read_tflite(artifact.folder / artifact.files[0])


def test_operators_come_in_order(model: TfliteModel) -> None:
    assert [operator.kind for operator in model.operators] == ["CONV_2D", "LOGISTIC"]
    assert all(operator.custom_name == "" for operator in model.operators)


def test_tensors_connect_the_operators(model: TfliteModel) -> None:
    convolution, sigmoid = model.operators
    assert sigmoid.inputs == convolution.outputs
    image, weight, *bias = convolution.inputs
    assert "image" in model.names[image]
    assert {weight, *bias} == set(model.constants)


def test_operators_are_plain_data() -> None:
    assert Operator("ADD", "", (1, 2), (3,)) in {Operator("ADD", "", (1, 2), (3,))}


def test_a_file_that_is_no_model_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text.tflite").write_bytes(b"no network")
    with pytest.raises(Exception, match=r".+"):
        read_tflite(tmp_path / "text.tflite")
