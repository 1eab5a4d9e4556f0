"""The table while it is worked on: what can be done next, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeseg.benchmarks.report import Report
from edgeseg.bundle.bundle import Bundle, open_bundle
from edgeseg.errors import BundleError, DeviceError, WorkerKilledError

from ..measuring.remote import FLOAT
from .cells import SweepBuild, SweepCell, SweepCells
from .plan import SweepPlan
from .steps import DONE, FAILED, QUEUED, REFUSED, RUNNING, Step
from .store import Store, new_run
from .work import Measurement, reason_after, state_after


@dataclass(frozen=True)
class Group:
    """Cells that are measured in one run, and how."""

    cells: tuple[SweepCell, ...]
    measurement: Measurement

    @property
    def keys(self) -> list[str]:
        return [cell.key for cell in self.cells]

    @property
    def device(self) -> str:
        return self.cells[0].point.device

    @property
    def title(self) -> str:
        first = self.cells[0]
        return f"measure {first.point.model} {first.condition}".strip()


@dataclass
class Board:
    """Attributes:
    tell: Is told a line for each cell that is settled.
    new: Keys of the cells that this driver has settled.
    """

    plan: SweepPlan
    known: SweepCells
    store: Store
    tell: Callable[[str], object]
    new: set[str] = field(default_factory=set)
    _alone: set[Any] = field(default_factory=set)  # groups of which each cell gets a run
    _told: set[str] = field(default_factory=set)
    _steps: Mapping[str, Step] = field(default_factory=dict)

    def open(self) -> None:
        """Queue what is new and what failed before."""
        keys = [step.key for step in self.known.steps]
        self.store.add(self.known.steps)
        for build in self.known.builds.values():
            if build.refusal:
                self.store.settle([build.key], REFUSED, build.refusal)
        self.store.queue_failed(keys)
        others = self.store.count_others(cell.key for cell in self.known.cells)
        if others:
            self.tell(
                f"{others} earlier results here do not count: they are of another version of "
                "EdgeSeg or of a package, or of other settings."
            )
        before = self.store.steps(keys)
        self._told = {cell.key for cell in self.known.cells if before[cell.key].is_settled}
        self.refresh()
        for build in self._needed():
            is_done = self._steps[build.key].state == DONE
            if is_done and not is_intact(build, self.store.bundle_of(build.key)):
                self.store.forget_build(build.key)
        self.refresh()

    def refresh(self) -> None:
        """Read where all stands; cells follow their builds where these were not made."""
        self.store.take_back()
        self._steps = self.store.steps(step.key for step in self.known.steps)
        followed = False
        for cell in self.known.cells:
            build = self._steps[cell.build.key]
            if build.state in (FAILED, REFUSED) and self._steps[cell.key].state == QUEUED:
                self.store.settle([cell.key], build.state, build.reason)
                self.new.add(cell.key)
                followed = True
        if followed:
            self._steps = self.store.steps(step.key for step in self.known.steps)
        self._tell_settled()

    def _needed(self) -> list[SweepBuild]:
        """Builds of cells that are not settled."""
        keys = {cell.build.key for cell in self.known.cells if not self._steps[cell.key].is_settled}
        return [self.known.builds[key] for key in self.known.builds if key in keys]

    def open_builds(self) -> list[SweepBuild]:
        """What can be built now."""
        return [build for build in self._needed() if self._steps[build.key].state == QUEUED]

    def open_groups(self) -> list[Group]:
        """What can be measured now: all builds of such a group are settled."""
        groups: dict[Any, list[SweepCell]] = {}
        waiting = set()
        for cell in self.known.cells:
            if self._steps[cell.key].state != QUEUED:
                continue
            key: Any = cell.group
            if not self._steps[cell.build.key].is_settled:
                waiting.add(key)
            if key in self._alone:
                key = cell.key
            groups.setdefault(key, []).append(cell)
        return [self._group(cells) for cells in groups.values() if cells[0].group not in waiting]

    def _group(self, cells: Sequence[SweepCell]) -> Group:
        first = cells[0].point
        device = self.plan.addresses.get(first.device)
        measurement = Measurement(
            bundles=tuple(cell.build.folder for cell in cells),
            baselines=self._baselines(cells) if device else (),
            data=self.plan.data.get(first.model),
            splits=self.plan.splits,
            images=self.plan.images,
            threads=first.threads,
            runs=self.plan.runs,
            device=device,
        )
        return Group(tuple(cells), measurement)

    def _baselines(self, cells: Sequence[SweepCell]) -> tuple[Path, ...]:
        """FP32 bundles of the same group that take part once more, as others are compared with
        them on a device."""
        own = {cell.key for cell in cells}
        targets = {(cell.point.target, cell.point.runtime) for cell in cells}
        return tuple(
            other.build.folder
            for other in self.known.cells
            if other.group == cells[0].group
            and other.point.precision == FLOAT
            and (other.point.target, other.point.runtime) in targets
            and other.key not in own
            and is_intact(other.build, self.store.bundle_of(other.build.key))
        )

    def claim(self, group: Group) -> bool:
        """Take a group's cells, all or none; a bundle that was changed is built again first."""
        claimed = self.store.claim(group.keys)
        changed = [
            cell.build
            for cell in group.cells
            if not is_intact(cell.build, self.store.bundle_of(cell.build.key))
        ]
        if len(claimed) == len(group.cells) and not changed:
            return True
        # Another driver measures some of them: the rest makes a group of its own.
        self.store.release(claimed)
        for build in changed:
            self.store.forget_build(build.key)
        return False

    def is_complete(self) -> bool:
        return all(self._steps[cell.key].is_settled for cell in self.known.cells)

    def others(self) -> list[Step]:
        """Steps that other drivers run."""
        return [step for step in self._steps.values() if step.state == RUNNING]

    def built(self, build: SweepBuild, bundle: Bundle, seconds: float) -> None:
        if not self.store.finish_build(build.key, bundle.identity, seconds):
            name = build.folder.name
            self.tell(f"{name} was built by another driver meanwhile; its result stays.")

    def measured(self, group: Group, report: Report, seconds: float) -> None:
        """Write the results of a run; a bundle that the report leaves out was refused."""
        run = new_run()
        rows = {row["key"] for row in report.rows}
        found = {}
        for cell in group.cells:
            row = str(cell.build.folder.resolve())
            if row in rows:
                found[cell.key] = row
        each = seconds / len(group.cells)
        late = self.store.finish_cells(run, report.to_json(), found, each)
        if late:
            self.tell(f"{len(late)} cells were measured by another driver meanwhile; these stay.")
        self.new.update(set(found) - set(late))
        reasons = {failure.target: failure.reason for failure in report.failures}
        for cell in group.cells:
            if cell.key not in found:
                reason = reasons.get(cell.point.target) or "; ".join(reasons.values())
                self._settle([cell.key], REFUSED, f"built, but not measured: {reason}")

    def not_built(self, build: SweepBuild, error: Exception) -> None:
        self.store.settle([build.key], state_after(error), reason_after(error))

    def not_measured(self, group: Group, error: Exception) -> None:
        """A run failed: its cells are tried one by one, unless that would not help."""
        if isinstance(error, WorkerKilledError):
            advice = "Look at this machine's memory, then run the sweep again."
            self.store.lose(group.keys, f"built, but not measured: {reason_after(error)}", advice)
        elif len(group.cells) > 1 and not isinstance(error, DeviceError):
            self._alone.add(group.cells[0].group)
            self.store.release(group.keys)
        else:
            reason = f"built, but not measured: {reason_after(error)}"
            self._settle(group.keys, state_after(error), reason)

    def _settle(self, keys: Iterable[str], state: str, reason: str) -> None:
        keys = list(keys)
        self.store.settle(keys, state, reason)
        self.new.update(keys)

    def _tell_settled(self) -> None:
        """A line for each cell that has been settled since."""
        for cell in self.known.cells:
            step = self._steps[cell.key]
            if step.is_settled and cell.key not in self._told:
                self._told.add(cell.key)
                self.tell(self._line(cell, step))

    def _line(self, cell: SweepCell, step: Step) -> str:
        """Such as "[12/40] egeunet intel int8  build 38 s  bench 9 s  dice -0.0021  1.08x"."""
        parts = [f"[{len(self._told)}/{len(self.known.cells)}] {cell.words}"]
        if step.state != DONE:
            return f"{parts[0]}  {step.state}: {step.reason}"
        built = self._steps[cell.build.key].seconds
        parts += [f"build {built or 0:.0f} s", f"bench {step.seconds or 0:.0f} s"]
        run, key = self.store.results([cell.key])[cell.key]
        (row,) = (row for row in self.store.report(run)["rows"] if row["key"] == key)
        parts += describe_row_briefly(row)
        left = self.seconds_left()
        if left:
            parts.append(f"{_roughly(left)} left")
        return "  ".join(parts)

    def seconds_left(self) -> float:
        """By what steps of this store took on average; 0 where nothing is left or was done."""
        known = self.store.seconds()
        builds = sum(not self._steps[build.key].is_settled for build in self._needed())
        cells = sum(not self._steps[cell.key].is_settled for cell in self.known.cells)
        return builds * known.get("build", 0.0) + cells * known.get("cell", 0.0)


def _roughly(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def describe_row_briefly(row: Mapping[str, Any]) -> list[str]:
    """What a row changed of Dice, and its speed-up."""
    parts = []
    change = (row.get("delta") or {}).get("dice_pooled")
    if change is not None:
        parts.append(f"dice {change:+.4f}")
    if row.get("speedup") is not None:
        parts.append(f"{row['speedup']:.2f}x")
    return parts


def is_intact(build: SweepBuild, identity: str | None) -> bool:
    """Whether the bundle is there that a build made."""
    try:
        return identity is not None and open_bundle(build.folder).identity == identity
    except BundleError:
        return False
