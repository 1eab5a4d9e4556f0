"""edgeseg models, edgeseg doctor"""

from __future__ import annotations

from typing import Annotated

import typer

from .terminal.console import print_json, print_table


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the networks: parameters, MACs, input contract, weights."""
    from ..models import MODELS

    if as_json:
        print_json([spec.to_json() for spec in MODELS.values()])
        return
    from rich.table import Table

    table = Table()
    for title in ("model", "title", "parameters", "MACs", "input", "classes", "shipped weights"):
        table.add_column(title)
    for spec in MODELS.values():
        inputs = spec.inputs
        weights = f"{spec.weights.data}, {spec.weights.licence}" if spec.weights else "none"
        table.add_row(
            spec.name,
            f"{spec.title}\n{spec.source}",
            f"{spec.parameters:,}",
            f"{spec.macs / 1e6:,.1f} M",
            f"RGB {inputs.height}x{inputs.width}, {inputs.normalization.kind}, "
            f"multiples of {inputs.stride}",
            ", ".join(spec.outputs.classes),
            weights,
        )
    print_table(table)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which targets can build and run here, and how to add what is missing."""
    from ..pipeline.doctor import diagnose

    report = diagnose()
    if as_json:
        print_json(report)
        return
    from rich.table import Table

    table = Table()
    for title in ("part", "works here", "versions", "add what is missing"):
        table.add_column(title)
    for part in report["parts"]:
        ready = "yes" if part["is_ready"] else "no"
        table.add_row(part["name"], ready, _versions(part["versions"]), _commands(part["missing"]))
    for target in report["targets"]:
        works = [
            f"{word} {', '.join(precisions)}"
            for word, precisions in (("builds", target["builds"]), ("runs", target["runs"]))
            if precisions
        ]
        table.add_row(
            f"target {target['target']}",
            "\n".join(works) or "no",
            _versions(target["versions"]),
            _commands(target["missing"]),
        )
    print_table(table)
    for target in report["targets"]:
        print(f"{target['target']}: {'; '.join(target['notes'])}")
    print(f"cache: {report['cache']['folder']}, {report['cache']['size_bytes'] / 1e6:.1f} MB")


def _versions(versions: dict[str, str | None]) -> str:
    return ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())


def _commands(missing: list[dict[str, str]]) -> str:
    from rich.markup import escape

    return escape("\n".join(dict.fromkeys(item["install"] for item in missing)))
