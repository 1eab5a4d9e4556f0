"""Benchmark rows as people read them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from edgeseg.benchmarks.report import Report

BASELINE_FLIPS = 1.0  # per 10,000 pixels; a right FP32 artefact flips some on the threshold at most
TITLES = (
    "artefact", "p50 ms", "p90 ms", "FPS", "speed-up", "RAM MB", "size kB", "load ms", "Dice",
    "difference", "flips/10k",
)  # fmt: skip


def reference_cells(row: dict[str, Any]) -> list[str]:
    """Cells of a float torch model."""
    dice = f"{row['accuracy']['dice_pooled']:.4f}"
    return [f"{row['model']} float torch", *[""] * 7, dice, "", ""]


def row_cells(row: dict[str, Any]) -> list[str]:
    """Cells of a measured artefact, in the order of `TITLES`."""
    name = f"{row['name']} *" if row["stand_in"] else row["name"]
    return [name, *_timing_cells(row), *_accuracy_cells(row)]


def _accuracy_cells(row: dict[str, Any]) -> list[str]:
    if row["accuracy"] is None:
        return ["", "", ""]
    low, high = row["delta_ci95"]["dice_pooled"]
    return [
        f"{row['accuracy']['dice_pooled']:.4f}",
        f"{row['delta']['dice_pooled']:+.4f} ({low:+.4f}..{high:+.4f})",
        f"{row['flips_per_10k']:.1f}",
    ]


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


def bench_table(reference: list[dict[str, Any]], rows: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table()
    table.add_column(TITLES[0])
    for title in TITLES[1:]:
        table.add_column(title, justify="right", no_wrap=True)
    for row in reference:
        table.add_row(*reference_cells(row))
    for row in rows:
        table.add_row(*row_cells(row))
    return table


def markdown_table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(titles)]
    lines.append(["---"] * len(lines[0]))
    lines.extend([cell.replace("|", "\\|") for cell in row] for row in rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def describe_run(environment: dict[str, Any], data: dict[str, Any]) -> str:
    where = f"{environment['device']}: " if "device" in environment else ""
    return (
        f"{where}{environment['cpu']}, {environment['threads']} thread(s), batch 1; speed-up with "
        f"95 % interval over interleaved rounds. Dice pooled over {data['images']} images of "
        f"{data['folder']} ({'+'.join(data['splits'])}); difference to float torch with 95 % "
        "bootstrap interval."
    )


def describe_choices(rows: list[dict[str, Any]]) -> list[str]:
    """What the rows of `--precision auto` consist of."""
    from edgeseg.tuning.candidate import Candidate

    return [
        f"{row['name']} is {Candidate.from_json(row['candidate']).name}."
        for row in rows
        if row.get("candidate") is not None
    ]


def describe_borders(reference: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[str]:
    """HD95 of each network, and what its artefacts have changed of it; nothing without MONAI."""
    lines = []
    for float_row in reference:
        if float_row.get("hd95_px") is None:
            continue
        changes = []
        for row in rows:
            is_its = row["reference_key"] == float_row["reference_key"]
            if is_its and row.get("hd95_growth") is not None:
                low, high = row["hd95_growth_ci95"]
                changes.append(f"{row['name']} {row['hd95_growth']:+.2%} ({low:+.2%}..{high:+.2%})")
        lines.append(
            f"HD95 of {float_row['model']} float torch {float_row['hd95_px']:.2f} px; "
            f"{', '.join(changes)}."
        )
    return lines


def row_warnings(rows: list[dict[str, Any]]) -> list[str]:
    """What a reader must know before trusting the rows."""
    warnings = []
    for row in rows:
        if row["accuracy"] is None:
            # Here only other toolkits have none, and they are not asked for any.
            if row["device"]:
                warnings.append(
                    f"{row['name']} has no accuracy: this benchmark_model cannot write what it "
                    "computes. Take one with --output_filepath."
                )
        elif row["is_baseline"] and row["flips_per_10k"] > BASELINE_FLIPS:
            warnings.append(
                f"{row['name']} does not compute what torch computes "
                f"({row['flips_per_10k']:.1f} of 10,000 pixels flip): the runtime is wrong on this "
                "network, and the speed-up is against a wrong artefact."
            )
        if row["latency_ms"] is None:
            warnings.append(
                f"{row['name']} does not run on this machine: its accuracy is that of "
                f"{row['stand_in']}, and it was not timed. Measure it with --device."
            )
        elif not row["warm_up"]["is_steady"]:
            warnings.append(f"the latency of {row['name']} did not settle; the machine is busy.")
        if row["latency_ms"] is not None and row["speedup"] is None:
            warnings.append(
                f"{row['name']} was measured without a baseline. For a speed-up name the FP32 "
                "bundle of the same network and target as well."
            )
    return warnings


def describe_report(report: Report) -> list[str]:
    """All that is to be said below a table, line by line."""
    return [
        describe_run(report.environment, report.data),
        *describe_choices(report.rows),
        *describe_borders(report.reference, report.rows),
        *(f"Warning: {warning}" for warning in row_warnings(report.rows)),
    ]
