"""What a sweep has found: its cells with their results, as records, reports and a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgeseg.benchmarks.report import COLUMNS, Report, column_values
from edgeseg.records import VERSION

from .cells import SweepCell, SweepCells
from .plan import size_text
from .steps import DONE, QUEUED, Step
from .store import Store

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Outcome:
    """A cell and what came of it.

    Attributes:
        step, build: Where the measurement and the build stand; None where they were never queued.
        bundle: Identity of the bundle; None where it is not built.
        run: Name of the run that measured it; None where it is not done.
        row: Its row in that run's report.
    """

    cell: SweepCell
    step: Step | None
    build: Step | None
    bundle: str | None = None
    run: str | None = None
    row: Mapping[str, Any] | None = None

    @property
    def state(self) -> str:
        return self.step.state if self.step else QUEUED

    @property
    def reason(self) -> str:
        return self.step.reason if self.step else ""

    @property
    def is_settled(self) -> bool:
        return self.step is not None and self.step.is_settled

    def identity(self) -> dict[str, Any]:
        """Which cell it is."""
        point = self.cell.point
        return {
            "model": point.model,
            "target": point.target,
            "runtime": point.runtime,
            "precision": point.precision,
            "size": size_text(point.size) or None,
            "threads": point.threads,
            "device": point.device,
        }

    def to_json(self) -> dict[str, Any]:
        is_built = self.build is not None and self.build.state == DONE
        return {
            "key": self.cell.key,
            **self.identity(),
            "state": self.state,
            "bundle": str(self.cell.build.folder) if is_built else None,
            "bundle_sha256": self.bundle,
            "refusal": self.reason or None,
            "run": self.run,
            "build_s": self.build.seconds if self.build else None,
            "bench_s": self.step.seconds if self.step else None,
        }


@dataclass(frozen=True)
class SweepResult:
    """Attributes:
    outcomes: In the order of the plan.
    reports: What each run measured of these cells, by a title for people.
    """

    outcomes: tuple[Outcome, ...]
    reports: Mapping[str, Report]

    def count(self, state: str) -> int:
        return sum(outcome.state == state for outcome in self.outcomes)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "edgeseg_version": VERSION,
            "cells": [outcome.to_json() for outcome in self.outcomes],
            "reports": {title: report.to_json() for title, report in self.reports.items()},
        }


def collect(known: SweepCells, store: Store | None) -> SweepResult:
    """What a store holds of a plan's cells; nothing where there is none."""
    if store is None:
        return SweepResult(tuple(Outcome(cell, None, None) for cell in known.cells), {})
    steps = store.steps(step.key for step in known.steps)
    results = store.results(cell.key for cell in known.cells)
    runs: dict[str, Report] = {}
    for name, _ in results.values():
        if name not in runs:
            runs[name] = Report.from_json(store.report(name))
    outcomes = []
    for cell in known.cells:
        run: str | None = None
        row: Mapping[str, Any] | None = None
        if cell.key in results:
            run, key = results[cell.key]
            (row,) = (own for own in runs[run].rows if own["key"] == key)
        identity = store.bundle_of(cell.build.key)
        step, build = steps.get(cell.key), steps.get(cell.build.key)
        outcomes.append(Outcome(cell, step, build, identity, run, row))
    return SweepResult(tuple(outcomes), _reports(outcomes, runs))


def _reports(outcomes: Sequence[Outcome], runs: Mapping[str, Report]) -> dict[str, Report]:
    """The runs, each with the rows of these cells, in the order of the cells."""
    found: dict[str, Report] = {}
    for run in dict.fromkeys(outcome.run for outcome in outcomes if outcome.run):
        own = [outcome for outcome in outcomes if outcome.run == run]
        point, condition = own[0].cell.point, own[0].cell.condition
        title = f"{point.model} {condition}".strip()
        if title in found:
            title = f"{title}, run {run}"
        found[title] = _report_of(runs[run], own, condition, run)
    return found


def _report_of(report: Report, outcomes: Iterable[Outcome], condition: str, run: str) -> Report:
    """A run's report without rows of other cells; names tell what was swept."""
    keys = {outcome.row["key"] for outcome in outcomes if outcome.row is not None}
    ending = f" {condition}" if condition else ""
    kept = (row for row in report.rows if row["is_baseline"] or row["key"] in keys)
    reference = [{**row, "model": f"{row['model']}{ending}"} for row in report.reference]
    return replace(report, reference=reference, rows=[_named(row, ending, run) for row in kept])


def _named(row: Mapping[str, Any], ending: str, run: str) -> dict[str, Any]:
    baseline = row.get("baseline")
    return {
        **row,
        "name": f"{row['name']}{ending}",
        "baseline": {**baseline, "name": f"{baseline['name']}{ending}"} if baseline else baseline,
        "run": run,
    }


def csv_text(result: SweepResult) -> str:
    """A line for each cell, also for those without a result."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = list(result.outcomes[0].identity())
    writer.writerow([*names, "state", "reason", "run", *COLUMNS])
    for outcome in result.outcomes:
        identity = ["" if own is None else own for own in outcome.identity().values()]
        writer.writerow(
            [
                *identity,
                outcome.state,
                outcome.reason,
                outcome.run or "",
                *column_values(outcome.row),
            ]
        )
    return file.getvalue()
