"""How well each way to calibrate keeps what the float network answers, on one target."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.metrics.agreement import PER
from edgeseg.metrics.counts import bootstrap_intervals
from edgeseg.models import ModelSpec, find_model
from edgeseg.progress import SILENT, Progress
from edgeseg.quantize import Calibrator, Quantizer, QuantPlan, find_emitter, find_method
from edgeseg.quantize.calibration_images import CalibrationImages, choose_calibration_images
from edgeseg.quantize.litert.ptq import LiteRtOptions, LiteRtQuantizer
from edgeseg.quantize.onnxruntime_ptq import quantize_by_onnxruntime
from edgeseg.records import ONNX_FORMAT, Artifact
from edgeseg.reference.reference import ReferenceImages, export_checked, reference_images
from edgeseg.targets import Runtime, find_runtime
from edgeseg.targets.devices import find_device

from ..builder.request import open_split

CORRECTED = {"bias_correction": "true"}
# What is compared: title, method, its options.
WAYS: Sequence[tuple[str, str, Mapping[str, str]]] = (
    ("min-max", "min-max", {}),
    ("percentile", "percentile", {}),
    ("entropy", "entropy", {}),
    ("mse", "mse", {}),
    ("mse + bias correction", "mse", CORRECTED),
)
LEARNED = ("+ block reconstruction", "+ end to end")


@dataclass(frozen=True)
class StudyRequest:
    """What to compare: see `edgeseg calibration-study`."""

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
    """One way to calibrate.

    Attributes:
        flips: Pixels per 10,000 with another label than the float network's, for each seed and
            held-back image, (seeds, images). One seed where nothing is random.
    """

    title: str
    flips: NDArray[np.float64]

    def to_json(self, default: StudyRow) -> dict[str, Any]:
        by_image, baseline = self.flips.mean(0), default.flips.mean(0)

        def statistic(weights: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
            means = weights @ by_image / len(by_image)
            return {"flips": means, "ratio": means / (weights @ baseline / len(baseline))}

        intervals = bootstrap_intervals(len(by_image), statistic)
        return {
            "calibration": self.title,
            "flips_per_10k": float(by_image.mean()),
            "interval": intervals["flips"],
            "by_seed": self.flips.mean(1).tolist(),
            "worst_image": float(by_image.max()),
            "ratio_to_default": float(by_image.mean() / baseline.mean()),
            "ratio_interval": intervals["ratio"],
        }


def study_calibration(
    request: StudyRequest, progress: Progress = SILENT
) -> Iterator[dict[str, Any]]:
    """Rows as JSON, the vendor quantiser first, each when it is measured.

    Calibration takes train images, the comparison val images.

    Raises:
        UnknownNameError: The target has no INT8, or a method no such option.
        UsageError: An option has another type.
    """
    with TemporaryDirectory(prefix="edgeseg-study-") as name:
        study = _Study(request, Path(name), progress)
        default = study.default_row()
        yield default.to_json(default)
        for row in study.rows():
            yield row.to_json(default)


class _Study:
    def __init__(self, request: StudyRequest, work: Path, progress: Progress) -> None:
        self.request, self.work, self.progress = request, work, progress
        device = find_device(request.target)
        self.runtime: Runtime = find_runtime(device.runtimes[0])
        self.runtime.require_precision("int8")
        for _, method, options in WAYS:
            self._method(method, options)  # a wrong option is found before anything is done
        self._method("distill", request.distill_options)
        self.spec: ModelSpec = find_model(request.model)
        weights = self.spec.resolve_weights(request.weights)
        network = self.spec.load_network(weights)
        pairs = tuple(open_split(request.data, "val", labelled=False))[: request.check_images]
        with progress.stage("answers of the float network"):
            self.references: ReferenceImages = reference_images(network, self.spec, pairs)
        self.onnx_path, _ = export_checked(
            network, self.spec, weights, lambda: self.references, progress=progress
        )
        self.images: CalibrationImages = choose_calibration_images(
            open_split(request.data, "train", labelled=False),
            self.spec.inputs,
            request.calibration_images,
        )
        self.count = 0

    def default_row(self) -> StudyRow:
        """What the vendor quantiser makes; where there is none, that of ONNX Runtime."""
        tool = find_method(None, self.runtime.quantized_from)
        with self.progress.stage("the vendor quantiser"):
            if isinstance(tool, LiteRtQuantizer):
                tool = LiteRtQuantizer(LiteRtOptions(sums=False))  # the operators that plans take
            if isinstance(tool, Quantizer):
                artifact, _ = tool.quantize(
                    self._compiled(), self.images, self._place(), input_name=self.spec.inputs.name
                )
                self.runtime.finish(artifact)
            else:
                path = self._place() / "quantized.onnx"
                symmetric = "zero_points" not in self.runtime.plan_form
                quantize_by_onnxruntime(
                    self.onnx_path, self.images, path, self.spec.inputs.name, symmetric=symmetric
                )
                artifact = self.runtime.compile(path, self._place(), "int8")
            return StudyRow("the vendor quantiser", self._flips(artifact)[None])

    def rows(self) -> Iterator[StudyRow]:
        for title, name, options in WAYS:
            method = self._method(name, options)
            plan = method.calibrate(
                self.onnx_path,
                self.images,
                input_name=self.spec.inputs.name,
                progress=self.progress,
            )
            yield StudyRow(title, self._flips_of(plan)[None])
        learned: dict[str, list[NDArray[np.float64]]] = {title: [] for title in LEARNED}
        for seed in self.request.seeds:
            for title, changes in zip(LEARNED, ({"steps": "0"}, {}), strict=True):
                learned[title].append(self._flips_of(self._learn(seed, changes)))
        for title, flips in learned.items():
            if flips:
                yield StudyRow(title, np.stack(flips))

    def _learn(self, seed: int, changes: Mapping[str, str]) -> QuantPlan:
        options = {**self.request.distill_options, **changes, "seed": str(seed)}
        return self._method("distill", options).calibrate(
            self.onnx_path, self.images, input_name=self.spec.inputs.name, progress=self.progress
        )

    def _method(self, name: str, options: Mapping[str, str]) -> Calibrator:
        words = {**self.request.method_options, **options}
        method = find_method(name, self.runtime.quantized_from, words, self.runtime.plan_form)
        assert isinstance(method, Calibrator)
        return method

    def _flips_of(self, plan: QuantPlan) -> NDArray[np.float64]:
        emitter = find_emitter(self.runtime.quantized_from)
        if emitter.artifact_format == ONNX_FORMAT:
            made, _ = emitter.emit(plan, self.onnx_path, self._graph(), self.images, self._place())
            artifact = self.runtime.compile(made.folder / made.files[0], self._place(), "int8")
        else:
            artifact, _ = emitter.emit(
                plan, self.onnx_path, self._compiled(), self.images, self._place()
            )
            self.runtime.finish(artifact)
        return self._flips(artifact)

    def _flips(self, artifact: Artifact) -> NDArray[np.float64]:
        """Pixels per 10,000 that flip, by image."""
        settings = self.runtime.runtime_settings("int8")
        backend, _ = self.runtime.load_for_check(replace(artifact, settings=settings))
        labels: Callable[[Any], Any] = self.spec.outputs.labels
        return np.array(
            [
                (labels(backend.run(image)) != labels(mask)).mean() * PER
                for image, mask in zip(self.references.inputs, self.references.masks, strict=True)
            ]
        )

    def _graph(self) -> Artifact:
        return Artifact("", "fp32", ONNX_FORMAT, self.onnx_path.parent, (self.onnx_path.name,))

    def _compiled(self) -> Artifact:
        folder = self.work / "float"
        if not folder.exists():
            self._float = self.runtime.compile(self.onnx_path, folder, "fp32")
        return self._float

    def _place(self) -> Path:
        self.count += 1
        return self.work / str(self.count)
