"""edgeseg cache"""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated, Any

import typer

from ..storage.cache import DAY_S, Kept, cache_root, check_results, kept_results, prune
from .terminal.console import print_json, print_result, print_table
from .terminal.options import AsJson


def cache(
    older_than: Annotated[
        float | None,
        typer.Option(
            "--prune",
            metavar="DAYS",
            min=0,
            help="Remove what no command has used for DAYS; 0 leaves what was used in the last ten "
            "minutes.",
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Compare every result with its checksums, and remove what is damaged: it is made "
            "anew when it is needed.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what the cache holds, check it, or remove old results."""
    checked, damaged = check_results() if check else (0, [])
    removed = prune(older_than) if older_than is not None else []
    kept = kept_results()
    kinds: dict[str, list[Kept]] = defaultdict(list)
    for result in kept:
        kinds[result.kind].append(result)
    record: dict[str, Any] = {
        "folder": str(cache_root()),
        "removed": _total(removed),
        **({"checked": checked, "damaged": list(map(str, damaged))} if check else {}),
        "kept": _total(kept),
        "kinds": {
            kind: {**_total(results), "idle_days": max(result.idle_s for result in results) / DAY_S}
            for kind, results in kinds.items()
        },
    }
    if as_json:
        print_json(record)
        return
    from rich.table import Table

    table = Table()
    for title in ("kind", "results", "MB", "not used for, days"):
        table.add_column(title)
    for kind, total in record["kinds"].items():
        table.add_row(kind, *_amount(total), f"up to {total['idle_days']:.1f}")
    print_table(table)
    if check:
        print_result(f"checked: {checked} results, {len(damaged)} damaged and removed")
        for path in damaged:
            print_result(f"  {path}")
    if older_than is not None:
        print_result("removed: {} results, {} MB".format(*_amount(record["removed"])))
    print_result("{}: {} results, {} MB".format(record["folder"], *_amount(record["kept"])))


def _total(results: list[Kept]) -> dict[str, Any]:
    return {"results": len(results), "size_bytes": sum(result.size_bytes for result in results)}


def _amount(total: dict[str, Any]) -> tuple[str, str]:
    """How many results, and their MB."""
    return str(total["results"]), f"{total['size_bytes'] / 1e6:.1f}"
