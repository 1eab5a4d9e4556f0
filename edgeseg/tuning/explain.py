"""A tuning in words: per candidate and region what it costs, and why it was not taken."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from ..bundle.manifest import RuntimeRecord, TrialRecord, TuningRecord
from ..metrics.limits import OPEN
from ..metrics.metric import Metric
from ..metrics.table import METRICS, find_metric

QUANTIZED = ("int8", "region")
LONGEST_REASON = 240


def titles(record: TuningRecord) -> list[str]:
    """Headings of `rows`: each metric that a candidate was compared by has a column."""
    changes = [f"{_title(name)} change" for name in _compared(record)]
    return ["candidate", "speed-up", "flips/10k", *changes, "kB", "MB", "limits", "verdict"]


def rows(record: TuningRecord) -> list[list[str]]:
    """Cells of each candidate, in the order of `titles`."""
    return [
        [
            f"{trial.name}; {trial.region}" if trial.region else trial.name,
            "" if trial.speedup_over_plain is None else f"{trial.speedup_over_plain:.2f}",
            _number(trial.flips_per_10k, ".1f"),
            *(_change(name, trial.changes) for name in _compared(record)),
            _number(trial.artifact_bytes, ".0f", 1e3),
            _number(trial.peak_rss_bytes, ".1f", 1e6),
            trial.limits,
            verdict(trial),
        ]
        for trial in record.trials
    ]


def _compared(record: TuningRecord) -> list[str]:
    """Names of the metrics that candidates were compared by."""
    return list(dict.fromkeys(name for trial in record.trials for name in trial.changes))


def _metric(name: str) -> Metric | None:
    """None for a metric of a package that this machine does not have."""
    return find_metric(name) if name in METRICS else None


def _title(name: str) -> str:
    metric = _metric(name)
    return metric.title if metric is not None else name


def _change(name: str, changes: Mapping[str, float]) -> str:
    metric = _metric(name)
    if name not in changes:
        return ""
    return metric.format_change(changes[name]) if metric is not None else f"{changes[name]:+.4g}"


def verdict(trial: TrialRecord) -> str:
    """Why a candidate leads, or does not."""
    if trial.verdict == "refused":
        # Converters quote tensors; the manifest has all of it.
        word = OPEN if trial.limits == OPEN else "refused"
        return f"{word}: {textwrap.shorten(trial.reason, LONGEST_REASON, placeholder=' ...')}"
    if trial.speedup is None or trial.speedup_ci95 is None:
        return trial.verdict
    low, high = trial.speedup_ci95
    ratio = f"{trial.speedup:.2f} ({low:.2f}..{high:.2f}) times as fast as {trial.against}"
    if trial.verdict == "leads":
        by_masks = low <= 1 and trial.against != "plain"
        return f"leads: {ratio}{', and fewer pixels flip' if by_masks else ''}"
    why = ratio if high < 1 or low <= 1 else f"{ratio}, which is too little"
    return f"{why}{_conversions(trial)}"


def untaken(record: TuningRecord | None) -> list[str]:
    """The fastest form that was left out because the images cannot tell what it loses, if it is
    faster than the chosen one: a sentence, or none."""
    if record is None:
        return []
    speed = {_key(trial.candidate): trial.speedup_over_plain or 0.0 for trial in record.trials}
    chosen = speed.get(_key(record.candidate), 0.0)
    undecided = [trial for trial in record.trials if trial.limits == OPEN and trial.reason]
    faster = [one for one in undecided if (one.speedup_over_plain or 0.0) > chosen > 0]
    if not faster:
        return []
    best = max(faster, key=lambda one: one.speedup_over_plain or 0.0)
    ratio = (best.speedup_over_plain or 0.0) / chosen
    return [f"Not taken: {best.name}, {ratio:.2f} times as fast as the chosen form: {best.reason}."]


def _key(candidate: Mapping[str, Any]) -> str:
    return json.dumps(candidate, sort_keys=True)


def summary(record: TuningRecord) -> list[str]:
    """What was chosen, what it costs, and whether INT8 is worth it: a sentence each."""
    chosen = next(
        (row for row in record.final if row.candidate == record.candidate), record.final[0]
    )
    low, high = chosen.speedup_over_plain_ci95
    lines = [
        f"Chosen: {chosen.name}. {chosen.speedup_over_plain:.2f} ({low:.2f}..{high:.2f}) times as "
        f"fast as the plain export; {record.flips_per_10k:.1f} of 10,000 pixels flip"
        + "".join(
            f", {_title(name)} changes by {_change(name, record.changes)}"
            for name in record.changes
        )
        + f" on {record.images['final']} images."
    ]
    if record.measured_on:
        lines.append(
            f"Measured on {record.measured_on} ({record.machine.get('cpu', 'unknown CPU')}), "
            f"{record.search_seconds:.0f} s of its time"
            + (
                "."
                if record.images.get("masks_of") == "device"
                else "; flips and Dice are those of the machine that built it, as the device's "
                "program writes no masks."
            )
        )
    if record.violation:
        lines.append(
            "No candidate keeps the constraints on size and memory, and the chosen one breaks "
            f"them: {record.violation}."
        )
    for row in record.final:
        if row.candidate != chosen.candidate:
            low, high = row.speedup_over_first_ci95
            lines.append(
                f"Beside it: {row.name}, {row.speedup_over_first:.2f} ({low:.2f}..{high:.2f}) "
                f"times as fast as {record.final[0].name}."
            )
    lines += [*untaken(record), *_int8_lines(record)]
    if record.skipped:
        lines.append(
            f"{record.skipped} candidates were left out for want of time. Raise --search-seconds "
            "to try them; what was measured is kept."
        )
    return lines


def describe_race(race: Sequence[RuntimeRecord]) -> list[str]:
    """How the bundle's runtime compares with the device's others: a sentence each."""
    lines = []
    for row in race[1:]:
        if row.speedup is None or row.speedup_ci95 is None:
            lines.append(f"{row.runtime} took no part: {row.refusal}")
            continue
        low, high = row.speedup_ci95
        lines.append(
            f"{race[0].runtime} is {row.speedup:.2f} ({low:.2f}..{high:.2f}) times as fast as "
            f"{row.runtime} ({row.artifact})."
        )
    return lines


def _int8_lines(record: TuningRecord) -> list[str]:
    """Whether INT8 is worth it, and why not."""
    tried = [trial for trial in record.trials if trial.candidate["method"]]
    if not tried:
        return ["INT8 was not tried: the runtime has none here."]
    if record.candidate["method"]:
        kept = len(record.candidate["float_nodes"])
        return [
            "INT8 is worth it here"
            + (f"; {kept} convolutions stay in float." if kept else ", for all convolutions.")
        ]
    timed = [trial for trial in tried if trial.speedup_over_plain is not None]
    refused = [trial for trial in tried if trial.verdict == "refused"]
    if not timed:
        return [f"INT8 is not worth it here: {refused[0].name} was refused, {refused[0].reason}."]
    best = max(timed, key=lambda trial: trial.speedup_over_plain or 0.0)
    return [
        f"INT8 is not worth it here: of {len(tried)} ways to use it the best, {best.name}, is "
        f"{verdict(best).removeprefix('leads: ')}."
    ]


def _conversions(trial: TrialRecord) -> str:
    layers = trial.layers
    inside = layers.get("int8_convolutions", layers.get("int8"))
    conversions = layers.get("conversions", layers.get("quantized_activations"))
    if inside is None or conversions is None:
        return ""
    return f" ({inside} INT8 operators bring {conversions} conversions)"


def _number(value: float | None, form: str, unit: float = 1.0) -> str:
    return "" if value is None else format(value / unit, form)
