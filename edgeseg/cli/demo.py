"""edgeseg demo"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .terminal.bench_table import describe_run, row_warnings
from .terminal.console import make_progress, print_json, print_note, print_result, print_table
from .terminal.options import AsJson, Output

if TYPE_CHECKING:
    from ..pipeline.demo import DemoResult

DEFAULT_OUTPUT = Path("demo")


def demo(
    output: Output = None,
    search_seconds: Annotated[
        float, typer.Option(help="Seconds of each search for the fastest form.")
    ] = 5.0,
    as_json: AsJson = False,
) -> None:
    """Show what EdgeSeg does, in minutes: EGE-UNet on each runtime of this machine.

    Bundles, figures and a picture go to demo/ unless --output names another folder.
    """
    from ..pipeline.demo import DemoRequest, run_demo

    request = DemoRequest(output=output or DEFAULT_OUTPUT, search_seconds=search_seconds)
    result = run_demo(request, make_progress())
    if as_json:
        print_json(result.report.to_json())
        return
    _print_table(result)
    for line in (
        *_uncertain(result),
        describe_run(result.report.environment, result.report.data),
        *(f"Warning: {warning}" for warning in row_warnings(result.report.rows)),
        *(f"{device} is left out; add it with: {how}" for device, how in result.missing.items()),
    ):
        print_note(line)
    names = ", ".join(bundle.folder.name for bundle in result.bundles)
    print_result(f"bundles  {result.bundles[0].folder.parent}: {names}")
    print_result(f"figures  {result.report_path}")
    print_result(f"picture  {result.gallery_path}")


def _uncertain(result: DemoResult) -> list[str]:
    """One line on the devices where the few images of the sample leave a faster form out."""
    from ..tuning.explain import untaken

    names = [one.manifest.target for one in result.bundles if untaken(one.manifest.tuning)]
    if not names:
        return []
    return [
        f"On {', '.join(names)} a faster form was left out: the val images of the sample are too "
        "few to tell what it loses. edgeseg build --explain names it."
    ]


def _print_table(result: DemoResult) -> None:
    """A row for each device: the plain export, and what EdgeSeg made of the network."""
    from rich.table import Table

    rows = {row["key"]: row for row in result.report.rows}
    table = Table(title="EGE-UNet: the plain export of the runtime's tool, and edgeseg build")
    table.add_column("device")
    for title in ("plain ms", "Dice", "edgeseg ms", "Dice", "speed-up (95 %)", "flips/10k"):
        table.add_column(title, justify="right")
    for bundle in result.bundles:
        row = rows[str(bundle.folder.resolve())]
        plain = _baseline_of(row, result.report.rows)
        low, high = row["speedup_ci95"]
        table.add_row(
            bundle.manifest.target,
            f"{plain['latency_ms']['p50']:.2f}",
            f"{plain['accuracy']['dice_pooled']:.4f}",
            f"{row['latency_ms']['p50']:.2f}",
            f"{row['accuracy']['dice_pooled']:.4f}",
            f"{row['speedup']:.2f} ({low:.2f}..{high:.2f})",
            f"{row['flips_per_10k']:.1f}",
        )
    print_table(table)


def _baseline_of(row: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    return next(
        plain for plain in rows if plain["is_baseline"] and plain["target"] == row["target"]
    )
