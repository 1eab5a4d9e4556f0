"""edgeseg profile"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..terminal.console import print_json, print_note, print_result, print_table
from ..terminal.options import AsJson, Runs
from ..terminal.output_files import require_file_places, require_folder_place

if TYPE_CHECKING:
    from rich.table import Table

    from edgeseg.targets.native.peak import CorePeak

    from ...pipeline.profile import BundleProfile

COSTLY = 0.5  # share of a run that counters may cost before a reader is warned
GRAPH_NAME, VALUES_NAME = "graph.json", "milliseconds.json"


def profile(
    bundle: Annotated[Path, typer.Argument(help="Bundle that edgeseg build wrote.")],
    runs: Runs = 50,
    depth: Annotated[
        int, typer.Option(min=1, help="Names of modules are cut after so many parts.")
    ] = 1,
    layers: Annotated[bool, typer.Option("--layers", help="Print each layer.")] = False,
    trace: Annotated[
        Path | None, typer.Option(help="File for chrome://tracing or Perfetto.")
    ] = None,
    model_explorer: Annotated[
        Path | None,
        typer.Option(
            "--model-explorer",
            help="Folder for graph.json and milliseconds.json, which Model Explorer opens.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json-file", help="File to write the layers to, as JSON.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show where the time of a bundle goes, by the names that the network gives its parts.

    The runtime's own counters time each layer on one thread of this machine, on the bundle's golden
    image. What they cost is measured beside.
    """
    from ...pipeline.profile import profile_bundle
    from ...storage.atomic import write_text

    require_file_places({"--trace": trace, "--json-file": json_file})
    require_folder_place("--model-explorer", model_explorer)
    found = profile_bundle(bundle, runs)
    if trace is not None:
        write_text(trace, json.dumps(found.to_trace()) + "\n")
    if model_explorer is not None:
        _write_for_model_explorer(found, model_explorer)
    if json_file is not None:
        write_text(json_file, json.dumps(found.to_json(), indent=2) + "\n")
    if as_json:
        print_json(found.to_json())
        return
    print_table(_layer_table(found) if layers else _module_table(found, depth))
    cost = found.counted_ms - found.run_ms
    print_note(
        f"A run takes {found.run_ms:.2f} ms, and {cost:+.2f} ms with counters; the layers add up "
        f"to {found.sum_ms:.2f} ms."
    )
    if cost > COSTLY * found.run_ms:
        print_note(
            f"Warning: the counters cost {cost / found.run_ms:.0%} of a run, by themselves or as "
            "others had the core. The shares tell what is large, not how large; measure again when "
            "the machine is quiet."
        )
    _note_shares(found)
    if found.core is not None:
        print_note(
            "The floor is the longer of products and bytes at what this core did in loops of our "
            f"own ({found.core.isa}): {_in_thousand_millions(found.core)} thousand million "
            f"products a second, {found.core.bytes / 1e9:.0f} GB/s copied within the caches."
        )
    if trace is not None:
        print_result(f"Trace: {trace}")
    if model_explorer is not None:
        print_result(
            f"Model Explorer: model-explorer {model_explorer / GRAPH_NAME} "
            f"--node_data_paths={model_explorer / VALUES_NAME}"
        )


def _note_shares(found: BundleProfile) -> None:
    if not found.attributed_share:
        print_note(
            "The exported graph in the bundle names no modules, as those of older versions. Build "
            "the bundle anew, or see its layers with --layers."
        )
        return
    by_flow = found.attributed_share - found.named_share
    print_note(
        f"Names tell the module of {found.named_share:.1%} of that, the flow of data of "
        f"{by_flow:.1%} more: what {found.runtime} added, such as changes of layout and of type, "
        "counts for the layer that reads the result. "
        f"{1 - found.attributed_share:.1%} belongs to no module."
    )


def _write_for_model_explorer(found: BundleProfile, folder: Path) -> None:
    from ...formats.model_explorer import graph_record, values_record
    from ...storage.atomic import write_text

    nodes = found.to_nodes()
    folder.mkdir(parents=True, exist_ok=True)
    values = values_record(f"milliseconds on {found.runtime}", nodes)
    write_text(folder / GRAPH_NAME, json.dumps(graph_record(found.name, nodes)) + "\n")
    write_text(folder / VALUES_NAME, json.dumps(values) + "\n")


def _in_thousand_millions(core: CorePeak) -> str:
    floats = f"{core.products / 1e9:.0f}"
    if core.byte_products is None:
        return floats
    return f"{floats} (of bytes {core.byte_products / 1e9:.0f})"


def _module_table(found: BundleProfile, depth: int) -> Table:
    from rich.table import Table

    table = Table()
    for title in ("module", "ms", "share", "added", "floor ms", "of floor"):
        table.add_column(title, justify="left" if title == "module" else "right")
    floors, added = found.floor_ms(depth), found.added_ms(depth)
    for name, took in found.by_module(depth).items():
        share = f"{took / found.sum_ms:.1%}" if found.sum_ms else ""
        of_it = f"{added[name]:.3f}" if added.get(name) else ""
        floor = floors.get(name)
        ends = (f"{floor:.3f}", f"{took / floor:.1f}x") if floor else ("", "")
        table.add_row(name, f"{took:.3f}", share, of_it, *ends)
    return table


def _layer_table(found: BundleProfile) -> Table:
    from rich.table import Table

    table = Table()
    for title in ("module", "layer", "kind", "type", "ms"):
        table.add_column(title, justify="right" if title == "ms" else "left")
    for one in sorted(found.layers, key=lambda one: -one.layer.milliseconds):
        layer = one.layer
        module = one.module if one.is_named else f"{one.module} (added)"
        took = f"{layer.milliseconds:.3f}"
        table.add_row(module, layer.name, layer.kind, layer.precision, took)
    return table
