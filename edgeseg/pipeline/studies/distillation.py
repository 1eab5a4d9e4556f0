"""What distillation brings: the same student, labels and steps with and without a teacher."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeseg.data.clusters import clusters_of
from edgeseg.data.folder import FolderDataset, open_folder
from edgeseg.data.medical.frames import sha256_of_picture
from edgeseg.distillation.settings import DistillSettings, find_method
from edgeseg.errors import UsageError, reason_of
from edgeseg.metrics.counts import Counts
from edgeseg.models import ModelSpec, find_model
from edgeseg.progress import SILENT, Progress
from edgeseg.records import sha256_of_file
from edgeseg.storage.atomic import write_text
from edgeseg.storage.cache import toolchain_versions
from edgeseg.storage.reading import read_json
from edgeseg.training.options import TrainingOptions
from edgeseg.training.recipes import find_recipe

from ..distill import (
    DistillRequest,
    distill_model,
    require_answers,
    require_mixable,
    require_one_each,
)
from ..train import TrainRequest, train_model
from .gains import PLAIN, StudyRow, summarize, teacher_rows

RESULTS_NAME = "study.json"
DISTILLED = "distilled"
# In the order in which an ablation adds them.
ADDED_TERMS = ("logits", "pseudo", "adversarial", "vertices", "edges")


@dataclass(frozen=True)
class StudyRequest:
    """What to compare.

    Every student of a seed starts from the same weights, sees the same labelled images, and learns
    for the same number of steps of the same batch size; half of a batch has no labels where a
    teacher can use it. An epoch has as many steps for all: `epoch_steps`, or one pass over all
    train images with labels and without.

    Attributes:
        data: Folder with train, val, and the split that is scored.
        output: Receives one run folder for each row and seed, and `study.json`.
        seeds: Each chooses weights, order, augmentation and the labelled images.
        teachers: Model names; the mean of their logits teaches. One of the student's name is the
            student of the first row, at the student's size, where teachers are trained.
        student: Model name.
        teacher_weights: A checkpoint for each teacher; empty trains them for each seed on the
            labels that the students have.
        teacher_backbone: Image classifier to start the backbone of teachers that have one from;
            None for random.
        labels: Share of the train labels.
        method: See `edgeseg.distillation.settings`.
        settings: Of the method, that differ.
        ablation: Rows with each term of the method added in turn, in place of one with all.
        generations: Rows of students; from the second on, the distilled student of the row before
            is one teacher more, as in self-training (Xie et al., CVPR 2020, arXiv:1911.04252).
        size, teacher_size: (height, width); None for the models'.
        recipe, teacher_recipe: Names.
        epochs, epoch_steps: Of the students; None keeps the recipe's.
        teacher_epochs: Of the teacher, of as many steps each.
        split: That is scored, with the weights that were best on val.
        workers: Threads that load images ahead.
        accelerator: As Lightning Fabric names it.
    """

    data: Path
    output: Path
    seeds: tuple[int, ...] = (0, 1, 2)
    teachers: tuple[str, ...] = ("ulite",)
    student: str = "egeunet"
    teacher_weights: tuple[Path, ...] = ()
    teacher_backbone: Path | None = None
    labels: float = 0.05
    method: str = "pseudo-labels"
    settings: Mapping[str, Any] = field(default_factory=dict)
    ablation: bool = False
    generations: int = 1
    size: tuple[int, int] | None = None
    teacher_size: tuple[int, int] | None = None
    recipe: str = "short"
    teacher_recipe: str = "short"
    epochs: int | None = None
    epoch_steps: int | None = None
    teacher_epochs: int | None = None
    split: str = "test"
    workers: int = 0
    accelerator: str = "auto"

    def __post_init__(self) -> None:
        """Refuse what does not go together.

        Raises:
            UsageError: Not one checkpoint for each teacher; a teacher twice that is trained here;
                generations of an ablation.
        """
        require_one_each(self.teachers, self.teacher_weights)
        twice = [name for name in self.teachers if self.teachers.count(name) > 1]
        if twice and not self.teacher_weights:
            raise UsageError(
                f"--teacher {twice[0]} is named twice, and trained here they would be the same. "
                "Name it once, or give two checkpoints with --teacher-weights."
            )
        if self.ablation and self.generations > 1:
            raise UsageError(
                "--generations and --ablation do not go together: an ablation has a row for each "
                "term. Leave one of them out."
            )

    def rows(self) -> dict[str, DistillSettings]:
        """Settings of each row of students, by name; the first has no teacher."""
        whole = find_method(self.method).changed(self.settings)
        rows = {PLAIN: find_method("none")}
        if not self.ablation:
            later = [f"{DISTILLED}, generation {n}" for n in range(2, self.generations + 1)]
            return rows | dict.fromkeys((DISTILLED, *later), whole)
        without = dict.fromkeys(ADDED_TERMS, 0.0)
        added: dict[str, float] = {}
        for term in ADDED_TERMS:
            if getattr(whole, term) > 0:
                added[term] = getattr(whole, term)
                rows[f"+ {term}"] = whole.changed({**without, **added})
        return rows

    def training(self, recipe: str, settings: Mapping[str, Any]) -> TrainingOptions:
        """How one network is trained; a run that was killed goes on."""
        return TrainingOptions(recipe, settings, True, self.workers, self.accelerator)

    def to_json(self) -> dict[str, Any]:
        record = asdict(self)
        del record["workers"], record["accelerator"]
        paths: dict[str, str | None] = {name: str(record[name]) for name in ("data", "output")}
        paths["teacher_backbone"] = str(self.teacher_backbone) if self.teacher_backbone else None
        return {**record, **paths, "teacher_weights": [str(path) for path in self.teacher_weights]}


def run_study(request: StudyRequest, progress: Progress = SILENT) -> list[StudyRow]:
    """Train what is not yet trained, score it, write `study.json`; a killed study goes on.

    Processes may work on different seeds of one study at the same time; one with all seeds then
    finds their runs and makes the table.

    Raises:
        EdgesegError: Of any kind; finished epochs and scores stay.
    """
    student = find_model(request.student, None, request.size)
    request = _checked(request, student)
    request.output.mkdir(parents=True, exist_ok=True)
    scored = _Scores(request)
    plain, *others = request.rows().items()
    for seed in request.seeds:
        run = _teach(request, seed, *plain, [], progress)
        scored.add(plain[0], seed, student, run, progress)
        teachers = _find_teachers(request, seed, run, progress)
        for row, teacher in zip(teacher_rows(request.teachers), teachers, strict=True):
            spec = find_model(teacher.name, None, teacher.size)
            scored.add(row, seed, spec, teacher.weights, progress)
        before: list[_Teacher] = []
        for name, settings in others:
            run = _teach(request, seed, name, settings, [*teachers, *before], progress)
            scored.add(name, seed, student, run, progress)
            if not request.ablation:
                before = [_Teacher(request.student, run, request.size)]
    rows = summarize(scored.counts_by_row(), clusters_of(scored.dataset))
    scored.write(rows)
    return rows


def _checked(request: StudyRequest, student: ModelSpec) -> StudyRequest:
    """The request with its number of steps, all that can be wrong with it found before training.

    Raises:
        EdgesegError: Of any kind.
    """
    from edgeseg.training.batches import step_count

    recipe = find_recipe(student, request.recipe)
    for settings in request.rows().values():
        require_answers(settings, recipe)
        require_mixable(settings, recipe, has_unlabelled=request.labels < 1)
    specs = [find_model(name, None, request.teacher_size) for name in request.teachers]
    if request.teacher_weights:
        for spec, path in zip(specs, request.teacher_weights, strict=True):
            spec.resolve_weights(path, "--teacher-weights")
    else:
        recipes = [find_recipe(spec, request.teacher_recipe) for spec in specs]
        if request.teacher_backbone and not any(one.backbone for one in recipes):
            raise UsageError(
                f"None of the teachers ({', '.join(request.teachers)}) has a backbone that was "
                "pretrained apart. Leave --teacher-backbone out."
            )
    if request.epoch_steps is not None:
        return request
    images = open_folder(request.data, ["train"])
    return replace(request, epoch_steps=step_count(len(images), recipe.batch_size))


@dataclass(frozen=True)
class _Teacher:
    """A trained network and the input size that it is asked at."""

    name: str
    weights: Path
    size: tuple[int, int] | None


def _find_teachers(
    request: StudyRequest, seed: int, student: Path, progress: Progress
) -> list[_Teacher]:
    """Teachers as given, or trained for this seed.

    Args:
        student: Weights of the student of labels only.
    """
    if request.teacher_weights:
        given = zip(request.teachers, request.teacher_weights, strict=True)
        return [_Teacher(name, weights, request.teacher_size) for name, weights in given]
    return [
        _Teacher(name, student, request.size)
        if name == request.student
        else _Teacher(name, _train_teacher(request, name, seed, progress), request.teacher_size)
        for name in request.teachers
    ]


def _train_teacher(request: StudyRequest, name: str, seed: int, progress: Progress) -> Path:
    recipe = find_recipe(find_model(name), request.teacher_recipe)
    settings = {
        "epochs": request.teacher_epochs,
        "epoch_steps": request.epoch_steps,
        "seed": seed,
    }
    return train_model(
        TrainRequest(
            name,
            request.data,
            request.output / f"teacher-{name}-{seed}",
            backbone_weights=request.teacher_backbone if recipe.backbone else None,
            size=request.teacher_size,
            labels=request.labels,
            training=request.training(request.teacher_recipe, settings),
        ),
        progress,
    ).weights_path


def _teach(
    request: StudyRequest,
    seed: int,
    name: str,
    settings: DistillSettings,
    teachers: Sequence[_Teacher],
    progress: Progress,
) -> Path:
    recipe_settings = {
        "epochs": request.epochs,
        "epoch_steps": request.epoch_steps,
        "seed": seed,
    }
    return distill_model(
        DistillRequest(
            tuple(teacher.name for teacher in teachers),
            request.student,
            request.data,
            request.output / f"{_folder_name(name)}-{seed}",
            teacher_weights=tuple(teacher.weights for teacher in teachers),
            teacher_sizes=tuple(teacher.size for teacher in teachers),
            student_size=request.size,
            labels=request.labels,
            method="none",
            settings=settings.to_json(),
            training=request.training(request.recipe, recipe_settings),
        ),
        progress,
    ).weights_path


def _folder_name(row: str) -> str:
    return row.replace("+ ", "plus-").replace(", ", "-").replace(" ", "-")


def _digest(dataset: FolderDataset) -> str:
    """Number of images, and SHA-256 of their names, contents and masks."""
    lines = []
    for pair in dataset:
        files = (pair.image_path, pair.mask_path)
        lines.append([pair.name, *(sha256_of_picture(path) for path in files if path is not None)])
    return f"{len(lines)} ({hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:16]})"


class _Scores:
    """Counts of every run on the scored split, kept in `study.json`."""

    def __init__(self, request: StudyRequest) -> None:
        self.request = request
        self.path = request.output / RESULTS_NAME
        self.dataset = open_folder(request.data, [request.split])
        self.images_digest = _digest(self.dataset)
        self.runs = self._read()

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.is_file():
            return []
        try:
            runs: list[dict[str, Any]] = list(read_json(self.path)["runs"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{self.path} holds no scores of a study ({reason_of(error)}). Move it away to "
                "score its networks anew, or choose another --output."
            ) from error
        return runs

    def add(self, row: str, seed: int, spec: ModelSpec, weights: Path, progress: Progress) -> None:
        """Score a network unless the same was scored before."""
        from edgeseg.training.predict import predict_overlap

        key = {
            "row": row,
            "seed": seed,
            "weights_sha256": sha256_of_file(weights),
            "size": [spec.inputs.height, spec.inputs.width],
            "split": self.request.split,
            "images": self.images_digest,
        }
        if any(key.items() <= run.items() for run in self.runs):
            return
        network = spec.load_network(weights)
        with progress.stage(f"score {row}, seed {seed}", total=len(self.dataset)) as stage:
            table = predict_overlap(network, self.dataset, spec.inputs, spec.outputs, stage=stage)
        # Read again: another process may have scored other seeds of the same study meanwhile.
        self.runs = [run for run in self._read() if (run["row"], run["seed"]) != (row, seed)]
        self.runs.append({**key, "counts": table.counts[:, 1:].tolist()})
        self.write(())

    def counts_by_row(self) -> dict[str, list[Counts]]:
        """Counts of each row, in the order of the seeds."""
        names = [*teacher_rows(self.request.teachers), *self.request.rows()]
        found = {(run["row"], run["seed"]): np.asarray(run["counts"]) for run in self.runs}
        return {name: [found[name, seed] for seed in self.request.seeds] for name in names}

    def write(self, rows: Sequence[StudyRow]) -> None:
        record = {
            "request": self.request.to_json(),
            "rows": [asdict(row) for row in rows],
            "toolchain": toolchain_versions(),
            "runs": self.runs,
        }
        write_text(self.path, json.dumps(record) + "\n")
