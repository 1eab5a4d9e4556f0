"""`edgeseg bench --device adb://`, with a fake adb and a fake benchmark_model that computes.

No phone and no build of benchmark_model are at hand: what is proved is what this machine does with
what they say, and that the graph's raw tensors are those that LiteRT takes and gives.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace

import fake_benchmark_model
import numpy as np
import pytest
from fake_adb import SERIAL
from support import draw_pair, needs

from edgeseg.benchmarks.race import MOST_ROUNDS
from edgeseg.benchmarks.workers.messages import LabelPrepared
from edgeseg.bundle.bundle import Bundle, open_bundle
from edgeseg.errors import DeviceLostError, ParityError
from edgeseg.models import find_model
from edgeseg.pipeline.build import BuildRequest, build_bundle
from edgeseg.pipeline.builder.second_load import ask_worker
from edgeseg.pipeline.devices.adb_candidates import AdbCandidates
from edgeseg.pipeline.devices.candidates import Brought, Tried
from edgeseg.pipeline.evaluator.contest import Participant
from edgeseg.pipeline.measuring import device_evaluator
from edgeseg.pipeline.measuring.device_evaluator import DeviceEvaluator
from edgeseg.storage.temporary import temporary_folder
from edgeseg.targets import find_runtime, open_backend
from edgeseg.targets.transports.adb import AdbTransport
from edgeseg.targets.transports.adb_failures import adb_failure
from edgeseg.targets.transports.address import AdbAddress
from edgeseg.tuning.candidate import Candidate

pytestmark = needs("torch", "onnxruntime", "onnx2tf", "ai_edge_litert")

RunCli = Callable[..., "CompletedProcess[str]"]


@pytest.fixture(scope="session")
def android(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the shipped ulite for target android at 64x64."""
    output = tmp_path_factory.mktemp("android") / "fp32"
    return build_bundle(BuildRequest("ulite", "android", "fp32", output, size=(64, 64)))[0].folder


@pytest.fixture
def litert_bundle(small_bundles: dict[str, Path], tmp_path: Path) -> Path:
    """A bundle that says that it is for LiteRT, for what is looked at before the artefact."""
    folder = shutil.copytree(small_bundles["fp32"], tmp_path / "litert")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "runtime": "litert"}))
    return folder


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """benchmark_model, as a user has it."""
    path = tmp_path / "benchmark_model"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{fake_benchmark_model.__file__}" "$@"\n')
    return path


@pytest.fixture
def bench(adb_device: Path, program: Path, run_cli: RunCli) -> RunCli:
    """Run `edgeseg bench` on the device."""

    def run(*words: object) -> CompletedProcess[str]:
        device = ("--device", f"adb://{SERIAL}", "--benchmark-model", program)
        done = run_cli("bench", *words, *device, "--runs", 20, "--images", 2)
        assert list(adb_device.iterdir()) == []
        return done

    return run


@pytest.mark.slow
def test_speed_memory_and_accuracy_are_measured(
    android: Path, bench: RunCli, tmp_path: Path
) -> None:
    result = tmp_path / "bench.json"
    done = bench(android, "--json", result)
    assert done.returncode == 0, done.stderr
    report = json.loads(result.read_text())
    (row,) = report["rows"]
    assert row["device"] == report["environment"]["device"] == f"adb://{SERIAL}"
    assert report["environment"]["cpu"] == "FAKE888"
    # FP32 on the device gives torch's masks: the tensors went there and back the right way.
    assert row["flips_per_10k"] < 1
    assert row["accuracy"]["dice_pooled"] == pytest.approx(
        report["reference"][0]["accuracy"]["dice_pooled"], abs=1e-3
    )
    assert row["runs"] >= 20
    assert row["latency_ms"]["p50"] > 0
    # Means of blocks say nothing of single inferences.
    assert row["latency_ms"]["p90"] is None
    assert row["peak_rss_mb"] == pytest.approx(7.25 * 2**20 / 1e6)
    assert (row["is_baseline"], row["speedup"]) == (True, 1.0)
    assert "FAKE888" in done.stderr


