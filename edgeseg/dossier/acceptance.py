"""The limits that a release was held against, and the verdicts, as TOML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..bundle.bundle import Bundle
from ..metrics.clusters import IMAGES
from ..metrics.table import METRICS, find_metric


def acceptance_text(
    bundle: Bundle, verdicts: Sequence[Mapping[str, Any]], asked: Mapping[str, float]
) -> str:
    """The file.

    Args:
        verdicts: `MarginVerdict.to_json` of each metric that was judged.
        asked: Limits that had to be kept, by metric; the others are what auto may lose.
    """
    golden = bundle.manifest.golden
    lines = [
        "# What this release was held against. Changes are those against the FP32 reference.",
        f"bundle = {_text(bundle.name)}",
        f"bundle_sha256 = {_text(bundle.identity)}",
        "",
        "[golden]  # of the golden mask, on any machine",
        f"max_abs_diff = {golden.max_abs_diff!r}",
        f"max_flips_per_10k = {golden.max_flips_per_10k!r}",
    ]
    for verdict in verdicts:
        low, high = verdict["interval"]
        lines += [
            "",
            "[[metric]]",
            f"name = {_text(verdict['metric'])}",
            f"is_relative = {str(_is_relative(verdict['metric'])).lower()}",
            f"allowed_loss = {float(verdict['allowed'])!r}",
            f"required = {str(verdict['metric'] in asked).lower()}",
            f"change = {float(verdict['change'])!r}",
            f"change_ci95 = [{float(low)!r}, {float(high)!r}]",
            f"counted = {int(verdict['images'])}",
            f"unit = {_text(verdict.get('unit', IMAGES))}",
            f"verdict = {_text(verdict['verdict'])}",
        ]
    return "\n".join(lines) + "\n"


def _is_relative(name: str) -> bool:
    """Whether changes of a metric are shares of the reference's score, and not differences."""
    return name in METRICS.names() and find_metric(name).is_change_relative


def _text(value: object) -> str:
    """A string of TOML: JSON's, whose escapes it shares but for one."""
    return json.dumps(str(value)).replace("\x7f", "\\u007f")
