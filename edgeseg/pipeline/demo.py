"""What the product is for, in a few minutes: one network on each runtime of this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeseg.benchmarks.report import Report
from edgeseg.targets import Backend, find_runtime, open_backend
from edgeseg.targets.devices import find_device

from ..bundle.bundle import SOURCE_ONNX, Bundle
from ..data.folder import open_sample
from ..data.gallery import ComparisonRow, compare_masks, draw_comparison, find_truth
from ..data.images import read_image
from ..errors import MissingBackendError
from ..progress import SILENT, Progress
from ..storage.atomic import write_text
from .bench import BenchRequest, run_bench
from .build import build_bundle
from .builder.baselines import PLAIN, baseline_artifact
from .builder.request import AUTO, BuildRequest
from .predict import load_bundle, load_reference, predict_image

BUNDLES, REPORT, GALLERY = "bundles", "bench.json", "gallery.png"
SPLIT = "test"
WRONG_FLIPS = 1.0  # of 10,000 pixels; a right FP32 artefact flips some on the threshold at most
Labels: TypeAlias = NDArray[np.uint8]
# Of the runtime that compiles, what is right to the last pixel, for this machine alone: it needs no
# search to be ahead of the others.
PRECISIONS = {"native": "fp32"}
OPTIONS = {"native": {"isa": "here"}}
DEVICES = ("native", "intel", "onnxruntime", "android")  # their runtimes compute on any PC


@dataclass(frozen=True)
class DemoRequest:
    """What to show.

    Attributes:
        output: Folder for bundles, report and gallery; what an earlier demo left is replaced.
        model: Network with shipped weights.
        devices: Names of devices, or of runtimes that stand for any device.
        search_seconds: Seconds that each search for the fastest form may take.
        runs: Counted inferences of each artefact, at least.
        images: Images in the gallery: those whose masks differ most.
    """

    output: Path = Path("demo")
    model: str = "egeunet"
    devices: tuple[str, ...] = DEVICES
    search_seconds: float = 5.0
    runs: int = 50
    images: int = 2


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
    """Build a network for each device, measure the bundles, and draw their masks.

    What is built is what `auto` finds; of `native`, FP32.

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
        with progress.stage(f"build {request.model} for {device}"):
            runtime = find_device(device).runtimes[0]
            build = BuildRequest(
                request.model,
                device,
                PRECISIONS.get(runtime, AUTO),
                request.output / BUNDLES / device,
                # Named, as the runtimes are compared with each other below anyway.
                runtime=runtime,
                options=OPTIONS.get(runtime, {}),
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
        draw_comparison(
            compare_sources(mask_sources(bundles, report), request.images), gallery_path
        )
    return DemoResult(tuple(bundles), missing, report, report_path, gallery_path)


def missing_command(device: str) -> str:
    """The command that adds what a device's own runtime lacks here; empty where nothing is."""
    missing = find_runtime(find_device(device).runtimes[0]).diagnose().missing
    return missing[0][1] if missing else ""


@dataclass(frozen=True)
class MaskSource:
    """Something that computes masks for the gallery.

    Attributes:
        name: Words of the caption.
        bundle: Bundle whose contract it follows.
        backend: What computes.
    """

    name: str
    bundle: Bundle
    backend: Backend

    def labels(self, image: NDArray[np.uint8] | NDArray[np.uint16], path: Path) -> Labels:
        """Class of each pixel of an image, at its own size."""
        return predict_image(self.bundle, self.backend, image, str(path))


def mask_sources(bundles: Sequence[Bundle], report: Report) -> list[MaskSource]:
    """The bundles; before each, its plain export where that finds something else than PyTorch."""
    plain_flips = {row["target"]: row["flips_per_10k"] for row in report.rows if row["is_baseline"]}
    sources = []
    for bundle in bundles:
        device = bundle.manifest.target
        if plain_flips[device] > WRONG_FLIPS:
            runtime = find_runtime(bundle.manifest.runtime)
            plain = baseline_artifact(runtime, bundle.folder / SOURCE_ONNX, PLAIN)
            sources.append(MaskSource(f"{device}, plain export", bundle, open_backend(plain, 1)))
        sources.append(MaskSource(f"{device}, edgeseg", bundle, load_bundle(bundle)))
    return sources


def compare_sources(sources: Sequence[MaskSource], count: int) -> list[ComparisonRow]:
    """Lines of a gallery: the images whose masks differ most from the FP32 reference's.

    Returns:
        A line for each image and source, image by image.
    """
    first = sources[0].bundle
    reference = MaskSource("FP32", first, load_reference(first))
    paths = [pair.image_path for pair in open_sample([SPLIT])]
    by_difference = []
    for path in paths:
        image = read_image(path)
        expected = reference.labels(image, path)
        labels = [source.labels(image, path) for source in sources]
        share = sum(float(np.mean(found != expected)) for found in labels)
        by_difference.append((share, path, expected, labels))
    by_difference.sort(key=lambda entry: entry[0], reverse=True)
    return [
        compare_masks(
            f"{path.stem}, {source.name}",
            read_image(path),
            expected,
            found,
            find_truth(path, len(first.outputs.classes)),
        )
        for _, path, expected, labels in by_difference[:count]
        for source, found in zip(sources, labels, strict=True)
    ]
