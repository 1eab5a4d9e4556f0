"""edgeseg cache"""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated

import typer

from edgeseg.cache import DAY_S, Kept, cache_root, kept_results, prune

from .console import print_json, print_table


def cache(
    older_than: Annotated[
        float | None,
        typer.Option(
            "--prune",
            metavar="DAYS",
            min=0,
            help="Remove what no command has used for so many days; 0 leaves only what was used in "
            "the last ten minutes.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what the cache holds, or remove what is old."""
    removed = prune(older_than) if older_than is not None else []
    kinds: dict[str, list[Kept]] = defaultdict(list)
    for one in kept_results():
        kinds[one.kind].append(one)
    record = {
        "folder": str(cache_root()),
        "removed": {"results": len(removed), "size_bytes": _size(removed)},
        "kinds": {
            kind: {
                "results": len(found),
                "size_bytes": _size(found),
                "idle_days": max(one.idle_s for one in found) / DAY_S,
            }
            for kind, found in kinds.items()
        },
    }
    if as_json:
        print_json(record)
        return
    from rich.table import Table

    table = Table()
    for title in ("kind", "results", "MB", "not used for, days"):
        table.add_column(title)
    for kind, found in kinds.items():
        oldest = max(one.idle_s for one in found) / DAY_S
        table.add_row(kind, str(len(found)), f"{_size(found) / 1e6:.1f}", f"up to {oldest:.1f}")
    print_table(table)
    if older_than is not None:
        print(f"removed: {len(removed)} results, {_size(removed) / 1e6:.1f} MB")
    kept = [one for found in kinds.values() for one in found]
    print(f"{cache_root()}: {len(kept)} results, {_size(kept) / 1e6:.1f} MB")


def _size(found: list[Kept]) -> int:
    return sum(one.size_bytes for one in found)
