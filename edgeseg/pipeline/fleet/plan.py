"""What a sweep is asked for: its axes, and the table of cells that they span."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeseg.benchmarks.settings import BenchSettings
from edgeseg.errors import UsageError
from edgeseg.records import short_name
from edgeseg.targets.devices import find_device

from ..builder.device_settings import DeviceSettings
from ..builder.request import AUTO, BuildRequest

LOCAL = "local"  # the device that measures itself: this machine, or a node of a cluster
PRECISIONS = ("fp32", "int8")
AXES = ("model", "target", "runtime", "precision", "size", "threads", "device")
Size = tuple[int, int]
# What goes into names of folders, and into commands that are shown.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def size_text(size: Size | None) -> str:
    return "" if size is None else f"{size[0]}x{size[1]}"


@dataclass(frozen=True)
class Point:
    """One place in the table.

    Attributes:
        runtime: None is the target's own.
        size: (height, width); None is the network's own.
    """

    model: str
    target: str
    runtime: str | None
    precision: str
    size: Size | None
    threads: int
    device: str

    def value(self, axis: str) -> Any:
        """On an axis, as SWEEP.toml writes it."""
        return size_text(self.size) if axis == "size" else getattr(self, axis)

    @property
    def folder(self) -> str:
        """Name of the bundle's folder, which cells share that differ in threads or device."""
        parts = short_name(self.model), self.target, self.runtime, self.precision
        return "-".join(part for part in (*parts, size_text(self.size)) if part)


