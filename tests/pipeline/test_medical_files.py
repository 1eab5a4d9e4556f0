"""DICOM and NIfTI from training to masks, and no word of a patient in what is written."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import onnx
import pytest
from medical_files import PATIENT, PLACE, SERIES, STUDY, write_dicom, write_nifti
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx_files import model_of, value
from PIL import Image
from support import needs

import edgeseg
from edgeseg.data.images import read_image
from edgeseg.errors import DataError, UsageError
from edgeseg.models import find_model

RunCli = Callable[..., "CompletedProcess[str]"]
pytestmark = needs("torch", "onnx", "onnxscript", "onnxruntime", "pydicom", "highdicom", "nibabel")
ROWS, COLUMNS = 24, 32
MODULE = """
import torch
from torch import nn


class Bright(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(1, 1, 1)
        with torch.no_grad():
            self.body.weight.fill_(40.0)
            self.body.bias.fill_(-20.0)

    def forward(self, x):
        return self.body(x)
"""
SPEC = f"""
classes = ["background", "lesion"]
channels = 1
returns = "logits"
height = {ROWS}
width = {COLUMNS}
stride = 1
input_channels = 1

[normalization]
kind = "mean_std"
mean = [0.0]
std = [1.0]

[window]
centre = 40
width = 400
"""
MODEL = ("--model", "bright_net:Bright", "--spec", "net.toml")
ONNX = ("--onnx", "net.onnx", "--spec", "net.toml")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder with the module, its spec and its weights."""
    (tmp_path / "bright_net.py").write_text(MODULE)
    (tmp_path / "net.toml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "bright_net", raising=False)
    from edgeseg.models.weights import save_weights

    network = find_model("bright_net:Bright", Path("net.toml")).make_network()
    save_weights(tmp_path / "net.safetensors", network)
    return tmp_path


def hounsfield(seed: int) -> NDArray[np.int16]:
    """A picture (H, W): tissue around 0, and a bright block of more than 60."""
    draw = np.random.default_rng(seed)
    values = draw.integers(-150, 20, (ROWS, COLUMNS))
    row, column = draw.integers(2, 10, 2)
    values[row : row + 9, column : column + 12] += 200
    return values.astype(np.int16)


def build(
    run: Callable[..., str],
    data: str,
    network: tuple[str, ...] = (*MODEL, "--weights", "net.safetensors"),
    precision: str = "fp32",
) -> None:
    run(
        *("build", *network, "--data", data, "--target", "onnxruntime"),
        *("--precision", precision, "--output", "b"),
    )


def write_onnx(path: Path) -> None:
    """The network of `MODULE` as an ONNX file, and a convolution that changes nothing."""
    sizes = (1, 1, ROWS, COLUMNS)
    constants = [
        numpy_helper.from_array(np.full(shape, number, np.float32), name)
        for name, shape, number in (("w", (1,) * 4, 40), ("b", (1,), -20), ("one", (1,) * 4, 1))
    ]
    nodes = [
        helper.make_node("Conv", ["pixels", "w", "b"], ["map"], "/body"),
        helper.make_node("Conv", ["map", "one"], ["logits"], "/head"),
    ]
    onnx.save(model_of(nodes, [value("pixels", sizes)], [value("logits", sizes)], constants), path)


@pytest.fixture
def run(run_cli: RunCli) -> Callable[..., str]:
    def do(*words: object) -> str:
        done = run_cli(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return do


def write_volumes(folder: Path) -> None:
    """Three volumes of three slices each, tilted axes, and their masks."""
    affine = np.diag([-0.5, 0.25, 5.0, 1.0])
    for number, split in enumerate(("train", "val", "test")):
        slices = [hounsfield(10 * number + index) for index in range(3)]
        # What a slice shows is turned from right and front.
        volume = np.stack([one[::-1, ::-1].T for one in slices], 2)[::-1]
        for part, values in (("images", volume), ("masks", (volume > 40).astype(np.uint8))):
            write_nifti(folder / "data" / part / f"v{number}.nii.gz", values, affine)
        (folder / "data" / f"{split}.txt").write_text(f"v{number}.nii.gz\n")


@needs("lightning_fabric", "monai")
def test_volumes_are_learned_scored_measured_and_predicted(
    folder: Path, run: Callable[..., str]
) -> None:
    import nibabel

    write_volumes(folder)
    run("train", *MODEL, "--data", "data", "--epochs", "1", "--batch-size", "3")
    weights = ("--weights", "net.safetensors")
    (folder / "data" / "groups.csv").write_text("image,site\nv0,a\nv1,a\nv2,b\n")
    scored = json.loads(run("evaluate", *MODEL, *weights, "--data", "data", "--json"))
    assert scored["images"] == 3
    assert list(scored["groups"]["site"]) == ["b"]
    assert scored["accuracy"]["dice_pooled"] == 1
    build(run, "data")
    assert scored["clusters"]["count"] == 1
    assert scored["clusters"]["accuracy"] == {"dice_image": 1, "iou_image": 1}
    assert scored["clusters"]["text"].startswith("3 slices of 1 volume; intervals resample")
    measured = json.loads(run("bench", "b", "--data", "data", "--runs", "5", "--json"))
    assert measured["data"]["clusters"]["of_images"] == [0, 0, 0, 1, 1, 1]
    (margin,) = measured["rows"][-1]["margins"][:1]
    assert (margin["verdict"], margin["images"], margin["unit"]) == ("cannot tell", 2, "volumes")
    told = json.loads(run("predict", "b", "data/images", "-o", "masks", "--json"))
    assert [Path(one["image"]).name for one in told["masks"][:2]] == [
        "v0.nii.gz#0",
        "v0.nii.gz#1",
    ]
    for number in range(3):
        truth = nibabel.load(folder / "data" / "masks" / f"v{number}.nii.gz")
        found = nibabel.load(folder / "masks" / f"v{number}.nii.gz")
        assert np.array_equal(np.asarray(found.dataobj), np.asarray(truth.dataobj))
        assert np.array_equal(found.affine, truth.affine)
    first = np.asarray(nibabel.load(folder / "masks" / "v0.nii.gz").dataobj)[..., 0]
    assert told["masks"][0]["areas_mm2"]["lesion"] == pytest.approx(first.sum() * 0.5 * 0.25)
    run("predict", "b", "data/images/v0.nii.gz", "-o", "pictures", "--format", "png")
    names = sorted(path.name for path in (folder / "pictures").iterdir())
    assert names == ["v0-0000.png", "v0-0001.png", "v0-0002.png"]
    one = edgeseg.load("b").predict("data/images/v0.nii.gz#1")
    assert np.array_equal(one * 255, np.asarray(Image.open(folder / "pictures" / names[1])))
    with pytest.raises(DataError, match=r"holds 3 slices.*edgeseg predict takes all"):
        edgeseg.load("b").predict("data/images/v0.nii.gz")
    checked = json.loads(run("data", "check", "data", "--json"))
    assert checked["images"] == 3
    assert [fault["kind"] for fault in checked["faults"]] == []


def write_series(folder: Path) -> list[Path]:
    """A data folder of single DICOM pictures with a patient's tags; files without an ending."""
    paths = []
    for number in range(9):
        values = hounsfield(number)
        path = folder / "data" / "images" / f"IM{number}"
        tags = {"RescaleSlope": 1, "RescaleIntercept": -1024, "BitsStored": 12}
        write_dicom(path, (values + 1024).astype(np.uint16), number=number + 1, **tags)
        write_dicom(
            folder / "data" / "masks" / f"IM{number}.dcm",
            (values > 40).astype(np.uint8),
            number=number + 100,
        )
        paths.append(path)
    for split, names in (("train", range(4)), ("val", range(4, 6)), ("test", range(6, 9))):
        (folder / "data" / f"{split}.txt").write_text("\n".join(f"IM{one}" for one in names))
    return paths


def test_an_onnx_file_sees_series_through_the_window_of_its_description(
    folder: Path, run: Callable[..., str]
) -> None:
    write_series(folder)
    write_onnx(folder / "net.onnx")
    build(run, "data", ONNX, "int8")
    run("predict", "b", "data/images", "-o", "masks", "--format", "png")
    for number in range(9):
        found = np.asarray(Image.open(folder / "masks" / f"IM{number}.png"))
        assert np.array_equal(found // 255, hounsfield(number) > 40)
    measured = json.loads(run("bench", "b", "--data", "data", "--runs", "5", "--json"))
    assert all(row["accuracy"]["dice_pooled"] == 1 for row in measured["rows"])


def test_an_onnx_file_cuts_volumes_along_the_axis_of_its_description(
    folder: Path, run: Callable[..., str]
) -> None:
    import nibabel

    write_onnx(folder / "net.onnx")
    (folder / "net.toml").write_text(SPEC + "[volume]\naxis = 1\n")
    # Columns of a slice lie along the first axis.
    values = np.stack([hounsfield(number).T for number in range(3)], 1)
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    for name in ("a", "b", "c"):
        for part, made in (("images", values), ("masks", (values > 40).astype(np.uint8))):
            write_nifti(folder / "data" / part / f"{name}.nii", made, affine)
    for name, split in zip("abc", ("train", "val", "test"), strict=True):
        (folder / "data" / f"{split}.txt").write_text(name)
    build(run, "data", ONNX)
    told = json.loads(run("predict", "b", "data/images/a.nii", "-o", "masks", "--json"))
    assert [Path(one["image"]).name for one in told["masks"]] == [
        f"a.nii#axis1:{number}" for number in range(3)
    ]
    found = nibabel.load(folder / "masks" / "a.nii")
    assert np.array_equal(np.asarray(found.dataobj), values > 40)
    assert np.array_equal(found.affine, affine)


def patient_words() -> list[bytes]:
    words = {part for value in PATIENT.values() for part in value.split("^") if len(part) > 3}
    return [word.encode() for word in sorted({*words, SERIES, STUDY, PLACE})]


@needs("lightning_fabric", "monai")
def test_a_series_gives_the_masks_of_its_pictures_and_no_word_of_a_patient(
    folder: Path, run: Callable[..., str], run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    import highdicom
    import pydicom
    from pydicom import dcmread

    monkeypatch.setenv("EDGESEG_CACHE_DIR", str(folder / "cache"))
    paths = write_series(folder)
    (folder / "png").mkdir()
    for number in range(9):
        grey = np.rint(np.clip((hounsfield(number) + 160.0) / 400, 0, 1) * 65535)
        Image.fromarray(grey.astype(np.uint16)).save(folder / "png" / f"IM{number}.png")
    said = [run("evaluate", *MODEL, "--weights", "net.safetensors", "--data", "data")]
    assert "3 images of 1 series; intervals resample series, of which 1 is too few" in said[0]
    assert "Mean over series, each as a whole" in said[0]
    checked = run_cli("data", "check", "data")
    assert checked.returncode == 1  # one series lies in three splits
    assert "IM0 (train) and IM4 (val) are of one series" in " ".join(checked.stdout.split())
    said.append(checked.stdout)
    said.append(run("train", *MODEL, "--data", "data", "--epochs", "1", "--batch-size", "2"))
    build(run, "data")
    said.append(run("bench", "b", "--data", "data", "--runs", "5", "--output", "report.json"))
    said.append(
        run(
            *("predict", "b", "data/images", "-o", "masks", "--format", "png", "--json"),
            *("--gallery", "gallery.png"),
        )
    )
    run("predict", "b", "png", "-o", "of-png")
    for number in range(9):
        both = [(folder / place / f"IM{number}.png").read_bytes() for place in ("masks", "of-png")]
        assert both[0] == both[1]
    said.append(run("predict", "b", "data/images", "-o", "labels", "--format", "nifti"))
    assert [path.name for path in (folder / "labels").iterdir()] == ["IM0.nii.gz"]
    some = [f"data/images/IM{number}" for number in (0, 1, 3)]
    refused = run_cli("predict", "b", *some, "-o", "n", "--format", "nifti")
    assert refused.returncode == 1
    assert "several distances" in refused.stderr
    said.append(refused.stderr)
    written = [
        path
        for path in folder.rglob("*")
        if path.is_file() and not path.is_relative_to(folder / "data")
    ]
    assert len(written) > 20
    contents = {str(path): path.read_bytes() for path in written}
    contents["output"] = "".join(said).encode()
    contents["names"] = "\n".join(map(str, written)).encode()
    for word in patient_words():
        assert [name for name, content in contents.items() if word in content] == [], word
    # An archive's folder holds reports and segmentations beside the pictures.
    shutil.copytree(folder / "data" / "images", folder / "disc")
    tests = Path(pydicom.__file__).parent / "data" / "test_files"
    shutil.copy(tests / "reportsi.dcm", folder / "disc" / "SR1")
    done = run_cli("predict", "b", "disc", "-o", "of-disc", "--format", "png")
    assert "1 DICOM file in disc is no picture" in done.stderr
    assert len(list((folder / "of-disc").iterdir())) == 9
    # A segmentation is the patient's: its purpose.
    run("predict", "b", "data/images", "-o", "seg")
    made = highdicom.seg.segread(folder / "seg" / "IM0.dcm")
    assert str(made.PatientName) == PATIENT["PatientName"]
    identity = made.get_segment_description(1).algorithm_identification.version
    assert identity == edgeseg.load("b")._bundle.identity[:12]
    frames = made.get_pixels_by_source_instance(
        [dcmread(path).SOPInstanceUID for path in paths], combine_segments=True
    )
    masks = [np.asarray(Image.open(folder / "masks" / f"IM{one}.png")) // 255 for one in range(9)]
    assert np.array_equal(frames, np.stack(masks))
    # What it found is a truth that it agrees with: one file holds the masks of all pictures.
    shutil.copytree(folder / "data" / "images", folder / "again" / "images")
    shutil.copytree(folder / "seg", folder / "again" / "masks")
    (folder / "again" / "test.txt").write_text("\n".join(path.name for path in paths))
    scored = json.loads(
        run(*("evaluate", *MODEL, "--weights", "net.safetensors"), "--data", "again", "--json")
    )
    assert scored["accuracy"]["dice_pooled"] == 1


def test_a_registered_network_sees_a_scanner_through_a_window(
    folder: Path, run: Callable[..., str], run_cli: RunCli
) -> None:
    """EGE-UNet is of photographs; with a window it reads a scanner's values."""
    write_series(folder)
    (folder / "ct.toml").write_text(SPEC[SPEC.index("[window]") :])
    words = ("evaluate", "--model", "egeunet", "--data", "data", "--json")
    scored = json.loads(run(*words, "--spec", "ct.toml"))
    assert scored["images"] == 3
    windowed, plain = find_model("egeunet", Path("ct.toml")), find_model("egeunet")
    path = folder / "data" / "images" / "IM0"
    seen, raw = (read_image(path, spec.inputs) for spec in (windowed, plain))
    expected = np.rint(np.clip((hounsfield(0) + 160.0) / 400, 0, 1) * 65535)
    assert np.array_equal(seen[..., 0], expected)
    assert not np.array_equal(seen, raw)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("[window]\ncentre = 40", r"\[window\] holds centre; it is centre and width"),
        ("[window]\ncentre = 40\nwidth = 0", "width of a window is above 0"),
        ('[window]\ncentre = "x"\nwidth = 2', "neither 'file' nor a centre and a width"),
        ("[volume]\naxis = 3", "axis of .volume. is 3, which is not 'axial', 0, 1 or 2"),
        ("[volume]\nplane = 1", "not a table .volume. with axis alone"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(folder: Path, words: str, message: str) -> None:
    (folder / "net.toml").write_text(SPEC[: SPEC.index("[window]")] + words)
    with pytest.raises(UsageError, match=f"{message}.*Correct that entry"):
        find_model("bright_net:Bright", Path("net.toml"))


def test_window_and_white_exclude_each_other(folder: Path) -> None:
    (folder / "net.toml").write_text("white = 4095\n" + SPEC)
    with pytest.raises(UsageError, match="both say what is white; one of them must go"):
        find_model("bright_net:Bright", Path("net.toml"))


def test_the_contract_keeps_window_and_axis(folder: Path) -> None:
    (folder / "net.toml").write_text(SPEC + "[volume]\naxis = 1\n")
    inputs = find_model("bright_net:Bright", Path("net.toml")).inputs
    assert inputs.window == (40, 400)
    assert inputs.axis == 1
    again = type(inputs).from_json(json.loads(json.dumps(inputs.to_json())))
    assert again == inputs
    (folder / "net.toml").write_text('window = "file"\n' + SPEC[: SPEC.index("[window]")])
    assert find_model("bright_net:Bright", Path("net.toml")).inputs.window == "file"