@pytest.mark.slow
def test_a_program_that_writes_no_outputs_gives_no_accuracy(
    android: Path, bench: RunCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAKE_BENCHMARK", "no outputs")
    result = tmp_path / "bench.json"
    done = bench(android, "--json", result)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(result.read_text())["rows"]
    assert row["accuracy"] is None
    assert row["flips_per_10k"] is None
    assert row["latency_ms"]["p50"] > 0
    assert "has no accuracy" in done.stderr
    assert "--output_filepath" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "advice"),
    [
        ("fails", "Check that its version has the graph's operators"),
        ("no memory", "reports no memory footprint"),
    ],
)
def test_a_program_that_fails_is_quoted(
    android: Path, bench: RunCli, monkeypatch: pytest.MonkeyPatch, trouble: str, advice: str
) -> None:
    monkeypatch.setenv("FAKE_BENCHMARK", trouble)
    done = bench(android)
    assert done.returncode == 1
    assert advice in done.stderr


@pytest.mark.slow
def test_a_program_that_hangs_is_ended(
    android: Path, bench: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_BENCHMARK", "hangs")
    done = bench(android, "--timeout", 2)
    assert done.returncode == 1
    assert "more than 2 s to run benchmark_model" in done.stderr


def test_a_runtime_without_a_program_is_refused(
    small_bundles: dict[str, Path], bench: RunCli
) -> None:
    done = bench(small_bundles["fp32"])
    assert done.returncode == 2
    assert "is for runtime onnxruntime, which has no program" in done.stderr
    assert "Build for a runtime that has one (litert), or use an ssh device" in done.stderr


def test_a_program_for_another_processor_is_said(
    litert_bundle: Path, bench: RunCli, program: Path
) -> None:
    program.write_bytes(b"\x7fELF of another machine")
    done = bench(litert_bundle)
    assert done.returncode == 1
    assert "Take LiteRT's build for the device's system and processor" in done.stderr
    assert "is not a benchmark_model that runs there" in done.stderr


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ((), "Name it with --device-program"),
        (("--device-program", "nowhere"), "an absolute path"),
    ],
)
def test_the_program_has_to_be_named(
    litert_bundle: Path,
    adb_device: Path,
    run_cli: RunCli,
    given: tuple[str, ...],
    advice: str,
) -> None:
    done = run_cli("bench", litert_bundle, "--device", f"adb://{SERIAL}", *given)
    assert done.returncode == 2
    assert advice in done.stderr
    assert list(adb_device.iterdir()) == []


def test_a_program_that_is_on_the_device_is_taken_there(
    litert_bundle: Path, adb_device: Path, run_cli: RunCli
) -> None:
    there = adb_device / "there"
    there.write_text("#!/bin/sh\necho this is another program\n")
    there.chmod(0o755)
    words = ("--device", f"adb://{SERIAL}", "--device-program", "/data/local/tmp/there")
    done = run_cli("bench", litert_bundle, *words)
    assert done.returncode == 1
    assert "/data/local/tmp/there on adb://FAKE123 is not a benchmark_model" in done.stderr
    assert "this is another program" in done.stderr
    assert list(adb_device.iterdir()) == [there]


@pytest.fixture
def tried(android: Path) -> tuple[Bundle, Tried]:
    bundle = open_bundle(android)
    return bundle, Tried("litert", bundle.inputs, bundle.outputs, 1)


def open_candidates(
    tried: Tried, program: Path, brought: Brought
) -> AbstractContextManager[AdbCandidates]:
    @contextmanager
    def connect() -> Iterator[AdbCandidates]:
        with AdbTransport(AdbAddress(SERIAL), timeout_s=60) as adb:
            yield AdbCandidates(adb, tried, str(program), brought)

    return connect()


