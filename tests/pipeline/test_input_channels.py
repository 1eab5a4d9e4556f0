"""Networks of one, two and four input channels, from their spec to their masks."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support import needs

import edgeseg
from edgeseg.contract import InputContract, MeanStd
from edgeseg.errors import DataError, UsageError
from edgeseg.models import find_model
from edgeseg.pipeline.build import BuildRequest, build_bundle

RunCli = Callable[..., "CompletedProcess[str]"]
pytestmark = needs("torch", "onnx", "onnxscript", "onnxruntime")
HEIGHT, WIDTH = 24, 32
MEAN, STD = (0.5, 0.4, 0.3, 0.2), (0.25, 0.3, 0.2, 0.4)
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
MODULE = """
import torch
from torch import nn

class BandNet(nn.Module):
    def __init__(self, bands):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(bands, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 1, 3, padding=1)
        )

    def forward(self, x):
        return self.body(x)
"""


def spec_text(bands: int, *, told: bool = True, statistics: int | None = None) -> str:
    count = bands if statistics is None else statistics
    mean, std = list(MEAN[:count]), list(STD[:count])
    return "\n".join(
        (
            'classes = ["background", "lesion"]',
            "channels = 1",
            'returns = "logits"',
            f"height = {HEIGHT}\nwidth = {WIDTH}\nstride = 1",
            f"input_channels = {bands}" if told else "",
            f'[normalization]\nkind = "mean_std"\nmean = {mean}\nstd = {std}',
            f"[arguments]\nbands = {bands}",
        )
    )


def pixels_of(index: int, bands: int) -> NDArray[np.uint8]:
    """Blocks whose bands differ from each other, (H, W, bands)."""
    coarse = np.random.default_rng(index).integers(0, 256, (6, 8, bands))
    return np.kron(coarse, np.ones((4, 4, 1), int)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder with the module."""
    (tmp_path / "band_net.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "band_net", raising=False)
    return tmp_path


def write_data(folder: Path, bands: int) -> Path:
    names = [f"pair{index}" for index in range(8)]
    for part in ("images", "masks"):
        (folder / "data" / part).mkdir(parents=True)
    for index, name in enumerate(names):
        pixels = pixels_of(index, bands)
        image = pixels[..., 0] if bands == 1 else pixels
        picture = Image.fromarray(image)
        assert picture.mode == MODES[bands]
        picture.save(folder / "data" / "images" / f"{name}.png")
        mask = ((pixels[..., 0] > 127) * 255).astype(np.uint8)
        Image.fromarray(mask).save(folder / "data" / "masks" / f"{name}.png")
    for split, part in (("train", names[:4]), ("val", names[4:6]), ("test", names[6:])):
        (folder / "data" / f"{split}.txt").write_text("\n".join(part))
    return folder / "data"


def write_network(folder: Path, bands: int, spec: str | None = None) -> dict[str, Any]:
    """Spec and random weights; the arguments of a request that name them."""
    import torch
    from band_net import BandNet  # type: ignore[import-not-found]

    (folder / "net.toml").write_text(spec or spec_text(bands))
    torch.manual_seed(0)
    network = BandNet(bands)
    with torch.no_grad():  # about half of the pixels are foreground, none near the threshold
        values = (pixels_of(7, bands) / 255 - np.array(MEAN[:bands])) / np.array(STD[:bands])
        logits = network(torch.from_numpy(values.transpose(2, 0, 1)[None]).float())
        middle = logits.flatten().sort().values[HEIGHT * WIDTH // 4 : -HEIGHT * WIDTH // 4]
        gap = int(middle.diff().argmax())
        network.body[2].bias.sub_(middle[gap : gap + 2].mean())
    torch.save(network.state_dict(), folder / "net.pth")
    return {
        "model": "band_net:BandNet",
        "spec": folder / "net.toml",
        "weights": folder / "net.pth",
        "data": folder / "data",
    }


def expected_mask(folder: Path, image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Of torch alone, for an image (H, W, C) of the network's size."""
    import torch
    from band_net import BandNet

    bands = image.shape[2]
    network = BandNet(bands)
    network.load_state_dict(torch.load(folder / "net.pth", weights_only=True))
    values = (image / 255 - np.array(MEAN[:bands])) / np.array(STD[:bands])
    with torch.no_grad():
        logits = network(torch.from_numpy(values.transpose(2, 0, 1)[None]).float())
    return np.asarray(logits[0, 0] >= 0)


@pytest.mark.parametrize("bands", [1, 2, 4])
@pytest.mark.parametrize(
    ("target", "precision"),
    [
        ("onnxruntime", "fp32"),
        ("onnxruntime", "int8"),
        pytest.param("intel", "fp32", marks=needs("openvino")),
        pytest.param("intel", "int8", marks=needs("openvino", "nncf")),
        ("native", "fp32"),
        pytest.param("android", "fp32", marks=needs("tensorflow", "ai_edge_litert")),
        pytest.param("android", "int8", marks=needs("tensorflow", "ai_edge_litert")),
    ],
)
def test_a_bundle_gives_the_masks_of_torch(
    folder: Path, target: str, precision: str, bands: int
) -> None:
    write_data(folder, bands)
    request = BuildRequest(
        **write_network(folder, bands), target=target, precision=precision, output=folder / "b"
    )
    built, _ = build_bundle(request)
    record = json.loads((built.folder / "manifest.json").read_text())["input"]
    assert record["channels"] == bands
    image = pixels_of(7, bands)
    expected = expected_mask(folder, image)
    assert 0.1 < expected.mean() < 0.9
    allowed = 0 if precision == "fp32" else 0.06
    bundle = edgeseg.load(built.folder)
    network = runpy.run_path(str(built.folder / "runner" / "run.py"))["Network"](built.folder)
    path = folder / "data" / "images" / "pair7.png"
    for labels in (bundle.predict(path), bundle.predict(image), network.predict(image)):
        assert (labels != expected).mean() <= allowed
    assert bundle.overlay(path).size == (WIDTH, HEIGHT)
    assert network.verify()[0]


def test_one_channel_takes_any_picture_as_grey(folder: Path) -> None:
    write_data(folder, 1)
    request = BuildRequest(
        **write_network(folder, 1), target="onnxruntime", precision="fp32", output=folder / "b"
    )
    bundle = edgeseg.load(build_bundle(request)[0].folder)
    color = pixels_of(3, 3)
    grey = np.asarray(Image.fromarray(color).convert("L"))
    expected = expected_mask(folder, grey[..., None])
    network = runpy.run_path(str(folder / "b" / "runner" / "run.py"))["Network"](folder / "b")
    Image.fromarray(color).save(folder / "color.png")
    Image.fromarray(color).convert("RGBA").save(folder / "alpha.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "deep.png")
    for given in ("color.png", "alpha.png", "deep.png", color, grey):
        image = folder / given if isinstance(given, str) else given
        assert (bundle.predict(image) == expected).all(), given
    for pixels in (color, grey, grey[..., None]):
        assert (network.predict(pixels) == expected).all()
    with pytest.raises(DataError, match=r"must be grey, \(height, width, 1\)"):
        bundle.predict(np.zeros((4, 4, 2), np.uint8))


def test_two_and_four_channels_refuse_other_pictures(folder: Path) -> None:
    write_data(folder, 4)
    request = BuildRequest(
        **write_network(folder, 4), target="onnxruntime", precision="fp32", output=folder / "b"
    )
    bundle = edgeseg.load(build_bundle(request)[0].folder)
    Image.fromarray(pixels_of(0, 3)).save(folder / "color.png")
    with pytest.raises(DataError, match=r"color\.png is of mode RGB.*4 channels\. Save it as RG"):
        bundle.predict(folder / "color.png")
    with pytest.raises(DataError, match=r"must be of 4 bands, \(height, width, 4\)"):
        bundle.predict(pixels_of(0, 3))


@needs("lightning_fabric", "monai")
def test_a_grey_network_is_trained_scored_measured_and_predicted(
    folder: Path, run_cli: RunCli
) -> None:
    write_data(folder, 1)
    (folder / "net.toml").write_text(spec_text(1))

    def run(*words: str) -> str:
        done = run_cli(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    model = ("--model", "band_net:BandNet", "--spec", "net.toml")
    run(
        *("train", *model, "--data", "data", "--epochs", "60"),
        *("--batch-size", "4", "--learning-rate", "0.03"),
    )
    weights = ("--weights", "runs/bandnet/best.safetensors")
    scored = json.loads(run("evaluate", *model, *weights, "--data", "data", "--json"))
    assert scored["accuracy"]["dice_pooled"] > 0.9  # a mask is what is bright
    run(
        *("build", *model, *weights, "--data", "data", "--target", "onnxruntime"),
        *("--precision", "fp32", "--output", "b"),
    )
    run("predict", "b", "data/images", "--output", "masks", "--gallery", "gallery.png")
    mask = np.asarray(Image.open(folder / "masks" / "pair0.png")) > 0
    truth = np.asarray(Image.open(folder / "data" / "masks" / "pair0.png")) > 0
    assert (mask == truth).mean() > 0.9
    measured = json.loads(run("bench", "b", "--data", "data", "--runs", "5", "--json"))
    assert measured


def test_the_channels_are_as_many_as_the_means(folder: Path) -> None:
    (folder / "net.toml").write_text(spec_text(1, told=False))
    assert find_model("band_net:BandNet", folder / "net.toml").inputs.channels == 1


def test_a_network_that_takes_grey_gets_it_where_all_channels_are_alike(folder: Path) -> None:
    text = spec_text(1, told=False).replace("[0.5]", "[0.5] * 3").replace("[0.25]", "[0.25] * 3")
    text = text.replace("[0.5] * 3", "[0.5, 0.5, 0.5]").replace("[0.25] * 3", "[0.25, 0.25, 0.25]")
    (folder / "net.toml").write_text(text)
    inputs = find_model("band_net:BandNet", folder / "net.toml").inputs
    assert inputs == InputContract(HEIGHT, WIDTH, 1, MeanStd((0.5,), (0.25,)), channels=1)


@pytest.mark.parametrize(("bands", "statistics"), [(1, 3), (4, 3), (2, 1)])
def test_a_network_of_other_channels_is_told_what_to_write(
    folder: Path, bands: int, statistics: int
) -> None:
    (folder / "net.toml").write_text(spec_text(bands, told=False, statistics=statistics))
    with pytest.raises(
        UsageError, match=rf"takes images of {bands} channels.*Write input_channels = {bands} there"
    ):
        find_model("band_net:BandNet", folder / "net.toml")


def test_statistics_are_as_many_as_channels(folder: Path) -> None:
    (folder / "net.toml").write_text(spec_text(1, statistics=3))
    with pytest.raises(UsageError, match=r"3 numbers for 1 input channels\. Give each"):
        find_model("band_net:BandNet", folder / "net.toml")


@pytest.mark.parametrize("count", [0, 5, True, "1"])
def test_a_number_of_channels_that_is_none_is_refused(folder: Path, count: Any) -> None:
    text = spec_text(1).replace("input_channels = 1", f"input_channels = {json.dumps(count)}")
    (folder / "net.toml").write_text(text)
    with pytest.raises(UsageError, match=r"input_channels|1, 2, 3 or 4 channels"):
        find_model("band_net:BandNet", folder / "net.toml")


@pytest.mark.parametrize(
    ("mean", "std", "advice"),
    [
        ("[123.675]", "[58.395]", r"mean = \[0\.485\] and std = \[0\.229\]"),
        ("[0.0]", "[255]", r"mean = \[0\.0\] and std = \[1\.0\]"),
        ("[127.5]", "[1.0]", r"mean = \[0\.5\] and std = \[0\.003922\]"),
    ],
)
def test_statistics_of_pixels_up_to_255_are_refused(
    folder: Path, mean: str, std: str, advice: str
) -> None:
    text = spec_text(1).replace("[0.5]", mean).replace("[0.25]", std)
    (folder / "net.toml").write_text(text)
    with pytest.raises(UsageError, match=advice):
        find_model("band_net:BandNet", folder / "net.toml")


def test_dark_images_are_told_and_a_white_point_makes_them_right(
    folder: Path, run_cli: RunCli
) -> None:
    data = write_data(folder, 1)
    for path in sorted((data / "images").iterdir()):
        pixels = np.asarray(Image.open(path)).astype(np.uint16)
        Image.fromarray(pixels * 16).save(path)  # 12 bits; 255 becomes 4080
    names = write_network(folder, 1, spec_text(1).replace("stride = 1", "stride = 1\nwhite = 4080"))
    model = ("--model", "band_net:BandNet", "--spec", "net.toml", "--weights", "net.pth")
    told = run_cli("evaluate", *model, "--data", "data", "--json")
    assert (told.returncode, "12 bits" in told.stderr) == (0, False), told.stderr
    built, _ = build_bundle(
        BuildRequest(**names, target="onnxruntime", precision="fp32", output=folder / "right")
    )
    expected = expected_mask(folder, pixels_of(7, 1))
    deep = pixels_of(7, 1).astype(np.uint16) * 16
    assert (edgeseg.load(built.folder).predict(data / "images" / "pair7.png") == expected).all()
    network = runpy.run_path(str(built.folder / "runner" / "run.py"))["Network"](built.folder)
    assert (network.predict(deep) == expected).all()
    (folder / "net.toml").write_text(spec_text(1))
    for words in (
        ("evaluate", *model, "--data", "data", "--json"),
        (
            *("build", *model, "--data", "data", "--target", "onnxruntime"),
            *("--precision", "fp32", "--output", "dark"),
        ),
        ("predict", "dark", "data/images/pair7.png", "--output", "masks"),
    ):
        told = run_cli(*words)
        assert told.returncode == 0, told.stderr
        assert "12 bits" in told.stderr
        assert "Write white = 4095 in its spec" in " ".join(told.stderr.split())


@needs("lightning_fabric", "monai")
def test_ignored_pixels_count_in_no_score_and_no_training(folder: Path, run_cli: RunCli) -> None:
    data = write_data(folder, 1)
    text = spec_text(1)
    (folder / "net.toml").write_text(text)
    model = ("--model", "band_net:BandNet", "--spec", "net.toml", "--data", "data")
    training = ("--epochs", "60", "--batch-size", "4", "--learning-rate", "0.03")
    for path in sorted((data / "masks").iterdir()):
        mask = np.asarray(Image.open(path)) // 255  # the truth of the left half is not known
        Image.fromarray(np.where(np.arange(WIDTH) < WIDTH // 2, 255, mask).astype(np.uint8)).save(
            path
        )
    refused = run_cli("train", *model, *training)
    assert refused.returncode == 1
    assert "Write ignore = 255 in the network's spec" in refused.stderr
    (folder / "net.toml").write_text(text.replace("stride = 1", "stride = 1\nignore = 255"))
    trained = run_cli("train", *model, *training)
    assert trained.returncode == 0, trained.stderr
    weights = ("--weights", "runs/bandnet/best.safetensors")
    scored = run_cli("evaluate", *model, *weights, "--metrics", "all", "--json")
    assert scored.returncode == 0, scored.stderr
    assert json.loads(scored.stdout)["accuracy"]["dice_pooled"] > 0.9
    built = run_cli(
        *("build", *model, *weights, "--target", "onnxruntime"),
        *("--precision", "fp32", "--output", "b"),
    )
    assert built.returncode == 0, built.stderr
    measured = run_cli("bench", "b", "--data", "data", "--runs", "5", "--json")
    assert measured.returncode == 0, measured.stderr
    drawn = run_cli("predict", "b", "data/images", "--output", "m", "--gallery", "g.png")
    assert drawn.returncode == 0, drawn.stderr
