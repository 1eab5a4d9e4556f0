"""edgeseg bench"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import make_progress, print_note, print_table

if TYPE_CHECKING:
    from rich.table import Table

DEFAULT_SPLITS = ["val", "test"]
BASELINE_FLIPS = 1.0  # per 10,000 pixels; a right FP32 artefact flips some on the threshold at most


def bench(
    bundles: Annotated[list[Path], typer.Argument(help="Bundles that edgeseg build wrote.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder with images/ and masks/ (default: the sample).")
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(help="Split to measure on; may be repeated (default: val, test)."),
    ] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Also write to FILE.")] = None,
    threads: Annotated[int, typer.Option(help="CPU threads of each artefact.", min=1)] = 1,
    runs: Annotated[int, typer.Option(help="Counted inferences of each artefact.", min=1)] = 200,
    record: Annotated[bool, typer.Option(help="Add the rows to the bundles' manifests.")] = False,
) -> None:
    """Measure speed, memory and accuracy of bundles against their float baseline."""
    from edgeseg.atomic import write_text
    from edgeseg.benchmarks.measure import BenchSettings
    from edgeseg.bundle import open_bundle
    from edgeseg.pipeline.bench import bench_bundles
    from edgeseg.pipeline.build import open_split

    opened = [open_bundle(folder) for folder in bundles]
    dataset = open_split(data, *(split or DEFAULT_SPLITS))
    settings = BenchSettings(threads=threads, runs=runs)
    report = bench_bundles(opened, dataset, settings, make_progress())
    if json_path is not None:
        write_text(json_path, json.dumps(report.to_json(), indent=2) + "\n")
    if record:
        for bundle in opened:
            bundle.with_measurements(
                {**row, "environment": report.environment, "data": report.data}
                for row in report.rows
                if row["key"] == str(bundle.folder.resolve())
            )
    print_table(_table(report.reference, report.rows))
    environment, images = report.environment, report.data
    print_note(
        f"{environment['cpu']}, {threads} thread(s), batch 1; speed-up with 95 % interval over "
        f"interleaved rounds. Dice pooled over {images['images']} images of {images['folder']} "
        f"({'+'.join(images['splits'])}); difference to float torch with 95 % bootstrap interval."
    )
    for row in report.rows:
        if row["is_baseline"] and row["flips_per_10k"] > BASELINE_FLIPS:
            print_note(
                f"Warning: {row['name']} does not compute what torch computes "
                f"({row['flips_per_10k']:.1f} of 10,000 pixels flip): the runtime is wrong on this "
                "network, and the speed-up is against a wrong artefact."
            )
        if not row["warm_up"]["is_steady"]:
            print_note(
                f"Warning: the latency of {row['name']} did not settle; the machine is busy."
            )


def _table(reference: list[dict[str, Any]], rows: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table()
    table.add_column("artefact")
    for title in (
        "p50 ms", "p90 ms", "FPS", "speed-up", "RAM MB", "size kB", "load ms", "Dice",
        "difference", "flips/10k",
    ):  # fmt: skip
        table.add_column(title, justify="right", no_wrap=True)
    for row in reference:
        blank = [""] * 7
        dice = f"{row['accuracy']['dice_pooled']:.4f}"
        table.add_row(f"{row['model']} float torch", *blank, dice, "", "")
    for row in rows:
        latency = row["latency_ms"]
        low, high = row["speedup_ci95"]
        delta_low, delta_high = row["delta_ci95"]["dice_pooled"]
        table.add_row(
            row["name"],
            f"{latency['p50']:.2f}",
            f"{latency['p90']:.2f}",
            f"{row['fps']:.1f}",
            f"{row['speedup']:.2f} ({low:.2f}..{high:.2f})",
            f"{row['peak_rss_mb']:.1f}",
            f"{row['artifact_bytes'] / 1e3:.0f}",
            f"{row['load_ms']:.0f}",
            f"{row['accuracy']['dice_pooled']:.4f}",
            f"{row['delta']['dice_pooled']:+.4f} ({delta_low:+.4f}..{delta_high:+.4f})",
            f"{row['flips_per_10k']:.1f}",
        )
    return table
