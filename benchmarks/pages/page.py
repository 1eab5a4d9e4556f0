"""One page of HTML for reports and profiles; it asks for no other file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..report import Report
from .sections import (
    chart_section,
    environment_section,
    failure_section,
    growth_section,
    phase_section,
    profile_section,
    table_section,
    verdict_section,
    worst_section,
)
from .strata import strata_sections

FOLDER = Path(__file__).parent
METHOD = (
    "Each artefact ran in a process of its own, pinned to as many cores as it may use threads, and "
    "took turns with its FP32 baseline and the others; every other round in reverse order. A "
    "speed-up is the median of the rounds' ratios, its interval a bootstrap over rounds. Masks are "
    "compared with the FP32 reference on the same images; intervals are paired bootstraps over "
    "images, or over the volumes or patients that images belong to. All intervals are 95 %."
)

PROFILE_METHOD = (
    "Layers were timed by the runtime's own counters on one thread, on the bundle's golden image; "
    "times are of the quickest fifth of the runs. What a runtime added, such as a change of "
    "layout, counts for the module of the layer that reads the result."
)


def report_page(reports: Sequence[Report], profiles: Sequence[dict[str, Any]]) -> str:
    """The page.

    Args:
        reports: Of runs that are shown together.
        profiles: As `edgeseg profile --json` prints them.
    """
    style = (FOLDER / "page.css").read_text(encoding="utf-8")
    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash_of(style)}; "
        f"script-src {_hash_of(script)}"
    )
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{escape(_title(reports, profiles))}</title><style>{style}</style></head><body>"
    )
    body = "".join(_sections(reports, profiles))
    return f"{head}{body}<script>{script}</script></body></html>\n"


def _hash_of(text: str) -> str:
    """What lets a policy allow just this text."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _title(reports: Sequence[Report], profiles: Sequence[dict[str, Any]]) -> str:
    if profiles and not reports:
        return f"{', '.join(dict.fromkeys(str(one['name']) for one in profiles))}: profiled"
    models = dict.fromkeys(row["model"] for report in reports for row in report.rows)
    return f"{', '.join(models) or 'No artefact'}: measured"


def _sections(reports: Sequence[Report], profiles: Sequence[dict[str, Any]]) -> Iterator[str]:
    rows = [row for report in reports for row in report.rows]
    yield f"<header><h1>{escape(_title(reports, profiles))}</h1>"
    dates = sorted({str(report.environment.get("date", ""))[:10] for report in reports})
    images = sorted({f"{r.data.get('images')} of {r.data.get('folder')}" for r in reports})
    if reports:
        belonging = [r.data["clusters"]["text"] for r in reports if r.data.get("clusters")]
        told = f"{', '.join(filter(None, dates))} · images: {'; '.join([*images, *belonging])}"
        yield f'<p class="quiet">{escape(told)}</p>'
    yield "</header><main>"
    yield verdict_section(reports)
    yield table_section(rows) if reports else ""
    yield chart_section(reports)
    yield phase_section(rows)
    yield growth_section(rows)
    yield strata_sections(reports)
    yield worst_section(rows)
    yield profile_section(profiles)
    yield failure_section(reports)
    yield environment_section(reports)
    methods = [METHOD] * bool(reports) + [PROFILE_METHOD] * bool(profiles)
    told = "".join(f"<p>{escape(method)}</p>" for method in methods)
    yield f"<h2>How it was measured</h2>{told}</main>"
