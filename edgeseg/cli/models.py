"""edgeseg models"""

from __future__ import annotations

from .terminal.console import print_json, print_table
from .terminal.options import AsJson


def models(
    as_json: AsJson = False,
) -> None:
    """List the networks with their parameters, MACs, inputs and weights."""
    from ..contract import COLORS
    from ..models import list_models

    if as_json:
        print_json([spec.to_json() for spec in list_models()])
        return
    from rich.table import Table

    table = Table()
    for title in ("model", "title", "parameters", "MACs", "input", "classes", "shipped weights"):
        table.add_column(title)
    for spec in list_models():
        inputs = spec.inputs
        weights = f"{spec.weights.data}, {spec.weights.licence}" if spec.weights else "none"
        table.add_row(
            spec.name,
            f"{spec.title}\n{spec.source}",
            f"{spec.parameters:,}",
            f"{spec.macs / 1e6:,.1f} M",
            f"{COLORS[inputs.channels]} {inputs.height}x{inputs.width}, "
            f"{inputs.normalization.kind}, multiples of {inputs.stride}",
            ", ".join(spec.outputs.classes),
            weights,
        )
    print_table(table)
