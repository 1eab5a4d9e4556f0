from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import needs

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from edgeseg.contract import InputContract, MinMax, OutputContract
from edgeseg.errors import ExportError
from edgeseg.formats.onnx import MODULE
from edgeseg.models import find_model
from edgeseg.models.logits import LogitsNetwork, inner_network
from edgeseg.reference.onnx_export import onnx_from_torch
from edgeseg.reference.reference import onnx_predictor, torch_predictor

pytestmark = needs("onnxscript", "onnxruntime")

SPEC = find_model("egeunet").at_size(64, 64)
GATE_PARAMETERS = 8_386  # constant at a fixed size, so the exporter may fold some of them
TINY_INPUTS = InputContract(4, 6, 2, MinMax(), "picture")
TINY_OUTPUTS = OutputContract(("background", "thing"), 1, name="answer")


@pytest.fixture(scope="module")
def proto(small_onnx: Path) -> Any:
    return onnx.load(small_onnx)


class Branching(torch.nn.Module):
    """What it does depends on the values of the image, which no static graph can hold."""

    def forward(self, image: Any) -> Any:
        if float(image.sum()) > 3:
            return image[:, :1]
        return image[:, 1:2]


class Halving(torch.nn.Module):
    def forward(self, image: Any) -> Any:
        return image[:, :1] * 0.5


def test_names_and_shapes_are_those_of_the_contracts(proto: Any) -> None:
    for value, name, shape in (
        (proto.graph.input, SPEC.inputs.name, [1, 3, 64, 64]),
        (proto.graph.output, SPEC.outputs.name, [1, 1, 64, 64]),
    ):
        assert [entry.name for entry in value] == [name]
        tensor = value[0].type.tensor_type
        assert tensor.elem_type == onnx.TensorProto.FLOAT
        assert [dim.dim_value for dim in tensor.shape.dim] == shape
        assert not any(dim.dim_param for dim in tensor.shape.dim)


def test_opset_is_20_and_nothing_else(proto: Any) -> None:
    used = {node.domain for node in proto.graph.node}
    assert used == {""}
    assert {entry.domain: entry.version for entry in proto.opset_import}[""] == 20


def test_gelu_stays_one_operator(proto: Any) -> None:
    kinds = {node.op_type for node in proto.graph.node}
    assert "Gelu" in kinds
    assert "Erf" not in kinds


def test_weights_lie_in_the_file(small_onnx: Path, proto: Any) -> None:
    stored = [entry for entry in proto.graph.initializer if entry.data_type == 1]
    assert sum(np.prod(entry.dims) for entry in stored) >= SPEC.parameters - GATE_PARAMETERS
    assert not any(entry.external_data for entry in stored)
    assert {path.name for path in small_onnx.parent.iterdir()} <= {"model.onnx", ".complete"}


def test_file_does_not_tell_where_it_was_built(small_onnx: Path, proto: Any) -> None:
    content = small_onnx.read_bytes()
    for word in (b"site-packages", b".py", str(Path.home()).encode() + b"/", b"stack_trace"):
        assert word not in content, word
    assert not proto.doc_string
    assert not proto.graph.doc_string
    assert not any(node.doc_string for node in proto.graph.node)
    # Nothing but names that the network itself gives its parts.
    known = {name for name, _ in inner_network(SPEC.make_network()).named_modules()}
    entries = [entry for node in proto.graph.node for entry in node.metadata_props]
    assert {entry.key for entry in entries} == {MODULE}
    assert {entry.value for entry in entries} <= known
    assert sum(len(entry.SerializeToString()) for entry in entries) < 0.1 * len(content)


def test_graph_computes_what_torch_computes(small_onnx: Path, random_weights: Path) -> None:
    ours = onnx_predictor(small_onnx, SPEC.outputs, SPEC.inputs)
    theirs = torch_predictor(SPEC.load_network(random_weights))
    generator = np.random.default_rng(5)
    for _ in range(3):
        image = generator.uniform(0, 255, SPEC.inputs.shape).astype(np.float32)
        expected = theirs(image)
        assert expected.std() > 0
        assert np.abs(ours(image) - expected).max() <= 1e-4


def test_other_names_and_sizes_are_kept(tmp_path: Path) -> None:
    onnx_from_torch(Halving(), TINY_INPUTS, TINY_OUTPUTS, tmp_path / "tiny.onnx")
    predict = onnx_predictor(tmp_path / "tiny.onnx", TINY_OUTPUTS, TINY_INPUTS)
    image = np.arange(72, dtype=np.float32).reshape(1, 3, 4, 6)
    assert np.array_equal(predict(image), image[:, :1] / 2)


def test_export_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    level = logging.getLogger("torch.onnx").level
    onnx_from_torch(Halving(), TINY_INPUTS, TINY_OUTPUTS, tmp_path / "tiny.onnx")
    assert capfd.readouterr().out == ""
    assert logging.getLogger("torch.onnx").level == level


def test_network_that_cannot_be_exported_is_named_without_its_wrapper(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="Branching does not export"):
        onnx_from_torch(LogitsNetwork(Branching()), TINY_INPUTS, TINY_OUTPUTS, tmp_path / "a.onnx")


def test_network_that_cannot_be_exported_says_why(tmp_path: Path) -> None:
    with pytest.raises(
        ExportError, match=r"Branching does not export to ONNX opset 20: .*Rewrite the named"
    ) as caught:
        onnx_from_torch(Branching(), TINY_INPUTS, TINY_OUTPUTS, tmp_path / "tiny.onnx")
    assert caught.value.__cause__ is not None
    assert re.search(r": test_onnx_export.py, line \d+: Could not guard on", str(caught.value))
    assert "\x1b" not in str(caught.value)
    assert not (tmp_path / "tiny.onnx").exists()


class Pooling(torch.nn.Module):
    def forward(self, image: Any) -> Any:
        small = torch.nn.functional.adaptive_max_pool2d(image[:, :1], (3, 5))
        return torch.nn.functional.interpolate(small, image.shape[2:])


class Doubled(torch.nn.Module):
    """Resizes in double precision, for which no runtime has a kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("slope", torch.from_numpy(np.linspace(0, 1, 12)))

    def forward(self, image: Any) -> Any:
        wide = torch.nn.functional.interpolate(image[:, :1].double(), (8, 12), mode="bilinear")
        return (wide * self.slope).float()


@pytest.mark.parametrize(
    ("network", "size"), [(Pooling(), (8, 14)), (Doubled(), (4, 6))], ids=["pooling", "doubled"]
)
def test_what_the_exporter_or_runtimes_lack_is_put_in_other_words(
    tmp_path: Path, network: Any, size: tuple[int, int]
) -> None:
    inputs = InputContract(*size, 2, MinMax(), "picture")
    onnx_from_torch(network, inputs, TINY_OUTPUTS, tmp_path / "net.onnx")
    image = np.random.default_rng(0).normal(0, 1, inputs.shape).astype(np.float32)
    got = onnx_predictor(tmp_path / "net.onnx", TINY_OUTPUTS, inputs)(image)
    wanted = network(torch.from_numpy(image)).numpy()
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)
