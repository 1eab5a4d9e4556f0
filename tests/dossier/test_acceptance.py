"""Limits and verdicts are read back as they were."""

from __future__ import annotations

import math
import tomllib
from dataclasses import replace
from pathlib import Path

from dossiers import VERDICT
from small_bundle import write_small_bundle

from edgeseg.bundle.bundle import open_bundle
from edgeseg.dossier.acceptance import acceptance_text


def test_verdicts(tmp_path: Path) -> None:
    bundle = open_bundle(write_small_bundle(tmp_path / "bundle"))
    other = {**VERDICT, "metric": "hd95_px", "verdict": "cannot tell", "change": math.inf}
    other |= {"unit": 'a "b"', "images": 3}
    record = tomllib.loads(acceptance_text(bundle, [VERDICT, other], {"dice_pooled": 0.01}))
    assert record["golden"] == {"max_abs_diff": 0.01, "max_flips_per_10k": 5.0}
    first, second = record["metric"]
    assert first == {
        "name": "dice_pooled",
        "is_relative": False,
        "allowed_loss": 0.01,
        "required": True,
        "change": -0.002,
        "change_ci95": [-0.004, 0.001],
        "counted": 12,
        "unit": "images",
        "verdict": "keeps",
    }
    assert (second["required"], second["change"]) == (False, math.inf)
    assert (second["is_relative"], second["counted"], second["unit"]) == (True, 3, 'a "b"')


def test_names_are_text(tmp_path: Path) -> None:
    bundle = open_bundle(write_small_bundle(tmp_path / "bundle"))
    name = 'a "b"\n[golden]\x7f é \\'
    manifest = bundle.manifest.model_copy(update={"name": name})
    record = tomllib.loads(acceptance_text(replace(bundle, manifest=manifest), [], {}))
    assert record["bundle"] == name
    assert "metric" not in record