@dataclass(frozen=True)
class SweepPlan:
    """What is built and measured: every combination of the axes that no exclusion takes out.

    Attributes:
        models: Names, or "package.module:Class" with an entry in `specs`.
        targets: Names of devices or runtimes, as `edgeseg build` takes them.
        runtimes: By target; where there is no entry, the target's own.
        sizes: (height, width); None is the network's own.
        threads: CPU threads.
        devices: "local", or names in `addresses`, or names of resources of a cluster.
        weights, data, specs: By model; without an entry the shipped ones and the sample.
        options: Of the runtime, by target.
        addresses: How devices are reached, by name.
        exclude: Values by axis; a combination that agrees with all of one table is left out.
        splits: Of the data, to score on.
        images: Largest number of images to measure on; None takes all.
        runs: Least number of counted inferences of each artefact.
        calibration_images: At most so many are used.

    Raises:
        UsageError: An axis is empty or names a value twice, an exclusion excludes nothing, an
            entry belongs to no model, target or device; or nothing is left.
    """

    models: tuple[str, ...]
    targets: tuple[str, ...]
    precisions: tuple[str, ...] = PRECISIONS
    runtimes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sizes: tuple[Size | None, ...] = (None,)
    threads: tuple[int, ...] = (1,)
    devices: tuple[str, ...] = (LOCAL,)
    weights: Mapping[str, Path] = field(default_factory=dict)
    data: Mapping[str, Path] = field(default_factory=dict)
    specs: Mapping[str, Path] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    addresses: Mapping[str, DeviceSettings] = field(default_factory=dict)
    exclude: tuple[Mapping[str, tuple[Any, ...]], ...] = ()
    splits: tuple[str, ...] = ("val", "test")
    images: int | None = None
    runs: int = 100
    calibration_images: int = BuildRequest.calibration_images

    def __post_init__(self) -> None:
        for name in ("models", "targets", "precisions", "sizes", "threads", "devices"):
            _require_axis(name, getattr(self, name))
        for model in self.models:
            if ":" in model and model not in self.specs:
                raise UsageError(
                    f"{model} is a network of your own, and nothing describes it. Write "
                    f'[spec] and "{model}" = "FILE.toml" into the file of the sweep; '
                    "docs/custom-models.md shows such a description."
                )
        for name in (*self.precisions, *self.devices, *itertools.chain(*self.runtimes.values())):
            if not _NAME.fullmatch(name):
                raise UsageError(
                    f"{name!r} is no name of a precision, a runtime or a device. Write letters, "
                    "digits, dots, dashes and underscores."
                )
        for target in self.targets:
            device = find_device(target)
            for runtime in self.runtimes.get(target, ()):
                device.resolve_runtime(runtime)
            _require_axis(f"runtimes of {target}", self.runtimes.get(target, (None,)))
        for threads in self.threads:
            BenchSettings(threads=threads, runs=self.runs)
        for name, owners, axis in (
            ("weights", self.weights, self.models),
            ("data", self.data, self.models),
            ("spec", self.specs, self.models),
            ("runtimes", self.runtimes, self.targets),
            ("options", self.options, self.targets),
            ("device", self.addresses, self.devices),
        ):
            for owner in owners:
                if owner not in axis:
                    raise UsageError(
                        f"{name} names {owner}, which is not swept. Add it to the axis "
                        f"({', '.join(axis)}), or take the entry out."
                    )
        if LOCAL in self.addresses:
            raise UsageError(
                f"The device {LOCAL} has an address, and it is this machine. Give the other one "
                "another name."
            )
        if not self.points():
            raise UsageError("Every cell is excluded. Take an [[exclude]] out.")

    def _combinations(self) -> Iterator[Point]:
        for model, target in itertools.product(self.models, self.targets):
            runtimes = self.runtimes.get(target, (None,))
            for runtime, precision, size in itertools.product(
                runtimes, self.precisions, self.sizes
            ):
                for threads, device in itertools.product(self.threads, self.devices):
                    yield Point(model, target, runtime, precision, size, threads, device)

    def points(self) -> list[Point]:
        """All that is swept, in the order of the axes.

        Raises:
            UsageError: An exclusion excludes nothing.
        """
        points = list(self._combinations())
        for table in self.exclude:
            if not any(_agrees(point, table) for point in points):
                words = ", ".join(f"{axis} = {list(values)}" for axis, values in table.items())
                raise UsageError(
                    f"[[exclude]] {words} takes no cell out. Correct its values, or take it out."
                )
        return [
            point for point in points if not any(_agrees(point, table) for table in self.exclude)
        ]

    def searches_on(self, point: Point) -> str:
        """The device on which "auto" lets forms of the network take turns; empty where none does.

        Bundles of such a cell are the device's own.
        """
        is_searched = point.precision == AUTO and point.device in self.addresses
        return point.device if is_searched else ""

    def folder(self, point: Point) -> str:
        """Name of the folder of a place's bundle."""
        return "-".join(part for part in (point.folder, self.searches_on(point)) if part)

    def request(self, point: Point, bundles: Path) -> BuildRequest:
        """What is to be built for a place.

        Args:
            bundles: Folder of the bundles.
        """
        return BuildRequest(
            model=point.model,
            target=point.target,
            precision=point.precision,
            output=bundles / self.folder(point),
            runtime=point.runtime,
            weights=self.weights.get(point.model),
            data=self.data.get(point.model),
            spec=self.specs.get(point.model),
            calibration_images=self.calibration_images,
            options=self.options.get(point.target, {}),
            size=point.size,
            device=self.addresses.get(self.searches_on(point)),
            overwrite=True,
        )

    def words(self, point: Point) -> str:
        """A place in words: model, target and precision, and what differs beside these."""
        parts = [short_name(point.model), point.target, point.runtime or "", point.precision]
        return " ".join(part for part in (*parts, self.condition(point)) if part)

    def condition(self, point: Point) -> str:
        """Size, threads and device in words, where several of them are swept."""
        parts = []
        if len(self.sizes) > 1:
            parts.append(size_text(point.size) or "own size")
        if len(self.threads) > 1:
            parts.append(f"{point.threads} thread{'s' if point.threads > 1 else ''}")
        if len(self.devices) > 1:
            parts.append(f"@{point.device}")
        return " ".join(parts)


def _require_axis(name: str, values: Sequence[Any]) -> None:
    if not values:
        raise UsageError(f"{name} is empty, so that there is no cell. Name one or leave it out.")
    for value in values:
        if values.count(value) > 1:
            text = size_text(value) if isinstance(value, tuple) else value
            raise UsageError(f"{name} names {text} twice. Name it once.")


def _agrees(point: Point, table: Mapping[str, tuple[Any, ...]]) -> bool:
    return all(point.value(axis) in values for axis, values in table.items())
