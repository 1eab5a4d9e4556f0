"""edgeseg doctor"""

from __future__ import annotations

from .terminal.console import print_json, print_result, print_table
from .terminal.options import AsJson


def doctor(
    as_json: AsJson = False,
) -> None:
    """Show which targets build and run on this machine, and how to add what is missing."""
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
    for runtime in report["runtimes"]:
        works = [
            f"{word} {', '.join(precisions)}"
            for word, precisions in (("builds", runtime["builds"]), ("runs", runtime["runs"]))
            if precisions
        ]
        table.add_row(
            f"runtime {runtime['runtime']}",
            "\n".join(works) or "no",
            _versions(runtime["versions"]),
            _commands(runtime["missing"]),
        )
    print_table(table)
    for target, names in report["devices"].items():
        print_result(f"--target {target}: {', '.join(names)}")
    for runtime in report["runtimes"]:
        print_result(f"{runtime['runtime']}: {'; '.join(runtime['notes'])}")
    print_result(
        f"cache: {report['cache']['folder']}, {report['cache']['size_bytes'] / 1e6:.1f} MB"
    )


def _versions(versions: dict[str, str | None]) -> str:
    return ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())


def _commands(missing: list[dict[str, str]]) -> str:
    from rich.markup import escape

    return escape("\n".join(dict.fromkeys(item["install"] for item in missing)))
