"""How near each way to quantise a network comes to it: flips, Dice and the worst image.

The ways are those that a build tries where no method is named, or every calibrator with and without
bias correction. Choose on val; look at test once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeseg.errors import EdgesegError
from edgeseg.metrics.findings import Finding
from edgeseg.metrics.paired import PairedSample
from edgeseg.metrics.quantities import FLIPS, WORST_DICE, WORST_FLIPS
from edgeseg.progress import SILENT, Progress
from edgeseg.quantize import quick_calibrators, usual_methods
from edgeseg.storage.atomic import write_text
from edgeseg.storage.temporary import temporary_folder
from edgeseg.tuning.candidate import Candidate

from ..builder.builder import Builder
from ..builder.context import BuildContext
from ..builder.method_choice import by_usual_methods, ways_of
from .limits import SPLITS, Form, StudyRequest, make_forms, parser_of

PRECISION = "int8"
DICE = "dice_pooled"
COLUMNS = ("form", "flips (95 %)", "pooled Dice falls by (95 %)", "worst flips", "worst Dice fall")


def study_ways(
    request: StudyRequest, *, every_method: bool = False, progress: Progress = SILENT
) -> Iterator[dict[str, Any]]:
    """Rows as JSON, each as soon as it is measured.

    Args:
        every_method: Every calibrator, with and without bias correction, the whole network in INT8.

    Raises:
        EdgesegError: The network cannot be built, or a split is missing.
    """
    candidates_of = every_candidate if every_method else usual_candidates
    with temporary_folder("ways") as name:
        for form in make_forms(request, Path(name), progress, candidates_of):
            yield from rows_of(request.model, form)


def rows_of(model: str, form: Form) -> Iterator[dict[str, Any]]:
    """A row for each split that the form answered on."""
    for split, sample in form.of_split.items():
        place = {"model": model, "form": form.name, "split": split, "images": len(sample.names)}
        yield {**place, **_found(sample)}


def usual_candidates(context: BuildContext, builder: Builder) -> Iterable[Candidate]:
    """What a build tries where no method is named."""
    named = by_usual_methods(context, context.fixed_candidate(PRECISION))
    return ways_of(context, builder, named)


def every_candidate(context: BuildContext, _: Builder) -> Iterator[Candidate]:
    """The network by each method that takes no training."""
    first = context.fixed_candidate(PRECISION)
    formats = context.runtime.quantized_from
    usual = usual_methods(formats)
    yield from (replace(first, method=name) for name in usual if not usual[name])
    calibrators = [name for name in usual if usual[name]]
    for name in (*calibrators, *quick_calibrators(formats)):
        for word in ("false", "true"):
            yield replace(first, method=name, method_options=(("bias_correction", word),))


def _found(sample: PairedSample) -> dict[str, Any]:
    """Flips and Dice over all images, and what the worst image loses, without its name."""
    whole = {one.name: one for one in sample.findings() if not one.part}
    found: dict[str, Any] = {}
    for name, key in ((FLIPS, "flips"), (DICE, "dice_change")):
        if name in whole:
            finding: Finding = whole[name]
            found[key] = finding.change
            found[f"{key}_interval"] = list(finding.interval)
    for name in (WORST_FLIPS, WORST_DICE):
        if name in whole:
            found[name] = whole[name].change
    return found


def table_lines(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Markdown, a line for each row."""
    lines = [f"| network | split | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 2) + "|"]
    for row in rows:
        cells = [row["model"], row["split"], row["form"], _with_interval(row, "flips", ".1f")]
        cells.append(_with_interval(row, "dice_change", "+z.4f", sign=-1))
        cells.append(format(row.get(WORST_FLIPS, float("nan")), ".0f"))
        cells.append(format(-row.get(WORST_DICE, float("nan")), "+z.3f"))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _with_interval(row: dict[str, Any], key: str, form: str, sign: int = 1) -> str:
    if key not in row:
        return ""
    low, high = sorted(sign * end for end in row[f"{key}_interval"])
    return f"{sign * row[key]:{form}} ({low:{form}}..{high:{form}})"


def main() -> None:
    """Print the table, and write the rows as JSON."""
    parser = parser_of("int8_ways")
    parser.add_argument("--split", action="append", choices=SPLITS)
    parser.add_argument("--every-method", action="store_true")
    given = parser.parse_args()
    splits = tuple(given.split or SPLITS[:1])
    request = StudyRequest(given.model, given.data, tuple(given.target), splits=splits)
    rows = []
    try:
        for row in study_ways(request, every_method=given.every_method):
            rows.append(row)
            print(table_lines([row])[-1], flush=True)
            write_text(given.output, json.dumps(rows, indent=1) + "\n")
    except EdgesegError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
