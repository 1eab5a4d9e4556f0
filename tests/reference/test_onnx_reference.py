"""ONNX files of others as FP32 references: the contract's graph computes what the file does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx_files import (
    SPEC,
    cropped_net,
    flat_net,
    half_net,
    half_size_net,
    last_channels_net,
    save,
    small_net,
    two_outputs_net,
)
from safetensors.numpy import load_file

from edgeseg.data.folder import open_sample
from edgeseg.errors import UsageError
from edgeseg.formats.onnx import MODULE
from edgeseg.models import TrainedModel, find_model
from edgeseg.reference.find import open_reference
from edgeseg.reference.onnx_reference import OnnxReference
from edgeseg.reference.reference import ExportedGraph, export_checked

FORMS: dict[str, Callable[[], onnx.ModelProto]] = {
    "opset 11": lambda: small_net(11),
    "opset 13": lambda: small_net(13),
    "opset 17": lambda: small_net(17),
    "opset 20": lambda: small_net(20),
    "opset 21": lambda: small_net(21),
    "opset 23": lambda: small_net(23),
    "free sizes": lambda: small_net(sizes=("n", 3, "h", "w")),
    "names of the contract": lambda: small_net(names=("mask", "image")),
    "channels last": last_channels_net,
    "half the size": half_size_net,
    "no channels": flat_net,
    "half precision": half_net,
}


def exported_of(path: Path, tmp_path: Path) -> tuple[TrainedModel, ExportedGraph]:
    model = TrainedModel.of(find_model(str(path), tmp_path / "spec.toml"), None)
    reference = open_reference(model)
    assert isinstance(reference, OnnxReference)
    answers = reference.answer(open_sample(["val"]).pairs[:2])
    exported = export_checked(
        reference, model.spec, model.weights_sha256, lambda: answers, use_cache=False
    )
    return model, exported


@pytest.mark.parametrize("form", FORMS)
def test_the_graph_computes_what_the_file_does(form: str, tmp_path: Path) -> None:
    path = save(FORMS[form](), tmp_path)
    model, exported = exported_of(path, tmp_path)
    assert exported.agreement.max_abs_diff < 1e-6
    graph = onnx.load(exported.path)
    (image,), (mask,) = graph.graph.input, graph.graph.output
    assert (image.name, mask.name) == ("image", "mask")
    for port, channels in ((image, 3), (mask, 1)):
        sizes = [axis.dim_value for axis in port.type.tensor_type.shape.dim]
        assert sizes == [1, channels, 32, 32]
    assert [entry.version for entry in graph.opset_import] == [20]
    names = [node.name for node in graph.graph.node]
    assert len({*names}) == len(names)
    assert "" not in names
    assert model.spec.parameters == 4 * 27 + 4 + 4
    assert model.spec.macs == 32 * 32 * (4 * 27 + 4)


def test_a_map_that_was_cropped_is_not_stretched(tmp_path: Path) -> None:
    path = save(cropped_net(), tmp_path)
    with pytest.raises(UsageError, match=r"gives \(1, 1, 30, 30\).*of a half, a quarter"):
        find_model(str(path), tmp_path / "spec.toml")


def test_a_smaller_map_is_told_in_the_contract(tmp_path: Path) -> None:
    path = save(half_size_net(), tmp_path)
    assert find_model(str(path), tmp_path / "spec.toml").outputs.resized_from == (16, 16)
    free = half_size_net()
    for port in (*free.graph.input, *free.graph.output):
        port.type.tensor_type.shape.dim[2].dim_param = "h"
    path = save(free, tmp_path)
    assert find_model(str(path), tmp_path / "spec.toml").outputs.resized_from == (16, 16)


def test_modules_are_those_of_the_names_of_nodes(tmp_path: Path) -> None:
    _, exported = exported_of(save(small_net(), tmp_path), tmp_path)
    modules = [
        entry.value
        for node in onnx.load(exported.path).graph.node
        for entry in node.metadata_props
        if entry.key == MODULE
    ]
    assert modules == ["enc.conv", "enc.act", "head"]


def test_one_of_several_outputs_is_the_mask(tmp_path: Path) -> None:
    path = save(
        two_outputs_net(), tmp_path, spec=SPEC.replace("classes", 'output = "logits"\nclasses')
    )
    assert exported_of(path, tmp_path)[1].agreement.max_abs_diff < 1e-6


def test_several_classes_add_up_to_one(tmp_path: Path) -> None:
    spec = SPEC.replace('"lesion"', '"lesion", "ulcer"').replace("channels = 1", "channels = 3")
    path = save(small_net(channels=3), tmp_path, spec=spec)
    assert exported_of(path, tmp_path)[1].agreement.max_abs_diff < 1e-6


def test_logits_that_are_called_probabilities_are_refused(tmp_path: Path) -> None:
    path = save(small_net(), tmp_path, spec=SPEC.replace("logits", "probabilities"))
    with pytest.raises(UsageError, match=r'these are no probabilities. Write returns = "logits"'):
        exported_of(path, tmp_path)


def test_its_weights_are_kept_by_their_names(tmp_path: Path) -> None:
    path = save(small_net(), tmp_path)
    reference = open_reference(TrainedModel.of(find_model(str(path), tmp_path / "spec.toml"), None))
    reference.save_weights(tmp_path / "weights.safetensors")
    assert load_file(tmp_path / "weights.safetensors").keys() == {"w1", "b1", "w2"}


@pytest.mark.parametrize("entry", ["weights", "train"])
def test_what_needs_torch_says_so(entry: str, tmp_path: Path) -> None:
    path = save(small_net(), tmp_path)
    spec = find_model(str(path), tmp_path / "spec.toml")
    if entry == "weights":
        with pytest.raises(UsageError, match=r"the weights of .* are in that file. Leave it out"):
            TrainedModel.of(spec, tmp_path / "other.pt")
    else:
        with pytest.raises(UsageError, match=r"cannot be trained.*edgeseg bench"):
            spec.make_network()


def test_without_a_description_it_is_told_how_to_get_one(tmp_path: Path) -> None:
    path = save(small_net(), tmp_path)
    with pytest.raises(UsageError, match=r"edgeseg inspect .* --write-spec net.toml"):
        find_model(str(path))


def test_torch_is_not_imported(tmp_path: Path) -> None:
    path = save(small_net(), tmp_path)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from edgeseg.pipeline.build import BuildRequest, build_bundle\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "for target, method in (('intel', None), ('intel', 'nncf'), ('onnxruntime', None)):\n"
        "    precision = 'int8' if method else 'fp32'\n"
        f"    request = BuildRequest({str(path)!r}, target, precision,\n"
        "        folder / (target + precision),\n"
        "        spec=folder / 'spec.toml', method=method, calibration_images=4)\n"
        "    bundle, _ = build_bundle(request)\n"
        "    if not method:\n"
        "        assert bundle.manifest.checks['artifact'].max_abs_diff < 1e-4\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stderr
