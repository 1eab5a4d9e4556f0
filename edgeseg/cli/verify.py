"""edgeseg verify"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .terminal.console import make_progress, print_json, print_result


def verify(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Check a bundle's checksums and replay its golden pair."""
    from ..pipeline.verify import verify_bundle

    with make_progress().stage("verify"):
        opened, agreement, computed_by = verify_bundle(bundle)
    if as_json:
        record = {"computed_by": computed_by, **agreement.to_json()}
        print_json({"bundle": opened.name, "ok": True, "golden": record})
        return
    by = "" if computed_by == opened.manifest.runtime else f" by {computed_by}"
    print_result(
        f"{bundle}: ok. {len(opened.manifest.files)} files unchanged; golden mask{by}: {agreement}"
    )
