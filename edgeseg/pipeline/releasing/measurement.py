"""The measurement under which a signature goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeseg.benchmarks.checks.consistency import Measured, require_consistent, require_own
from edgeseg.benchmarks.checks.figures import require_possible
from edgeseg.benchmarks.checks.form import UNCHANGED, require_form
from edgeseg.benchmarks.margins import require_scored, verdicts_of, with_verdicts
from edgeseg.benchmarks.pages.evidence import rows_of
from edgeseg.benchmarks.report import Report

from ...bundle.bundle import Bundle
from ...errors import UsageError, reason_of
from ...metrics.limits import stated_margins
from ...storage.reading import read_json

OF_BASELINES = ("model", "target", "input_size")  # what these share with the bundle


def read_measurement(
    path: Path | None, bundle: Bundle, max_change: Mapping[str, float]
) -> Report | None:
    """The measurement with the verdicts on its margins; None where there is none.

    Args:
        path: Report of `edgeseg bench`; None takes what the bundle holds.
        max_change: See `edgeseg.pipeline.release.ReleaseRequest`.

    Raises:
        UsageError: The file is no report, does not measure this bundle, contradicts itself, or
            lacks a metric that was asked for.
    """
    report = _given_report(path, bundle) if path else _recorded_report(bundle)
    if report is None:
        if max_change:
            raise UsageError(
                "--max-change needs a measurement, and there is none. Measure the bundle with "
                "edgeseg bench --json-file, and give that file with --bench."
            )
        return None
    own, _ = rows_of(report, bundle.identity, bundle.name)
    require_possible([*report.reference, *report.rows], report.data["images"])
    measured = _measured(bundle)
    require_own(own, measured)
    require_own(report.rows, measured, OF_BASELINES)
    require_own(report.reference, measured, ("model",))
    _require_rows(own, bundle)
    require_consistent(report)
    if max_change and not own[0].get("per_image"):
        raise UsageError(
            f"--max-change needs what single images gave, and the measurement of {bundle.name} "
            f"does not hold it. Give the report with --bench. {UNCHANGED}"
        )
    try:
        # Those of the measurement hold where nothing else is asked for.
        stated = {one.metric: one.allowed for row in report.rows for one in verdicts_of(row)}
        report = with_verdicts(report, stated_margins({**stated, **max_change}))
    except (LookupError, TypeError, ValueError) as error:
        raise UsageError(
            f"The measurement of {bundle.name} lacks something or was changed ("
            f"{type(error).__name__}: {reason_of(error)}). {UNCHANGED}"
        ) from error
    require_scored(report, max_change)
    return report


def _require_rows(rows: Sequence[Mapping[str, Any]], bundle: Bundle) -> None:
    """Refuse rows of another name, and two of one place and number of threads."""
    seen = set()
    for row in rows:
        place = row.get("device"), row["threads"]
        if place in seen or not row["name"].startswith(bundle.name):
            what = f"has two rows on {place[1]} threads" if place in seen else "has another name"
            raise UsageError(
                f"The measurement of {bundle.name} {what}: {row['name']!s:.80}. {UNCHANGED}"
            )
        seen.add(place)


def _given_report(path: Path, bundle: Bundle) -> Report:
    if not path.is_file():
        raise UsageError(f"No report at {path}. Make one with edgeseg bench --json-file.")
    try:
        record = read_json(path)
    except (ValueError, OSError) as error:
        raise UsageError(f"{path} is no report ({reason_of(error)}). {UNCHANGED}") from error
    report = _report_of(record, str(path))
    rows, _ = rows_of(report, bundle.identity, bundle.name)
    baselines = {(row.get("baseline") or {}).get("name") for row in rows}
    kept = [row for row in report.rows if row in rows or row["name"] in baselines]
    keys = {row["reference_key"] for row in kept}
    reference = [row for row in report.reference if row["reference_key"] in keys]
    rows = [{**row, "bundle_sha256": bundle.identity} if row in rows else row for row in kept]
    return replace(report, rows=rows, reference=reference, failures=[])


def _recorded_report(bundle: Bundle) -> Report | None:
    """The newest measurement that `edgeseg bench --record` has added to the manifest."""
    if not bundle.manifest.measurements:
        return None
    record = dict(bundle.manifest.measurements[-1])
    environment, data = record.pop("environment", {}), record.pop("data", {})
    row = {"reference_key": "", **record, "bundle_sha256": bundle.identity}
    return _report_of(
        {"environment": environment, "data": data, "reference": [], "rows": [row]},
        f"What the manifest of {bundle.name} holds of a measurement",
    )


def _report_of(record: Any, what: str) -> Report:
    """A report of JSON, in the form that is written today.

    Raises:
        UsageError: It is none, or a place holds a value of another type.
    """
    report = Report.from_json(record)
    upgraded = {**record, "reference": report.reference, "rows": report.rows}
    require_form(upgraded, what)
    return report


def _measured(bundle: Bundle) -> Measured:
    manifest = bundle.manifest
    limits = manifest.limits
    return Measured(
        model=manifest.model.name,
        target=manifest.target,
        precision=manifest.precision,
        input_size=(bundle.inputs.height, bundle.inputs.width),
        artifact_bytes=bundle.artifact_bytes,
        limits=None if limits is None else limits.state,
    )
