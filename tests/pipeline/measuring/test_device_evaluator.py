"""`edgeseg build --device ssh://`, against a real sshd on loopback."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_evaluator import FakeEvaluator
from loopback_sshd import LoopbackSshd
from support import needs

from edgeseg.errors import DeviceError, DeviceLostError, ParityError, WorkerKilledError
from edgeseg.models import find_model
from edgeseg.pipeline.auto import search_space, tune
from edgeseg.pipeline.builder.baselines import PLAIN, baseline_artifact
from edgeseg.pipeline.builder.builder import Builder
from edgeseg.pipeline.builder.context import BuildContext
from edgeseg.pipeline.builder.device_settings import DeviceSettings
from edgeseg.pipeline.builder.earlier_tuning import warn_unlike
from edgeseg.pipeline.builder.request import BuildRequest
from edgeseg.pipeline.devices.candidates import Tried
from edgeseg.pipeline.devices.ssh_candidates import PIECE, CandidateWorker, pieces_of
from edgeseg.pipeline.evaluator import contest
from edgeseg.pipeline.measuring import device_evaluator
from edgeseg.pipeline.measuring.device_evaluator import ATTEMPTS, DeviceEvaluator
from edgeseg.pipeline.measuring.device_link import link_to
from edgeseg.progress import SILENT
from edgeseg.targets import find_runtime
from edgeseg.targets.transports.kept_files import STORE
from edgeseg.tuning.candidate import Candidate
from edgeseg.tuning.explain import summary

RunCli = Callable[..., "CompletedProcess[str]"]
StartSshd = Callable[..., LoopbackSshd]
pytestmark = [needs("torch", "onnx", "onnxscript", "onnxruntime"), pytest.mark.slow]


@pytest.fixture
def sshd(start_sshd: StartSshd) -> LoopbackSshd:
    return start_sshd()


@pytest.fixture(autouse=True)
def quick_races(monkeypatch: pytest.MonkeyPatch) -> None:
    """What wins does not matter here."""
    monkeypatch.setattr(device_evaluator, "MOST_ROUNDS", 8)
    monkeypatch.setattr(contest, "FINAL_RUNS", contest.LEAST_FINAL_RUNS)


def context_of(sshd: LoopbackSshd, output: Path, timeout_s: float = 120.0) -> BuildContext:
    device = DeviceSettings(str(sshd.address), sys.executable, timeout_s=timeout_s)
    request = BuildRequest(
        "ulite",
        "onnxruntime",
        "auto",
        output,
        size=(64, 64),
        calibration_images=4,
        search_seconds=0.0,
        device=device,
    )
    return BuildContext(request, SILENT)


class Watched(DeviceEvaluator):
    """Takes note of every answer that was given to its end."""

    answers: Counter[str]
    made: list[Watched]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.made.append(self)

    def _ask(self, question: Callable[[], Any]) -> Any:
        answer = super()._ask(question)
        self.answers[repr(answer)] += 1
        return answer


@pytest.fixture
def watched() -> type[Watched]:
    return type("Watched", (Watched,), {"answers": Counter(), "made": []})


@pytest.fixture
def killed(sshd: LoopbackSshd, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Kills a worker and then cuts all connections, each in the middle of a race."""
    done: list[str] = []
    calls = itertools.count()
    real = CandidateWorker.time

    def time(worker: CandidateWorker, count: int) -> Any:
        number = next(calls)
        if number == 10:
            os.kill(worker._process.pid, signal.SIGKILL)
            done.append("worker")
        if number == 24:
            sshd.kill_sessions()
            done.append("connection")
        return real(worker, count)

    monkeypatch.setattr(CandidateWorker, "time", time)
    return done


