"""The Python interface: what the command line does, as functions.

Each function fills the request that its command fills, and nothing heavy is loaded before it is
called:

    import edgeseg

    bundle = edgeseg.build("egeunet", "intel")
    mask = bundle.predict("lesion.jpg")
    report = edgeseg.bench([bundle])

Errors are those of `edgeseg.errors`; each message says what to do.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from edgeseg.benchmarks.report import Report
    from edgeseg.targets import Backend

    from .bundle import bundle as bundles
    from .bundle.manifest import Manifest
    from .metrics.agreement import Agreement
    from .pipeline.builder.device_settings import DeviceSettings
    from .progress import Progress
    from .training.loop import TrainingResult

from .options import AnyPath, names_of, path_of, paths_of, require_path, settings_of, size_of

ImageLike: TypeAlias = "AnyPath | NDArray[np.uint8] | NDArray[np.uint16]"


class Bundle:
    """A network compiled for a device, with its manifest: what `edgeseg build` writes.

    The artefact is loaded at the first prediction and kept. One bundle may be used by several
    threads, which take turns.

    Args:
        folder: Of the bundle.
        threads: CPU threads of a prediction.

    Attributes:
        folder: Of the bundle.

    Raises:
        BundleError: The folder holds no bundle, or its manifest is damaged.
    """

    def __init__(self, folder: AnyPath, *, threads: int = 1) -> None:
        from .bundle.bundle import open_bundle

        self.folder = require_path(folder)
        self._threads = threads
        self._bundle: bundles.Bundle = open_bundle(self.folder)
        self._backend: Backend | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<edgeseg.Bundle {self.name} in {self.folder}>"

    @property
    def name(self) -> str:
        """MODEL-TARGET-PRECISION."""
        return self._bundle.name

    @property
    def manifest(self) -> Manifest:
        """What the bundle is, how it was built, and what was measured."""
        return self._bundle.manifest

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their indices; the background is first."""
        return self._bundle.outputs.classes

    def predict(self, image: ImageLike) -> NDArray[np.uint8]:
        """The class of each pixel.

        Args:
            image: A file, or a decoded image (H, W, C), uint8 or uint16, of any size: RGB, or the
                channels of the network, where (H, W) will do for one.

        Returns:
            Class indices, (H, W).

        Raises:
            DataError: The image cannot be read, or has another shape or type.
            BundleError: The artefact gives NaN or infinity.
            TargetError, MissingBackendError: The runtime does not load the artefact.
        """
        return self._predict(self._read(image))

    def overlay(self, image: ImageLike) -> Image:
        """The image with its mask painted over it, at most 1,024 pixels a side, to be looked at."""
        from .data.gallery import paint_overlay

        pixels = self._read(image)
        return paint_overlay(pixels, self._predict(pixels))

    def verify(self, key: AnyPath | None = None) -> Agreement:
        """Compare every file with its checksum, and replay the golden pair on this machine.

        Args:
            key: File of a public key, with which the signature of a release is checked first.

        Raises:
            BundleError: A file is missing or changed, the mask is off, or the signature fails.
        """
        from .pipeline.verify import verify_bundle

        _, agreement, _ = verify_bundle(self.folder, path_of(key))
        return agreement

    def release(self, output: AnyPath, key: AnyPath, **settings: Any) -> Bundle:
        """Write the bundle with its documents and sign all of it, as `edgeseg release`.

        For `settings`, such as `bench`, see `edgeseg.pipeline.release.ReleaseRequest`.
        """
        from .pipeline.release import ReleaseRequest, release_bundle

        given = settings_of({"output": output, "key": key, **settings})
        release_bundle(ReleaseRequest(bundle=self.folder, **given))
        return Bundle(output, threads=self._threads)

    def embed(self, surface: str, output: AnyPath, *, overwrite: bool = False) -> Path:
        """Write a kit for an app, "web", "cpp", "android", "ios" or "jetson", as `edgeseg embed`.

        Raises:
            TargetError: The surface does not take this bundle; the message says why.
        """
        from .embed.embed import embed_bundle

        return embed_bundle(self.folder, surface, Path(output), overwrite=overwrite).folder

    def _predict(self, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
        from .pipeline.predict import load_bundle, predict_image

        with self._lock:
            if self._backend is None:
                self._backend = load_bundle(self._bundle, threads=self._threads)
            return predict_image(self._bundle, self._backend, pixels, "the image")

    def _read(self, image: ImageLike) -> NDArray[np.uint8] | NDArray[np.uint16]:
        from .data.images import read_image, require_pixels

        if isinstance(image, (str, os.PathLike)):
            return read_image(Path(image), self._bundle.inputs)
        return require_pixels(image, self._bundle.inputs.channels)


def load(folder: AnyPath, *, threads: int = 1) -> Bundle:
    """Open a bundle that was built before; see `Bundle`."""
    return Bundle(folder, threads=threads)


def build(
    model: str,
    target: str,
    precision: str | None = None,
    output: AnyPath | None = None,
    *,
    runtime: str | None = None,
    weights: AnyPath | None = None,
    data: AnyPath | None = None,
    spec: AnyPath | None = None,
    calibration_images: int = 64,
    method: str | None = None,
    method_options: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
    size: tuple[int, int] | None = None,
    search_seconds: float = 240.0,
    max_change: Mapping[str, float | None] | None = None,
    min_agreement: float | None = None,
    accept_uncertain: bool = False,
    tuning: AnyPath | None = None,
    device: str | DeviceSettings | None = None,
    overwrite: bool = False,
    use_cache: bool = True,
    progress: bool = True,
) -> Bundle:
    """Build a bundle, as `edgeseg build` does: see `edgeseg.pipeline.builder.request.BuildRequest`.

    Args:
        model: Name of a network (`edgeseg models`), or "package.module:Class" with a `spec`.
        target: Name of a device or a runtime (`edgeseg doctor`).
        precision: Such as "int8"; None measures ("auto") where the runtime runs, or on `device`.
        output: Folder of the bundle; None takes bundles/MODEL-TARGET-PRECISION.
        size: (height, width) of the input.
        max_change: Largest loss of each metric that auto accepts, such as {"dice_pooled": 0.005,
            "worst_flips": None}; None takes a limit away (`edgeseg build --help` has all).
        device: Where auto measures, "ssh://user@host" or `DeviceSettings`; None measures here.
        progress: Show on the terminal, or below a notebook's cell, how far the build is.

    Raises:
        EdgesegError: Of any kind; nothing is left at `output` then.
    """
    given = {name: value for name, value in locals().items() if name != "progress"}
    from .pipeline.build import BuildRequest, build_bundle
    from .pipeline.builder.device_settings import DeviceSettings

    request = BuildRequest(**{**settings_of(given), "device": DeviceSettings.given(device)})
    return Bundle(build_bundle(request, _progress(progress))[0].folder)


def bench(
    bundles: Iterable[Bundle | AnyPath] | Bundle | AnyPath,
    *,
    data: AnyPath | None = None,
    split: Sequence[str] | str = ("val", "test"),
    images: int | None = None,
    threads: int = 1,
    runs: int = 200,
    baseline: str = "plain",
    toolkits: Mapping[str, AnyPath] | None = None,
    device: str | DeviceSettings | None = None,
    model: str | None = None,
    sustain_s: float = 0.0,
    sweep_threads: Sequence[int] = (),
    max_change: Mapping[str, float] | None = None,
    progress: bool = True,
) -> Report:
    """Measure bundles in one interleaved run, each against its FP32 baseline: `edgeseg bench`.

    Args:
        bundles: Bundles or their folders; a single one may stand alone.
        data: Folder with images/ and masks/; None takes the sample that the package carries.
        split: Split of the data to score on, or several.
        images: Largest number of images; None takes all.
        threads: CPU threads of each artefact.
        runs: Counted inferences of each artefact, at least.
        baseline: "plain", the exported graph through the runtime's own tool, or "target".
        toolkits: Interpreters of external toolkits by name, which run the FP32 network too.
        device: Where to measure, as in `build`; None measures here.
        model: Class of your own network, "package.module:Class", to be imported for the FP32
            reference; None takes the bundle's FP32 graph. Nothing that a bundle names is imported.
        sustain_s: Seconds that each artefact runs without a pause afterwards.
        sweep_threads: Other numbers of threads that each artefact is measured on as well.
        max_change: How much of each metric an artefact may lose against the FP32 reference, which
            the `margins` of its row judge; see `edgeseg.metrics.limits`.

    Returns:
        A row for each artefact; `Report.to_pandas()` gives a table.
    """
    given = dict(locals())
    is_shown, splits = given.pop("progress"), names_of(given.pop("split"))
    from .pipeline.bench import BenchRequest, run_bench
    from .pipeline.builder.device_settings import DeviceSettings

    several = [bundles] if isinstance(bundles, (Bundle, str, os.PathLike)) else bundles
    folders = (each.folder if isinstance(each, Bundle) else Path(each) for each in several)
    given |= {
        "bundles": tuple(folders),
        "splits": splits,
        "sweep_threads": tuple(sweep_threads),
        "toolkits": {name: Path(python) for name, python in (toolkits or {}).items()},
        "device": DeviceSettings.given(device),
    }
    request = BenchRequest(**settings_of(given))
    return run_bench(request, _progress(is_shown))


def evaluate(
    model: str,
    *,
    weights: AnyPath | None = None,
    spec: AnyPath | None = None,
    data: AnyPath | None = None,
    split: Sequence[str] | str = ("test",),
    size: tuple[int, int] | None = None,
    metrics: str | None = None,
    against: str | None = None,
    against_weights: AnyPath | None = None,
    max_change: Mapping[str, float] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Score the FP32 reference on labelled images, with 95 % intervals: `edgeseg evaluate`.

    Args:
        split: Split of the data to score on, or several.
        metrics: "paper" for what the model's paper prints, "all" for every metric.
        against: Name of another network, to be compared with image by image.
        against_weights: Checkpoint of that network; None takes the shipped one.
        max_change: How much of each metric the network may lose against the other one, by name.

    Returns:
        The record that `edgeseg evaluate --json` prints.
    """
    given = dict(locals())
    is_shown, splits = given.pop("progress"), names_of(given.pop("split"))
    from .pipeline.evaluate import EvaluateRequest, evaluate_model

    request = EvaluateRequest(**settings_of(given), splits=splits)
    return evaluate_model(request, _progress(is_shown))


def train(
    model: str,
    data: AnyPath,
    output: AnyPath | None = None,
    *,
    recipe: str | None = None,
    weights: AnyPath | None = None,
    spec: AnyPath | None = None,
    size: tuple[int, int] | None = None,
    labels: float = 1.0,
    resume: bool = False,
    progress: bool = True,
    **settings: Any,
) -> TrainingResult:
    """Train a network: `edgeseg train`.

    Args:
        output: Run folder; None takes runs/MODEL.
        settings: Settings of the recipe that differ, such as `epochs=5`.
    """
    from .pipeline.train import TrainRequest, train_model
    from .training.options import TrainingOptions

    request = TrainRequest(
        model=model,
        data=Path(data),
        output=_run_folder(output, model),
        spec=path_of(spec),
        weights=path_of(weights),
        size=size_of(size),
        labels=labels,
        training=TrainingOptions(recipe, settings, resume),
    )
    return train_model(request, _progress(progress))


def distill(
    teachers: str | Sequence[str],
    student: str,
    data: AnyPath,
    output: AnyPath | None = None,
    *,
    method: str = "graphflow",
    teacher_weights: Sequence[AnyPath] | AnyPath = (),
    student_weights: AnyPath | None = None,
    unlabeled: AnyPath | None = None,
    labels: float = 1.0,
    recipe: str | None = None,
    resume: bool = False,
    progress: bool = True,
    method_settings: Mapping[str, Any] | None = None,
    **settings: Any,
) -> TrainingResult:
    """Teach a small network by a large one: `edgeseg distill`.

    Args:
        teachers: Name of the network that teaches, or of several, whose mean teaches.
        output: Run folder; None takes runs/STUDENT-METHOD.
        method_settings: Settings of the method that differ, such as `{"temperature": 2.0}`.
        settings: Settings of the recipe that differ, such as `epochs=5`.
    """
    from .pipeline.distill import DistillRequest, distill_model
    from .training.options import TrainingOptions

    request = DistillRequest(
        teachers=names_of(teachers),
        student=student,
        data=Path(data),
        output=_run_folder(output, f"{student}-{method}"),
        teacher_weights=paths_of(teacher_weights),
        student_weights=path_of(student_weights),
        unlabeled=path_of(unlabeled),
        labels=labels,
        method=method,
        settings=dict(method_settings or {}),
        training=TrainingOptions(recipe, settings, resume),
    )
    return distill_model(request, _progress(progress))


def _run_folder(output: AnyPath | None, name: str) -> Path:
    from .records import short_name

    return Path("runs") / short_name(name) if output is None else Path(output)


def _progress(is_shown: bool) -> Progress:
    from .progress import SILENT

    if not is_shown:
        return SILENT
    from .cli.terminal.console import make_progress

    return make_progress()
