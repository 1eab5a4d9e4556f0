"""Parts of the page, each a piece of HTML, or nothing where there is nothing to show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np

from edgeseg.bundle.identity import IDENTITY_LENGTH
from edgeseg.metrics.limits import KEEPS, LOSES
from edgeseg.metrics.metric import Metric
from edgeseg.metrics.table import all_metrics

from ..growth import growth_texts
from ..margins import build_limits_text, independent_images
from ..report import Report
from .charts import Line, Point, axis_around, bars, lines, scatter, series_class
from .verdicts import FASTER, SAME, SLOWER, change_interval, verdict_of

DICE = "dice_pooled"
PHASES = ("preprocess", "inference", "postprocess")
SHOWN_WORST, SHOWN_MODULES = 12, 16
CLASSES = {FASTER: "good", KEEPS: "good", SLOWER: "bad", LOSES: "bad"}


def artifacts_of(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of what ships: no baselines, nor the same on other numbers of threads."""
    return [row for row in rows if not row["is_baseline"] and not row.get("is_sweep")]


def verdict_section(reports: Sequence[Report]) -> str:
    """A card for each artefact: faster or not, and whether it keeps its masks."""
    cards = []
    judged = [(row, report) for report in reports for row in artifacts_of(report.rows)]
    for row, report in judged:
        verdict = verdict_of(row, *independent_images(report.data))
        speed = row.get("speedup")
        times = f" than plain: {speed:.2f}×" if speed and verdict.speed != SAME else ""
        words = (
            f'<span class="word {CLASSES.get(verdict.speed, "open")}">{verdict.speed}</span>'
            f'{times}<br><span class="word {CLASSES.get(verdict.accuracy, "open")}">'
            f"{verdict.accuracy}</span> "
        )
        said = "what it finds" if verdict.accuracy in (KEEPS, LOSES) else "whether masks are kept"
        reason = (
            f'<br><span class="range">{escape(verdict.reason)}</span>' if verdict.reason else ""
        )
        if verdict.accuracy == "not scored":
            said = ""
        limits = build_limits_text(row)
        if limits:
            reason += f'<br><span class="range">{escape(limits)}</span>'
        cards.append(f"<li><strong>{escape(row['name'])}</strong>{words}{said}{reason}</li>")
    return f'<h2>Verdicts</h2><ul class="cards">{"".join(cards)}</ul>' if cards else ""


