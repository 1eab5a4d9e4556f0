"""The page of a report: its parts, what it escapes, and how a browser shows it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench_reports import report_of
from web_kits import AXE, require_browser, require_package

from edgeseg.benchmarks.pages.charts import Axis, Point, axis_around, bars, front_of, scatter
from edgeseg.benchmarks.pages.page import report_page
from edgeseg.benchmarks.pages.strata import thirds_by_size
from edgeseg.benchmarks.pages.verdicts import verdict_of
from edgeseg.benchmarks.report import Failure, Report
from edgeseg.metrics.clusters import Clusters

PROFILE = {
    "name": "net-intel-fp32",
    "sum_ms": 3.0,
    "run_ms": 3.2,
    "named_share": 0.97,
    "layers": [
        {"module": f"encoder{index}.conv", "milliseconds": index / 10} for index in range(20)
    ],
}
EVIL = "<script>alert(1)</script>"


def full_report(cells: int = 3, model: str = "net") -> Report:
    """A report with everything that a page shows."""
    one = report_of()
    rows = []
    for index in range(cells):
        latencies = np.linspace(1, 1.5, 51) * (index + 1)
        rows.append(
            {
                **one.rows[1],
                "name": f"{model}-{index}",
                "model": model,
                "target": "intel",
                "precision": "fp32",
                "is_baseline": index == 0,
                "latency_ms": {"p50": index + 1.25, "p90": index + 1.4, "p99": 2, "mean": 1.3},
                "latency_percentiles_ms": latencies.tolist(),
                "round_medians_ms": [1.0, 1.1, 0.9],
                "speedup": 2.0,
                "speedup_ci95": [1.9, 2.1],
                "peak_rss_mb": 50.0,
                "artifact_bytes": 1_000_000,
                "accuracy": {"dice_pooled": 0.9},
                "delta": {"dice_pooled": -0.001 * index},
                "delta_ci95": {"dice_pooled": [-0.001 * index - 0.001, 0.001]},
                "worst_image": {"name": "a", "delta_dice": -0.1, "flips_per_10k": 12.0},
            }
        )
    reference = [{**one.reference[0], "per_image": one.rows[1]["per_image"]}]
    failures = [Failure("net by b", "net", "b", f"b fails on {EVIL}.")]
    return replace(one, rows=rows, reference=reference, failures=failures)


def test_an_uncertain_bundle_is_marked() -> None:
    report = full_report()
    limits = {"state": "open", "images": 11, "labelled": 11, "is_accepted": True}
    marked = replace(report, rows=[*report.rows[:-1], {**report.rows[-1], "limits": limits}])
    words = "the 11 val images of its build cannot tell, and was taken by --accept-uncertain"
    assert report_page([marked], []).count(words) == 1
    assert words not in report_page([report], [])


def test_the_page_has_all_parts_and_needs_no_other_file() -> None:
    page = report_page([full_report()], [PROFILE])
    for title in (
        "Verdicts", "Numbers", "Speed and accuracy", "By size of the object", "Worst images",
        "Where the time goes", "Left out", "Machine", "How it was measured",
    ):  # fmt: skip
        assert f"<h2>{title}</h2>" in page
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert "default-src 'none'" in page


def test_what_images_belong_to_is_told() -> None:
    report = full_report()
    assert "intervals resample" not in report_page([report], [])
    clusters = Clusters(tuple(number // 20 for number in range(60)), "volumes").to_json()
    page = report_page([replace(report, data={**report.data, "clusters": clusters})], [])
    assert "60 slices of 3 volumes; intervals resample volumes, of which 3 are too few" in page


def test_profiles_alone_have_a_page_without_empty_parts() -> None:
    page = report_page([], [PROFILE])
    assert f"<h1>{PROFILE['name']}: profiled</h1>" in page
    assert "Where the time goes" in page
    assert "runtime's own counters" in page or "runtime&#x27;s own counters" in page
    for title in ("Numbers", "images:", "bootstrap"):
        assert title not in page


def test_the_table_tells_identities() -> None:
    report = full_report(2)
    assert '<th scope="row">net-1</th>' in report_page([report], [])  # as in older reports
    known = [{**row, "bundle_sha256": "a1" * 32} for row in report.rows]
    page = report_page([replace(report, rows=known)], [])
    assert '<th scope="row">net-1<br><span class="range">a1a1a1a1a1a1</span></th>' in page


def test_names_are_escaped() -> None:
    page = report_page([full_report(model=EVIL)], [{**PROFILE, "name": EVIL}])
    assert EVIL not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_older_reports_without_samples_have_a_page() -> None:
    report = full_report()
    lost = ("per_image", "latency_percentiles_ms", "round_medians_ms", "quick_ratio")
    rows = [{key: row[key] for key in row if key not in lost} for row in report.rows]
    page = report_page([replace(report, rows=rows, protocol={})], [])
    assert "Numbers" in page
    assert "By size of the object" not in page
    assert "Where the time goes" not in page


def test_growth_and_parts_of_a_prediction_are_told_where_they_were_measured() -> None:
    report = full_report()
    assert "How cost grows" not in report_page([report], [])
    assert "A whole prediction" not in report_page([report], [])
    baseline, row = report.rows[0], report.rows[-1]
    phases = {"preprocess": 1.25, "inference": 2.5, "postprocess": 0.5}
    rows = [
        {**row, "name": f"net {side}", "input_size": [side, side], "phases_ms": phases}
        for side in (64, 128)
    ]
    page = report_page([replace(report, rows=[baseline, *rows])], [])
    assert "grows with the pixels to the power 0.00" in page
    assert page.count('data-value="4.25"') == 2


def test_forty_cells_are_small() -> None:
    assert len(report_page([full_report(40)], [PROFILE])) < 2_000_000


@pytest.mark.parametrize(
    ("speedup", "delta", "words"),
    [
        ([1.2, 1.4], [-0.001, 0.001], ("faster", "keeps")),
        ([0.7, 0.8], [-0.02, -0.01], ("slower", "loses")),
        ([0.9, 1.1], [-0.01, 0.001], ("as fast", "cannot tell")),
        (None, None, ("not timed", "not scored")),
    ],
)
def test_verdicts(speedup: Any, delta: Any, words: tuple[str, str]) -> None:
    deltas = {} if delta is None else {"dice_pooled": delta}
    changes = {name: sum(ends) / 2 for name, ends in deltas.items()}
    row = {"speedup_ci95": speedup, "delta": changes, "delta_ci95": deltas}
    verdict = verdict_of(row, 60)
    assert (verdict.speed, verdict.accuracy) == words


def test_ticks_are_round_and_inside() -> None:
    assert Axis("x", 0, 10).ticks() == [0, 2, 4, 6, 8, 10]
    assert Axis("x", 1, 100, is_log=True).ticks() == [1, 2, 5, 10, 20, 50, 100]
    narrow = Axis("x", 9.3, 15, is_log=True).ticks()
    assert len(narrow) > 2
    assert all(9.3 <= tick <= 15 for tick in narrow)
    for values in ([0.0, 0.0], [5.0], [1e-4, 3e-4]):
        axis = axis_around("y", values, least=0.001)
        assert 1 <= len(axis.ticks()) <= 8
        assert axis.low < min(values) <= max(values) < axis.high


def test_the_front_holds_what_none_beats() -> None:
    points = [Point(x, y, y, y, "", 0) for x, y in ((1, 0), (2, 3), (3, 2), (4, 5))]
    assert [one.x for one in front_of(points)] == [1, 2, 4]


def test_charts_are_well_formed() -> None:
    points = [Point(1, 0, -1, 1, "a & b <", 0), Point(2, 1, 0, 2, "c", 9)]
    axes = axis_around("x", [1, 2], is_log=True), axis_around("y", [-1, 2])
    ElementTree.fromstring(scatter(*axes, points, 'said "so"'))
    assert ElementTree.fromstring(bars([("<a>", 1.0), ("b" * 40, 0.0)], "ms", "x")) is not None


def test_thirds_are_by_true_size() -> None:
    counts = np.zeros((6, 2, 3), np.int64)
    counts[:, 1, 0] = [60, 10, 50, 20, 40, 30]  # found
    counts[:, 1, 2] = [0, 0, 0, 35, 0, 0]  # missed, which is true too
    counts[:, 1, 1] = 99  # what is too much says nothing of the size
    thirds = {name: sorted(places) for name, places in thirds_by_size(counts).items()}
    assert thirds == {"small": [1, 5], "medium": [2, 4], "large": [0, 3]}


def test_groups_have_a_table_each() -> None:
    report = full_report()
    values = ["face" if index < 20 else "back" for index in range(60)]
    page = report_page([replace(report, data={**report.data, "groups": {"site": values}})], [])
    assert "<h2>By site</h2>" in page
    assert '<th scope="col">back (40)</th><th scope="col">face (20)</th>' in page


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = require_browser()
    from playwright.sync_api import sync_playwright

    from edgeseg.embed.browser import browser_switches

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=list(browser_switches()))
        yield found
        found.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it(browser: Any, tmp_path: Path, scheme: str) -> None:
    """No request, no fault, no serious finding of axe, no scrolling sideways at 360 pixels."""
    path = tmp_path / "report.html"
    path.write_text(report_page([full_report(12)], [PROFILE]))
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": 360, "height": 740}, bypass_csp=True
    )
    page = context.new_page()
    asked: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda said: faults.append(said.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(path.as_uri())
    assert asked == [path.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.evaluate((require_package(AXE) / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")
    serious = [
        (one["id"], [node["html"] for node in one["nodes"]][:3])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert found["passes"]
    assert faults == []
    context.close()


def test_a_press_on_a_heading_sorts(browser: Any, tmp_path: Path) -> None:
    """With the policy of the page, which allows its own script and style only."""
    path = tmp_path / "report.html"
    path.write_text(report_page([full_report(4)], []))
    page = browser.new_page()
    page.goto(path.as_uri())
    names = page.locator("tbody").first.locator("th")
    assert names.all_inner_texts() == ["net-0", "net-1", "net-2", "net-3"]
    heading = page.get_by_role("button", name="p50 ms")
    heading.click()
    heading.click()
    assert names.all_inner_texts() == ["net-3", "net-2", "net-1", "net-0"]
    assert page.locator("th[aria-sort=descending]").count() == 1
    page.close()
