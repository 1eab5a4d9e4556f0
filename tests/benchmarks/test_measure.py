from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseg.benchmarks.latency import LEAST_ROUNDS
from edgeseg.benchmarks.measure import measure
from edgeseg.benchmarks.participants import BenchSettings, Participant
from edgeseg.benchmarks.process import WorkerProcess
from edgeseg.benchmarks.report import Report
from edgeseg.contract import OutputContract
from edgeseg.data.folder import FolderDataset, open_folder
from edgeseg.errors import BenchmarkError, UsageError
from edgeseg.models import find_model
from edgeseg.records import RunnerSpec

FakeRunner = Callable[..., RunnerSpec]
INPUTS = find_model("egeunet").at_size(32, 32).inputs
OUTPUTS = OutputContract(("background", "dark"), 1)
SETTINGS = BenchSettings(runs=10)


@pytest.fixture
def dataset(make_data_folder: Callable[..., Path]) -> FolderDataset:
    return open_folder(make_data_folder(3, (32, 32)))


@pytest.fixture
def baseline(fake_runner: FakeRunner) -> Participant:
    return Participant(
        key="float",
        name="threshold fp32",
        model="threshold",
        target="fake",
        precision="fp32",
        runner=fake_runner("open_threshold"),
        reference=fake_runner("open_threshold"),
        reference_key="threshold",
        inputs=INPUTS,
        outputs=OUTPUTS,
        artifact_bytes=1234,
        baseline_key="float",
    )


@pytest.fixture
def report(baseline: Participant, fake_runner: FakeRunner, dataset: FolderDataset) -> Report:
    shifted = replace(
        baseline,
        key="small",
        name="threshold int8",
        precision="int8",
        runner=fake_runner("open_shifted", rows=2),
    )
    return measure([baseline, shifted], dataset, SETTINGS)


def test_rows_say_what_was_measured(report: Report) -> None:
    first, second = report.rows
    assert (first["key"], first["is_baseline"]) == ("float", True)
    assert (second["key"], second["is_baseline"]) == ("small", False)
    assert second["baseline"] == {
        "name": "threshold fp32",
        "latency_ms_p50": first["latency_ms"]["p50"],
    }
    for row in report.rows:
        assert (row["batch"], row["threads"], row["input_size"]) == (1, 1, [32, 32])
        assert row["runs"] >= SETTINGS.runs
        assert row["artifact_bytes"] == 1234
        latency = row["latency_ms"]
        assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"]
        assert row["fps"] == pytest.approx(1000 / latency["mean"])
        assert row["warm_up"]["inferences"] >= 10
    assert json.loads(json.dumps(report.to_json()))["data"]["images"] == 3


def test_baseline_is_as_fast_as_itself(report: Report) -> None:
    assert (report.rows[0]["speedup"], report.rows[0]["speedup_ci95"]) == (1.0, [1.0, 1.0])


def test_artefact_that_equals_the_float_model_loses_nothing(report: Report) -> None:
    row = report.rows[0]
    assert set(row["delta"].values()) == {0.0}
    assert row["flips_per_10k"] == 0
    assert row["accuracy"] == report.reference[0]["accuracy"]
    assert row["accuracy"]["dice_pooled"] > 0.98


def test_artefact_that_is_off_loses_by_hand(report: Report, dataset: FolderDataset) -> None:
    row = report.rows[1]
    dark = np.stack([INPUTS.prepare(pair.read_image())[0, 0] < 127 for pair in dataset])
    low = np.roll(dark, 2, axis=1)
    truth = np.stack([pair.read_labels(2) > 0 for pair in dataset])
    assert row["flips_per_10k"] == pytest.approx((dark != low).mean() * 10_000)
    dice = 2 * (low & truth).sum() / (low.sum() + truth.sum())
    assert row["accuracy"]["dice_pooled"] == pytest.approx(dice)
    assert row["delta"]["dice_pooled"] < 0


def test_equal_float_models_answer_once(report: Report) -> None:
    assert [row["model"] for row in report.reference] == ["threshold"]


def test_participant_that_dies_is_named(
    baseline: Participant, fake_runner: FakeRunner, dataset: FolderDataset
) -> None:
    dying = replace(baseline, key="dying", name="bad one", runner=fake_runner("open_killed"))
    with pytest.raises(BenchmarkError, match="ran bad one ended with signal SIGKILL"):
        measure([baseline, dying], dataset, SETTINGS)


def test_without_a_baseline_there_is_no_speedup(
    baseline: Participant, dataset: FolderDataset
) -> None:
    alone = replace(baseline, baseline_key="", device="ssh://board")
    (row,) = measure([alone], dataset, SETTINGS).rows
    assert row["latency_ms"]["p50"] > 0
    assert (row["is_baseline"], row["device"]) == (False, "ssh://board")
    assert (row["baseline"], row["speedup"], row["speedup_ci95"]) == (None, None, None)


def test_means_of_blocks_have_no_percentiles(baseline: Participant, dataset: FolderDataset) -> None:
    asked = []

    class OneMean(WorkerProcess):
        def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
            answer = super().ask(command, **arguments)
            if command == "time":
                asked.append(arguments["count"])
                answer["latencies_ms"] = [float(np.mean(answer["latencies_ms"]))]
            return answer

    participant = replace(baseline, times_blocks=True)
    settings = BenchSettings(runs=2 * LEAST_ROUNDS)
    (row,) = measure([participant], dataset, settings, open_worker=OneMean).rows
    latency = row["latency_ms"]
    assert (latency["p90"], latency["p99"]) == (None, None)
    assert latency["p50"] > 0
    assert asked[-LEAST_ROUNDS:] == [2] * LEAST_ROUNDS
    assert row["runs"] == 2 * LEAST_ROUNDS


def test_without_masks_there_is_no_accuracy(baseline: Participant, dataset: FolderDataset) -> None:
    report = measure([replace(baseline, has_masks=False)], dataset, SETTINGS)
    (row,) = report.rows
    for name in ("accuracy", "delta", "delta_ci95", "flips_per_10k", "worst_image"):
        assert row[name] is None
    assert row["latency_ms"]["p50"] > 0
    assert report.reference[0]["accuracy"]["dice_pooled"] > 0.98


def test_more_threads_than_cores_are_refused() -> None:
    with pytest.raises(UsageError, match=r"9999 threads were asked for.*Lower --threads"):
        BenchSettings(threads=9999).require_cores()


@pytest.mark.parametrize("setting", ["threads", "runs", "timing_images"])
def test_settings_are_at_least_one(setting: str) -> None:
    with pytest.raises(UsageError, match=f"number of {setting} is 0; it must be at least 1"):
        BenchSettings(**{setting: 0})
