"""What `edgeseg bench` is asked for, and where it is done: here or on a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeseg.benchmarks.margins import require_scored, with_verdicts
from edgeseg.benchmarks.report import Report, without_samples
from edgeseg.benchmarks.settings import BenchSettings

from ..bundle.bundle import Bundle, open_bundle
from ..contract import AXIAL
from ..data.depth import tell_depth
from ..data.folder import tell_files
from ..data.groups import read_groups
from ..errors import UsageError
from ..metrics.limits import require_label_metrics, stated_limits
from ..progress import SILENT, Progress
from .builder.baselines import PLAIN
from .builder.device_settings import DeviceSettings
from .builder.request import open_split
from .measuring.local import bench_bundles, require_baseline_kind
from .measuring.remote import bench_on_device


@dataclass(frozen=True)
class BenchRequest:
    """What to measure.

    Attributes:
        bundles: Folders of bundles.
        data: Folder with labelled images; None takes the sample that the package carries.
        splits: Splits of the data to score on.
        images: Largest number of images; None takes all.
        threads: CPU threads of each artefact.
        runs: Least number of counted inferences of each artefact.
        baseline: What speed is compared with: "plain" or "target"; see `bench_bundles`.
        toolkits: Interpreters of external toolkits by name.
        device: Where to measure, and how; None measures here.
        record: Add the rows to the bundles' manifests.
        model: Class of the user's own network, "package.module:Class", which is imported for the
            FP32 reference; None takes the bundle's FP32 graph.
        sustain_s: Seconds that each artefact runs without a pause afterwards.
        sweep_threads: Other numbers of threads that each artefact is measured on as well.
        max_change: How much of each metric an artefact may lose against the FP32 reference, by
            name; metrics that are not named, flips and the worst image are judged by what auto may
            lose of them.
    """

    bundles: tuple[Path, ...]
    data: Path | None = None
    splits: tuple[str, ...] = ("val", "test")
    images: int | None = None
    threads: int = BenchSettings.threads
    runs: int = BenchSettings.runs
    baseline: str = PLAIN
    toolkits: Mapping[str, Path] = field(default_factory=dict)
    device: DeviceSettings | None = None
    record: bool = False
    model: str | None = None
    sustain_s: float = BenchSettings.sustain_s
    sweep_threads: tuple[int, ...] = BenchSettings.sweep_threads
    max_change: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_baseline_kind(self.baseline)
        if not self.bundles:
            raise UsageError("There is no bundle to measure. Name at least one.")
        if self.device is None:
            return
        if self.baseline != PLAIN:
            raise UsageError(
                "On a device the baseline is the FP32 bundle that is named with the others. Leave "
                "--baseline out."
            )
        if self.sustain_s:
            raise UsageError("--sustain runs on this machine. Leave out --device or --sustain.")
        if self.toolkits:
            raise UsageError("--toolkit measures on this machine. Leave out --device or --toolkit.")


def run_bench(request: BenchRequest, progress: Progress = SILENT) -> Report:
    """Measure bundles in one interleaved run.

    Raises:
        UsageError: A margin is no number, or names a metric that was not scored.
        EdgesegError: As `bench_bundles` and `bench_on_device` tell.
    """
    margins = stated_limits(request.max_change)
    require_label_metrics(request.max_change)
    settings = BenchSettings(
        threads=request.threads,
        runs=request.runs,
        sustain_s=request.sustain_s,
        sweep_threads=request.sweep_threads,
    )
    bundles = [open_bundle(folder) for folder in request.bundles]
    axis = next((bundle.inputs.axis for bundle in bundles), AXIAL)
    dataset = open_split(request.data, *request.splits, axis=axis).first(request.images)
    read_groups(dataset)  # which the report will hold: a fault in it is told before the work
    tell_files(dataset, progress)
    for inputs in {str(bundle.inputs): bundle.inputs for bundle in bundles}.values():
        tell_depth([pair.image_path for pair in dataset], inputs, progress)
    if request.device is not None:
        report = bench_on_device(
            bundles, dataset, settings, request.device, progress, model=request.model
        )
    else:
        report = bench_bundles(
            bundles,
            dataset,
            settings,
            progress,
            baseline_kind=request.baseline,
            toolkits=request.toolkits,
            model=request.model,
        )
    report = with_verdicts(report, margins)
    require_scored(report, request.max_change)
    if request.record:
        _record(report, bundles)
    return report


def _record(report: Report, bundles: list[Bundle]) -> None:
    """Add its rows to each bundle's manifest, without what only a comparison needs."""
    data = {name: value for name, value in report.data.items() if name not in ("names", "groups")}
    if "clusters" in data:
        data["clusters"] = {name: data["clusters"][name] for name in ("kind", "count", "text")}
    for bundle in bundles:
        bundle.with_measurements(
            {
                **without_samples(row),
                "worst_image": None,  # has a name, which may be a patient's
                "environment": report.environment,
                "data": data,
            }
            for row in report.rows
            if row["key"] == str(bundle.folder.resolve())
        )
