"""The cells of a plan, keyed by all that decides their results."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeseg.benchmarks.report import PROTOCOL_VERSION
from edgeseg.benchmarks.workers.cpu import read_cpu
from edgeseg.data.digest import images_digest
from edgeseg.data.folder import FolderDataset
from edgeseg.errors import DataError, UsageError
from edgeseg.models import ModelSpec, TrainedModel, find_model
from edgeseg.storage.cache import content_key
from edgeseg.targets.devices import find_device

from ..builder.request import BuildRequest, open_split
from .plan import LOCAL, Point, Size, SweepPlan
from .steps import NewStep


@dataclass(frozen=True)
class SweepBuild:
    """A bundle that cells share.

    Attributes:
        refusal: Why it cannot be; empty where that is not known yet.
        device: Where forms of the network take turns for it; empty where none is needed.
    """

    key: str
    request: BuildRequest
    refusal: str = ""
    device: str = ""

    @property
    def folder(self) -> Path:
        assert self.request.output is not None
        return self.request.output


@dataclass(frozen=True)
class SweepCell:
    """One measurement.

    Attributes:
        words: What it is, for people.
        condition: Of these, size, threads and device, where several are swept.
    """

    key: str
    build: SweepBuild
    point: Point
    words: str
    condition: str

    @property
    def group(self) -> tuple[str, Size | None, int, str]:
        """What cells have in common that take turns in one run."""
        return self.point.model, self.point.size, self.point.threads, self.point.device


@dataclass(frozen=True)
class SweepCells:
    """A plan's cells and builds.

    Attributes:
        digests: Of the images that are measured on, by model.
        calibration: Of those that builds may look at, by model.
    """

    cells: tuple[SweepCell, ...]
    builds: Mapping[str, SweepBuild]
    steps: tuple[NewStep, ...]
    digests: Mapping[str, str]
    calibration: Mapping[str, tuple[str, ...]]


def make_cells(plan: SweepPlan, bundles: Path, *, on_cluster: bool = False) -> SweepCells:
    """All cells of a plan.

    Args:
        bundles: Folder of the bundles.
        on_cluster: Whether devices are machines of a cluster, known by their names alone.

    Raises:
        EdgesegError: A model, its weights or its images are not there.
    """
    cells: list[SweepCell] = []
    builds: dict[str, SweepBuild] = {}
    steps: dict[str, NewStep] = {}
    digests = {model: images_digest(_measured(plan, model)) for model in plan.models}
    calibration = {model: calibration_digest(plan.data.get(model)) for model in plan.models}
    networks = _networks(plan)
    for point in plan.points():
        identity, refusal = networks[point.model, point.size]
        request = plan.request(point, bundles)
        record = {
            **identity,
            **_what_is_built(point, request),
            "images": calibration[point.model],
            "refusal": refusal,
        }
        device = plan.searches_on(point)
        if device:
            record["search"] = _device_identity(plan, device, on_cluster=on_cluster)
        build = SweepBuild(content_key(record), request, refusal, device)
        builds.setdefault(build.key, build)
        name = plan.folder(point)
        steps[build.key] = NewStep(build.key, "build", name, {**record, "folder": name})
        measured = {
            "build": build.key,
            "threads": point.threads,
            "device": _device_identity(plan, point.device, on_cluster=on_cluster),
            "runs": plan.runs,
            "images": digests[point.model],
            "protocol": PROTOCOL_VERSION,
        }
        key = content_key(measured)
        words = plan.words(point)
        cells.append(SweepCell(key, build, point, words, plan.condition(point)))
        steps[key] = NewStep(key, "cell", words, measured)
    return SweepCells(tuple(cells), builds, tuple(steps.values()), digests, calibration)


def _networks(plan: SweepPlan) -> dict[tuple[str, Size | None], tuple[dict[str, Any], str]]:
    """Identity of each network at each size, and why it has none of that size."""
    found = {}
    for name in plan.models:
        spec = find_model(name, plan.specs.get(name))
        trained = TrainedModel.of(spec, plan.weights.get(name))
        for size in plan.sizes:
            model, refusal = _at_size(trained, size)
            found[name, size] = model.identity(), refusal
    return found


def _at_size(model: TrainedModel, size: Size | None) -> tuple[TrainedModel, str]:
    """A network at a size, and why it has none of that size."""
    if size is None:
        return model, ""
    try:
        spec: ModelSpec = model.spec.at_size(*size)
    except UsageError as error:
        return model, str(error)
    return TrainedModel(spec, model.weights, model.is_shipped), ""


def _what_is_built(point: Point, request: BuildRequest) -> dict[str, Any]:
    return {
        "target": point.target,
        "runtime": point.runtime or find_device(point.target).runtimes[0],
        "precision": point.precision,
        "size": point.size,
        "options": dict(request.options),
        "calibration_images": request.calibration_images,
    }


def _device_identity(plan: SweepPlan, device: str, *, on_cluster: bool) -> list[Any]:
    """What stands for the device: its address, its name in the cluster, or this machine's CPU."""
    if device in plan.addresses:
        settings = plan.addresses[device]
        return [settings.device, settings.python, settings.program]
    if on_cluster or device != LOCAL:
        return ["cluster", device]
    return [*read_cpu(), os.cpu_count()]


def _measured(plan: SweepPlan, model: str) -> FolderDataset:
    return open_split(plan.data.get(model), *plan.splits).first(plan.images)


def calibration_digest(data: Path | None) -> tuple[str, ...]:
    """Of the images that a build may look at; a split that is not there has none."""
    found = []
    for split in ("train", "val"):
        with contextlib.suppress(DataError):
            found.append(images_digest(open_split(data, split, labelled=False)))
    return tuple(found)
