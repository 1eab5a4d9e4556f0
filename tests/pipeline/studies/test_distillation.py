from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import needs

torch = pytest.importorskip("torch")

from edgeseg.errors import EdgesegError, UsageError
from edgeseg.pipeline.distill import DistillRequest, distill_model
from edgeseg.pipeline.studies.distillation import StudyRequest, run_study
from edgeseg.pipeline.studies.gains import PLAIN, teacher_rows

TEACHER, SECOND = teacher_rows(["ulite", "egeunet"])


def test_ablation_adds_the_terms_in_turn(tmp_path: Path) -> None:
    request = StudyRequest(
        tmp_path, tmp_path, method="graphflow-normalized", settings={"views": 1}, ablation=True
    )
    rows = request.rows()
    assert list(rows) == [PLAIN, "+ logits", "+ adversarial", "+ vertices", "+ edges"]
    assert [row.logits for row in rows.values()] == [0, 1, 1, 1, 1]
    assert [row.adversarial for row in rows.values()] == [0, 0, 0.01, 0.01, 0.01]
    assert [row.edges for row in rows.values()] == [0, 0, 0, 0, 0.1]
    assert all(row.normalized for name, row in rows.items() if name != PLAIN)


def test_generations_of_an_ablation_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Leave one of them out"):
        StudyRequest(tmp_path, tmp_path, ablation=True, generations=2)


def test_a_checkpoint_too_many_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"1 teachers \(ulite\) and 2 --teacher-weights"):
        StudyRequest(tmp_path, tmp_path, teacher_weights=(tmp_path, tmp_path))


def test_a_teacher_named_twice_needs_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="trained here they would be the same"):
        StudyRequest(tmp_path, tmp_path, teachers=("ulite", "ulite"))


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"teachers": ("ulit",)}, "Did you mean ulite"),
        ({"teachers": ("miniseg",)}, "Available: published"),
        ({"teacher_weights": (Path("typo.pth"),)}, "Check --teacher-weights"),
        ({"teacher_backbone": Path("backbone.pth")}, "Leave --teacher-backbone out"),
        (
            {"method": "graphflow-normalized", "settings": {"views": 4}, "ablation": True},
            "Leave --views out",
        ),
        ({"labels": 1.0, "settings": {"cutmix": 0.5}}, "mixes the unlabelled half"),
    ],
)
def test_mistakes_are_found_before_anything_is_trained(
    make_data_folder: Callable[..., Path], tmp_path: Path, changes: dict[str, Any], advice: str
) -> None:
    request = StudyRequest(make_data_folder(4, (32, 32)), tmp_path / "study", **changes)
    with pytest.raises(EdgesegError, match=advice):
        run_study(request)
    assert not (tmp_path / "study").exists()


RunCli = Callable[..., subprocess.CompletedProcess[str]]


@needs("monai", "lightning_fabric")
def test_study_trains_scores_and_goes_on(
    make_data_folder: Callable[..., Path],
    tmp_path: Path,
    run_cli: RunCli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = make_data_folder(16, (32, 32))
    for split, part in (("train", range(12)), ("val", range(12, 14)), ("test", range(14, 16))):
        (data / f"{split}.txt").write_text("\n".join(f"pair{number}" for number in part))
    words = ["--data", data, "--output", tmp_path / "study", "--labels", 0.5, "--seed", 5]
    words += [
        "--size",
        "32x32",
        "--teacher",
        "ulite",
        "--teacher",
        "egeunet",
        "--epochs",
        1,
        "--epoch-steps",
        2,
        "--teacher-epochs",
        1,
    ]
    done = run_cli("distill-study", *words)
    assert done.returncode == 0, done.stderr
    for name in (TEACHER, SECOND, PLAIN, "distilled", "seed 5", "gain (95 %)"):
        assert name in done.stdout
    folders = {path.name for path in (tmp_path / "study").iterdir() if path.is_dir()}
    assert folders == {"teacher-ulite-5", "labels-only-5", "distilled-5"}
    for folder in folders:
        identity = torch.load(tmp_path / "study" / folder / "last.pt", weights_only=True)
        assert identity["identity"]["train images"].startswith("6 (")
    record = json.loads((tmp_path / "study" / "study.json").read_text())
    rows = {row["name"]: row for row in record["rows"]}
    assert list(rows) == [TEACHER, SECOND, PLAIN, "distilled"]
    assert rows[SECOND]["dice"] == rows[PLAIN]["dice"]  # one and the same run
    assert record["request"]["labels"] == 0.5
    assert all(len(run["counts"]) == 2 for run in record["runs"])

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("scored again")

    monkeypatch.setattr("edgeseg.training.predict.predict_overlap", refuse)
    again = run_cli("distill-study", *words)
    assert (again.returncode, again.stdout) == (0, done.stdout), again.stderr


@needs("monai", "lightning_fabric")
def test_a_given_teacher_is_not_trained(
    make_data_folder: Callable[..., Path], tmp_path: Path
) -> None:
    from edgeseg.models import find_model
    from edgeseg.models.weights import save_weights

    data = make_data_folder(16, (32, 32))
    weights = tmp_path / "teacher.safetensors"
    save_weights(weights, find_model("ulite").make_network())
    request = StudyRequest(
        data,
        tmp_path / "study",
        seeds=(1,),
        teacher_weights=(weights,),
        labels=1.0,
        method="logits",
        size=(32, 32),
        teacher_size=(32, 32),
        epochs=1,
        epoch_steps=1,
        split="val",
        accelerator="cpu",
    )
    rows = run_study(request)
    assert [row.name for row in rows] == [TEACHER, PLAIN, "distilled"]
    assert not (tmp_path / "study" / "teacher-ulite-1").exists()


@needs("monai", "lightning_fabric")
def test_a_student_teaches_the_next_generation(
    make_data_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data_folder(16, (32, 32))
    asked: list[DistillRequest] = []

    def teach(request: DistillRequest, progress: Any) -> Any:
        asked.append(request)
        return distill_model(request, progress)

    monkeypatch.setattr("edgeseg.pipeline.studies.distillation.distill_model", teach)
    request = StudyRequest(
        data,
        tmp_path / "study",
        seeds=(1,),
        teachers=("ulite",),
        generations=2,
        labels=0.5,
        size=(32, 32),
        teacher_size=(64, 64),
        epochs=1,
        teacher_epochs=1,
        split="val",
        accelerator="cpu",
    )
    second = "distilled, generation 2"
    assert [row.name for row in run_study(request)] == [TEACHER, PLAIN, "distilled", second]
    plain, first, later = asked
    # As many steps for all: one pass over the train images with labels and without.
    assert [one.training.settings["epoch_steps"] for one in asked] == [2, 2, 2]
    assert plain.teachers == ()
    assert first.teachers == ("ulite",)
    assert later.teachers == ("ulite", "egeunet")
    assert later.teacher_sizes == ((64, 64), (32, 32))
    assert later.teacher_weights[1] == tmp_path / "study" / "distilled-1" / "best.safetensors"
    assert (tmp_path / "study" / "distilled-generation-2-1" / "best.safetensors").is_file()
