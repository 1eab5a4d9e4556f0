"""A signature goes under a measurement that is whole, of this bundle, and of one piece."""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_release import SmallRelease
from support import needs

from edgeseg.benchmarks.pages.evidence import evidence_of, rows_of, without_pictures
from edgeseg.benchmarks.pages.page import report_page
from edgeseg.benchmarks.report import without_samples
from edgeseg.bundle.bundle import Bundle, open_bundle
from edgeseg.dossier.acceptance import acceptance_text
from edgeseg.dossier.card import card_text
from edgeseg.dossier.contents import Dossier
from edgeseg.dossier.trace import trace_of
from edgeseg.errors import UsageError
from edgeseg.metrics.clusters import Clusters
from edgeseg.pipeline.releasing.measurement import read_measurement

pytestmark = needs(
    "torch", "onnx", "onnx_ir", "onnxruntime", "cryptography", "model_signing", "cyclonedx"
)

Record = dict[str, Any]
TRIED = 700
CREATED = "2026-01-01T00:00:00+00:00"
GONE = object()
VALUES: tuple[Any, ...] = (
    GONE, None, [], {}, "x", "<b>", -1, 0, True, [1], {"a": 1}, 10**400, 1e300, float("nan"),
)  # fmt: skip


@pytest.fixture
def bundle(small_bundles: dict[str, Path]) -> Bundle:
    return open_bundle(small_bundles["int8"])


@pytest.fixture
def record(small_release: SmallRelease, bundle: Bundle) -> Record:
    """A real report of the bundle and its baseline alone."""
    found: Record = json.loads(small_release.bench.read_text())
    own = [row for row in found["rows"] if row["bundle_sha256"] == bundle.identity]
    baseline = own[0]["baseline"]["name"]
    found["rows"] = [*own, *(row for row in found["rows"] if row["name"] == baseline)]
    found["data"]["groups"] = {"site": [str(place) for place in range(found["data"]["images"])]}
    return found


def read(record: Record, bundle: Bundle, folder: Path) -> Any:
    path = folder / "bench.json"
    path.write_text(json.dumps(record))
    return read_measurement(path, bundle, {})


def own(record: Record) -> Record:
    row: Record = record["rows"][0]
    return row


def change_places(record: Record, *places: Any, by: Callable[[Any], Any]) -> None:
    part: Any = record
    for place in places[:-1]:
        part = part[place]
    part[places[-1]] = by(part[places[-1]])


def without_flips(sample: Record) -> Record:
    """The same without a flip, though pixels that were right are not."""
    counts = copy.deepcopy(sample["counts"])
    for background, foreground in counts:
        part = min(50, foreground[0] - 1)
        foreground[0], foreground[2] = foreground[0] - part, foreground[2] + part
        background[1] += part
    return {**sample, "counts": counts, "values": {}, "flips_per_10k": [0.0] * len(counts)}


