"""The tables of docs/results.md, made from docs/results/*.json.

    python tests/helpers/result_tables.py

prints them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
AUTO_FILES = ("auto_egeunet.json", "auto_ulite.json", "auto_miniseg.json")
SWEEP_FILE = "sweep_intel.json"
HEADER = (
    "| artefact | p50 ms | speed-up (95 %) | RAM MB | size kB | Dice | change (95 %) "
    "| flips/10k | worst image |",
    "|" + "---|" * 9,
)


def read_reports(name: str) -> list[dict[str, Any]]:
    """The reports of edgeseg bench in one file of docs/results."""
    record = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return list(record["reports"].values()) if "reports" in record else [record]


def rows_of(report: Mapping[str, Any]) -> Iterator[str]:
    """Lines of the table of one report of edgeseg bench."""
    for reference in report["reference"]:
        dice = reference["accuracy"]["dice_pooled"]
        yield f"| {reference['model']} FP32 reference |  |  |  |  | {dice:.4f} |  |  |  |"
    for row in report["rows"]:
        yield row_of(row)


def row_of(row: Mapping[str, Any]) -> str:
    """Line of one artefact; of the worst image the change of its Dice."""
    form = "plain FP32" if row["is_baseline"] else row["precision"]
    form = form if form in ("auto", "plain FP32") else form.upper()
    cells = (
        f"{row['model']} {row['target']} {form}",
        f"{row['latency_ms']['p50']:.2f}",
        f"{row['speedup']:.2f} ({'..'.join(f'{end:.2f}' for end in row['speedup_ci95'])})",
        f"{row['peak_rss_mb']:.1f}",
        f"{row['artifact_bytes'] / 1e3:.0f}",
        f"{row['accuracy']['dice_pooled']:.4f}",
        f"{row['delta']['dice_pooled']:+.4f} "
        f"({'..'.join(f'{end:+.4f}' for end in row['delta_ci95']['dice_pooled'])})",
        f"{row['flips_per_10k']:.1f}",
        f"{row['worst_image']['delta_dice']:+.4f}",
    )
    return f"| {' | '.join(cells)} |"


def table_of(*names: str) -> list[str]:
    """Lines of the table over some files of docs/results."""
    reports = [report for name in names for report in read_reports(name)]
    return [*HEADER, *(line for report in reports for line in rows_of(report))]


if __name__ == "__main__":
    print("\n".join((*table_of(*AUTO_FILES), "", *table_of(SWEEP_FILE))))