def table_section(rows: Sequence[dict[str, Any]]) -> str:
    """All numbers, sortable."""
    metrics = [metric for metric in all_metrics() if metric.bench == "column"]
    titles = ["artefact", "target", "precision", "p50 ms", "p90 ms", "speed-up", "RAM MB", "kB"]
    for metric in metrics:
        titles += [metric.title, "change"]
    titles.append("flips/10k")
    head = "".join(
        f'<th scope="col"{" class=text" if index in (0, 1, 2) else ""}>'
        f'<button type="button">{escape(title)}</button></th>'
        for index, title in enumerate(titles)
    )
    body = "".join(f"<tr>{''.join(_cells(row, metrics))}</tr>" for row in rows)
    return (
        '<h2>Numbers</h2><div class="scroll" tabindex="0" role="region" aria-label="Numbers">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cells(row: dict[str, Any], metrics: Sequence[Metric]) -> Iterable[str]:
    latency = row.get("latency_ms") or {}
    identity = str(row.get("bundle_sha256") or "")[:IDENTITY_LENGTH]
    told = f'<br><span class="range">{escape(identity)}</span>' if identity else ""
    yield f'<th scope="row">{escape(row["name"])}{told}</th>'
    yield f'<td class="text">{escape(str(row["target"]))}</td>'
    yield f'<td class="text">{escape(str(row["precision"]))}</td>'
    yield _number(latency.get("p50"), 2)
    yield _number(latency.get("p90"), 2)
    yield _number(row.get("speedup"), 2, row.get("speedup_ci95"))
    yield _number(row.get("peak_rss_mb"), 1)
    size = row.get("artifact_bytes")
    yield _number(None if size is None else size / 1e3, 0)
    for metric in metrics:
        score = (row.get("accuracy") or {}).get(metric.name)
        yield _number(score, 4)
        key = "relative_change" if metric.is_change_relative else "delta"
        yield _number((row.get(key) or {}).get(metric.name), 4, change_interval(metric, row), "+")
    yield _number(row.get("flips_per_10k"), 1)


def _number(
    value: float | None, digits: int, interval: Sequence[float] | None = None, sign: str = ""
) -> str:
    if value is None:
        return '<td data-value=""></td>'
    text = f"{value:{sign}.{digits}f}"
    if interval:
        low, high = (f"{end:{sign}.{digits}f}" for end in interval)
        text += f' <span class="range">({low}..{high})</span>'
    return f'<td data-value="{value:.6g}">{text}</td>'


def chart_section(reports: Sequence[Report]) -> str:
    """Speed against accuracy, the spread of latencies, and drift, for each run and model."""
    figures = "".join(
        figure
        for report in reports
        for model in dict.fromkeys(row["model"] for row in report.rows if row.get("latency_ms"))
        for figure in _figures_of(model, [row for row in report.rows if row["model"] == model])
    )
    return f'<h2>Speed and accuracy</h2><div class="charts">{figures}</div>' if figures else ""


def _figures_of(model: str, rows: Sequence[dict[str, Any]]) -> Iterable[str]:
    timed = [row for row in rows if row.get("latency_ms")]
    names = [row["name"] for row in timed]
    points = [
        Point(
            row["latency_ms"]["p50"],
            row["delta"][DICE],
            row["delta_ci95"][DICE][0],
            row["delta_ci95"][DICE][1],
            f"{row['name']}: {row['latency_ms']['p50']:.2f} ms, {row['delta'][DICE]:+.4f}",
            index,
        )
        for index, row in enumerate(timed)
        if DICE in (row.get("delta") or {}) and (row.get("delta_ci95") or {}).get(DICE)
    ]
    if points:
        x = axis_around("median latency, ms", [one.x for one in points], is_log=True)
        ends = [end for one in points for end in (one.low, one.high)]
        y = axis_around("change of pooled Dice", [*ends, 0.0], least=0.001)
        chart = scatter(x, y, points, f"{model}: change of pooled Dice over latency")
        caption = "Latency and change of Dice, with 95 % intervals; left and up is better"
        series = [(point.series, names[point.series]) for point in points]
        yield _figure(f"{model}: {caption}", chart, series)
    yield from _sustained_figure(model, timed)
    yield from _line_figure(model, timed, "latency_percentiles_ms")
    yield from _line_figure(model, timed, "round_medians_ms")


def _line_figure(model: str, timed: Sequence[dict[str, Any]], key: str) -> Iterable[str]:
    with_values = [(index, row) for index, row in enumerate(timed) if row.get(key)]
    if not with_values:
        return
    drawn = []
    for index, row in with_values:
        values = row[key]
        if key == "round_medians_ms":
            first = float(np.median(values))
            points = [(float(place), value / first) for place, value in enumerate(values)]
        else:
            points = [(value, 2.0 * place) for place, value in enumerate(values)]
        drawn.append(Line(points, row["name"], index))
    across = [x for line in drawn for x, _ in line.points]
    up = [y for line in drawn for _, y in line.points]
    if key == "round_medians_ms":
        x, y = axis_around("round", across), axis_around("over its median", up)
        caption = "Drift: the median of each round over that of all rounds"
    else:
        x = axis_around("latency, ms", across, is_log=True)
        y = axis_around("% of inferences", up)
        caption = "Share of inferences that took at most so long"
    caption = f"{model}: {caption}"
    yield _figure(caption, lines(x, y, drawn, caption), [(one.series, one.title) for one in drawn])


def _sustained_figure(model: str, timed: Sequence[dict[str, Any]]) -> Iterable[str]:
    """Medians of the windows of long runs, over time."""
    drawn = []
    for index, row in enumerate(timed):
        run = row.get("sustained")
        if run and len(run["medians_ms"]) > 1:
            step = run["seconds"] / len(run["medians_ms"])
            points = [(place * step, value) for place, value in enumerate(run["medians_ms"])]
            drawn.append(Line(points, row["name"], index))
    if drawn:
        x = axis_around("seconds", [x for line in drawn for x, _ in line.points])
        y = axis_around("median latency, ms", [y for line in drawn for _, y in line.points])
        caption = f"{model}: A long run without a pause"
        series = [(one.series, one.title) for one in drawn]
        yield _figure(caption, lines(x, y, drawn, caption), series)


def _figure(caption: str, chart: str, series: Iterable[tuple[int, str]]) -> str:
    """A chart with its caption, and a legend of what it draws.

    Args:
        series: Number and name of each line or point.
    """
    legend = "".join(
        f'<li class="{series_class(index)}"><i></i><span class="name">{escape(name)}</span></li>'
        for index, name in series
    )
    return (
        f"<figure><figcaption>{escape(caption)}</figcaption>{chart}"
        f'<ul class="legend">{legend}</ul></figure>'
    )


def worst_section(rows: Sequence[dict[str, Any]]) -> str:
    """Of each artefact the image that lost most, with its picture where the report has it."""
    losing = [
        row
        for row in artifacts_of(rows)
        if row.get("worst_image") and row["worst_image"]["flips_per_10k"] > 0
    ]
    losing.sort(key=lambda row: row["worst_image"]["delta_dice"])
    shown = []
    for row in losing[:SHOWN_WORST]:
        worst = row["worst_image"]
        text = (
            f"{row['name']}: {worst['name']}, Dice {worst['delta_dice']:+.4f}, "
            f"{worst['flips_per_10k']:.1f} of 10,000 pixels flip"
        )
        picture = ""
        if worst.get("picture"):
            alt = "Image with true outline, FP32 mask, mask of the artefact, their difference"
            picture = f'<img src="{escape(worst["picture"], True)}" alt="{alt}">'
        shown.append(f"<figure><figcaption>{escape(text)}</figcaption>{picture}</figure>")
    if not shown:
        return ""
    return (
        "<h2>Worst images</h2><p>From left to right: the image with the true outline, the mask of "
        "the FP32 reference, that of the artefact, and their difference (orange: only the "
        f'artefact, blue: only the reference).</p><div class="worst">{"".join(shown)}</div>'
    )


def phase_section(rows: Sequence[dict[str, Any]]) -> str:
    """What a whole prediction takes, part by part."""
    body = "".join(
        f'<tr><th scope="row">{escape(row["name"])}</th>'
        f"{''.join(_number(row['phases_ms'][name], 2) for name in PHASES)}"
        f"{_number(sum(row['phases_ms'][name] for name in PHASES), 2)}</tr>"
        for row in artifacts_of(rows)
        if row.get("phases_ms")
    )
    if not body:
        return ""
    titles = "".join(
        f'<th scope="col"><button type="button">{title}</button></th>'
        for title in ("artefact", *(f"{name} ms" for name in PHASES), "together ms")
    )
    return (
        "<h2>A whole prediction</h2><p>From the decoded picture to the mask of its size, by the "
        'Python runner; medians.</p><div class="scroll" tabindex="0" role="region" '
        f'aria-label="A whole prediction"><table><thead><tr>{titles}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def growth_section(rows: Sequence[dict[str, Any]]) -> str:
    """How cost grows with the input and with threads, where several were measured."""
    items = "".join(f"<li>{escape(text)}.</li>" for text in growth_texts(rows))
    return f"<h2>How cost grows</h2><ul>{items}</ul>" if items else ""


def profile_section(profiles: Sequence[dict[str, Any]]) -> str:
    """Milliseconds of each module at the first level."""
    figures = []
    for profile in profiles:
        totals: dict[str, float] = {}
        for layer in profile["layers"]:
            name = str(layer["module"]).partition(".")[0]
            totals[name] = totals.get(name, 0.0) + float(layer["milliseconds"])
        longest = sorted(totals.items(), key=lambda item: -item[1])
        rest = sum(value for _, value in longest[SHOWN_MODULES:])
        shown = longest[:SHOWN_MODULES] + ([("all others", rest)] if rest else [])
        caption = (
            f"{profile['name']}: {profile['sum_ms']:.2f} ms in layers, {profile['run_ms']:.2f} ms "
            f"a run; {profile.get('attributed_share', profile['named_share']):.0%} has a module"
        )
        chart = bars(shown, "ms", f"Time of the modules of {profile['name']}")
        figures.append(f"<figure><figcaption>{escape(caption)}</figcaption>{chart}</figure>")
    if not figures:
        return ""
    return f'<h2>Where the time goes</h2><div class="charts">{"".join(figures)}</div>'


def failure_section(reports: Sequence[Report]) -> str:
    """What has no row, and why."""
    items = "".join(
        f"<li><strong>{escape(one.name)}</strong> {escape(one.reason)}</li>"
        for report in reports
        for one in report.failures
    )
    return f'<h2>Left out</h2><ul class="cards">{items}</ul>' if items else ""


def environment_section(reports: Sequence[Report]) -> str:
    """The machine and the versions of each report."""
    parts = []
    for report in reports:
        machine = report.environment
        facts = {name: value for name, value in machine.items() if name != "versions"}
        versions = machine.get("versions") or {}
        facts["versions"] = ", ".join(f"{name} {value}" for name, value in versions.items())
        facts["data"] = f"{report.data.get('folder')}, {', '.join(report.data.get('splits', ()))}"
        if report.protocol:
            facts["protocol"] = ", ".join(
                f"{key} {value}" for key, value in report.protocol.items()
            )
        rows = "".join(
            f"<dt>{escape(str(name).replace('_', ' '))}</dt><dd>{escape(_text(value))}</dd>"
            for name, value in facts.items()
            if value not in (None, "")
        )
        parts.append(f'<dl class="facts">{rows}</dl>')
    return f"<h2>Machine</h2>{''.join(parts)}" if parts else ""


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
