"""Compares calibration methods on one target: how closely each keeps the FP32 reference's masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.data.clusters import clusters_of
from edgeseg.metrics.agreement import PER
from edgeseg.metrics.bootstrap import bootstrap_intervals
from edgeseg.metrics.clusters import Clusters
from edgeseg.progress import SILENT, Progress
from edgeseg.quantize import Quantizer
from edgeseg.quantize.onnxruntime_ptq import quantize_by_onnxruntime
from edgeseg.reference.reference import ReferenceImages
from edgeseg.storage.temporary import temporary_folder
from edgeseg.targets import Backend
from edgeseg.tuning.candidate import Candidate

from ..builder.builder import Builder
from ..builder.context import BuildContext
from ..builder.request import BuildRequest, open_split

PRECISION = "int8"
AS_IT_IS, CORRECTED = {"bias_correction": "false"}, {"bias_correction": "true"}
# Rows of the table: title, method, options of the method.
WAYS: Sequence[tuple[str, str, Mapping[str, str]]] = (
    ("min-max", "min-max", AS_IT_IS),
    ("percentile", "percentile", AS_IT_IS),
    ("entropy", "entropy", AS_IT_IS),
    ("mse", "mse", AS_IT_IS),
    ("mse + bias correction", "mse", CORRECTED),
)
LEARNED = ("+ block reconstruction", "+ end to end")


@dataclass(frozen=True)
class StudyRequest:
    """Options of `edgeseg calibration-study`."""

    model: str
    target: str
    data: Path | None
    weights: Path | None
    seeds: tuple[int, ...]
    calibration_images: int
    check_images: int
    method_options: Mapping[str, str]
    distill_options: Mapping[str, str]


@dataclass(frozen=True)
class StudyRow:
    """Result of one calibration method.

    Attributes:
        flips: Pixels per 10,000 whose label differs from that of the FP32 reference, for each seed
            and held-back image, (seeds, images). One seed if nothing is random.
    """

    title: str
    flips: NDArray[np.float64]

    def to_json(self, default: StudyRow, clusters: Clusters | None = None) -> dict[str, Any]:
        """The row's record.

        Args:
            clusters: Of the images, over which intervals resample; see `edgeseg.data.clusters`.
        """
        by_image, baseline = self.flips.mean(0), default.flips.mean(0)

        def statistic(weights: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
            drawn = weights.sum(1)
            means, theirs = weights @ by_image / drawn, weights @ baseline / drawn
            ratio = np.divide(means, theirs, out=np.zeros(means.shape), where=theirs > 0)
            return {"flips": means, "ratio": ratio, "theirs": theirs}

        intervals = bootstrap_intervals(len(by_image), statistic, clusters)
        has_ratio = intervals["theirs"][0] > 0
        return {
            "calibration": self.title,
            "flips_per_10k": float(by_image.mean()),
            "interval": intervals["flips"],
            "by_seed": self.flips.mean(1).tolist(),
            "worst_image": float(by_image.max()),
            # Where the vendor's flips nothing there is nothing to compare with.
            "ratio_to_default": float(by_image.mean() / baseline.mean()) if has_ratio else None,
            "ratio_interval": intervals["ratio"] if has_ratio else None,
        }


def study_calibration(
    request: StudyRequest, progress: Progress = SILENT
) -> Iterator[dict[str, Any]]:
    """Rows as JSON, the vendor quantiser first, each as soon as it is measured.

    Calibration takes train images, the comparison val images.

    Raises:
        UnknownNameError: The target has no INT8 precision, or a method has no such option.
        UsageError: The value of an option has the wrong type.
    """
    with temporary_folder("study") as name:
        study = _Study(request, Path(name), progress)
        default = study.default_row()
        yield default.to_json(default, study.clusters)
        for row in study.rows():
            yield row.to_json(default, study.clusters)


class _Study:
    """Builds and measures each row with the builder of `edgeseg build`."""

    def __init__(self, request: StudyRequest, work: Path, progress: Progress) -> None:
        self.request, self.work, self.progress = request, work, progress
        self.context = BuildContext(
            BuildRequest(
                model=request.model,
                target=request.target,
                precision=PRECISION,
                output=work,
                weights=request.weights,
                data=request.data,
                calibration_images=request.calibration_images,
            ),
            progress,
        )
        self.context.runtime.require_precision(PRECISION)
        # Wrong options fail here, before any work.
        for _, method, options in WAYS:
            self._candidate(method, options)
        self._candidate("distill", request.distill_options)
        self.builder = Builder(self.context, work / "builder", progress)
        val = open_split(request.data, "val", labelled=False, axis=self.context.spec.inputs.axis)
        checked = val.first(request.check_images)
        self.clusters = clusters_of(checked)
        reference = self.context.reference
        with progress.stage("predictions of the FP32 reference"):
            self.references: ReferenceImages = reference.answer(checked)
        self.count = 0

    def default_row(self) -> StudyRow:
        """The vendor quantiser's result, or that of ONNX Runtime's quantiser if there is none."""
        method = self.context.quantization(None, {}).method
        title = "the vendor quantiser"
        if isinstance(method, Quantizer):
            options = tuple(method.comparable_options.items())
            return StudyRow(title, self._flips_of(Candidate(PRECISION, (), method.name, options)))
        return StudyRow(title, self._flips(self._build_by_onnxruntime()))

    def rows(self) -> Iterator[StudyRow]:
        for title, name, options in WAYS:
            yield StudyRow(title, self._flips_of(self._candidate(name, options)))
        learned: dict[str, list[NDArray[np.float64]]] = {title: [] for title in LEARNED}
        for seed in self.request.seeds:
            for title, changes in zip(LEARNED, ({"steps": "0"}, {}), strict=True):
                options = {**self.request.distill_options, **changes, "seed": str(seed)}
                learned[title].append(self._flips_of(self._candidate("distill", options)))
        for title, flips in learned.items():
            if flips:
                yield StudyRow(title, np.concatenate(flips))

    def _candidate(self, name: str, options: Mapping[str, str]) -> Candidate:
        """An INT8 form of the exported graph, without rewrites.

        Raises:
            UnknownNameError: The method has no such option.
            UsageError: The value of an option has the wrong type.
        """
        words = {**self.request.method_options, **options}
        self.context.quantization(name, words)
        return Candidate(PRECISION, (), name, tuple(sorted(words.items())))

    def _flips_of(self, candidate: Candidate) -> NDArray[np.float64]:
        return self._flips(self.builder.make(candidate, self._new_folder()).backend)

    def _build_by_onnxruntime(self) -> Backend:
        graph = self.context.exported.path
        images = self.context.calibration
        runtime = self.context.runtime
        path = self._new_folder() / "quantized.onnx"
        symmetric = "zero_points" not in runtime.plan_defaults
        with self.progress.stage("quantise with ONNX Runtime"):
            quantize_by_onnxruntime(graph, images, path, symmetric=symmetric)
        backend, _ = runtime.load_for_check(runtime.compile(path, self._new_folder(), PRECISION))
        return backend

    def _flips(self, backend: Backend) -> NDArray[np.float64]:
        """Pixels per 10,000 whose label differs from the reference's, (1, images)."""
        labels = self.context.spec.outputs.labels
        images = zip(self.references.inputs, self.references.masks, strict=True)
        flips = [
            (labels(backend.run(image)) != labels(mask)).mean() * PER for image, mask in images
        ]
        return np.array([flips])

    def _new_folder(self) -> Path:
        self.count += 1
        return self.work / str(self.count)
