"""A network of the user's own, with three classes, goes through every command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import needs

from edgeseg.contract import OutputContract
from edgeseg.data.folder import open_sample
from edgeseg.errors import UsageError
from edgeseg.metrics.table import METRICS
from edgeseg.models import ModelSpec, TrainedModel, find_model
from edgeseg.models.weights import save_weights
from edgeseg.pipeline.build import BuildRequest, build_bundle
from edgeseg.pipeline.builder.context import BuildContext
from edgeseg.pipeline.evaluate import score_model
from edgeseg.progress import SILENT

RunCli = Callable[..., "CompletedProcess[str]"]

pytestmark = needs("torch", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf", "monai")

MODULE = """
from torch import nn

class TinyNet(nn.Module):
    def __init__(self, features=8):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, features, 3, padding=1), nn.BatchNorm2d(features), nn.ReLU(),
            nn.Conv2d(features, features, 3, padding=1), nn.ReLU(),
            nn.Conv2d(features, 3, 1),
        )

    def forward(self, x):
        return self.body(x)

class NotANet:
    pass

class Breaks(TinyNet):
    def __init__(self, **arguments):
        raise RuntimeError("no such file")

class Ends(TinyNet):
    def __init__(self, **arguments):
        raise SystemExit(3)

class Quarter(TinyNet):
    def forward(self, x):
        return self.body(x)[:, :, ::2, ::2]

class Cropped(TinyNet):
    def forward(self, x):
        return self.body(x)[:, :, 1:-1]

class Named(TinyNet):
    def forward(self, x):
        return {"out": self.body(x)}

class Twofold(TinyNet):
    def forward(self, x):
        return {"edge": self.body(x), "mask": self.body(x)}

class Text(TinyNet):
    def forward(self, x):
        return "mask"

class Strict(TinyNet):
    def forward(self, x):
        raise ValueError("only squares, please")
"""
SPEC = """
title = "A small network"
classes = ["background", "disc", "centre"]
channels = 3
returns = "logits"
height = 32
width = 48
stride = 1

[normalization]
kind = "mean_std"
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]

