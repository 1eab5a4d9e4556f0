"""edgeseg compare"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import UsageError
from ..terminal.console import print_json, print_note, print_result, print_table
from ..terminal.metric_options import SHORT_NAMES
from ..terminal.options import AsJson
from .files import read_record, whole_records

if TYPE_CHECKING:
    from rich.table import Table

    from edgeseg.benchmarks.comparison import Change, Comparison
    from edgeseg.benchmarks.report import Report

TITLES = ("artefact", "quantity", "change", "margin", "verdict")


def compare(
    old: Annotated[Path, typer.Argument(help="Report that edgeseg bench --json-file wrote.")],
    new: Annotated[Path, typer.Argument(help="Report of a later run.")],
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            help="What must not become worse by more than a margin, such as "
            "speed:5%,dice:0.005,flips:10; may be repeated."
        ),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare two reports: speed over the FP32 baseline of each run, masks image by image.

    Exit code 0 where nothing named by --fail-on became worse, 1 where something did or an artefact
    is gone, and 2 where the reports cannot be compared.
    """
    from edgeseg.benchmarks.compare import compare_reports
    from edgeseg.benchmarks.comparison import Margins

    margins = Margins.of(parse_margins(fail_on or []))
    with whole_records([old, new]):
        comparison = compare_reports(read_report(old), read_report(new), margins)
    if as_json:
        print_json(comparison.to_json())
    elif markdown:
        for line in _markdown_lines(comparison):
            print_result(line)
    else:
        print_table(_table_of(comparison))
        for note in (*comparison.notes, *_notes_on_missing(comparison)):
            print_note(f"Note: {note}.")
        print_result(_summary(comparison))
    if comparison.failures or (fail_on and comparison.lost):
        raise typer.Exit(1)


def parse_margins(words: list[str]) -> dict[str, float]:
    """Margins by quantity, of words such as "speed:5%,flips:10".

    Raises:
        UsageError: A word of another form, or a quantity that is named twice.
    """
    margins: dict[str, float] = {}
    for word in ",".join(words).split(",") if words else ():
        name, colon, text = word.strip().partition(":")
        name = SHORT_NAMES.get(name, name)
        number = text.strip()
        try:
            value = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
        except ValueError:
            value = -1.0
        if not colon or not 0 <= value < float("inf"):
            raise UsageError(
                f"--fail-on '{word}' names no margin. Write it as QUANTITY:MARGIN, such as "
                "speed:5% or dice:0.005."
            )
        if name == "speed" and value > 1:
            raise UsageError(
                f"--fail-on '{word}' lets a run take {value:.0%} longer. Write speed:{number}% if "
                "that is meant."
            )
        if name == "flips" and number.endswith("%"):
            raise UsageError(
                f"--fail-on '{word}': flips are counted in 10,000 pixels. Write flips:10."
            )
        if name in margins:
            raise UsageError(f"--fail-on names {name} twice. Give it one margin.")
        margins[name] = value
    return margins


def read_report(path: Path) -> Report:
    """A report that edgeseg bench has written.

    Raises:
        UsageError: There is none.
    """
    from edgeseg.benchmarks.report import Report

    return Report.from_json(read_record(path))


def _cells(change: Change) -> tuple[str, ...]:
    margin = f"{change.margin:.4g}" if change.quantity != "speed" else f"{change.margin:.3g}"
    is_share = change.quantity == "speed" or "%" in change.text
    margin = f"{100 * change.margin:g}%" if is_share else margin
    verdict = f"{change.verdict}, fails" if change.is_failure else change.verdict
    return change.artifact, change.title, change.text, margin, verdict


def _table_of(comparison: Comparison) -> Table:
    from rich.table import Table

    table = Table()
    for title in TITLES:
        table.add_column(title)
    for change in comparison.changes:
        table.add_row(*_cells(change))
    return table


def _markdown_lines(comparison: Comparison) -> list[str]:
    from ..terminal.bench_table import markdown_cell

    rows = [TITLES, tuple("---" for _ in TITLES), *map(_cells, comparison.changes)]
    lines = [f"| {' | '.join(map(markdown_cell, row))} |" for row in rows]
    notes = [f"{note}." for note in (*comparison.notes, *_notes_on_missing(comparison))]
    return [*lines, "", *notes, _summary(comparison)]


def _notes_on_missing(comparison: Comparison) -> list[str]:
    if not comparison.missing:
        return []
    return [f"only one report has {', '.join(comparison.missing)}"]


def _summary(comparison: Comparison) -> str:
    failures = comparison.failures
    if comparison.lost and not failures:
        return f"The second report lacks {', '.join(comparison.lost)}, so nothing is known of it."
    if failures:
        what = "; ".join(f"{one.artifact}: {one.title} {one.text}" for one in failures)
        return f"Failed: {what}."
    unclear = sum(change.verdict == "cannot tell" for change in comparison.changes)
    if unclear:
        return (
            f"Nothing failed; {unclear} of {len(comparison.changes)} changes cannot be told from "
            "noise at their margins: measure more runs or more images."
        )
    return "Nothing failed."
