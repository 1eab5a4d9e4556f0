"""edgeseg plan show, edgeseg plan diff"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..terminal.captured_output import CapturedCommand
from ..terminal.console import print_json, print_result, print_table
from ..terminal.options import AsJson

if TYPE_CHECKING:
    from edgeseg.quantize import QuantPlan

PlanFolder = Annotated[Path, typer.Argument(help="Bundle folder, or folder with plan.json.")]

plan = typer.Typer(
    help="Show or compare quantisation plans, of bundles or of folders with plan.json.",
    no_args_is_help=True,
)


@plan.command(cls=CapturedCommand)
def show(
    path: PlanFolder,
    as_json: AsJson = False,
) -> None:
    """Print a plan: its origin, each convolution, each range."""
    found = _load(path)
    if as_json:
        print_json(found.to_json())
        return
    import numpy as np
    from rich.table import Table

    convolutions = Table()
    for title in ("convolution", "precision", "shape", "smallest scale", "largest", "bias"):
        convolutions.add_column(title)
    for name, grid in found.weights.items():
        convolutions.add_row(
            name,
            "float" if name in found.float_nodes else "int8",
            "x".join(map(str, grid.values.shape)),
            f"{grid.scales.min():.3g}",
            f"{grid.scales.max():.3g}",
            f"mean magnitude {np.abs(found.biases[name]).mean():.3g}"
            if name in found.biases
            else "the graph's",
        )
    print_table(convolutions)
    ranges = Table()
    for title in ("activation", "largest magnitude", "step", "zero point"):
        ranges.add_column(title)
    for name, limit in found.ranges.items():
        ranges.add_row(
            name, f"{limit:.6g}", f"{found.scale(name):.3g}", f"{found.zero_point(name)}"
        )
    print_table(ranges)
    origin = found.provenance
    settings = ", ".join(f"{name} {value}" for name, value in origin.settings.items())
    seed = "" if origin.seed is None else f", seed {origin.seed}"
    print_result(f"{origin.method}{seed}: {settings or 'nothing to choose'}")
    print_result(f"{len(origin.images)} images; graph {origin.graph_sha256[:16]}")
    for name, value in origin.agreement.items():
        print_result(f"{name}: {value:.4g}")


@plan.command(cls=CapturedCommand)
def diff(
    one: PlanFolder,
    other: PlanFolder,
    as_json: AsJson = False,
) -> None:
    """Print where two plans differ; exit code 1 when they do."""
    from edgeseg.quantize.plan.report import compare_plans

    differences = compare_plans(_load(one), _load(other))
    if as_json:
        print_json([difference.to_json() for difference in differences])
    elif not differences:
        print_result("The plans are equal.")
    else:
        from rich.table import Table

        table = Table()
        for title in ("what", "name", str(one), str(other)):
            table.add_column(title)
        for difference in differences:
            table.add_row(difference.kind, difference.name, difference.before, difference.after)
        print_table(table)
    if differences:
        raise typer.Exit(1)


def _load(path: Path) -> QuantPlan:
    from edgeseg.quantize.plan.files import load_plan

    from ...bundle.bundle import PLAN_FOLDER

    inner = path / PLAN_FOLDER
    return load_plan(inner if inner.is_dir() else path)