@pytest.mark.slow
def test_a_candidate_of_a_search_is_copied_once_and_gives_the_masks_of_litert(
    tried: tuple[Bundle, Tried], adb_device: Path, program: Path, tmp_path: Path
) -> None:
    bundle, common = tried
    images = np.stack([bundle.inputs.prepare(draw_pair((40, 50), seed=one)[0]) for one in (1, 2)])
    np.save(tmp_path / "images.npy", images)
    brought = Brought()
    facts = []
    for _ in range(2):  # as when the phone restarts in between
        with open_candidates(common, program, brought) as candidates:
            facts.append(candidates.fingerprint())
            with candidates.open_worker(bundle.artifact, "fp32") as worker:
                loaded = worker.load(str(tmp_path / "images.npy"))
                assert loaded.load_ms > 0
                assert len(worker.time(3).latencies_ms) == 1
                labels = tmp_path / "labels.npy"
                outputs = bundle.outputs.to_json()
                worker.label_prepared(
                    LabelPrepared(str(tmp_path / "images.npy"), 2, outputs, str(labels))
                )
                masks = ask_worker(worker, list(images))
    assert facts[0] == facts[1]
    assert facts[0]["cpu"] == "FAKE888"
    assert facts[0]["cores"] >= 1
    assert set(facts[0]["versions"]) == {"benchmark_model"}
    backend = open_backend(bundle.artifact, 1)
    expected = [backend.run(image) for image in images]
    assert np.abs(np.stack(masks) - np.stack(expected)).max() < 1e-5
    assert np.array_equal(np.load(labels), [bundle.outputs.labels(mask) for mask in masks])
    # The program and the graph, over both connections.
    assert set(brought.copies.values()) == {1}
    assert len(brought.copies) == 2
    (store,) = adb_device.iterdir()
    assert len(list(store.iterdir())) == 2
    with open_candidates(common, program, brought) as candidates:
        candidates.forget()
    assert list(adb_device.iterdir()) == []


@pytest.mark.slow
def test_a_kept_file_that_is_damaged_is_copied_again(
    tried: tuple[Bundle, Tried], adb_device: Path, program: Path
) -> None:
    brought = Brought()
    for _ in range(2):
        with open_candidates(tried[1], program, brought):
            pass
        for path in adb_device.glob("edgeseg-files/*"):
            path.write_bytes(b"")
    assert set(brought.copies.values()) == {2}


def test_where_the_program_writes_no_masks_they_are_those_of_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outputs = find_model("ulite").outputs
    asked = []

    class Here:
        def __enter__(self) -> Here:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def load(self) -> None:
            pass

        def label_prepared(self, request: LabelPrepared) -> None:
            asked.append(request.count)
            np.save(request.result, np.zeros((request.count, 2, 2), np.uint8))

    monkeypatch.setattr(device_evaluator.ArtifactRunner, "open_worker", lambda runner, name: Here())
    device = SimpleNamespace(
        has_masks=False, times_blocks=True, open_worker=lambda artifact, name: object()
    )
    link = SimpleNamespace(device=device, address="adb://phone")
    runtime = find_runtime("litert")
    context = SimpleNamespace(spec=SimpleNamespace(outputs=outputs), runtime=runtime)
    validation = SimpleNamespace(images="images.npy")
    with temporary_folder("test") as folder:
        evaluator = DeviceEvaluator(context, None, validation, folder, link)  # type: ignore[arg-type]
        worker = evaluator._open_worker(None, "fp32")  # type: ignore[arg-type]
        labels = evaluator._labels(Participant(worker, 1.0, 1), 3)
        # What only the phone computes in FP16 nobody can judge.
        half = SimpleNamespace(artifact=SimpleNamespace(settings={"arithmetic": "fp16"}))
        with pytest.raises(ParityError, match=r"in FP16 on adb://phone .* Take a program that"):
            evaluator._check(Candidate("fp16"), half, Participant(worker, 1.0, 1))  # type: ignore[arg-type]
    assert labels.shape == (3, 2, 2)
    assert asked == [3]
    # Blocks for which a program starts anew lie farther apart.
    assert evaluator._most_rounds() > MOST_ROUNDS


def test_a_runtime_without_a_program_is_not_tried_over_adb(
    adb_device: Path, run_cli: RunCli, program: Path, tmp_path: Path
) -> None:
    device = ("--device", f"adb://{SERIAL}", "--device-program", program)
    done = run_cli("build", "-m", "ulite", "-t", "intel", "-o", tmp_path / "out", *device)
    assert done.returncode == 2
    assert "Take --runtime litert, or an ssh device" in done.stderr
    assert list(adb_device.iterdir()) == []


@pytest.mark.parametrize(
    ("output", "is_lost"),
    [
        ("error: device offline", True),
        ("error: device 'R58' not found", True),
        ("error: closed", True),
        ("no answer within 30 s", True),
        ("No space left on device", False),
        ("error: device unauthorized.", False),
    ],
)
def test_what_may_come_back_is_told_from_what_does_not(output: str, is_lost: bool) -> None:
    error = adb_failure("adb://R58", "run it", output)
    assert isinstance(error, DeviceLostError) == is_lost
