"""Benchmark rows as people read them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from edgeseg.benchmarks.report import Report
    from edgeseg.metrics.metric import Metric

FP32_FLIPS = 1.0  # per 10,000 pixels; a right FP32 artefact flips some on the threshold at most
SPEEDUP = "speed-up"
TIMING_TITLES = (
    "artefact", "p50 ms", "p90 ms", "FPS", SPEEDUP, "RAM MB", "size kB", "load ms",
)  # fmt: skip
LEAVING = ("load ms", "FPS", "p90 ms", "RAM MB", "size kB")  # where a terminal is narrow
NAME_WIDTH = 20  # characters of a line of a name that wraps


def bench_titles(rows: Sequence[dict[str, Any]] = ()) -> list[str]:
    """Headings: timing, two columns for each metric that asks for them, flips.

    Args:
        rows: Of the table; the heading of the speed-ups names what they are over.
    """
    timing = [_speedup_title(rows) if title == SPEEDUP else title for title in TIMING_TITLES]
    metrics = (title for metric in _shown("column") for title in (metric.title, "difference"))
    return [*timing, *metrics, "flips/10k"]


def _speedup_title(rows: Sequence[dict[str, Any]]) -> str:
    """ "speed-up over plain export", by the kind that the names of baselines end with."""
    names = [(row.get("baseline") or {}).get("name", "") for row in rows]
    kinds = {
        name.rpartition("(")[2].rstrip(")") if name.endswith(")") else ""
        for name in filter(None, names)
    }
    return f"{SPEEDUP} over {kinds.pop()}" if len(kinds) == 1 and "" not in kinds else SPEEDUP


def _shown(place: str) -> list[Metric]:
    from edgeseg.metrics.table import all_metrics

    return [metric for metric in all_metrics() if metric.bench == place]


def reference_cells(row: dict[str, Any]) -> list[str]:
    """Cells of an FP32 reference, in the order of `bench_titles`."""
    cells = [f"{row['model']} FP32 reference", *[""] * (len(TIMING_TITLES) - 1)]
    for metric in _shown("column"):
        cells += [_score_cell(metric, row), ""]
    return [*cells, ""]


def row_cells(row: dict[str, Any]) -> list[str]:
    """Cells of a measured artefact, in the order of `bench_titles`."""
    name = f"{row['name']} *" if row["stand_in"] else row["name"]
    if has_wrong_masks(row):
        name += " (wrong masks)"
    cells = [name, *_timing_cells(row)]
    for metric in _shown("column"):
        cells += [_score_cell(metric, row), _change_text(metric, row)]
    flips = row["flips_per_10k"]
    return [*cells, "" if flips is None else f"{flips:.1f}"]


def has_wrong_masks(row: dict[str, Any]) -> bool:
    """Whether a baseline or an external toolkit, which are FP32, differ too much from torch."""
    is_compared = row["is_baseline"] or bool(row.get("toolkit"))
    flips = row["flips_per_10k"]
    return is_compared and flips is not None and flips > FP32_FLIPS


def _score_cell(metric: Metric, row: dict[str, Any]) -> str:
    scores = row["accuracy"] or {}
    return metric.format_score(scores[metric.name]) if metric.name in scores else ""


def _change_text(metric: Metric, row: dict[str, Any]) -> str:
    """What an artefact changed of a metric, with its interval; empty where that is not known."""
    key = "relative_change" if metric.is_change_relative else "delta"
    changes = row.get(key) or {}
    if metric.name not in changes:
        return ""
    low, high = (metric.format_change(end) for end in row[f"{key}_ci95"][metric.name])
    return f"{metric.format_change(changes[metric.name])} ({low}..{high})"


def _timing_cells(row: dict[str, Any]) -> list[str]:
    size = f"{row['artifact_bytes'] / 1e3:.0f}"
    if row["latency_ms"] is None:
        return ["", "", "", "", "", size, ""]
    p90, speedup = row["latency_ms"]["p90"], row["speedup"]
    low, high = row["speedup_ci95"] or (0.0, 0.0)
    return [
        f"{row['latency_ms']['p50']:.2f}",
        "" if p90 is None else f"{p90:.2f}",
        f"{row['fps']:.1f}",
        "" if speedup is None else f"{speedup:.2f} ({low:.2f}..{high:.2f})",
        f"{row['peak_rss_mb']:.1f}",
        size,
        f"{row['load_ms']:.0f}",
    ]


def bench_table(
    reference: list[dict[str, Any]], rows: list[dict[str, Any]], width: int | None = None
) -> Table:
    """The rows as a table that fits.

    Args:
        width: Characters that are there; None asks the terminal. Where they are few, intervals go
            below their numbers, then the columns of `LEAVING` go, in that order; names wrap.
    """
    from rich.console import Console

    width = width or Console().width
    unbounded = Console(width=10_000)  # a narrow one measures what it would cut off
    lines = [bench_titles(rows), *map(reference_cells, reference), *map(row_cells, rows)]
    for stacked, left_out in ((False, 0), *((True, count) for count in range(len(LEAVING) + 1))):
        columns = [
            column for column in zip(*lines, strict=True) if column[0] not in LEAVING[:left_out]
        ]
        table = _table_of(columns, stacked=stacked)
        if unbounded.measure(table).maximum <= width:
            break
    return table


def _table_of(columns: Sequence[Sequence[str]], *, stacked: bool) -> Table:
    """A table of columns, each its title and its cells, that of the names first."""
    from rich.table import Table

    names, *others = columns
    # A heading no wider than what stands below it.
    others = [[title.replace(" over ", " over\n"), *cells] for title, *cells in others]
    if stacked:
        names = ["\n".join(textwrap.wrap(name, NAME_WIDTH)) for name in names]
        others = [
            [title.replace(" ", "\n"), *(cell.replace(" (", "\n(") for cell in cells)]
            for title, *cells in others
        ]
    table = Table(padding=(0, 0) if stacked else (0, 1))
    table.add_column(names[0], no_wrap=True)
    for title, *_ in others:
        table.add_column(title, justify="right", no_wrap=True)
    for row in zip(names[1:], *(column[1:] for column in others), strict=True):
        table.add_row(*row)
    return table


def markdown_table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(titles)]
    lines.append(["---"] * len(lines[0]))
    lines.extend([markdown_cell(cell) for cell in row] for row in rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def markdown_cell(text: str) -> str:
    """Text that stays in its cell, is no HTML, and steers no terminal."""
    for sign, instead in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|")):
        text = text.replace(sign, instead)
    words = " ".join(text.split())
    return "".join(letter if letter.isprintable() else "?" for letter in words)


def describe_run(environment: dict[str, Any], data: dict[str, Any]) -> str:
    where = f"{environment['device']}: " if "device" in environment else ""
    clusters = data.get("clusters")
    belonging = f" {clusters['text']}." if clusters else ""
    return (
        f"{where}{environment['cpu']}, {environment['threads']} thread(s), batch 1; speed-up with "
        f"95 % interval over interleaved rounds. Scored on {data['images']} images of "
        f"{data['folder']} ({'+'.join(data['splits'])}); difference to the FP32 reference with "
        f"95 % bootstrap interval.{belonging}"
    )


def describe_choices(rows: list[dict[str, Any]]) -> list[str]:
    """What the rows of `--precision auto` consist of."""
    from edgeseg.tuning.candidate import Candidate

    return [
        f"{row['name']} is {Candidate.from_json(row['candidate']).name}."
        for row in rows
        if row.get("candidate") is not None
    ]


def describe_toolkits(rows: list[dict[str, Any]]) -> list[str]:
    """What each external toolkit has done to the network."""
    return [f"{row['name']} is {row['toolkit']}." for row in rows if row.get("toolkit")]


def describe_metrics(reference: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[str]:
    """A sentence for each network and metric that is shown in one: the reference's score, and what
    its artefacts have changed of it; none where it could not be computed."""
    lines = []
    for metric in _shown("line"):
        for reference_row in reference:
            if metric.name not in reference_row["accuracy"]:
                continue
            own = [row for row in rows if row["reference_key"] == reference_row["reference_key"]]
            texts = [(row["name"], _change_text(metric, row)) for row in own]
            changes = ", ".join(f"{name} {text}" for name, text in texts if text)
            score = metric.format_score(reference_row["accuracy"][metric.name])
            unit = f" {metric.unit}" if metric.unit else ""
            lines.append(
                f"{metric.title} of the FP32 reference of {reference_row['model']}: "
                f"{score}{unit}; {changes}."
            )
    return lines


def row_warnings(rows: list[dict[str, Any]]) -> list[str]:
    """What a reader must know before trusting the rows."""
    from edgeseg.benchmarks.latency import MOST_WAITING
    from edgeseg.benchmarks.margins import build_limits_text

    warnings = []
    for row in rows:
        limits = build_limits_text(row)
        if limits:
            warnings.append(f"{row['name']} {limits}.")
        if row["accuracy"] is None:
            # Older reports have none of toolkits, which were not asked for any.
            if row["device"]:
                warnings.append(
                    f"{row['name']} has no accuracy: this build of the on-device program cannot "
                    "write what it computes. Take one with --output_filepath."
                )
        elif has_wrong_masks(row):
            speed = (
                "the speed-up is against a wrong artefact"
                if row["is_baseline"]
                else "its speed is not to be compared"
            )
            warnings.append(
                f"{row['name']} does not compute what torch computes "
                f"({row['flips_per_10k']:.1f} of 10,000 pixels flip): the "
                f"{'runtime' if row['is_baseline'] else 'toolkit'} is wrong on this network, and "
                f"{speed}."
            )
        if row["latency_ms"] is None:
            warnings.append(
                f"{row['name']} does not run on this machine: its accuracy is that of "
                f"{row['stand_in']}, and it was not timed. Measure it with --device."
            )
        elif (row.get("waited_share") or 0.0) > MOST_WAITING:
            warnings.append(
                f"{row['name']} waited {row['waited_share']:.0%} of the time for its core, which "
                "other processes had: its latency is that of a busy machine. Measure again when it "
                "is quiet."
            )
        elif not row["warm_up"]["is_steady"]:
            warnings.append(f"the latency of {row['name']} did not settle; the machine is busy.")
        if row["latency_ms"] is not None and row["speedup"] is None:
            warnings.append(
                f"{row['name']} was measured without a baseline. For a speed-up name the FP32 "
                "bundle of the same network and target as well."
            )
    return warnings


def describe_growth(rows: Sequence[dict[str, Any]]) -> list[str]:
    """How cost grows with the input's size and with threads, where several were measured."""
    from edgeseg.benchmarks.growth import growth_texts

    return [f"{text}." for text in growth_texts(rows)]