CONTRADICTIONS: dict[str, tuple[tuple[Any, ...], Callable[[Any], Any], str]] = {
    "score": (
        ("rows", 0, "accuracy", "dice_pooled"),
        lambda value: value + 1e-4,
        r"delta of dice_pooled is .*, and .* and the reference's .* give",
    ),
    "change": (
        ("rows", 0, "delta", "iou_image"),
        lambda value: value - 1e-4,
        r"delta of iou_image",
    ),
    "relative change": (
        ("rows", 0, "relative_change", "dice_image"),
        lambda value: value - 1e-4,
        r"relative_change of dice_image",
    ),
    "reference": (
        ("reference", 0, "accuracy", "dice_pooled"),
        lambda value: value - 1e-4,
        r"the reference of .* contradicts itself: accuracy of dice_pooled",
    ),
    "interval": (
        ("rows", 0, "accuracy_ci95", "dice_pooled"),
        lambda ends: [ends[0] + 0.4 * (ends[1] - ends[0]), ends[1]],
        r"accuracy_ci95 of dice_pooled is .*, and the single images give",
    ),
    "flips": (("rows", 0, "flips_per_10k"), lambda value: value + 0.01, r"flips_per_10k is"),
    "pixels": (
        ("rows", 0, "per_image", "counts", 0, 0, 0),
        lambda value: value + 1,
        r"per_image counts of image 0 have \d+ found pixels, and the input has \d+",
    ),
    "negative pixels": (
        ("rows", 0, "per_image", "counts", 0, 0, 0),
        lambda value: -value,
        r"rows\.0\.per_image\.counts\.0\.0\.0 holds -\d+ \(input should be greater than or equal",
    ),
    "single image": (
        ("rows", 0, "per_image", "values", "dice_image", 1),
        lambda value: 0.5 * value + 0.2,
        r"per_image dice_image of image 1 is .*, and its counts give",
    ),
    "fewer images": (
        ("rows", 0, "per_image", "flips_per_10k"),
        lambda values: values[1:],
        r"per_image flips_per_10k holds \d of \d images",
    ),
    "rounds": (
        ("rows", 0, "round_medians_ms"),
        lambda values: values[1:],
        r"round_medians_ms of it and its baseline are not as many",
    ),
    "fast rounds": (
        ("rows", 0, "round_medians_ms"),
        lambda values: [value / 50 for value in values],
        r"latency_ms a round median is .*, and latency_percentiles_ms give",
    ),
    "fewer percentiles": (
        ("rows", 0, "latency_percentiles_ms"),
        lambda values: values[:10],
        r"latency_percentiles_ms has 10 of 51",
    ),
    "waiting": (("rows", 0, "waited_share"), lambda _: 5.0, r"waited_share is 5 of its time"),
    "threads": (("rows", 0, "threads"), lambda _: 16, r"threads is 16, and the protocol's is"),
    "distance": (
        ("rows", 0, "per_image", "values", "hd95_px", 0),
        lambda _: 9000.0,
        r"per_image hd95_px reaches 9000, and the image's diagonal is",
    ),
    "patients": (
        ("data", "groups"),
        lambda groups: {"patient": groups["site"]},
        r"groups\.patient would name patients",
    ),
    "names": (("data", "names"), lambda names: names[1:], r"names holds \d of \d images"),
    "groups": (("data", "groups", "site"), lambda names: names[1:], r"groups\.site holds \d of"),
    "percentiles": (
        ("rows", 0, "latency_ms", "p99"),
        lambda value: value / 1e3,
        r"latency_ms p90 is .*, above p99",
    ),
    "median": (
        ("rows", 0, "latency_ms", "p50"),
        lambda value: value * 0.99,
        r"latency_ms p50 is .*, and latency_percentiles_ms give",
    ),
    "frames": (("rows", 0, "fps"), lambda value: value * 2, r"fps is .*, and the mean of latency"),
    "speed-up": (
        ("rows", 0, "speedup"),
        lambda value: value * 1.0001,
        r"speedup is .*, and round_medians_ms give",
    ),
    "speed-up's interval": (
        ("rows", 0, "speedup_ci95"),
        lambda ends: [ends[0] * 0.99, ends[1]],
        r"an end of speedup_ci95 is",
    ),
    "baseline's median": (
        ("rows", 0, "baseline", "latency_ms_p50"),
        lambda value: value * 2,
        r"baseline latency_ms_p50 is .*, and the row of .* give",
    ),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_what_contradicts_itself_is_not_taken(
    what: str, record: Record, bundle: Bundle, tmp_path: Path
) -> None:
    assert read(record, bundle, tmp_path) is not None
    places, change, words = CONTRADICTIONS[what]
    change_places(record, *places, by=change)
    with pytest.raises(UsageError, match=words) as caught:
        read(record, bundle, tmp_path)
    assert "Take the file that edgeseg bench --json-file has written, unchanged" in str(
        caught.value
    )


def forget_scores(row: Record) -> None:
    """Leave nothing that would have to fit the single images."""
    row["accuracy"] = {"of another package": 1.0}
    for key in ("delta", "relative_change", "accuracy_ci95", "delta_ci95"):
        row[key] = {}


def test_masks_that_differ_without_a_flip(record: Record, bundle: Bundle, tmp_path: Path) -> None:
    row = own(record)
    row["per_image"] = without_flips(row["per_image"])
    row["flips_per_10k"] = 0.0
    forget_scores(row)
    with pytest.raises(UsageError, match=r"differ from the reference's by more than the 0 pixels"):
        read(record, bundle, tmp_path)


def test_another_truth_than_the_references(record: Record, bundle: Bundle, tmp_path: Path) -> None:
    row = own(record)
    counts = copy.deepcopy(row["per_image"]["counts"])
    for background, foreground in counts:  # a pixel that is background is said to be none
        background[0], background[1] = background[0] - 1, background[1] + 1
        foreground[2] += 1
    row["per_image"] = {**row["per_image"], "counts": counts, "values": {}}
    forget_scores(row)
    with pytest.raises(UsageError, match=r"have another true area than the reference's"):
        read(record, bundle, tmp_path)


def test_a_reference_is_there_once(record: Record, bundle: Bundle, tmp_path: Path) -> None:
    record["reference"].append({**record["reference"][0], "per_image": None})
    with pytest.raises(UsageError, match=r"the reference of .*it is there twice"):
        read(record, bundle, tmp_path)


def test_rows_are_the_bundles_and_one_for_each_number_of_threads(
    record: Record, bundle: Bundle, tmp_path: Path
) -> None:
    record["rows"].append(own(record))
    with pytest.raises(UsageError, match=r"has two rows on 1 threads"):
        read(record, bundle, tmp_path)
    record["rows"][0] = {**record["rows"].pop(), "name": "superfast"}
    with pytest.raises(UsageError, match=r"has another name: superfast"):
        read(record, bundle, tmp_path)


def test_a_limit_that_is_asked_for_needs_single_images(
    record: Record, bundle: Bundle, tmp_path: Path
) -> None:
    for row in (*record["rows"], *record["reference"]):
        row["per_image"] = None
    assert read(record, bundle, tmp_path) is not None
    with pytest.raises(UsageError, match=r"--max-change needs what single images gave"):
        read_measurement(tmp_path / "bench.json", bundle, {"dice_pooled": 0.5})


def test_a_baseline_that_no_row_has(record: Record, bundle: Bundle, tmp_path: Path) -> None:
    del record["rows"][1]
    with pytest.raises(UsageError, match=r"the baseline is '.*', and no row has that name"):
        read(record, bundle, tmp_path)


def test_clusters_are_counted(record: Record, bundle: Bundle, tmp_path: Path) -> None:
    numbers = [0, 0, *range(1, record["data"]["images"] - 1)]
    told = {"kind": "patients", "count": len(numbers), "of_images": numbers, "text": "some"}
    record["data"]["clusters"] = told
    with pytest.raises(UsageError, match=r"clusters\.count is \d, and of_images give \d"):
        read(record, bundle, tmp_path)
    told.update(Clusters(tuple(numbers), "patients").to_json(), text="900 images")
    with pytest.raises(UsageError, match=r"clusters\.text is '900 images', and of_images give"):
        read(record, bundle, tmp_path)
    told["of_images"] = [9, *numbers[1:]]
    with pytest.raises(UsageError, match=r"clusters are none: Clusters are numbered from 0"):
        read(record, bundle, tmp_path)


def test_what_a_bundle_holds_of_images_that_belong_together(
    record: Record, bundle: Bundle, tmp_path: Path
) -> None:
    """`bench --record` leaves out single images, and what each belongs to."""
    clusters = {"kind": "patients", "count": 3, "text": "8 images of 3 patients"}
    data = {name: record["data"][name] for name in ("images", "folder", "splits")}
    row = {**without_samples(own(record)), "data": {**data, "clusters": clusters}}
    manifest = bundle.manifest.model_copy(
        update={"measurements": ({**row, "environment": record["environment"]},)}
    )
    assert read_measurement(None, replace(bundle, manifest=manifest), {}) is not None
    record["data"]["clusters"] = clusters
    with pytest.raises(UsageError, match=r"clusters\.of_images is missing beside single images"):
        read(record, bundle, tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"precision": "fp32"}, r"precision is 'fp32', and the bundle's is int8"),
        ({"target": "android"}, r"target is 'android', and the bundle's is"),
        ({"model": "other"}, r"model is 'other', and the bundle's is"),
        ({"input_size": [512, 512]}, r"input_size is \[512, 512\], and the bundle's is \[\d+"),
        ({"artifact_bytes": 1}, r"artifact_bytes is 1, and the bundle's is \d+"),
        (
            {"limits": {"state": "holds", "images": 9, "is_accepted": False}},
            r"limits is 'holds', and the bundle's is",
        ),
    ],
)
def test_a_row_of_something_else(
    changes: Record, words: str, record: Record, bundle: Bundle, tmp_path: Path
) -> None:
    own(record).update(changes)
    with pytest.raises(UsageError, match=words):
        read(record, bundle, tmp_path)