def test_a_device_that_is_killed_twice_measures_nothing_twice(
    sshd: LoopbackSshd,
    watched: type[Watched],
    killed: list[str],
    own_cache: Path,
    tmp_path: Path,
) -> None:
    context = context_of(sshd, tmp_path / "out")
    tuning = tune(context, Builder(context, tmp_path / "work"), SILENT, watched)
    assert killed == ["worker", "connection"]
    (evaluator,) = watched.made
    assert evaluator.link.interruptions == 1
    copies = evaluator.link.brought.copies
    assert copies
    assert set(copies.values()) == {1}
    # The device keeps nothing, and nothing runs there.
    assert list(sshd.temporary.iterdir()) == []
    assert not (sshd.cache / STORE).exists()

    assert tuning.measured_on == str(sshd.address)
    assert tuning.machine.keys() >= {"cpu", "cpu_flags", "cores", "threads", "os", "versions"}
    assert tuning.machine["versions"].keys() == {"numpy", "onnxruntime"}
    assert 0 < tuning.search_seconds < 600
    assert any(f"Measured on {sshd.address}" in line for line in summary(tuning))
    timed = [trial for trial in tuning.trials if trial.speedup is not None]
    assert len(timed) >= 2
    # The same runtime on the same CPU: an FP32 candidate flips what it flips here, nothing.
    full = [trial for trial in tuning.trials if trial.candidate["precision"] == "fp32"]
    assert all(trial.flips_per_10k == 0 for trial in full)
    int8 = [trial for trial in tuning.trials if trial.candidate["precision"] == "int8"]
    assert all(trial.flips_per_10k for trial in int8 if trial.flips_per_10k is not None)

    # The same command again: every answer is there, so that the device is only described.
    watched.answers.clear()
    again = tune(context, Builder(context, tmp_path / "work2"), SILENT, watched)
    assert again == tuning
    assert not watched.answers
    assert not watched.made[1].link.brought.copies


def test_a_device_that_stays_away_says_that_the_same_command_goes_on(
    sshd: LoopbackSshd,
    watched: type[Watched],
    own_cache: Path,
    tmp_path: Path,
) -> None:
    context = context_of(sshd, tmp_path / "out", timeout_s=3.0)
    real = DeviceEvaluator._race

    def race(evaluator: DeviceEvaluator, *candidates: Any) -> Any:
        sshd.close()
        return real(evaluator, *candidates)

    interrupted = pytest.MonkeyPatch()
    interrupted.setattr(DeviceEvaluator, "_race", race)
    with pytest.raises(DeviceError) as caught:
        tune(context, Builder(context, tmp_path / "work"), SILENT, watched)
    text = str(caught.value)
    assert f"{sshd.address} went away in the middle of the search" in text
    assert "What was measured is kept: give the same command" in text
    kept = [json.loads(path.read_text()) for path in own_cache.glob("tuning/*/*.json")]
    assert len(kept) >= 2

    # It has restarted, and the same command goes on: what it has is not copied again.
    interrupted.undo()
    sshd.restart()
    answered = len(watched.answers)
    tune(context, Builder(context, tmp_path / "work2"), SILENT, watched)
    before, after = (evaluator.link.brought.copies for evaluator in watched.made)
    assert before
    assert not before.keys() & after.keys()
    assert len(watched.answers) > answered


def test_the_plain_export_may_be_of_another_runtime(
    sshd: LoopbackSshd, light_onnx: Path, tmp_path: Path
) -> None:
    """`native` is compared with ONNX Runtime."""
    artifact = baseline_artifact(find_runtime("native"), light_onnx, PLAIN)
    assert artifact.runtime == "onnxruntime"
    spec = find_model("ulite").at_size(64, 64)
    tried = Tried("native", spec.inputs, spec.outputs, 1)
    np.save(tmp_path / "images.npy", np.zeros((1, *spec.inputs.shape), np.float32))
    settings = DeviceSettings(str(sshd.address), sys.executable, timeout_s=60.0)
    with link_to(settings, tried) as link:
        assert set(link.fingerprint["versions"]) == {"numpy"}
        with link.device.open_worker(artifact, "the plain export") as worker:
            worker.load(str(tmp_path / "images.npy"))
            assert len(worker.time(2).latencies_ms) == 2
        link.device.forget()
    assert list(sshd.temporary.iterdir()) == []


def test_a_device_that_goes_away_each_time_is_given_up() -> None:
    class Restless(DeviceEvaluator):
        def __init__(self) -> None:
            super().__init__(None, None, None, Path(), Link())  # type: ignore[arg-type]

    class Link:
        address = "ssh://pi@board"
        waits = 0

        def await_return(self, lost: DeviceLostError) -> None:
            self.waits += 1

    def question() -> None:
        raise DeviceLostError("The connection was lost.")

    evaluator = Restless()
    with pytest.raises(WorkerKilledError, match=r"went away 3 times .* power supply suffice"):
        evaluator._ask(question)
    assert evaluator.link.waits == ATTEMPTS  # type: ignore[attr-defined]


