"""Prints the table of every form of a network, and writes the rows as JSON.

python -m edgeseg.pipeline.studies.reference OUT.json --model M --data DIR --target T [--target ...]
    [--split NAME] [--method NAME[,OPTION=VALUE,...] ...]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from edgeseg.errors import EdgesegError
from edgeseg.metrics.paired import SIZES
from edgeseg.metrics.quantities import WORST_DICE, WORST_FLIPS
from edgeseg.storage.atomic import write_text

from ..limits import SPLITS, StudyRequest, parser_of
from .study import forms_by, study_forms

COLUMNS = {
    "Dice (95 %)": ("dice_pooled", ".4f"),
    "IoU": ("iou_pooled", ".4f"),
    "HD95, px": ("hd95_px", ".1f"),
    "calibration error (95 %)": ("calibration_error", ".4f"),
    "flips (95 %)": ("flips", "z.1f"),
    "Dice changes by (95 %)": ("dice_change", "+z.4f"),
    "worst flips": (WORST_FLIPS, ".0f"),
    "worst Dice": (WORST_DICE, "+z.3f"),
}
WITHOUT_INTERVAL = ("iou_pooled", "hd95_px")


def table_lines(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Markdown, a line for each row; flips of small, medium and large objects come last."""
    titles = ["network", "form", *COLUMNS, f"flips, {', '.join(SIZES)}"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in rows:
        cells = [row["model"], row["form"]]
        cells += [_cell(row, key, form) for key, form in COLUMNS.values()]
        parts = row.get("by_size", {})
        cells.append(", ".join(f"{parts[size]['flips']:.1f}" for size in SIZES if size in parts))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _cell(row: dict[str, Any], key: str, form: str) -> str:
    if key not in row:
        return ""
    text = format(row[key], form)
    if key in WITHOUT_INTERVAL or f"{key}_interval" not in row:
        return text
    low, high = row[f"{key}_interval"]
    return f"{text} ({low:{form}}..{high:{form}})"


def main() -> None:
    """Print the table, and write the rows as JSON after each."""
    parser = parser_of("reference")
    parser.add_argument("--split", action="append", choices=SPLITS)
    told = "INT8 by this method, NAME[,OPTION=VALUE,...], and by no other way; may be repeated"
    parser.add_argument("--method", action="append", help=told)
    given = parser.parse_args()
    splits = tuple(given.split or SPLITS[1:])
    request = StudyRequest(given.model, given.data, tuple(given.target), splits=splits)
    candidates_of = forms_by(given.method) if given.method else None
    rows: list[dict[str, Any]] = []
    try:
        for row in study_forms(request, candidates_of=candidates_of):
            rows.append(row)
            print("\n".join(table_lines([row])[0 if len(rows) == 1 else -1 :]), flush=True)
            write_text(given.output, json.dumps(rows, indent=1) + "\n")
    except EdgesegError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
