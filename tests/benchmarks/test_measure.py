from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_runners import FakeRunner

from edgeseg.benchmarks.latency import LEAST_ROUNDS
from edgeseg.benchmarks.measure import measure, phase_repeats
from edgeseg.benchmarks.participants import Participant, on_threads
from edgeseg.benchmarks.process import Runner, WorkerProcess
from edgeseg.benchmarks.report import Report
from edgeseg.benchmarks.settings import BenchSettings
from edgeseg.benchmarks.workers.messages import Latencies
from edgeseg.contract import OutputContract
from edgeseg.data.folder import FolderDataset, open_folder
from edgeseg.errors import BenchmarkError
from edgeseg.models import find_model

MakeRunner = Callable[..., FakeRunner]
INPUTS = find_model("egeunet").at_size(32, 32).inputs
OUTPUTS = OutputContract(("background", "dark"), 1)
SETTINGS = BenchSettings(runs=10)


@pytest.fixture
def dataset(make_data_folder: Callable[..., Path]) -> FolderDataset:
    return open_folder(make_data_folder(3, (32, 32)))


@pytest.fixture
def baseline(fake_runner: MakeRunner) -> Participant:
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
def report(baseline: Participant, fake_runner: MakeRunner, dataset: FolderDataset) -> Report:
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


def test_parts_of_a_prediction_are_of_what_ships(report: Report) -> None:
    baseline, row = report.rows
    assert baseline["phases_ms"] is None
    assert set(row["phases_ms"]) == {"preprocess", "inference", "postprocess"}
    assert min(row["phases_ms"].values()) > 0


def test_the_time_that_processes_wait_for_their_core_is_told(report: Report) -> None:
    for row in report.rows:
        assert row["waited_share"] is None or row["waited_share"] >= 0
    first, second = report.rows
    waited = max(row["waited_share"] or 0.0 for row in (first, second))
    assert second["quick_ratio"]["waited"] == waited


def test_few_predictions_of_a_slow_network_are_timed_by_parts() -> None:
    assert phase_repeats(1.0, 4) == 5
    assert phase_repeats(250.0, 4) == 2
    assert phase_repeats(9000.0, 4) == 1


def test_a_sweep_compares_an_artefact_with_itself(
    baseline: Participant, fake_runner: MakeRunner, dataset: FolderDataset
) -> None:
    small = replace(baseline, key="small", name="small", runner=fake_runner("open_threshold"))
    swept = list(on_threads([small], [2, 3]))
    assert [one.runner for one in swept] == [replace(small.runner, threads=n) for n in (2, 3)]
    _, row, other = measure([baseline, small, swept[0]], dataset, SETTINGS).rows
    assert (row["threads"], row["is_sweep"]) == (1, False)
    assert (other["threads"], other["is_sweep"]) == (2, True)
    assert other["name"] == "small (2 threads)"
    assert other["baseline"]["name"] == "small"
    assert other["flips_per_10k"] == 0
    assert other["phases_ms"] is None


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
    baseline: Participant, fake_runner: MakeRunner, dataset: FolderDataset
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


def test_means_of_blocks_have_no_percentiles(
    baseline: Participant, fake_runner: MakeRunner, dataset: FolderDataset
) -> None:
    asked: list[int] = []

    class OneMean(WorkerProcess):
        def time(self, count: int) -> Latencies:
            asked.append(count)
            return Latencies([float(np.mean(super().time(count).latencies_ms))])

    class BlockRunner(Runner):
        times_blocks = True

        def open_worker(self, name: str) -> WorkerProcess:
            return OneMean(name, fake_runner("open_threshold").open_worker(name).command, 1)

    participant = replace(baseline, runner=BlockRunner())
    settings = BenchSettings(runs=2 * LEAST_ROUNDS)
    (row,) = measure([participant], dataset, settings).rows
    latency = row["latency_ms"]
    assert (latency["p90"], latency["p99"]) == (None, None)
    assert latency["p50"] > 0
    assert asked[-LEAST_ROUNDS:] == [2] * LEAST_ROUNDS
    assert row["runs"] == 2 * LEAST_ROUNDS


def test_without_masks_there_is_no_accuracy(
    baseline: Participant, fake_runner: MakeRunner, dataset: FolderDataset
) -> None:
    runner = replace(fake_runner("open_threshold"), has_masks=False)
    report = measure([replace(baseline, runner=runner)], dataset, SETTINGS)
    (row,) = report.rows
    for name in ("accuracy", "delta", "delta_ci95", "flips_per_10k", "worst_image"):
        assert row[name] is None
    assert row["latency_ms"]["p50"] > 0
    assert report.reference[0]["accuracy"]["dice_pooled"] > 0.98


@pytest.mark.parametrize(
    "inferences",
    [
        pytest.param(0, id="at once"),
        pytest.param(3, id="warming up"),
        pytest.param(1 + 30 * 6 + 2, id="taking turns"),  # the warm-up has 30 blocks of 6 at most
    ],
)
def test_a_toolkit_that_dies_is_left_out_and_told_of(
    baseline: Participant, fake_runner: MakeRunner, dataset: FolderDataset, inferences: int
) -> None:
    dying = replace(
        baseline,
        key="dying",
        name="threshold by dying",
        target="dying",
        runner=fake_runner("open_mortal", inferences=inferences),
        toolkit="converted",
    )
    report = measure([baseline, dying], dataset, BenchSettings(runs=400))
    assert [row["key"] for row in report.rows] == ["float"]
    assert report.rows[0]["runs"] >= 400
    (failure,) = report.failures
    assert (failure.name, failure.model, failure.target) == (
        "threshold by dying",
        "threshold",
        "dying",
    )
    assert "ended with exit code 9" in failure.reason


def test_a_toolkit_whose_masks_are_none_is_left_out_and_told_of(
    baseline: Participant, fake_runner: MakeRunner, dataset: FolderDataset
) -> None:
    empty = replace(
        baseline, key="empty", name="empty one", runner=fake_runner("open_nan"), toolkit="converted"
    )
    report = measure([baseline, empty], dataset, SETTINGS)
    assert [row["key"] for row in report.rows] == ["float"]
    (failure,) = report.failures
    assert "holds NaN or infinity" in failure.reason


def test_a_toolkit_is_scored_and_described(
    baseline: Participant, fake_runner: MakeRunner, dataset: FolderDataset
) -> None:
    shifted = replace(
        baseline,
        key="other",
        runner=fake_runner("open_shifted", rows=2),
        toolkit="converted by hand",
    )
    report = measure([baseline, shifted], dataset, SETTINGS)
    assert [row["toolkit"] for row in report.rows] == ["", "converted by hand"]
    assert report.rows[1]["flips_per_10k"] > 100
    assert report.failures == []
