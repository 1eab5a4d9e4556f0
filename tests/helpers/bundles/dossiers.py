"""A dossier of a bundle whose artefact is a few bytes, with a measurement by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from small_bundle import write_small_bundle

from edgeseg.bundle.bundle import open_bundle
from edgeseg.dossier.contents import Dossier
from edgeseg.dossier.packages import list_soup
from edgeseg.dossier.trace import trace_of

CREATED = "2026-11-27T05:00:00+00:00"
CARD = {"Task": "Outline of a mole.", "Data": "Made by hand.", "Limits": "Two sites."}
VERDICT = {
    "metric": "dice_pooled",
    "allowed": 0.01,
    "change": -0.002,
    "interval": [-0.004, 0.001],
    "verdict": "keeps",
    "images": 12,
    "images_needed": None,
}
ROW: dict[str, Any] = {
    "name": "egeunet-intel-fp32",
    "threads": 1,
    "runs": 24,
    "accuracy": {"dice_pooled": 0.9375},
    "accuracy_ci95": {"dice_pooled": [0.925, 0.9475]},
    "delta": {"dice_pooled": -0.002},
    "delta_ci95": {"dice_pooled": [-0.004, 0.001]},
    "flips_per_10k": 12.5,
    "latency_ms": {"p50": 3.25},
    "margins": [VERDICT],
}
PART = {
    "name": "small | odd",
    "images": 4,
    "dice_image": 0.875,
    "dice_image_ci95": [0.75, 0.95],
    "delta_dice_image": -0.0125,
    "delta_dice_image_ci95": [-0.025, 0.0],
}


def dossier_of(folder: Path, *, is_measured: bool = True, **card: str) -> Dossier:
    """A dossier of a new bundle in `folder`."""
    bundle = open_bundle(write_small_bundle(folder))
    rows = [ROW] if is_measured else []
    performance = {
        "environment": {"cpu": "a core"} if is_measured else {},
        "data": {"folder": "moles", "images": 12, "splits": ["test"]} if is_measured else {},
        "rows": rows,
        "subgroups": [{"title": "size", "parts": [PART]}] if is_measured else [],
    }
    statements = {**CARD, **card}
    trace = trace_of(bundle, CREATED, [], "none was applied.", None, rows, statements)
    soup = list_soup(["python", "numpy"], ["onnx"], {"onnx": "1.19.0"}, {"numpy": "2.4.6"})
    return Dossier(bundle, CREATED, performance, trace, tuple(soup), statements)
