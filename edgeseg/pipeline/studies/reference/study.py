"""Every form of a network that a target offers, beside the FP32 reference, on held-back images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.benchmarks.accuracy import true_labels
from edgeseg.data.clusters import clusters_of
from edgeseg.errors import EdgesegError
from edgeseg.metrics.agreement import Predictor
from edgeseg.metrics.paired import PairedSample, pair_labels
from edgeseg.metrics.quantities import FLIPS, WORST_DICE, WORST_FLIPS
from edgeseg.metrics.scores import MetricSet, ReferenceScores, ScoreTable
from edgeseg.progress import SILENT, Progress
from edgeseg.quantize import whole_quantizers
from edgeseg.reference.reference import onnx_predictor
from edgeseg.storage.temporary import temporary_folder
from edgeseg.tuning.candidate import Candidate

from ...auto import fixed_candidates
from ...builder.builder import Builder
from ...builder.context import BuildContext
from ...builder.method_choice import choose_method
from ...builder.request import BuildRequest, open_split
from ..limits import StudyRequest
from .reliability import calibration_error, count_bins

METRICS = MetricSet(("dice_pooled", "iou_pooled", "hd95_px"))
REFERENCE = "FP32 reference"
CandidatesOf = Callable[[BuildContext, Builder], Iterable[Candidate]]


class Split:
    """The images of a split, what is true of them, and what the FP32 reference says."""

    def __init__(self, context: BuildContext, name: str) -> None:
        self.name = name
        self.outputs = context.spec.outputs
        self.inputs = context.spec.inputs
        self.dataset = open_split(context.request.data, name, axis=self.inputs.axis)
        self.clusters = clusters_of(self.dataset)
        self.truth = true_labels(self.dataset, self.inputs, self.outputs)
        predict = onnx_predictor(context.exported.path, self.outputs, self.inputs)
        self.expected, self._bins = self._answers(predict)
        count = len(self.outputs.classes)
        self.scores = ReferenceScores(self.expected, self.truth, count, METRICS, self.clusters)

    def row_of_reference(self) -> dict[str, Any]:
        """The reference's own scores."""
        return {**_scores(self.scores.table), **self._reliability(self._bins)}

    def row_of(self, predict: Predictor) -> dict[str, Any]:
        """Scores of a form, and what differs from the reference."""
        labels, bins = self._answers(predict)
        names = [pair.name for pair in self.dataset]
        sample = pair_labels(
            names, labels, self.expected, self.scores, range(len(names)), self.clusters
        )
        assert sample.ours is not None
        return {**_scores(sample.ours), **self._reliability(bins), **differences_of(sample)}

    def _answers(self, predict: Predictor) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        labels, bins = [], []
        for pair, truth in zip(self.dataset, self.truth, strict=True):
            image = self.inputs.prepare(pair.read_image(self.inputs))
            probabilities = np.asarray(predict(image), np.float32)
            labels.append(self.outputs.labels(probabilities))
            bins.append(count_bins(probabilities, truth, self.outputs))
        return np.stack(labels), np.stack(bins)

    def _reliability(self, bins: NDArray[np.float64]) -> dict[str, Any]:
        error, interval = calibration_error(bins, self.clusters)
        return {"calibration_error": error, "calibration_error_interval": [*interval]}


def study_forms(
    request: StudyRequest,
    progress: Progress = SILENT,
    candidates_of: CandidatesOf | None = None,
) -> Iterator[dict[str, Any]]:
    """A JSON row for each form and split, as soon as it is measured.

    Args:
        candidates_of: Forms of a target; None takes `every_form`.

    Raises:
        EdgesegError: The network cannot be built, or a split is missing.
    """
    splits: dict[str, Split] = {}
    with temporary_folder("reference") as name:
        for target in request.targets:
            work = Path(name)
            build = BuildRequest(request.model, target, "auto", work, data=request.data)
            context = BuildContext(build, progress)
            builder = Builder(context, work / target, progress)
            for split in request.splits:
                if split not in splits:
                    with progress.stage(f"{REFERENCE} on {split}"):
                        splits[split] = Split(context, split)
                    row = splits[split].row_of_reference()
                    yield {**_place(request.model, REFERENCE, splits[split]), **row}
            for candidate in (candidates_of or every_form)(context, builder):
                form = f"{target}: {_label(candidate)}"
                try:
                    backend = builder.make(candidate, builder.place("form")).backend
                except EdgesegError as error:
                    print(f"left out: {form}: {error}", flush=True)
                    continue
                for images in splits.values():
                    with progress.stage(f"{form} on {images.name}"):
                        row = images.row_of(backend.run)
                    yield {**_place(request.model, form, images), **row}


def every_form(context: BuildContext, builder: Builder) -> Iterator[Candidate]:
    """Each precision; the quantised ones by whatever quantises whole files, and as built."""
    for candidate in fixed_candidates(context):
        if not candidate.method:
            yield candidate
            continue
        names = whole_quantizers(context.runtime.quantized_from)
        whole = [context.by_method(candidate, name) for name in names]
        yield from whole
        chosen = choose_method(context, builder, candidate.precision).candidate
        if chosen not in whole:
            yield chosen


def forms_by(methods: Iterable[str]) -> CandidatesOf:
    """The INT8 forms by some methods, each as "NAME" or "NAME,OPTION=VALUE,..."."""

    def candidates(context: BuildContext, builder: Builder) -> Iterator[Candidate]:
        for words in methods:
            name, *given = words.split(",")
            options = {
                option: value for option, _, value in (word.partition("=") for word in given)
            }
            yield context.by_method(context.fixed_candidate("int8"), name, options)

    return candidates


def _label(candidate: Candidate) -> str:
    words = (f"{name}={value}" for name, value in candidate.method_options)
    return ", ".join((candidate.name, *words))


def differences_of(sample: PairedSample) -> dict[str, Any]:
    """What a form changes over all images, on the worst one, whose name is not told, and in each
    third of the images by the size of the object."""
    found: dict[str, Any] = {"by_size": {}}
    keys = {FLIPS: "flips", "dice_pooled": "dice_change"}
    for one in sample.findings():
        if one.name in keys:
            key = keys[one.name]
            place = found["by_size"].setdefault(one.part, {}) if one.part else found
            place |= {key: one.change, f"{key}_interval": [*one.interval]}
        elif one.name in (WORST_FLIPS, WORST_DICE):
            found[one.name] = one.change
    return found


def _scores(table: ScoreTable) -> dict[str, Any]:
    intervals = table.intervals()
    scored: dict[str, Any] = {}
    for name, value in table.scores().items():
        scored |= {name: value, f"{name}_interval": [*intervals[name]]}
    return scored


def _place(model: str, form: str, split: Split) -> dict[str, Any]:
    return {"model": model, "form": form, "split": split.name, "images": len(split.dataset)}
