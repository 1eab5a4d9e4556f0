"""Making the edge twin of a network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..contract import InputContract, OutputContract
from ..data.clusters import clusters_of
from ..data.depth import tell_depth
from ..data.folder import FolderDataset, Pair, open_folder, tell_files
from ..data.label_subset import forget_labels
from ..distillation.settings import DistillSettings, find_method
from ..errors import UsageError
from ..lazy import require
from ..models import ModelSpec, TrainedModel, find_model
from ..models.spec import size_to_compare
from ..models.variants import VARIANT_ENDINGS, split_variant_name, variant_of
from ..progress import SILENT, Progress
from ..storage.atomic import write_text
from ..training.options import TrainingOptions

if TYPE_CHECKING:
    from torch import nn

    from ..distillation.teacher import KeptAnswers, Teacher

RECORD_NAME = "twin.json"
START_IMAGES = 16
METHOD = "pseudo-labels"


@dataclass(frozen=True)
class AdaptRequest:
    """What to make a twin of.

    Attributes:
        model: Name of the original.
        unlabeled: Folder whose train images teach; masks are not used.
        output: Run folder; receives `twin.json` too, with both accuracies.
        weights: Of the original; None takes the shipped ones.
        data: Folder with labelled val images, which choose the epoch and score both networks;
            None scores the twin on val images of `unlabeled` against the original's masks.
        twin_weights: Of a twin that is taught further; None starts near the original.
        ending: "-twin" (hard-swish) or "-twin-relu".
        size: (height, width) of the twin's input; None is the model's default.
        teacher_size: (height, width) at which the original answers; None is the twin's.
        mixup: See `edgeseg.distillation.settings`.
        training: Recipe of the run, and how it is carried out.
        use_cache: False asks the original anew.
    """

    model: str
    unlabeled: Path
    output: Path
    weights: Path | None = None
    data: Path | None = None
    twin_weights: Path | None = None
    ending: str = "-twin"
    size: tuple[int, int] | None = None
    teacher_size: tuple[int, int] | None = None
    mixup: float = 0.0
    training: TrainingOptions = field(default_factory=TrainingOptions)
    use_cache: bool = True


@dataclass(frozen=True)
class AdaptResult:
    """A finished twin.

    Attributes:
        model: Its name, for `edgeseg build --model`.
        weights_path: Its weights.
        record: What `twin.json` says.
    """

    model: str
    weights_path: Path
    record: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {"model": self.model, "weights_path": str(self.weights_path), **self.record}


class TaughtPair:
    """An image whose truth is what a network says of it."""

    def __init__(self, pair: Pair, teacher: Teacher, outputs: OutputContract) -> None:
        self.name = pair.name
        self.pair = pair
        self.teacher = teacher
        self.outputs = outputs

    def read_both(
        self, class_count: int, inputs: int | InputContract = 3, ignore: int | None = None
    ) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """The image, and the classes that the network finds, at the network's size."""
        return self.pair.read_image(inputs), self.read_labels(class_count, ignore)

    def read_labels(self, class_count: int, ignore: int | None = None) -> NDArray[np.uint8]:
        """The classes that the network finds, at the network's size."""
        import torch

        own = self.teacher.spec.inputs
        logits = self.teacher.logits(torch.from_numpy(own.prepare(self.pair.read_image(own))))
        shares = torch.sigmoid(logits) if logits.shape[1] == 1 else logits
        return self.outputs.labels(shares.cpu().numpy())


class TaughtImages(Sequence[Any]):
    """Images without labels, whose truth is what a network says of them."""

    def __init__(self, dataset: FolderDataset, teacher: Teacher) -> None:
        self.dataset = dataset
        self.pairs = [TaughtPair(pair, teacher, teacher.spec.outputs) for pair in dataset]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self.pairs[index]

    def __iter__(self) -> Iterator[TaughtPair]:
        return iter(self.pairs)


def adapt_model(request: AdaptRequest, progress: Progress = SILENT) -> AdaptResult:
    """Make a twin, or go on making it.

    Raises:
        UsageError: The network has nothing that a twin would replace, or is a twin.
        EdgesegError: Of any kind; an epoch that was finished stays in `output`.
    """
    spec = _find_original(request)
    twin = variant_of(spec, request.ending)
    teacher_size = request.teacher_size or request.size
    original = TrainedModel.find(request.model, None, teacher_size, request.weights)
    settings = find_method(METHOD).changed({"mixup": request.mixup})
    recipe = request.training.find_recipe(twin)
    _require_pairs(settings, recipe.batch_size)
    images = _open_images(request, spec, progress)
    for package in ("monai", "lightning_fabric"):
        require(package, purpose="Adapting")
    torch = require("torch", purpose="Adapting")

    from ..distillation.objective import DistillObjective
    from ..distillation.teacher import Teacher
    from ..models.weights import load_weights
    from ..training.checkpoint import describe_start
    from ..training.loop import Trainer
    from ..training.samples import class_shares

    with progress.stage("load packages and models") as stage:
        teacher = Teacher(original, stage.note)
        torch.manual_seed(recipe.seed)
        network = twin.make_network()
    val = _open_val(request, teacher)
    with progress.stage("start the twin") as stage:
        if request.twin_weights is None:
            _start(network, teacher, images)
        else:
            weights = twin.resolve_weights(request.twin_weights, "--twin-weights")
            stage.note(load_weights(network, weights))

    def make_objective(task_loss: Any, device: Any) -> DistillObjective:
        kept = None
        if recipe.rotation != "any" and not settings.mixup:
            kept = _keep_answers(request, teacher, twin, images, device, progress)
        channels = twin.outputs.channels
        return DistillObjective(task_loss, device, settings, channels, [teacher], kept=kept)

    start = describe_start(twin, weights=request.twin_weights)
    trainer = Trainer(
        network,
        *(twin.inputs, twin.outputs, recipe, request.output),
        workers=request.training.workers,
        accelerator=request.training.accelerator,
        make_objective=make_objective,
        class_shares=lambda: class_shares(TaughtImages(images, teacher), twin.outputs),
        identity=start | {"val truth": _truth(request, spec)},
    )
    result = trainer.run(images, val, resume=request.training.resume, progress=progress)
    with progress.stage("score both networks"):
        record = _compare(request, original, TrainedModel(twin, result.weights_path), val)
    return _write_result(request, twin.name, result.weights_path, record)


