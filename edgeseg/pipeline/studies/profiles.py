"""Profiles of many bundles: how much of their time has a module, and how far from the floor it is.

python -m edgeseg.pipeline.studies.profiles BUNDLE... [--output FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeseg.benchmarks.environment import describe_environment

from ...bundle.bundle import open_bundle
from ...errors import EdgesegError
from ...storage.atomic import write_text
from ..profile import BundleProfile, profile_bundle

RUNS = 50
TITLES = (
    *("network", "runtime", "type", "named", "with a module", "layers ms"),
    *("run ms", "counters ms", "of floor"),
)


@dataclass(frozen=True)
class ProfileRow:
    """What the profile of one bundle comes to.

    Attributes:
        model, runtime, precision: Of the bundle.
        size: Of the input, "HxW".
        named_share: Of the layers' time, that whose module a name tells.
        attributed_share: That which has a module, by a name or by the flow of data.
        sum_ms: Of all layers.
        run_ms: Of a run without counters.
        counters_ms: What counters cost.
        floor_ms: Sum of the modules' floors; 0 where the core was not measured.
        layers: How many there are.
        isa: Of the loops that the floor is measured with.
    """

    model: str
    runtime: str
    precision: str
    size: str
    named_share: float
    attributed_share: float
    sum_ms: float
    run_ms: float
    counters_ms: float
    floor_ms: float
    layers: int
    isa: str

    def line(self) -> str:
        """Of a table in Markdown, under `TITLES`."""
        floor = f"{self.run_ms / self.floor_ms:.1f}x" if self.floor_ms else ""
        cells = (
            *(self.model, self.runtime, self.precision),
            *(f"{self.named_share:.1%}", f"{self.attributed_share:.1%}"),
            *(f"{self.sum_ms:.2f}", f"{self.run_ms:.2f}", f"{self.counters_ms:+.2f}", floor),
        )
        return f"| {' | '.join(cells)} |"

    def shares(self) -> str:
        """See `shares_of`."""
        whole = self.sum_ms / (self.run_ms + self.counters_ms)
        return f"{self.attributed_share:.1%} ({self.named_share:.0%}), {whole:.2f}"


def row_of(folder: Path, found: BundleProfile) -> ProfileRow:
    """What is told of a profile of the bundle in `folder`."""
    bundle = open_bundle(folder)
    *_, height, width = bundle.inputs.shape
    return ProfileRow(
        model=bundle.manifest.model.name,
        runtime=found.runtime,
        precision=bundle.artifact.precision,
        size=f"{height}x{width}",
        named_share=round(found.named_share, 4),
        attributed_share=round(found.attributed_share, 4),
        sum_ms=round(found.sum_ms, 3),
        run_ms=round(found.run_ms, 3),
        counters_ms=round(found.counted_ms - found.run_ms, 3),
        floor_ms=round(sum(found.floor_ms(1).values()), 4),
        layers=len(found.layers),
        isa="" if found.core is None else found.core.isa,
    )


def table_of(rows: Iterable[ProfileRow]) -> str:
    """A table in Markdown."""
    head = [f"| {' | '.join(TITLES)} |", f"|{'---|' * len(TITLES)}"]
    return "\n".join([*head, *(row.line() for row in rows)])


def shares_of(rows: Iterable[ProfileRow]) -> str:
    """A table in Markdown with a column for each runtime: the share that has a module, by names
    alone in brackets, and what the layers add up to as a share of a run with counters.
    """
    rows = tuple(rows)
    runtimes = tuple(dict.fromkeys(row.runtime for row in rows))
    cells = {(row.model, row.precision, row.runtime): row for row in rows}
    lines = [f"| network | {' | '.join(runtimes)} |", f"|{'---|' * (1 + len(runtimes))}"]
    for model, precision in dict.fromkeys((row.model, row.precision) for row in rows):
        shown = (cells.get((model, precision, runtime)) for runtime in runtimes)
        told = " | ".join("" if row is None else row.shares() for row in shown)
        lines.append(f"| {model} {precision} | {told} |")
    return "\n".join(lines)


def main() -> None:
    """Profile bundles one after the other, and print a table of them all."""
    parser = argparse.ArgumentParser(prog="python -m edgeseg.pipeline.studies.profiles")
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"counted runs of each ({RUNS})")
    parser.add_argument("--output", type=Path, help="JSON file for the rows")
    given = parser.parse_args()
    rows = []
    failed = False
    for folder in given.bundles:
        try:
            rows.append(row_of(folder, profile_bundle(folder, given.runs)))
        except EdgesegError as error:
            failed = True
            print(f"{folder}: {error}", file=sys.stderr, flush=True)
        if given.output is not None:
            # After each, so that a study that is cut short has told something.
            told = [asdict(row) for row in rows]
            content = {"environment": describe_environment(1), "runs": given.runs, "rows": told}
            write_text(given.output, json.dumps(content, indent=1) + "\n")
    print(table_of(rows), shares_of(rows), sep="\n\n")
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
