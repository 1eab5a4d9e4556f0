"""What the product is for, in a few minutes: one network on each runtime of this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeseg.benchmarks.report import Report
from edgeseg.targets import find_runtime
from edgeseg.targets.devices import find_device

from ..bundle.bundle import Bundle
from ..data.folder import open_sample
from ..data.gallery import ComparisonRow, compare_masks, draw_comparison, find_truth
from ..errors import MissingBackendError
from ..progress import SILENT, Progress
from ..storage.atomic import write_text
from .build import build_bundle
from .builder.request import AUTO, BuildRequest
from .measure import BenchRequest, run_bench
from .predict import Prediction, load_reference, predict_images

BUNDLES, REPORT, GALLERY = "bundles", "bench.json", "gallery.png"
SPLIT = "test"
DEVICES = ("intel", "onnxruntime", "android")  # their runtimes compute on any PC


@dataclass(frozen=True)
class DemoRequest:
    """What to show.

    Attributes:
        output: Folder for bundles, report and gallery; what an earlier demo left is replaced.
        model: Network with shipped weights.
        devices: Names of devices, each with a runtime of its own.
        search_seconds: Seconds that each search for the fastest form may take.
        runs: Counted inferences of each artefact, at least.
        images: Images in the gallery: those whose masks differ most.
    """

    output: Path = Path("demo")
    model: str = "egeunet"
    devices: tuple[str, ...] = DEVICES
    search_seconds: float = 15.0
    runs: int = 60
    images: int = 3


@dataclass(frozen=True)
class DemoResult:
    """What was made.

    Attributes:
        bundles: One for each device that builds here.
        missing: Commands that add the runtimes of the other devices, by device.
        report: Measurement of the bundles, each beside its plain export.
        report_path, gallery_path: Where the report, as JSON, and the picture are.
    """

    bundles: tuple[Bundle, ...]
    missing: dict[str, str]
    report: Report
    report_path: Path
    gallery_path: Path


def run_demo(request: DemoRequest, progress: Progress = SILENT) -> DemoResult:
    """Build a network for each device with `auto`, measure the bundles, and draw their masks.

    Raises:
        MissingBackendError: No runtime of the devices is installed.
        EdgesegError: Of any kind, as `edgeseg build` and `edgeseg bench` raise it.
    """
    missing = {name: command for name in request.devices if (command := missing_command(name))}
    devices = [name for name in request.devices if name not in missing]
    if not devices:
        raise MissingBackendError(
            f"The demo needs a runtime of {', '.join(request.devices)}, and none is installed. "
            f"Install one with: {next(iter(missing.values()))}"
        )
    bundles = []
    for device in devices:
        with progress.stage(f"find the fastest form of {request.model} for {device}"):
            build = BuildRequest(
                request.model,
                device,
                AUTO,
                request.output / BUNDLES / device,
                search_seconds=request.search_seconds,
                overwrite=True,
            )
            bundles.append(build_bundle(build, progress)[0])
    with progress.stage("measure each beside its plain export"):
        folders = tuple(bundle.folder for bundle in bundles)
        bench = BenchRequest(folders, splits=(SPLIT,), runs=request.runs)
        report = run_bench(bench, progress)
    report_path = request.output / REPORT
    write_text(report_path, json.dumps(report.to_json(), indent=2) + "\n")
    gallery_path = request.output / GALLERY
    with progress.stage("draw where masks differ from the FP32 reference"):
        draw_comparison(compare_bundles(bundles, request.images), gallery_path)
    return DemoResult(tuple(bundles), missing, report, report_path, gallery_path)


def missing_command(device: str) -> str:
    """The command that adds what a device's own runtime lacks here; empty where nothing is."""
    missing = find_runtime(find_device(device).runtimes[0]).diagnose().missing
    return missing[0][1] if missing else ""


def compare_bundles(bundles: Sequence[Bundle], count: int) -> list[ComparisonRow]:
    """Lines of a gallery: the images whose masks differ most from the FP32 reference's.

    Returns:
        A line for each bundle and image, image by image.
    """
    paths = [pair.image_path for pair in open_sample([SPLIT])]
    reference = bundles[0], load_reference(bundles[0])
    predictions = [list(predict_images(bundle, paths, reference=reference)) for bundle in bundles]
    by_image = sorted(zip(*predictions, strict=True), key=_share_that_differs, reverse=True)
    rows = []
    for images in by_image[:count]:
        for bundle, prediction in zip(bundles, images, strict=True):
            assert prediction.reference is not None
            rows.append(
                compare_masks(
                    f"{prediction.path.stem}, {bundle.manifest.target}",
                    prediction.image,
                    prediction.reference,
                    prediction.labels,
                    find_truth(prediction.path, len(bundle.outputs.classes)),
                )
            )
    return rows


def _share_that_differs(predictions: Sequence[Prediction]) -> float:
    """Share of the pixels of one image that differ, summed over the bundles."""
    return float(
        sum(np.mean(prediction.labels != prediction.reference) for prediction in predictions)
    )
