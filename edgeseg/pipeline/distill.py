"""Teaching a small network by a large one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contract import AXIAL
from ..data.depth import tell_depth
from ..data.folder import FolderDataset, Pair, open_folder, tell_files
from ..data.label_subset import forget_labels, split_labels
from ..distillation.settings import MIXES, DistillSettings, find_method
from ..errors import UsageError
from ..lazy import require
from ..models import ModelSpec, TrainedModel, find_model
from ..progress import SILENT, Progress
from ..training.options import TrainingOptions
from ..training.recipes import Recipe

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ..distillation.feature_match import FeatureMatch
    from ..distillation.teacher import Teacher
    from ..training.loop import TrainingResult
    from ..training.losses import Loss
    from ..training.objective import MakeObjective, Objective


@dataclass(frozen=True)
class DistillRequest:
    """Whom to teach what, and by whom.

    Attributes:
        teachers: Names, or "package.module:Class"; the mean of their logits teaches.
        student: Name of the network that learns.
        data: Folder with train and val.
        output: Run folder.
        teacher_weights: A checkpoint for each teacher; empty takes the shipped ones.
        teacher_spec, student_spec: Describe networks of the user's own; the first is for all
            teachers of the form "package.module:Class".
        teacher_sizes: (height, width) of the inputs, one for all teachers or one for each; None,
            or nothing, for the default.
        student_size: (height, width); None for the default.
        student_weights: Checkpoint to start from; None starts from random weights.
        unlabeled: Folder with further images; its train list where it has one, else all.
        labels: Share of the train labels to use, chosen by the recipe's seed; the other train
            images are taken without labels.
        method: See `edgeseg.distillation.settings`.
        settings: Of the method, that differ; None keeps the method's.
        teacher_taps, student_taps: Modules whose features are compared; empty for the defaults.
        training: Recipe of the run, and how it is carried out.
        use_cache: False asks the teacher anew.
    """

    teachers: tuple[str, ...]
    student: str
    data: Path
    output: Path
    teacher_weights: tuple[Path, ...] = ()
    teacher_spec: Path | None = None
    student_spec: Path | None = None
    teacher_sizes: tuple[tuple[int, int] | None, ...] = ()
    student_size: tuple[int, int] | None = None
    student_weights: Path | None = None
    unlabeled: Path | None = None
    labels: float = 1.0
    method: str = "graphflow"
    settings: Mapping[str, Any] = field(default_factory=dict)
    teacher_taps: tuple[str, ...] = ()
    student_taps: tuple[str, ...] = ()
    training: TrainingOptions = field(default_factory=TrainingOptions)
    use_cache: bool = True


def distill_model(request: DistillRequest, progress: Progress = SILENT) -> TrainingResult:
    """Teach, or go on teaching.

    Raises:
        EdgesegError: Of any kind; an epoch that was finished stays in `output`.
    """
    settings = find_method(request.method).changed(request.settings)
    student = find_model(request.student, request.student_spec, request.student_size)
    teachers = find_teachers(request, student) if settings.needs_teacher else []
    recipe = request.training.find_recipe(student)
    require_answers(settings, recipe)
    axis = student.inputs.axis
    train, unlabelled = open_images(request, recipe.seed, axis)
    require_mixable(settings, recipe, has_unlabelled=unlabelled is not None)
    val = open_folder(request.data, ["val"], axis=axis)
    tell_files(train, progress)
    tell_depth([pair.image_path for pair in train], student.inputs, progress)
    for package in ("monai", "lightning_fabric"):
        require(package, purpose="Distillation")
    torch = require("torch", purpose="Distillation")

    from ..distillation.teacher import all_pairs
    from ..models.weights import load_weights
    from ..training.checkpoint import describe_start
    from ..training.loop import Trainer
    from ..training.objective import Objective

    with progress.stage("load packages and models") as stage:
        torch.manual_seed(recipe.seed)
        network = student.make_network()
        if request.student_weights is not None:
            stage.note(load_weights(network, request.student_weights))
    make_objective: MakeObjective = Objective
    if teachers:
        make_objective = _Lesson(
            request, settings, recipe, teachers, student, network, progress
        ).objective_for(all_pairs(train, unlabelled))
    trainer = Trainer(
        network,
        student.inputs,
        student.outputs,
        recipe,
        request.output,
        workers=request.training.workers,
        accelerator=request.training.accelerator,
        make_objective=make_objective,
        identity=describe_start(student, weights=request.student_weights),
    )
    return trainer.run(
        train,
        val,
        unlabelled=unlabelled if teachers else None,
        resume=request.training.resume,
        progress=progress,
    )


def find_teachers(request: DistillRequest, student: ModelSpec) -> list[TrainedModel]:
    """Teachers with their weights.

    Raises:
        UsageError: Not one checkpoint or size for each; other classes than the student's.
    """
    names, given, sizes = request.teachers, request.teacher_weights, request.teacher_sizes
    require_one_each(names, given)
    if len(sizes) > 1 and len(sizes) != len(names):
        raise UsageError(
            f"{len(names)} teachers ({', '.join(names)}) and {len(sizes)} --teacher-size do not go "
            "together. Name one size for all teachers, or one for each in the same order."
        )
    if len(sizes) < 2:
        sizes = (sizes or (None,)) * len(names)
    teachers = []
    for name, weights, size in zip(names, given or [None] * len(names), sizes, strict=True):
        is_own = ":" in name
        spec = find_model(name, request.teacher_spec if is_own else None, size)
        if len(spec.outputs.classes) != len(student.outputs.classes):
            raise UsageError(
                f"The teacher {spec.name} knows {len(spec.outputs.classes)} classes, the student "
                f"{student.name} {len(student.outputs.classes)}. Take a teacher of the same "
                "classes."
            )
        teachers.append(TrainedModel.of(spec, weights, "--teacher-weights"))
    return teachers


def require_one_each(teachers: Sequence[str], weights: Sequence[Path]) -> None:
    """Refuse checkpoints that are neither none nor one for each teacher."""
    if weights and len(weights) != len(teachers):
        raise UsageError(
            f"{len(teachers)} teachers ({', '.join(teachers)}) and {len(weights)} "
            "--teacher-weights do not go together. Name one checkpoint for each teacher, in the "
            "same order, or none."
        )


def keeps_answers(settings: DistillSettings, recipe: Recipe) -> bool:
    """Whether the teachers answer once an image, not in each step."""
    return not settings.needs_features and not settings.mixup and recipe.rotation != "any"


def require_answers(settings: DistillSettings, recipe: Recipe) -> None:
    """Refuse averaged views of teachers whose answers cannot be kept.

    Raises:
        UsageError: They cannot.
    """
    if settings.views > 1 and not keeps_answers(settings, recipe):
        raise UsageError(
            f"--views {settings.views} averages answers that are kept for the whole run, "
            "which neither rotation by any angle nor compared features allow. Leave --views "
            "out, or choose a recipe with quarter turns and --method logits."
        )


def require_mixable(settings: DistillSettings, recipe: Recipe, *, has_unlabelled: bool) -> None:
    """Refuse to mix unlabelled images where there is nothing to mix or to learn from it.

    Raises:
        UsageError: There is not.
    """
    for name in MIXES:
        if not getattr(settings, name):
            continue
        words = f"--{name} {getattr(settings, name)} mixes the unlabelled half of a batch"
        if not settings.needs_teacher:
            raise UsageError(
                f"{words}, and without a teacher nothing is learned from it. Choose another "
                "--method than none, or leave it out."
            )
        if not has_unlabelled:
            raise UsageError(
                f"{words}, and no image is without label. Use --labels below 1, or leave it out."
            )
        if recipe.batch_size < 4:
            raise UsageError(
                f"{words}, which in a batch of {recipe.batch_size} is no two images. Use batches "
                "of 4 or more, or leave it out."
            )


def open_images(
    request: DistillRequest, seed: int, axis: int = AXIAL
) -> tuple[FolderDataset, FolderDataset | None]:
    """Labelled and unlabelled train images; None where none are without label.

    Args:
        axis: Along which volumes are cut.

    Raises:
        UsageError: The unlabelled folder is the data folder.
        DataError: See `open_folder`.
    """
    images = open_folder(request.data, ["train"], axis=axis)
    train, others = split_labels(images, request.labels, seed)
    pairs = others.pairs
    if request.unlabeled is not None:
        if request.unlabeled.resolve() == request.data.resolve():
            raise UsageError(
                f"--unlabeled is the folder of --data, {request.data}, whose val and test images "
                "must not be learned from. Leave it out; --labels sets the share of train labels."
            )
        splits = ["train"] if (request.unlabeled / "train.txt").is_file() else []
        more = open_folder(request.unlabeled, splits, labelled=False, axis=axis)
        pairs += forget_labels(more).pairs
    return train, replace(others, pairs=pairs) if pairs else None


@dataclass(frozen=True)
class _Lesson:
    """What a student learns from its teachers."""

    request: DistillRequest
    settings: DistillSettings
    recipe: Recipe
    teachers: list[TrainedModel]
    student_spec: ModelSpec
    student: nn.Module
    progress: Progress

    def objective_for(self, pairs: list[Pair]) -> MakeObjective:
        """Maker of the objective for these images."""
        from ..distillation.objective import DistillObjective
        from ..distillation.teacher import KeptAnswers, Teacher

        keeps = keeps_answers(self.settings, self.recipe)

        def make(task_loss: Loss, device: torch.device) -> Objective:
            with self.progress.stage("load the teachers") as stage:
                teachers = [Teacher(model, stage.note) for model in self.teachers]
            channels = self.student_spec.outputs.channels
            kept = None
            if keeps:
                kept = KeptAnswers(
                    teachers,
                    pairs,
                    self.student_spec.inputs,
                    channels,
                    views=self.settings.views,
                    device=device,
                    use_cache=self.request.use_cache,
                    progress=self.progress,
                )
            features = (
                self._match_features(teachers[0], pairs, device)
                if self.settings.needs_features
                else None
            )
            return DistillObjective(
                task_loss,
                device,
                self.settings,
                channels,
                teachers,
                kept=kept,
                features=features,
            )

        return make

    def _match_features(
        self, teacher: Teacher, pairs: list[Pair], device: torch.device
    ) -> FeatureMatch:
        from ..distillation.feature_match import match_features
        from ..distillation.taps import FeatureTaps, find_taps

        given = self.request
        theirs = find_taps(teacher.spec, given.teacher_taps, "--teacher-taps")
        ours = find_taps(self.student_spec, given.student_taps, "--student-taps")
        if len(theirs) != len(ours) or len(ours) < 2:
            raise UsageError(
                f"{len(theirs)} layers of the teacher ({', '.join(theirs)}) and {len(ours)} of the "
                f"student ({', '.join(ours)}) are to be compared. Name the same number of each, "
                "two or more, with --teacher-taps and --student-taps."
            )
        return match_features(
            teacher,
            FeatureTaps(teacher.network, theirs, f"the teacher {teacher.spec.name}"),
            self.student,
            FeatureTaps(self.student, ours, f"the student {self.student_spec.name}"),
            self.student_spec.inputs,
            pairs,
            self.settings,
            seed=self.recipe.seed,
            device=device,
            use_cache=given.use_cache,
            progress=self.progress,
        )
