from __future__ import annotations

import hashlib
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from sharing import compile_once
from support import Counter, draw_pair, needs

from edgeseg.data.folder import open_folder
from edgeseg.errors import CalibrationError, MissingBackendError
from edgeseg.models import find_model
from edgeseg.quantize.calibration_images import CalibrationImages, choose_calibration_images
from edgeseg.quantize.nncf_ptq import NncfQuantizer
from edgeseg.records import Artifact, QuantizationRecord
from edgeseg.targets import find_runtime

pytestmark = needs("openvino", "nncf", "torch", "onnx", "onnxscript", "onnxruntime")

SPEC = find_model("ulite").at_size(64, 64)
IMAGES = 3


class Made(NamedTuple):
    source: Artifact
    images: CalibrationImages
    artifact: Artifact
    record: QuantizationRecord
    steps: float
    total: float | None


@pytest.fixture(scope="module")
def made(light_onnx: Path, shared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("nncf")
    (root / "images").mkdir()
    for index in range(IMAGES):
        Image.fromarray(draw_pair((64, 64), seed=index)[0]).save(root / f"images/{index}.png")
    images = choose_calibration_images(open_folder(root, labelled=False), SPEC.inputs, IMAGES)
    source = compile_once(shared_folder, "openvino", light_onnx, "fp32")
    counter = Counter()
    artifact, record = NncfQuantizer().quantize(source, images, root / "int8", progress=counter)
    return Made(source, images, artifact, record, counter.steps, counter.total)


def test_artifact_is_int8_of_the_same_kind(made: Made) -> None:
    assert made.artifact.precision == "int8"
    for name in ("runtime", "format", "files", "settings"):
        assert getattr(made.artifact, name) == getattr(made.source, name), name
    assert {path.name for path in made.artifact.folder.iterdir()} == set(made.artifact.files)
    assert {"openvino", "nncf"} <= set(made.artifact.toolchain)


def test_graph_holds_int8_weights_between_fake_quantize_layers(made: Made) -> None:
    import openvino

    model = openvino.Core().read_model(made.artifact.folder / made.artifact.files[0])
    kinds = [op.get_type_name() for op in model.get_ops()]
    assert kinds.count("FakeQuantize") == made.record.layers["fake_quantize"] > 0
    convolutions = [op for op in model.get_ops() if "Convolution" in op.get_type_name()]
    assert len(convolutions) == made.record.layers["convolutions"] > 0
    stored = [op for op in model.get_ops() if op.get_type_name() == "Constant"]
    assert any(op.get_element_type() == openvino.Type.i8 for op in stored)


def test_weights_leave_room_for_sums_of_two_products(made: Made) -> None:
    import openvino

    model = openvino.Core().read_model(made.artifact.folder / made.artifact.files[0])
    stored = [
        np.abs(op.data.astype(int)).max()
        for op in model.get_ops()
        if op.get_type_name() == "Constant"
        and op.get_element_type() == openvino.Type.i8
        and len(op.shape) == 4  # those of depthwise convolutions have five axes, and no such sums
    ]
    assert 0 < max(stored) <= 64


def test_int8_is_smaller_than_fp32(made: Made) -> None:
    weights = made.artifact.files[1]
    small, large = (
        (artifact.folder / weights).stat().st_size for artifact in (made.artifact, made.source)
    )
    assert small < large


def test_record_is_complete(made: Made) -> None:
    record = made.record.to_json()
    assert record["method"] == "nncf"
    assert record["settings"] == NncfQuantizer().settings()
    assert record["images"] == [
        {"sha256": hashlib.sha256(pair.image_path.read_bytes()).hexdigest()}
        for pair in made.images.pairs
    ]
    assert set(record["layers"]) == {"fake_quantize", "convolutions"}


def test_progress_ends_full(made: Made) -> None:
    assert made.total == made.steps


def test_quantised_network_answers_nearly_as_the_float_one(made: Made) -> None:
    runtime = find_runtime("openvino")
    image = next(iter(made.images))
    float_one, small = (
        runtime.load(artifact).run(image) for artifact in (made.source, made.artifact)
    )
    assert small.shape == float_one.shape
    difference = np.abs(small - float_one)
    assert 0 < difference.mean() < 0.1


def test_quantising_twice_gives_equal_weights(made: Made, tmp_path: Path) -> None:
    again, record = NncfQuantizer().quantize(made.source, made.images, tmp_path / "again")
    name = made.artifact.files[1]
    assert (again.folder / name).read_bytes() == (made.artifact.folder / name).read_bytes()
    assert record == made.record


def without_input(images: CalibrationImages) -> CalibrationImages:
    """Images for an input that the network does not have."""
    return replace(images, inputs=replace(images.inputs, name="no such input"))


def test_nncf_is_silent_and_its_log_is_left_as_it_was(
    made: Made, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import nncf  # noqa: F401

    logging.getLogger("nncf").setLevel(logging.WARNING)
    with pytest.raises(CalibrationError):
        NncfQuantizer().quantize(made.source, without_input(made.images), tmp_path / "new")
    assert capfd.readouterr().out == ""
    assert logging.getLogger("nncf").level == logging.WARNING


def test_failure_says_what_to_build_instead(made: Made, tmp_path: Path) -> None:
    with pytest.raises(
        CalibrationError, match=r"NNCF cannot quantise the graph: .*Build with --precision fp32"
    ):
        NncfQuantizer().quantize(made.source, without_input(made.images), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_missing_nncf_names_the_install_command(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(MissingBackendError, match=r"pip install 'edgeseg\[intel\]'"):
        NncfQuantizer().quantize(made.source, made.images, tmp_path / "new")