def describe_phases(rows: Iterable[dict[str, Any]]) -> list[str]:
    """What a whole prediction takes, from the decoded picture to the mask of its size."""
    return [
        f"{row['name']}: preprocess {phases['preprocess']:.2f}, inference "
        f"{phases['inference']:.2f}, postprocess {phases['postprocess']:.2f} ms a picture by the "
        "Python runner."
        for row in rows
        if (phases := row.get("phases_ms"))
    ]


def describe_sustained(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Of each long run its speed at both ends, what does not count, and its energy."""
    lines = []
    for row in rows:
        run = row.get("sustained")
        if not run:
            continue
        median = "nothing counts" if run["p50_ms"] is None else f"p50 {run['p50_ms']:.2f} ms"
        marks = ", ".join(
            f"{mark['kind']} at {mark['start_s']:.0f}..{mark['end_s']:.0f} s "
            f"({mark['slowdown']:.2f} times as long)"
            for mark in run["marks"]
        )
        energy = "".join(
            f"; {use['mj_per_inference']:.2f} mJ an inference by {use['sensor']}, "
            f"{use['mj_per_inference_above_idle']:.2f} above idle"
            for use in run["energy"]
        )
        lines.append(
            f"{row['name']} for {run['seconds']:g} s: {median} over {run['counted_share']:.0%} of "
            f"the time, {run['first_minute_ms']:.2f} ms at first and {run['last_minute_ms']:.2f} "
            f"ms at the end; {marks or 'no window is marked'}{energy or '; no energy sensor'}."
        )
    return lines


def describe_margins(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Whether each artefact stays within the margins of the FP32 reference."""
    from edgeseg.benchmarks.margins import verdicts_of

    judged = [(row["name"], verdicts_of(row)) for row in rows]
    return [f"{name} {'; '.join(one.text for one in own)}." for name, own in judged if own]


def describe_report(report: Report) -> list[str]:
    """All that is to be said below a table, line by line."""
    return [
        describe_run(report.environment, report.data),
        *describe_choices(report.rows),
        *describe_toolkits(report.rows),
        *describe_metrics(report.reference, report.rows),
        *describe_growth(report.rows),
        *describe_phases(report.rows),
        *describe_margins(report.rows),
        *describe_sustained(report.rows),
        *(f"Warning: {warning}" for warning in row_warnings(report.rows)),
        *(
            f"Warning: {failure.name} was not measured. {failure.reason}"
            for failure in report.failures
        ),
    ]