def _require_pairs(settings: DistillSettings, batch_size: int) -> None:
    if settings.mixup and batch_size < 2:
        raise UsageError("--mixup blends the images of a batch. Use --batch-size 2 or more.")


def _write_result(
    request: AdaptRequest, name: str, weights: Path, record: dict[str, Any]
) -> AdaptResult:
    write_text(request.output / RECORD_NAME, json.dumps(record, indent=1) + "\n")
    return AdaptResult(name, weights, record)


def _keep_answers(
    request: AdaptRequest,
    teacher: Teacher,
    twin: ModelSpec,
    images: FolderDataset,
    device: Any,
    progress: Progress,
) -> KeptAnswers:
    """The logits of the original for each image, computed once."""
    from ..distillation.teacher import KeptAnswers

    return KeptAnswers(
        [teacher],
        list(images),
        twin.inputs,
        twin.outputs.channels,
        device=device,
        use_cache=request.use_cache,
        progress=progress,
    )


def _find_original(request: AdaptRequest) -> ModelSpec:
    if request.ending not in VARIANT_ENDINGS:
        raise ValueError(f"A twin's ending is one of {', '.join(VARIANT_ENDINGS)}.")
    if ":" in request.model or split_variant_name(request.model)[1]:
        raise UsageError(
            f"{request.model} has no twin by name: edgeseg adapt makes those of its own networks. "
            "Name one of edgeseg models."
        )
    spec = find_model(request.model, None, request.size)
    from ..models.twin import ACTIVATIONS, replace_slow_parts

    if not replace_slow_parts(spec.make_network(), ACTIVATIONS[VARIANT_ENDINGS[request.ending]]):
        raise UsageError(
            f"{spec.name} has no LayerNorm, GroupNorm, GELU or PReLU that a twin would replace. "
            "Build it as it is."
        )
    return spec


def _open_images(request: AdaptRequest, spec: ModelSpec, progress: Progress) -> FolderDataset:
    """Images of the train split, without labels."""
    axis = spec.inputs.axis
    images = forget_labels(open_folder(request.unlabeled, ["train"], labelled=False, axis=axis))
    tell_files(images, progress)
    tell_depth([pair.image_path for pair in images], spec.inputs, progress)
    return images


def _open_val(request: AdaptRequest, teacher: Teacher) -> Any:
    axis = teacher.spec.inputs.axis
    if request.data is not None:
        return open_folder(request.data, ["val"], axis=axis)
    images = open_folder(request.unlabeled, ["val"], labelled=False, axis=axis)
    return TaughtImages(images, teacher)


def _truth(request: AdaptRequest, original: ModelSpec) -> str:
    """What the val images are scored against."""
    return "labels" if request.data is not None else f"masks of {original.name}"


def _start(network: nn.Module, teacher: Teacher, images: FolderDataset) -> None:
    import torch

    from ..distillation.twin_start import start_twin
    from ..models.logits import WrappedNetwork

    wrapped: Any = network
    while not hasattr(wrapped, "replaced"):
        assert isinstance(wrapped, WrappedNetwork)
        wrapped = wrapped.network
    inputs = teacher.spec.inputs
    shown = [
        torch.from_numpy(inputs.prepare(pair.read_image(inputs)))
        for pair in images.first(START_IMAGES)
    ]
    start_twin(network, teacher.network, wrapped.replaced, shown)


def _compare(
    request: AdaptRequest, original: TrainedModel, twin: TrainedModel, val: Any
) -> dict[str, Any]:
    """Scores of both networks on the val images, and their difference, at the larger size."""
    from ..training.predict import predict_overlap

    models = {model.spec.name: model for model in (original, twin)}
    size = size_to_compare(twin.spec, original.spec)
    clusters = clusters_of(val.dataset if isinstance(val, TaughtImages) else val)
    tables = {
        name: predict_overlap(
            *(model.load_network(), val, model.spec.inputs, model.spec.outputs),
            clusters=clusters,
            size=size,
        )
        for name, model in models.items()
    }
    ours, theirs = tables[twin.spec.name], tables[original.spec.name]
    return {
        "truth": _truth(request, original.spec),
        "images": len(val),
        **({} if clusters is None else {"clusters": clusters.to_json()}),
        **({} if size is None else {"scored_at": [*size]}),
        "networks": {
            name: {
                "weights_sha256": model.weights_sha256,
                "parameters": model.spec.parameters,
                "accuracy": tables[name].scores(),
                "accuracy_ci95": tables[name].intervals(),
            }
            for name, model in models.items()
        },
        "difference": ours.differences(theirs),
        "difference_ci95": ours.difference_intervals(theirs),
    }
