from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_runners import FakeRunner

from edgeseg.benchmarks.workers.messages import Label, LabelPrepared
from edgeseg.benchmarks.workers.worker import pin_threads
from edgeseg.contract import OutputContract
from edgeseg.data.folder import open_folder
from edgeseg.errors import BenchmarkError
from edgeseg.models import find_model

MakeRunner = Callable[..., FakeRunner]
INPUTS = find_model("egeunet").at_size(32, 32).inputs
OUTPUTS = OutputContract(("background", "dark"), 1)


@pytest.fixture
def images(tmp_path: Path) -> str:
    """Two prepared images."""
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).uniform(0, 255, (2, *INPUTS.shape)).astype(np.float32))
    return str(path)


def test_worker_answers_every_command(fake_runner: MakeRunner, images: str) -> None:
    runner = fake_runner("open_threshold")
    with runner.open_worker("the fake") as worker:
        loaded = worker.load(images)
        assert loaded.load_ms >= 0
        assert loaded.bare_rss_bytes > 1_000_000
        assert worker.first().first_ms > 0
        latencies = worker.time(7).latencies_ms
        assert len(latencies) == 7
        assert min(latencies) > 0
        assert worker.memory().peak_rss_bytes >= loaded.bare_rss_bytes


def test_labels_are_those_of_the_runner(
    fake_runner: MakeRunner, make_data_folder: Callable[..., Path], tmp_path: Path
) -> None:
    dataset = open_folder(make_data_folder(3, (40, 56)))
    runner = fake_runner("open_threshold")
    steps: list[None] = []
    with runner.open_worker("the fake") as worker:
        worker.load()
        request = Label(
            images=[str(pair.image_path) for pair in dataset],
            result=str(tmp_path / "labels.npy"),
            inputs=INPUTS.to_json(),
            outputs=OUTPUTS.to_json(),
        )
        worker.label(request, lambda: steps.append(None))
    labels = np.load(tmp_path / "labels.npy")
    assert len(steps) == 3
    assert (labels.shape, labels.dtype) == ((3, 32, 32), np.uint8)
    for label, pair in zip(labels, dataset, strict=True):
        assert np.array_equal(label, INPUTS.prepare(pair.read_image())[0, 0] < 127)


def test_memory_of_the_runner_is_seen(fake_runner: MakeRunner, images: str) -> None:
    runner = fake_runner("open_hungry", megabytes=50)
    with runner.open_worker("the fake") as worker:
        loaded = worker.load(images)
        worker.first()
        used = worker.memory().peak_rss_bytes - loaded.bare_rss_bytes
    assert abs(used - 50_000_000) < 5_000_000


def test_printing_does_not_disturb_the_answers(fake_runner: MakeRunner, images: str) -> None:
    runner = fake_runner("open_chatty")
    with runner.open_worker("the fake") as worker:
        worker.load(images)
        for _ in range(2):
            assert len(worker.time(5).latencies_ms) == 5


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("open_broken", "ValueError: no such file"),
        ("open_deliberate", "no such file"),
    ],
)
def test_error_of_the_runner_comes_through(
    fake_runner: MakeRunner, function: str, words: str
) -> None:
    runner = fake_runner(function, reason="no such file")
    with (
        runner.open_worker("the fake") as worker,
        pytest.raises(
            BenchmarkError,
            match=rf"Measuring the fake failed: {words}.* Check the bundle with edgeseg verify",
        ),
    ):
        worker.load()


def test_error_of_a_library_ends_before_the_advice(fake_runner: MakeRunner) -> None:
    runner = fake_runner("open_broken", reason="no such file")
    with (
        runner.open_worker("the fake") as worker,
        pytest.raises(BenchmarkError, match=r"no such file\. Check the bundle"),
    ):
        worker.load()


