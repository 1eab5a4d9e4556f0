"""A sweep's table as people read it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .bench_table import (
    bench_table,
    bench_titles,
    describe_growth,
    describe_report,
    markdown_table,
    reference_cells,
    row_cells,
)
from .console import print_result, print_table, table_width
from .progress import format_seconds

if TYPE_CHECKING:
    from edgeseg.pipeline.fleet.results import Outcome, SweepResult

DONE = "done"


def sweep_table(result: SweepResult) -> str:
    """Markdown: a row for each FP32 reference, each baseline, each bundle; then what has none."""
    reports = result.reports.values()
    titles = bench_titles([row for report in reports for row in report.rows])
    rows = []
    for report in reports:
        rows += [reference_cells(row) for row in report.reference]
        rows += [row_cells(row) for row in report.rows]
    for outcome in result.outcomes:
        if outcome.state != DONE:
            rows.append([_name(outcome), _state(outcome), *[""] * (len(titles) - 2)])
    return markdown_table(titles, rows)


def print_sweep(result: SweepResult) -> None:
    """A table that fits the terminal, and below it a line for each cell that has no row.

    In a pipe it is Markdown.
    """
    if table_width() is not None:
        print_result(sweep_table(result).rstrip("\n"))
        return
    reports = result.reports.values()
    if reports:
        reference = [row for report in reports for row in report.reference]
        rows = [row for report in reports for row in report.rows]
        print_table(bench_table(reference, rows, table_width()))
    for outcome in result.outcomes:
        if outcome.state != DONE:
            print_result(f"{_name(outcome)}: {_state(outcome)}")


def describe_sweep(result: SweepResult) -> list[str]:
    """What is to be said below the table: of one report all, of several the warnings."""
    reports = [*result.reports.values()]
    if len(reports) == 1:
        return describe_report(reports[0])
    found = []
    for report in reports:
        first, *others = describe_report(report)
        found += [first, *(line for line in others if line.startswith("Warning"))]
    rows = [row for report in reports for row in report.rows]
    return [*dict.fromkeys(found), *describe_growth(rows)]


def status_line(result: SweepResult, seconds_left: float | None) -> str:
    """Such as "12 of 40 cells are done, 27 queued, 1 refused; about 6 min left."."""
    count = len(result.outcomes)
    parts = [f"{result.count(DONE)} of {count} cells are done"]
    others = {state: result.count(state) for state in ("running", "queued", "refused", "failed")}
    parts += [f"{number} {state}" for state, number in others.items() if number]
    left = f"; about {format_seconds(seconds_left)} left" if seconds_left else ""
    return f"{', '.join(parts)}{left}."


def _name(outcome: Outcome) -> str:
    point = replace(outcome.cell.point, size=None)  # which the condition tells
    return f"{point.folder} {outcome.cell.condition}".strip()


def _state(outcome: Outcome) -> str:
    return f"{outcome.state}: {outcome.reason}" if outcome.reason else outcome.state