def test_pieces_do_not_depend_on_how_many_images_are_asked_for(tmp_path: Path) -> None:
    images = np.arange(PIECE + 6, dtype=np.float32).reshape(-1, 1, 1, 1, 1)
    path = tmp_path / "images.npy"
    np.save(path, images)
    few = list(pieces_of(path, 5))
    content = few[0][0].read_bytes()
    every = list(pieces_of(path, len(images)))
    assert [count for _, count in few] == [5]
    assert [count for _, count in every] == [PIECE, 6]
    assert every[0][0].read_bytes() == content
    assert np.array_equal(np.concatenate([np.load(one) for one, _ in every]), images)


def test_a_runtime_that_computes_otherwise_in_each_process_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outputs = find_model("ulite").outputs
    masks = iter([[np.full((1, 1, 4, 4), value, np.float32)] for value in (0.2, 0.2, 0.9)])
    monkeypatch.setattr(device_evaluator, "ask_worker", lambda worker, inputs: next(masks))
    agreement = SimpleNamespace(max_abs_diff=0.0)
    references = SimpleNamespace(inputs=[], compare=lambda *arguments: agreement)
    context = SimpleNamespace(
        references=references,
        spec=SimpleNamespace(outputs=outputs),
        runtime=find_runtime("onnxruntime"),
    )
    link = SimpleNamespace(address="ssh://pi@board", device=SimpleNamespace(has_masks=True))
    evaluator = DeviceEvaluator(context, None, None, Path(), link)  # type: ignore[arg-type]
    made: Any = SimpleNamespace(artifact=SimpleNamespace(settings={}))
    for _ in range(2):
        evaluator._check(Candidate("int8"), made, SimpleNamespace(worker=None))  # type: ignore[arg-type]
    with pytest.raises(ParityError, match="artefact on ssh://pi@board gives other masks each time"):
        evaluator._check(Candidate("int8"), made, SimpleNamespace(worker=None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ({"cpu": "A76", "cpu_flags": ["asimd"], "versions": {"numpy": "2"}, "cores": 8}, ""),
        ({"cpu": "A55", "cpu_flags": ["asimd"]}, "CPU A76 there and A55 on ssh://pi@other"),
        ({"cpu_flags": []}, "instruction sets asimd there and none on"),
        ({"versions": {"numpy": "1", "other": "3"}}, "versions numpy 2 there and numpy 1"),
        ({"versions": {"numpy": "2", "other": "3"}}, ""),
    ],
)
def test_a_tuning_of_an_unlike_machine_warns(machine: dict[str, Any], said: str) -> None:
    known = {"cpu": "A76", "cpu_flags": ["asimd"], "versions": {"numpy": "2"}, "cores": 4}
    tuning = SimpleNamespace(machine=known, measured_on="ssh://pi@board")
    text = warn_unlike(tuning, machine, "ssh://pi@other")  # type: ignore[arg-type]
    assert bool(text) == bool(said)
    assert said in text
    if said:
        assert "measured on ssh://pi@board, which differs" in text
        assert "search anew with --precision auto" in text


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (("-p", "int8"), "--device says where --precision auto measures"),
        (("-t", "all"), "--device belong to one target"),
        (("--runtime", "auto"), "--device belongs to one runtime"),
        (("-t", "web"), "Name a precision"),
        (("--device-program", "benchmark_model"), "--device-program is for adb://"),
        (("--timeout", "0"), "Give seconds above 0"),
    ],
)
def test_wrong_requests_are_refused(
    run_cli: RunCli, tmp_path: Path, words: tuple[str, ...], advice: str
) -> None:
    target = () if "-t" in words else ("-t", "intel")
    done = run_cli(
        "build", "-m", "ulite", *target, "--device", "ssh://pi@board", "-o", tmp_path / "o", *words
    )
    assert done.returncode in (1, 2)
    assert advice in done.stderr
    assert not (tmp_path / "o").exists()


def test_arithmetic_in_fp16_is_tried_on_a_cpu_that_has_it() -> None:
    request = BuildRequest("ulite", "intel", "auto")
    context = BuildContext(request, SILENT)
    fixed = [Candidate("fp32")]
    evaluator = FakeEvaluator(lambda candidate: 10.0)
    for flags, name in (((), ""), (("asimd", "asimdhp"), "arithmetic in fp16")):
        space = search_space(context, fixed, evaluator, flags)
        assert [*space.variants["fp32"]] == ([name] if name else [])
