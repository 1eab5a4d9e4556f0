from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import needs

torch = pytest.importorskip("torch")

from edgeseg.distillation.settings import find_method
from edgeseg.errors import OutputInUseError, UnknownNameError, UsageError
from edgeseg.models import find_model
from edgeseg.models.weights import save_weights
from edgeseg.pipeline import distill as distill_pipeline
from edgeseg.pipeline.distill import DistillRequest, distill_model, keeps_answers, open_images
from edgeseg.pipeline.train import TrainRequest, train_model
from edgeseg.training.options import TrainingOptions
from edgeseg.training.recipes import find_recipe

pytestmark = needs("monai", "lightning_fabric")

QUICK = {"epochs": 2, "epoch_steps": 2, "batch_size": 4, "seed": 3}
TRAINING = TrainingOptions("short", QUICK, accelerator="cpu")
AGAIN = replace(TRAINING, resume=True)


@pytest.fixture(scope="module")
def teacher_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("teacher") / "ulite.safetensors"
    save_weights(path, find_model("ulite").make_network())
    return path


@pytest.fixture
def request_for(
    make_data_folder: Callable[..., Path], teacher_weights: Path, tmp_path: Path
) -> Callable[..., DistillRequest]:
    data = make_data_folder(16, (32, 32))
    names = sorted(path.stem for path in (data / "images").iterdir())
    for split, part in (("train", names[:12]), ("val", names[12:14]), ("test", names[14:])):
        (data / f"{split}.txt").write_text("\n".join(part))

    def make(**changes: Any) -> DistillRequest:
        request = DistillRequest(
            ("ulite",),
            "egeunet",
            data,
            tmp_path / "run",
            teacher_weights=(teacher_weights,),
            teacher_sizes=((32, 32),),
            student_size=(32, 32),
            method="logits",
            training=TRAINING,
        )
        return replace(request, **changes)

    return make


def test_few_labels_fill_half_of_each_batch(request_for: Callable[..., DistillRequest]) -> None:
    request = request_for(labels=0.25)
    train, unlabelled = open_images(request, seed=3)
    assert unlabelled is not None
    assert (len(train), len(unlabelled)) == (3, 9)
    result = distill_model(request)
    assert [row["epoch"] for row in result.history] == [1, 2]
    for row in result.history:
        assert row["loss"] == pytest.approx(row["loss_task"] + row["loss_logits"], rel=1e-6)
    identity = torch.load(request.output / "last.pt", weights_only=True)["identity"]
    assert identity["train images"].startswith("3 (")
    assert identity["unlabelled images"].startswith("9 (")
    assert sorted(path.name for path in request.output.iterdir()) == [
        "best.safetensors",
        "curves.png",
        "history.json",
        "last.pt",
    ]


def test_every_term_at_once_with_features(
    request_for: Callable[..., DistillRequest], tmp_path: Path
) -> None:
    request = request_for(
        method="graphflow-normalized",
        settings={"pseudo": 1.0, "critic_width": 2, "paraphraser_steps": 2, "nodes": 4},
        teacher_taps=("e1", "e2", "d1"),
        student_taps=("encoder1", "encoder2", "decoder5"),
        labels=0.5,
    )
    result = distill_model(request)
    row = result.history[-1]
    terms = ("task", "vertices", "edges", "adversarial", "logits", "pseudo")
    assert [name for name in row if name.startswith("loss_")] == [f"loss_{name}" for name in terms]
    weights = {"adversarial": 0.01, "vertices": 0.1, "edges": 0.1}
    total = sum(weights.get(name, 1.0) * row[f"loss_{name}"] for name in terms)
    assert row["loss"] == pytest.approx(total, rel=1e-4)