def test_unknown_place_is_an_error(fake_runner: MakeRunner) -> None:
    runner = fake_runner("open_nothing")
    with (
        runner.open_worker("the fake") as worker,
        pytest.raises(BenchmarkError, match=r"AttributeError.*open_nothing"),
    ):
        worker.load()


def test_nan_names_the_image(
    fake_runner: MakeRunner, make_data_folder: Callable[..., Path], tmp_path: Path
) -> None:
    dataset = open_folder(make_data_folder(1))
    runner = fake_runner("open_nan")
    with runner.open_worker("the fake") as worker:
        worker.load()
        with pytest.raises(BenchmarkError, match=r"The mask of .*pair0\.png holds NaN"):
            worker.label(
                Label(
                    images=[str(dataset[0].image_path)],
                    result=str(tmp_path / "labels.npy"),
                    inputs=INPUTS.to_json(),
                    outputs=OUTPUTS.to_json(),
                )
            )


def test_killed_worker_names_the_signal_and_what_it_said(
    fake_runner: MakeRunner, images: str
) -> None:
    runner = fake_runner("open_killed")
    with runner.open_worker("the fake") as worker:
        worker.load(images)
        with pytest.raises(BenchmarkError) as caught:
            worker.first()
        message = str(caught.value)
        assert "The process that ran the fake ended with signal SIGKILL." in message
        assert "Its last output: asking for much memory" in message
        assert "that the machine has enough free memory" in message
        with pytest.raises(BenchmarkError, match="SIGKILL"):
            worker.first()


def test_worker_that_leaves_names_its_code(fake_runner: MakeRunner) -> None:
    runner = fake_runner("open_leaving", code=3)
    with (
        runner.open_worker("the fake") as worker,
        pytest.raises(BenchmarkError, match="ended with exit code 3"),
    ):
        worker.load()


def test_worker_ends_when_its_block_fails(fake_runner: MakeRunner) -> None:
    pids: list[int] = []

    def fail_midway() -> None:
        with fake_runner("open_threshold").open_worker("the fake") as worker:
            pids.append(worker._process.pid)
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        fail_midway()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no thread pinning here")
def test_worker_is_kept_on_its_cores(fake_runner: MakeRunner) -> None:
    runner = fake_runner("open_environment", threads=1)
    with (
        runner.open_worker("the fake") as worker,
        pytest.raises(BenchmarkError, match="cores 1, OMP_NUM_THREADS 1"),
    ):
        worker.load()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no thread pinning here")
def test_zero_threads_leave_the_worker_free(fake_runner: MakeRunner) -> None:
    runner = fake_runner("open_environment", threads=0)
    every = len(os.sched_getaffinity(0))
    with (
        runner.open_worker("the fake") as worker,
        pytest.raises(BenchmarkError, match=re.escape(f"cores {every},")),
    ):
        worker.load()
    assert pin_threads(0) == []
    assert len(os.sched_getaffinity(0)) == every


def test_the_working_folder_is_not_searched_for_libraries(
    fake_runner: MakeRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise RuntimeError('the wrong numpy')")
    monkeypatch.chdir(tmp_path)
    with fake_runner("open_threshold").open_worker("the fake") as worker:
        assert worker.memory().peak_rss_bytes > 0


def test_prepared_images_are_labelled_too(
    fake_runner: MakeRunner, images: str, tmp_path: Path
) -> None:
    result = tmp_path / "labels.npy"
    for function in ("open_threshold", "open_nan"):
        runner = fake_runner(function)
        with runner.open_worker("the fake") as worker:
            worker.load()
            if function == "open_nan":
                with pytest.raises(BenchmarkError, match="The mask of image 0 holds NaN"):
                    worker.label_prepared(LabelPrepared(images, 2, OUTPUTS.to_json(), str(result)))
                continue
            worker.label_prepared(LabelPrepared(images, 1, OUTPUTS.to_json(), str(result)))
            (labels,) = np.load(result)
            assert np.array_equal(labels, np.load(images)[0, 0, 0] < 127)
