from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import needs

torch = pytest.importorskip("torch")

from edgeseg.errors import UsageError
from edgeseg.models import find_model
from edgeseg.pipeline.adapt import AdaptRequest, adapt_model
from edgeseg.pipeline.evaluate import EvaluateRequest, evaluate_model
from edgeseg.training.options import TrainingOptions

pytestmark = needs("monai", "lightning_fabric")

QUICK = {"epochs": 1, "epoch_steps": 2, "batch_size": 2}
TRAINING = TrainingOptions("short", QUICK, accelerator="cpu")
AGAIN = replace(TRAINING, resume=True)
RunCli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def images(make_data_folder: Callable[..., Path]) -> Path:
    data = make_data_folder(8, (32, 32))
    for split, part in (("train", range(5)), ("val", range(5, 8)), ("test", range(0))):
        (data / f"{split}.txt").write_text("\n".join(f"pair{number}" for number in part))
    return data


def request_for(images: Path, output: Path, **changes: Any) -> AdaptRequest:
    options: dict[str, Any] = {"training": TRAINING, "size": (32, 32)}
    return AdaptRequest("egeunet", images, output, **options | changes)


def test_twin_is_made_and_both_accuracies_are_told(images: Path, tmp_path: Path) -> None:
    result = adapt_model(request_for(images, tmp_path / "run", data=images))
    assert result.model == "egeunet-twin"
    record = json.loads((tmp_path / "run" / "twin.json").read_text())
    assert record == json.loads(json.dumps(result.record))
    assert (record["truth"], record["images"]) == ("labels", 3)
    assert list(record["networks"]) == ["egeunet", "egeunet-twin"]
    dices = [one["accuracy"]["dice_pooled"] for one in record["networks"].values()]
    assert record["difference"]["dice_pooled"] == pytest.approx(dices[1] - dices[0])
    find_model("egeunet-twin", None, (32, 32)).load_network(result.weights_path)


def test_without_labels_the_original_is_right(images: Path, tmp_path: Path) -> None:
    for mask in (images / "masks").iterdir():
        mask.unlink()
    result = adapt_model(request_for(images, tmp_path / "run", ending="-twin-relu"))
    assert result.record["truth"] == "masks of egeunet"
    assert result.record["networks"]["egeunet"]["accuracy"]["dice_pooled"] == 1.0
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert history[0]["loss_task"] == 0.0
    assert history[0]["loss_pseudo"] > 0


def test_the_original_answers_at_its_own_size(images: Path, tmp_path: Path) -> None:
    # The loss of its recipe asks how large each class is in what teaches.
    training = replace(TRAINING, recipe=None)
    made = replace(request_for(images, tmp_path / "run", ending="-twin-relu"), model="miniseg")
    made = replace(made, training=training, teacher_size=(64, 64), data=images)
    record = adapt_model(made).record
    assert record["scored_at"] == [64, 64]
    original = evaluate_model(
        EvaluateRequest("miniseg", data=images, splits=("val",), size=(64, 64))
    )
    assert record["networks"]["miniseg"]["accuracy"] == original["accuracy"]


def test_adapting_goes_on(images: Path, tmp_path: Path) -> None:
    first = adapt_model(request_for(images, tmp_path / "run"))
    assert adapt_model(request_for(images, tmp_path / "run", training=AGAIN)) == first


@pytest.mark.parametrize(
    ("changes", "what"),
    [({"ending": "-twin-relu"}, "hard_swish"), ({"unlabeled": None}, "val truth masks of egeunet")],
)
def test_another_twin_does_not_go_on(
    images: Path, tmp_path: Path, changes: dict[str, Any], what: str
) -> None:
    adapt_model(request_for(images, tmp_path / "run"))
    if "unlabeled" in changes:
        changes = {"data": images}
    with pytest.raises(UsageError, match=what):
        adapt_model(request_for(images, tmp_path / "run", training=AGAIN, **changes))


def test_a_twin_is_taught_further(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = adapt_model(request_for(images, tmp_path / "first"))

    def refuse(*_: Any) -> None:
        raise AssertionError("started anew")

    monkeypatch.setattr("edgeseg.distillation.twin_start.start_twin", refuse)
    second = adapt_model(request_for(images, tmp_path / "second", twin_weights=first.weights_path))
    assert second.weights_path.read_bytes() != first.weights_path.read_bytes()
    with pytest.raises(UsageError, match="No weights file"):
        adapt_model(request_for(images, tmp_path / "third", twin_weights=tmp_path / "missing"))


@pytest.mark.parametrize(
    ("model", "advice"),
    [
        ("egeunet-twin", "Name one of edgeseg models"),
        ("package.module:Net", "Name one of edgeseg models"),
        ("msnet", "Build it as it is"),
    ],
)
def test_networks_without_a_twin_are_refused(
    images: Path, tmp_path: Path, model: str, advice: str
) -> None:
    with pytest.raises(UsageError, match=advice):
        adapt_model(AdaptRequest(model, images, tmp_path / "run"))


@needs("onnx", "onnxscript", "onnxruntime")
def test_command_makes_a_twin_that_builds(images: Path, tmp_path: Path, run_cli: RunCli) -> None:
    words = ["--model", "ulite", "--unlabeled", images, "--data", images, "--size", "32x32"]
    words += ["--recipe", "short", "--epochs", 1, "--epoch-steps", 1, "--activation", "relu"]
    done = run_cli("adapt", *words, "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "ulite: pooled Dice" in done.stdout
    assert "ulite-twin-relu: pooled Dice" in done.stdout
    assert "on 3 val images, truth: labels" in done.stdout
    told = run_cli("adapt", *words, "--output", tmp_path / "run", "--resume", "--json")
    record = json.loads(told.stdout)
    assert (record["model"], record["images"], record["bundles"]) == ("ulite-twin-relu", 3, [])
    words = ["--model", "ulite-twin-relu", "--weights", tmp_path / "run" / "best.safetensors"]
    words += ["--size", "32x32", "--target", "onnxruntime", "--precision", "fp32"]
    built = run_cli("build", *words, "--data", images, "--output", tmp_path / "bundle")
    assert built.returncode == 0, built.stderr
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert manifest["model"]["name"] == "ulite-twin-relu"
    assert run_cli("verify", tmp_path / "bundle").returncode == 0


def test_unknown_activation_is_refused(images: Path, run_cli: RunCli) -> None:
    done = run_cli("adapt", "-m", "egeunet", "--unlabeled", images, "--activation", "hardswish")
    assert done.returncode == 2
    assert "Did you mean hard-swish" in done.stderr
