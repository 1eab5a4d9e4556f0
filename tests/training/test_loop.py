from __future__ import annotations

import contextlib
import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import needs

torch = pytest.importorskip("torch")

from edgeseg.data.folder import open_folder
from edgeseg.errors import OutputInUseError, TrainingError, UsageError
from edgeseg.models import find_model
from edgeseg.models.weights import load_state, save_weights
from edgeseg.pipeline.train import TrainRequest, train_model
from edgeseg.training.loop import Trainer
from edgeseg.training.lossnet import VggFeatures
from edgeseg.training.options import TrainingOptions
from edgeseg.training.predict import predict_overlap

pytestmark = needs("monai", "lightning_fabric")

PROGRAM = Path(__file__).with_name("killed_run.py")


def load_program() -> Any:
    spec = importlib.util.spec_from_file_location("killed_run", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RUN = load_program()


class Interrupt:
    """Progress that stops the run at the beginning of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.title = f"epoch {epoch}/"

    @contextlib.contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[Interrupt]:
        if title.startswith(self.title):
            raise KeyboardInterrupt
        yield self

    def advance(self, steps: float = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class Recorder(Interrupt):
    """Progress that keeps what it was told."""

    def __init__(self) -> None:
        super().__init__(0)
        self.totals: list[float | None] = []
        self.steps = 0.0
        self.notes: list[str] = []

    @contextlib.contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[Recorder]:
        self.totals.append(total)
        yield self

    def advance(self, steps: float = 1) -> None:
        self.steps += steps

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def data(make_data_folder: Callable[..., Path]) -> Path:
    return make_data_folder(4, (32, 32))


def checkpoint_of(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / "last.pt", weights_only=True)
    return state


def assert_same_run(ours: Path, theirs: Path) -> None:
    mine, other = checkpoint_of(ours), checkpoint_of(theirs)
    assert mine["history"] == other["history"]
    assert mine["schedule"] == other["schedule"]
    assert list(mine["network"]) == list(other["network"])
    for name, tensor in mine["network"].items():
        assert torch.equal(tensor, other["network"][name]), name
    for name in ("history.json", "best.safetensors", "curves.png"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name


@pytest.mark.parametrize(
    ("schedule", "ticks"), [("one_cycle", 4), ("poly", 4), ("cosine", 2), ("plateau", 2)]
)
def test_one_cycle_goes_by_step_and_cosine_by_epoch(
    data: Path, tmp_path: Path, schedule: str, ticks: int
) -> None:
    recipe = replace(RUN.RECIPE, epochs=2, schedule=schedule)
    RUN.train(data, tmp_path / "run", recipe)
    assert checkpoint_of(tmp_path / "run")["schedule"]["last_epoch"] == ticks


def test_run_learns_and_leaves_its_files(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    recipe = replace(RUN.RECIPE, epochs=8, learning_rate=5e-3)
    result = RUN.train(data, output, recipe)
    assert sorted(path.name for path in output.iterdir()) == [
        "best.safetensors",
        "curves.png",
        "history.json",
        "last.pt",
    ]
    assert [row["epoch"] for row in result.history] == list(range(1, 9))
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert json.loads((output / "history.json").read_text()) == result.history
    assert result.weights_path == output / "best.safetensors"


def test_best_weights_are_those_of_the_best_epoch(data: Path, tmp_path: Path) -> None:
    result = RUN.train(data, tmp_path / "run")
    images = open_folder(data)
    network = RUN.SPEC.load_network(result.weights_path)
    table = predict_overlap(network, images, RUN.SPEC.inputs, RUN.SPEC.outputs)
    hits, false_positives, false_negatives = table.counts[:, 1:].sum(axis=(0, 1))
    dice = 2 * hits / (2 * hits + false_positives + false_negatives)
    dices = [row["dice_pooled"] for row in result.history]
    assert result.best_dice == max(dices) == pytest.approx(dice, abs=1e-9)
    assert result.best_epoch == dices.index(max(dices)) + 1


def test_progress_counts_every_step_and_image(data: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    RUN.train(data, tmp_path / "run", progress=recorder)
    assert recorder.totals == [2 + 4] * 3  # steps of two images, then the images of val
    assert recorder.steps == sum(recorder.totals)
    assert all("loss" in note and "val Dice" in note for note in recorder.notes)


def test_same_run_twice_is_bit_equal(data: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        RUN.train(data, tmp_path / name)
    assert_same_run(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine"])
def test_resumed_run_equals_uninterrupted_one(data: Path, tmp_path: Path, schedule: str) -> None:
    recipe = replace(RUN.RECIPE, schedule=schedule)
    RUN.train(data, tmp_path / "whole", recipe)
    with pytest.raises(KeyboardInterrupt):
        RUN.train(data, tmp_path / "parts", recipe, progress=Interrupt(2))
    assert len(checkpoint_of(tmp_path / "parts")["history"]) == 1
    images = open_folder(data)
    # Another seed of the network shows that everything comes from the checkpoint.
    trainer = RUN.make_trainer(tmp_path / "parts", recipe, seed=1)
    result = trainer.run(images, images, resume=True)
    assert_same_run(tmp_path / "parts", tmp_path / "whole")
    assert len(result.history) == recipe.epochs


def test_finished_run_resumes_to_the_same_result(data: Path, tmp_path: Path) -> None:
    first = RUN.train(data, tmp_path / "run")
    before = (tmp_path / "run" / "last.pt").read_bytes()
    assert RUN.train(data, tmp_path / "run", resume=True) == first
    assert (tmp_path / "run" / "last.pt").read_bytes() == before


@pytest.mark.parametrize("moment", ["step", "save"])
def test_killed_process_leaves_resumable_folder(data: Path, tmp_path: Path, moment: str) -> None:
    output = tmp_path / "killed"
    words = [sys.executable, PROGRAM, moment, data, output]
    killed = subprocess.run([*map(str, words)], check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(checkpoint_of(output)["history"]) == 1
    RUN.train(data, tmp_path / "whole")
    RUN.train(data, output, resume=True)
    assert_same_run(output, tmp_path / "whole")
    assert sorted(path.name for path in output.iterdir()) == sorted(
        path.name for path in (tmp_path / "whole").iterdir()
    )


def test_existing_run_needs_resume(data: Path, tmp_path: Path) -> None:
    recipe = replace(RUN.RECIPE, epochs=1)
    RUN.train(data, tmp_path / "run", recipe)
    before = (tmp_path / "run" / "last.pt").read_bytes()
    with pytest.raises(
        OutputInUseError, match=r"Continue that run with --resume, or choose another"
    ):
        RUN.train(data, tmp_path / "run", recipe)
    assert (tmp_path / "run" / "last.pt").read_bytes() == before


def test_resume_with_other_settings_names_them(data: Path, tmp_path: Path) -> None:
    RUN.train(data, tmp_path / "run", replace(RUN.RECIPE, epochs=1))
    other = replace(RUN.RECIPE, epochs=2, batch_size=4)
    with pytest.raises(
        UsageError, match=r"\(epochs 1 -> 2, batch_size 2 -> 4\)\. Resume it with its own"
    ):
        RUN.train(data, tmp_path / "run", other, resume=True)


def test_resume_with_other_input_size_is_refused(data: Path, tmp_path: Path) -> None:
    images = open_folder(data)
    with pytest.raises(KeyboardInterrupt):
        RUN.train(data, tmp_path / "run", progress=Interrupt(2))
    trainer = RUN.make_trainer(tmp_path / "run")
    trainer.inputs = find_model("egeunet").at_size(64, 64).inputs
    with pytest.raises(UsageError, match="32x32"):
        trainer.run(images, images, resume=True)


def test_resume_from_another_start_is_refused(
    make_data_folder: Callable[..., Path], tmp_path: Path
) -> None:
    settings = {"epochs": 1, "epoch_steps": 1, "batch_size": 2}
    training = TrainingOptions("short", settings, accelerator="cpu")
    again = replace(training, resume=True)
    request = TrainRequest(
        "egeunet",
        make_data_folder(16, (32, 32)),
        tmp_path / "run",
        size=(32, 32),
        training=training,
    )
    first = train_model(request)
    weights = tmp_path / "start.safetensors"
    save_weights(weights, find_model("egeunet").make_network())
    with pytest.raises(UsageError, match=r"\(weights from None -> [0-9a-f]{8}\)"):
        train_model(replace(request, weights=weights, training=again))
    assert train_model(replace(request, training=again)) == first


def test_a_kill_between_checkpoint_and_weights_loses_nothing(data: Path, tmp_path: Path) -> None:
    RUN.train(data, tmp_path / "run", replace(RUN.RECIPE, epochs=1))
    weights = tmp_path / "run" / "best.safetensors"
    before = weights.read_bytes()
    weights.unlink()
    RUN.train(data, tmp_path / "run", replace(RUN.RECIPE, epochs=1), resume=True)
    assert weights.read_bytes() == before


def test_weights_without_a_checkpoint_are_kept(data: Path, tmp_path: Path) -> None:
    RUN.train(data, tmp_path / "run", replace(RUN.RECIPE, epochs=1))
    (tmp_path / "run" / "last.pt").unlink()
    before = (tmp_path / "run" / "best.safetensors").read_bytes()
    with pytest.raises(OutputInUseError, match=r"but no last\.pt"):
        RUN.train(data, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == before


def test_a_cpu_does_not_train_in_half_precision(tmp_path: Path) -> None:
    spec = RUN.SPEC
    recipe = replace(RUN.RECIPE, precision="16-mixed")
    with pytest.raises(UsageError, match="CPUs do not train in 16-mixed"):
        Trainer(spec.make_network(), spec.inputs, spec.outputs, recipe, tmp_path, accelerator="cpu")


def test_run_remembers_the_features_of_its_loss(data: Path, tmp_path: Path) -> None:
    images = open_folder(data)
    spec = find_model("ulite").at_size(32, 32)
    loss = "weighted_bce_iou_lossnet"
    recipe = replace(RUN.RECIPE, loss=loss, precision="bf16-mixed", epochs=2, batch_size=4)

    def make_trainer(weights: Path | None = None) -> Trainer:
        contracts = spec.inputs, spec.outputs
        options: dict[str, Any] = {"accelerator": "cpu", "perceptual_weights": weights}
        return Trainer(spec.make_network(), *contracts, recipe, tmp_path / "run", **options)

    with pytest.raises(KeyboardInterrupt):
        make_trainer().run(images, images, progress=Interrupt(2))
    state = checkpoint_of(tmp_path / "run")
    assert state["identity"]["perceptual features"] == "random, seed 16"
    assert state["history"][0]["loss"] > 0

    features = VggFeatures()
    features.features[0].weight[0] = 0
    save_weights(tmp_path / "vgg16.safetensors", features)
    with pytest.raises(
        UsageError, match=r"\(perceptual features random, seed 16 -> weights [0-9a-f]{8}\)\. Resume"
    ):
        make_trainer(tmp_path / "vgg16.safetensors").run(images, images, resume=True)
    assert len(make_trainer().run(images, images, resume=True).history) == 2


def test_run_without_a_perceptual_loss_names_no_features(data: Path, tmp_path: Path) -> None:
    RUN.train(data, tmp_path / "run", replace(RUN.RECIPE, epochs=1))
    assert "perceptual features" not in checkpoint_of(tmp_path / "run")["identity"]


def test_resume_with_more_images_is_refused(
    data: Path, tmp_path: Path, make_data_folder: Callable[..., Path]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        RUN.train(data, tmp_path / "run", progress=Interrupt(2))
    more = make_data_folder(12, (32, 32), name="more")
    with pytest.raises((UsageError, TrainingError), match="images"):
        RUN.train(more, tmp_path / "run", resume=True)


@pytest.mark.parametrize("content", [b"", b"some text", b"\x80\x02."])
def test_foreign_checkpoint_is_refused(data: Path, tmp_path: Path, content: bytes) -> None:
    output = tmp_path / "run"
    output.mkdir()
    (output / "last.pt").write_bytes(content)
    with pytest.raises(TrainingError, match=r"last\.pt.*start a new run in another --output"):
        RUN.train(data, output, resume=True)


def test_loss_that_is_not_finite_says_where(data: Path, tmp_path: Path) -> None:
    trainer = RUN.make_trainer(tmp_path / "run")
    torch.nn.init.constant_(trainer.network.final.bias, float("nan"))
    images = open_folder(data)
    with pytest.raises(
        TrainingError, match=r"became nan in epoch 1, step 1\. Lower --learning-rate, or look for"
    ):
        trainer.run(images, images)
    assert not (tmp_path / "run" / "last.pt").exists()


def test_counts_are_of_the_network_at_its_size(data: Path) -> None:
    class Everything(torch.nn.Module):
        def forward(self, image: Any) -> Any:
            return torch.ones_like(image[:, :1])

    images = open_folder(data)
    table = predict_overlap(Everything(), images, RUN.SPEC.inputs, RUN.SPEC.outputs)
    inside = [int(pair.read_labels(2).sum()) for pair in images]
    assert table.counts[:, 1].tolist() == [[count, 32 * 32 - count, 0] for count in inside]


def test_saved_weights_have_the_names_of_the_network(data: Path, tmp_path: Path) -> None:
    result = RUN.train(data, tmp_path / "run", replace(RUN.RECIPE, epochs=1))
    assert set(load_state(result.weights_path)) == set(RUN.SPEC.make_network().state_dict())