class Notes:
    """Progress that keeps what is said."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @contextlib.contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[Any]:
        yield self

    def advance(self, steps: float = 1) -> None:
        pass

    def note(self, text: str) -> None:
        self.told.append(text)


def test_what_checkpoints_lose_is_told(
    request_for: Callable[..., DistillRequest], teacher_weights: Path, tmp_path: Path
) -> None:
    student = find_model("egeunet").make_network().state_dict()
    torch.save({**student, "total_ops": torch.zeros(1)}, tmp_path / "student.pt")
    teacher = find_model("ulite").load_network(teacher_weights).state_dict()
    torch.save({**teacher, "total_params": torch.zeros(1)}, tmp_path / "teacher.pt")
    request = request_for(
        teacher_weights=(tmp_path / "teacher.pt",), student_weights=tmp_path / "student.pt"
    )
    notes = Notes()
    distill_model(request, notes)
    told = " ".join(notes.told)
    assert "left out 1 (total_ops)" in told
    assert "left out 1 (total_params)" in told


@pytest.mark.parametrize("method", ["logits", "graphflow-normalized"])
def test_killed_run_goes_on_to_the_same_result(
    request_for: Callable[..., DistillRequest], tmp_path: Path, method: str
) -> None:
    changes: dict[str, Any] = {"labels": 0.5, "method": method}
    if method != "logits":
        changes |= {
            "settings": {"critic_width": 2, "paraphraser_steps": 2, "nodes": 4},
            "teacher_taps": ("e1", "e2"),
            "student_taps": ("encoder1", "encoder2"),
        }
    whole = request_for(output=tmp_path / "whole", **changes)
    distill_model(whole)

    class Stop:
        def __init__(self) -> None:
            self.real = distill_pipeline.SILENT

        def stage(self, title: str, total: float | None = None) -> Any:
            if title.startswith("epoch 2/"):
                raise KeyboardInterrupt
            return self.real.stage(title, total)

    parts = request_for(output=tmp_path / "parts", **changes)
    with pytest.raises(KeyboardInterrupt):
        distill_model(parts, Stop())
    with pytest.raises(OutputInUseError, match="--resume"):
        distill_model(parts)
    distill_model(replace(parts, training=AGAIN))
    for name in ("history.json", "best.safetensors"):
        ours, theirs = (folder / name for folder in (parts.output, whole.output))
        assert ours.read_bytes() == theirs.read_bytes(), name


def test_resume_with_another_teacher_or_weight_is_refused(
    request_for: Callable[..., DistillRequest],
) -> None:
    distill_model(request_for())
    with pytest.raises(UsageError, match=r"other settings \(distillation"):
        distill_model(request_for(training=AGAIN, settings={"logits": 2.0}))


def test_without_a_method_it_is_plain_training(
    request_for: Callable[..., DistillRequest], tmp_path: Path
) -> None:
    request = request_for(method="none", labels=0.5)
    distilled = distill_model(request)
    plain = train_model(
        TrainRequest(
            "egeunet",
            request.data,
            tmp_path / "plain",
            size=(32, 32),
            labels=0.5,
            training=TRAINING,
        )
    )
    assert distilled.history == plain.history
    assert distilled.weights_path.read_bytes() == plain.weights_path.read_bytes()


def test_unlabelled_folder_adds_its_images_without_masks(
    request_for: Callable[..., DistillRequest], make_data_folder: Callable[..., Path]
) -> None:
    more = make_data_folder(5, (32, 32), name="more", masks=False)
    train, unlabelled = open_images(request_for(unlabeled=more), seed=3)
    assert unlabelled is not None
    assert (len(train), len(unlabelled)) == (12, 5)
    (more / "train.txt").write_text("pair1\npair3\n")
    _, unlabelled = open_images(request_for(unlabeled=more, labels=0.5), seed=3)
    assert unlabelled is not None
    assert len(unlabelled) == 6 + 2
    assert all(pair.mask_path is None for pair in unlabelled)


def test_data_folder_is_no_unlabelled_folder(request_for: Callable[..., DistillRequest]) -> None:
    request = request_for()
    with pytest.raises(UsageError, match="val and test images must not be learned from"):
        distill_model(replace(request, unlabeled=request.data))


def test_any_rotation_asks_the_teacher_in_each_step(
    request_for: Callable[..., DistillRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    import edgeseg.distillation.teacher as teacher_module

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("answers were kept")

    monkeypatch.setattr(teacher_module.KeptAnswers, "__init__", refuse)
    published = replace(TRAINING, recipe="published", settings={**QUICK, "epochs": 1})
    result = distill_model(request_for(training=published))
    assert "loss_logits" in result.history[0]
    with pytest.raises(UsageError, match="Leave --views out, or choose"):
        distill_model(
            request_for(training=published, settings={"views": 4}, output=Path("elsewhere"))
        )


def test_layers_are_compared_one_to_one(request_for: Callable[..., DistillRequest]) -> None:
    with pytest.raises(UsageError, match=r"teacher \(e1, e2\) and 3 of the student"):
        distill_model(
            request_for(
                method="graphflow",
                teacher_taps=("e1", "e2"),
                student_taps=("encoder1", "encoder2", "decoder5"),
            )
        )


def test_unknown_tap_is_named(request_for: Callable[..., DistillRequest]) -> None:
    with pytest.raises(UnknownNameError, match=r"The teacher ulite has no module 'e9'"):
        distill_model(
            request_for(
                method="graphflow", teacher_taps=("e1", "e9"), student_taps=("encoder1", "encoder2")
            )
        )


def test_teacher_of_other_classes_is_refused(
    request_for: Callable[..., DistillRequest], tmp_path: Path
) -> None:
    spec = tmp_path / "three.toml"
    spec.write_text(
        'classes = ["background", "disc", "cup"]\nchannels = 3\nreturns = "probabilities"\n'
        "height = 32\nwidth = 32\nstride = 32\n"
        '[normalization]\nkind = "mean_std"\n[arguments]\nclasses = 3\n'
    )
    request = request_for(teachers=("edgeseg.models.ulite:ULite",), teacher_spec=spec)
    with pytest.raises(UsageError, match=r"knows 3 classes, the student egeunet 2\. Take a"):
        distill_model(request)


def test_a_teacher_of_two_channels_teaches_a_sigmoid(
    request_for: Callable[..., DistillRequest], tmp_path: Path
) -> None:
    path = tmp_path / "miniseg.safetensors"
    save_weights(path, find_model("miniseg").make_network())
    result = distill_model(request_for(teachers=("miniseg",), teacher_weights=(path,)))
    assert result.history[-1]["loss_logits"] > 0


RunCli = Callable[..., subprocess.CompletedProcess[str]]


@needs("onnx", "onnxscript", "onnxruntime")
def test_command_distils_quantises_and_builds(
    run_cli: RunCli, request_for: Callable[..., DistillRequest], tmp_path: Path
) -> None:
    request = request_for()
    words: list[Any] = []
    for _ in range(2):
        words += ["--teacher", "ulite", "--teacher-weights", request.teacher_weights[0]]
    words += ["--student", "ulite", "--data", request.data, "--labels", 0.5, "--seed", 1]
    words += ["--teacher-size", "32x32", "--teacher-size", "64x64", "--size", "32x32"]
    words += [
        "--recipe",
        "short",
        "--epochs",
        1,
        "--epoch-steps",
        1,
        "--weight",
        "pseudo=0.5",
        "--views",
        2,
    ]
    words += ["--build", "onnxruntime"]
    done = run_cli("distill", *words, "--method", "logits", "--output", tmp_path / "cli")
    assert done.returncode == 0, done.stderr
    assert "best.safetensors: epoch 1 of 1, pooled Dice 0." in done.stdout
    assert "bundles/onnxruntime: ulite-onnxruntime-int8, artefact" in done.stdout
    assert run_cli("verify", tmp_path / "cli" / "bundles" / "onnxruntime").returncode == 0
    words += ["--method", "logits", "--output", tmp_path / "cli", "--resume", "--json"]
    told = json.loads(run_cli("distill", *words).stdout)
    assert told["best_epoch"] == 1
    assert told["bundles"][0]["bundle"].endswith("bundles/onnxruntime")
    history = json.loads((tmp_path / "cli" / "history.json").read_text())
    assert {"loss_logits", "loss_pseudo"} <= set(history[0])


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["--weight", "pseudo"], "Write NAME=NUMBER"),
        (["--weight", "flow=1"], "Terms: vertices, edges, adversarial, logits, pseudo"),
        (["--method", "graphflo"], "Did you mean graphflow"),
        (["--labels", "0"], "Give a number above 0"),
        (["--method", "logits", "--mixup", "0.5"], "mixes the unlabelled half"),
        (["--method", "logits", "--cutmix", "0.5"], "no image is without label. Use --labels"),
        (["--method", "none", "--cutmix", "0.5", "--labels", "0.5"], "Choose another --method"),
        (
            ["--method", "logits", "--cutmix", "0.5", "--labels", "0.5", "--batch-size", "3"],
            "in a batch of 3 is no two images",
        ),
        (["--teacher-size", "large"], "--teacher-size large is no size"),
        (["--build", "intle"], "Did you mean intel"),
        (["--teacher-weights", "missing.pth"], "Check --teacher-weights"),
        (["--teacher", "ulite", "--teacher-weights", "a.pth"], "one checkpoint for each teacher"),
        (
            ["--teacher", "m2snet", *["--teacher-size", "64x64"] * 3],
            "one for each in the same order",
        ),
    ],
)
def test_command_refuses_with_advice(
    run_cli: RunCli,
    request_for: Callable[..., DistillRequest],
    words: list[str],
    advice: str,
) -> None:
    data = request_for().data
    done = run_cli("distill", "--teacher", "ulite", "--student", "egeunet", "--data", data, *words)
    assert done.returncode == 2, done.stderr
    assert advice in done.stderr


def test_answers_are_kept_for_pasted_images_not_for_blended_ones() -> None:
    recipe = find_recipe(find_model("egeunet"), "short")
    pasted, blended = (
        find_method("pseudo-labels").changed({name: 0.5}) for name in ("cutmix", "mixup")
    )
    assert keeps_answers(pasted, recipe)
    assert not keeps_answers(blended, recipe)