[arguments]
features = 12
"""
NAMES = [f"pair{index}" for index in range(10)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Working folder with the module, the spec and data of three classes."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "my_package").mkdir()
    (folder / "my_package" / "nets.py").write_text(MODULE)
    (folder / "my_package" / "syntax.py").write_text("class Net(:")
    (folder / "my_package" / "lacking.py").write_text("import not_there")
    (folder / "my_package" / "ends.py").write_text("raise SystemExit(4)")
    (folder / "tiny.toml").write_text(SPEC)
    for name in ("images", "masks"):
        (folder / "data" / name).mkdir(parents=True)
    rows, columns = np.mgrid[:40, :60]
    colors = np.array([(200, 190, 180), (120, 60, 40), (30, 120, 40)])
    for index, name in enumerate(NAMES):
        distance = np.hypot(rows - 20, columns - 24 - index)
        labels = (distance < 15).astype(np.uint8) + (distance < 6)
        noise = np.random.default_rng(index).normal(0, 6, (40, 60, 3))
        image = (colors[labels] + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / "data" / "images" / f"{name}.png")
        Image.fromarray(labels).save(folder / "data" / "masks" / f"{name}.png")
    for split, names in (("train", NAMES[:6]), ("val", NAMES[6:8]), ("test", NAMES[8:])):
        (folder / "data" / f"{split}.txt").write_text("\n".join(names))
    return folder


@pytest.mark.slow
def test_every_command_works_with_a_network_of_three_classes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, run_cli: RunCli
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(*words: str) -> str:
        done = run_cli(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    model = ("--model", "my_package.nets:TinyNet", "--spec", "tiny.toml")
    training = ("--epochs", "60", "--batch-size", "3", "--learning-rate", "0.02")
    # A process of its own, as a user has it; the others spare the seconds that torch takes to load.
    train = [sys.executable, "-m", "edgeseg", "train", *model, "--data", "data", *training]
    trained = subprocess.run(train, capture_output=True, text=True, check=False)
    assert trained.returncode == 0, trained.stderr
    weights = ("--weights", "runs/tinynet/best.safetensors")
    scored = json.loads(run("evaluate", *model, *weights, "--data", "data", "--json"))
    assert scored["accuracy"]["dice_pooled"] > 0.9  # mean of disc and centre

    run("build", *model, *weights, "--data", "data", "-t", "intel", "-p", "int8")
    bundle = "bundles/tinynet-intel-int8"
    manifest = json.loads((folder / bundle / "manifest.json").read_text())
    assert manifest["model"]["parameters"] == 3 * 12 * 9 + 12 + 24 + 12 * 12 * 9 + 12 + 12 * 3 + 3
    assert manifest["output"]["kind"] == "softmax"
    assert manifest["checks"]["artifact"]["flips_per_10k"] < 200
    assert "ok." in run("verify", bundle)

    image = f"data/images/{NAMES[-1]}.png"
    run("predict", bundle, image, "-o", "masks", "--gallery", "gallery.png")
    mask = np.asarray(Image.open(folder / "masks" / f"{NAMES[-1]}.png"))
    truth = np.asarray(Image.open(folder / "data" / "masks" / f"{NAMES[-1]}.png"))
    assert mask.shape == truth.shape
    assert (mask == truth).mean() > 0.9
    assert set(np.unique(mask)) == {0, 1, 2}

    run("bench", bundle, "--data", "data", "--runs", "12", "--json", "bench.json")
    report = json.loads((folder / "bench.json").read_text())
    splits = ("--split", "val", "--split", "test")
    words = ("evaluate", *model, *weights, "--data", "data", *splits, "--metrics", "all", "--json")
    again = json.loads(run(*words))
    hd95_px = again["metrics"]["scores"]["hd95_px"]["value"]
    expected = {**again["accuracy"], "hd95_px": hd95_px}
    assert report["reference"][0]["accuracy"] == pytest.approx(expected)
    assert [row["precision"] for row in report["rows"]] == ["fp32", "int8"]


def test_networks_of_other_classes_are_not_compared() -> None:
    egeunet = TrainedModel.find("egeunet")
    outputs = OutputContract(("background", "disc", "centre"), 3)
    three = replace(egeunet, spec=replace(egeunet.spec, outputs=outputs))
    with pytest.raises(UsageError, match="knows 3 classes, egeunet 2"):
        score_model(egeunet, open_sample(["val"]), against=three)


def test_scores_for_one_foreground_class_are_left_out_of_three_classes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_cli: RunCli
) -> None:
    from edgeseg.models.weights import save_weights

    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    place = "my_package.nets:TinyNet"
    weights = tmp_path / "random.safetensors"
    save_weights(weights, find_model(place, Path("tiny.toml")).make_network())
    words = ("--model", place, "--spec", "tiny.toml", "--weights", weights, "--data", "data")
    done = run_cli("evaluate", *words, "--metrics", "paper", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)["metrics"]
    assert record["set"] == "all"  # there is no paper
    assert record["left_out"] == ["weighted_f", "s_measure", "e_measure", "mae"]
    assert set(record["scores"]) == set(METRICS.names()) - set(record["left_out"])
    printed = run_cli("evaluate", *words, "--metrics", "paper").stdout
    assert "Left out, defined for one foreground class: weighted_f, s_measure" in printed


@pytest.mark.parametrize(
    ("place", "old", "new", "advice"),
    [
        ("my_package.nets:TinyNet", "features", "colour", "Correct \\[arguments\\]"),
        ("my_package.nets:NotANet", "", "", "no torch.nn.Module"),
        ("my_package.nets:Missing", "", "", "has no Missing. Name a class"),
        ("my_package.nets:Breaks", "", "", "RuntimeError: no such file.*or the constructor"),
        ("my_package.nets:Ends", "", "", "SystemExit: 3.*or the constructor"),
        ("my_package.syntax:Net", "", "", "SyntaxError.*syntax.py, line 1.*Correct its code"),
        ("my_package.lacking:Net", "", "", "No module named 'not_there'.*Correct its code"),
        ("my_package.ends:Net", "", "", "imported .ends.py, line 1: SystemExit: 4"),
        ("./my_package/nets:TinyNet", "", "", "Write tiny_net:TinyNet"),
        ("my_package/nets.py:TinyNet", "", "", "Write tiny_net:TinyNet"),
        ("nets.py:TinyNet", "", "", "Write tiny_net:TinyNet"),
        ("my_package.nets:", "", "", "Write tiny_net:TinyNet"),
        ("nowhere:TinyNet", "", "", "set PYTHONPATH"),
        (
            "my_package.nets:TinyNet",
            "height = 32",
            "heigth = 32",
            "lacks height and has the unknown entry heigth",
        ),
        ("my_package.nets:TinyNet", "height = 32", "", "spec.toml lacks height. docs"),
        ("my_package.nets:TinyNet", "height = 32", "height = 32.0", "height is 32.0, .*whole"),
        ("my_package.nets:TinyNet", "width = 48", "width = true", "width is True, .*whole"),
        ("my_package.nets:TinyNet", "channels = 3", 'channels = "3"', "channels is '3', .*whole"),
        ("my_package.nets:TinyNet", '"disc", "centre"', '"disc", "disc"', "a class twice"),
        ("my_package.nets:TinyNet", '"disc", "centre"', '"disc", " "', "printable letters"),
        ("my_package.nets:TinyNet", '"disc", "centre"', '"disc", "a\\nb"', "printable letters"),
        (
            "my_package.nets:TinyNet",
            'classes = ["background", "disc", "centre"]',
            'classes = "disc"',
            "not a list of names",
        ),
        ("my_package.nets:TinyNet", '"A small network"', "3", "title is 3, which is not text"),
        ("my_package.nets:TinyNet", '"mean_std"', '"min_max"', "kind min_max has no entry mean"),
        (
            "my_package.nets:TinyNet",
            "[0.5, 0.5, 0.5]",
            '["a", 1, 1]',
            "list of numbers, one for each",
        ),
        (
            "my_package.nets:TinyNet",
            "[0.5, 0.5, 0.5]",
            "0.5",
            "list of numbers, one for each",
        ),
        ("my_package.nets:TinyNet", "channels = 3", "channels = 2", "Correct that entry"),
        ("my_package.nets:TinyNet", '"logits"', '"scores"', "probabilities, logits"),
        ("my_package.nets:TinyNet", "mean_std", "z_score", "'z_score', .* mean_std, min_max. Corr"),
        ("my_package.nets:TinyNet", "stride = 1", "stride = ", "is no TOML"),
        ("my_package.nets:Cropped", "", "", r"gives \(1, 3, 30, 48\) where .* \(1, 3, 32, 48\)"),
        (
            "my_package.nets:TinyNet",
            'classes = ["background", "disc", "centre"]\nchannels = 3',
            'classes = ["background", "disc"]\nchannels = 1',
            r"gives \(1, 3, 32, 48\) where .*Correct channels",
        ),
        ("my_package.nets:Text", "", "", "let its forward return a tensor"),
        ("my_package.nets:Twofold", "", "", 'several maps of one size: edge .*output = "mask"'),
        (
            "my_package.nets:Twofold",
            "stride = 1",
            "stride = 1\noutput = 'masc'",
            "Name one of these",
        ),
        (
            "my_package.nets:TinyNet",
            "stride = 1",
            "stride = 1\noutput = 1.5",
            "output is 1.5, which",
        ),
        (
            "my_package.nets:TinyNet",
            "stride = 1",
            "stride = 1\noutput = true",
            "output is True, wh",
        ),
        ("my_package.nets:TinyNet", '"logits"', '["logits"]', "returns is .*, which is not text"),
        ("my_package.nets:TinyNet", '"mean_std"', '["mean_std"]', "kind of .normalization. is"),
        ("my_package.nets:Strict", "", "", "only squares, please"),
    ],
)
def test_a_spec_that_does_not_fit_says_what_to_correct(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    old: str,
    new: str,
    advice: str,
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "spec.toml").write_text(SPEC.replace(old, new) if old else SPEC)
    with pytest.raises(UsageError, match=advice):
        find_model(place, tmp_path / "spec.toml")


def test_maps_of_another_name_or_size_are_built_and_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "spec.toml").write_text(SPEC.replace("stride = 1", 'stride = 2\noutput = "mask"'))
    twofold = find_model("my_package.nets:Twofold", tmp_path / "spec.toml")
    assert twofold.to_json()["forward_output"] == "mask"
    quarter = find_model("my_package.nets:Quarter", Path("tiny.toml"))
    assert quarter.outputs.resized_from == (16, 24)
    assert quarter.at_size(64, 48).outputs.resized_from == (32, 24)
    for spec in (twofold, quarter):
        assert ModelSpec.from_json(spec.to_json()).to_json() == spec.to_json()
        weights = tmp_path / f"{spec.name}.safetensors"
        save_weights(weights, spec.make_network())
        request = BuildRequest(
            spec.import_path,
            "onnxruntime",
            "fp32",
            tmp_path / spec.name,
            weights=weights,
            spec=tmp_path / "spec.toml" if spec is twofold else Path("tiny.toml"),
        )
        bundle, _ = build_bundle(request)
        assert bundle.manifest.checks["artifact"].max_abs_diff < 1e-4
    assert bundle.manifest.output["resized_from"] == [16, 24]


def test_a_network_that_is_written_anew_is_another_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    save_weights(
        tmp_path / "tiny.safetensors",
        find_model("my_package.nets:TinyNet", Path("tiny.toml")).make_network(),
    )

    def identity() -> dict[str, Any]:
        request = BuildRequest(
            "my_package.nets:TinyNet",
            "onnxruntime",
            "fp32",
            tmp_path / "out",
            weights=tmp_path / "tiny.safetensors",
            spec=Path("tiny.toml"),
        )
        return BuildContext(request, SILENT).identity()

    before = identity()
    assert identity() == before
    source = folder / "my_package" / "nets.py"
    text = source.read_text()
    source.write_text(text.replace("nn.ReLU()", "nn.LeakyReLU()"))
    try:
        assert identity() != before
    finally:
        source.write_text(text)
    assert identity() == before
    helper = folder / "my_package" / "blocks.py"  # may be imported by the network
    helper.write_text("WIDTH = 3\n")
    try:
        assert identity() != before
    finally:
        helper.unlink()


def test_a_network_of_the_user_needs_a_spec(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give that with --spec"):
        find_model("my_package.nets:TinyNet")
    with pytest.raises(UsageError, match="Check the path"):
        find_model("my_package.nets:TinyNet", tmp_path / "none.toml")