@pytest.mark.parametrize(
    ("places", "value", "words"),
    [
        (("rows", 0, "limits"), 3, r"rows\.0\.limits holds 3 \(input should be a valid dict"),
        (("data", "groups"), [], r"data\.groups holds \[\] \("),
        (("data", "images"), "9", r"data\.images holds '9' \("),
        (("rows", 0, "latency_ms"), {"p50": 1.0}, r"rows\.0\.latency_ms\.mean holds .*required"),
        (("rows", 0, "flips_per_10k"), None, r"flips_per_10k is missing beside accuracy"),
        (("protocol", "threads"), float("nan"), r"protocol\.threads holds nan \(it is not a num"),
        (("rows", 0, "fps"), 10**400, r"rows\.0\.fps holds 10{70,}\.\.\. \(it is not a number"),
    ],
)
def test_a_place_of_another_type_is_named(
    places: tuple[Any, ...], value: Any, words: str, record: Record, bundle: Bundle, tmp_path: Path
) -> None:
    change_places(record, *places, by=lambda _: value)
    with pytest.raises(UsageError, match=words):
        read(record, bundle, tmp_path)


def places_of(part: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a report; of a list the first two."""
    if place:
        yield place
    if isinstance(part, (dict, list)):
        parts: Any = part.items() if isinstance(part, dict) else enumerate(part[:2])
        for name, value in parts:
            yield from places_of(value, (*place, name))


def write_documents(record: Record, bundle: Bundle, folder: Path) -> None:
    """All that people read of a measurement in a release."""
    report = read(record, bundle, folder)
    evidence = evidence_of(report, rows_of(report, bundle.identity, bundle.name)[0])
    trace = trace_of(bundle, CREATED, [], "", None, evidence["rows"], {})
    dossier = Dossier(bundle, CREATED, evidence, trace, (), {})
    card_text(dossier)
    acceptance_text(bundle, dossier.row.get("margins") or (), {})
    json.dumps([evidence, trace], allow_nan=False)
    report_page([without_pictures(report)], [])


def test_a_changed_place_is_refused_or_harmless(
    record: Record, bundle: Bundle, tmp_path: Path
) -> None:
    places = [*places_of(record)]
    generator = random.Random(20261127)
    results: Counter[str] = Counter()
    for place, value in generator.sample([(p, v) for p in places for v in VALUES], TRIED):
        changed = copy.deepcopy(record)
        part: Any = changed
        for name in place[:-1]:
            part = part[name]
        if value is GONE:
            del part[place[-1]]
        else:
            part[place[-1]] = value
        try:
            write_documents(changed, bundle, tmp_path)
            results["taken"] += 1
        except UsageError:
            results["refused"] += 1
    assert results["taken"] > TRIED // 20
    assert results["refused"] > TRIED // 2
