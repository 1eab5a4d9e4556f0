"""`--runtime auto`: what was chosen for each runtime takes turns, and the fastest is built."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support import needs

from edgeseg.bundle.bundle import open_bundle
from edgeseg.errors import TargetError, UsageError
from edgeseg.pipeline.build import BuildRequest, build_bundle
from edgeseg.pipeline.evaluator import runtime_race
from edgeseg.pipeline.evaluator.runtime_race import rank_runtimes
from edgeseg.targets.openvino.runtime import OpenVinoRuntime

pytestmark = needs("torch", "onnx", "onnxscript", "onnxruntime", "openvino")

ROUNDS = 20


class Notes:
    """Progress that keeps what stages say of themselves."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str]] = []

    @contextlib.contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[Any]:
        yield SimpleNamespace(
            advance=lambda steps=1: None, note=lambda text: self.notes.append((title, text))
        )


def request_for(output: Path, **changes: Any) -> BuildRequest:
    settings = {"model": "ulite", "target": "intel", "runtime": "auto", "size": (64, 64)}
    settings |= {"precision": "fp32"}
    return BuildRequest(output=output, **{**settings, **changes})


def test_the_fastest_runtime_is_built_and_all_are_told(tmp_path: Path) -> None:
    bundle, _ = build_bundle(request_for(tmp_path / "out"))
    bundle.check_files()
    manifest = open_bundle(tmp_path / "out").manifest
    assert manifest.target == "intel"
    assert {entry.runtime for entry in manifest.race} == {"openvino", "onnxruntime", "native"}
    own, *others = manifest.race
    assert manifest.runtime == own.runtime
    assert own.speedup == 1.0
    for other in others:
        assert other.speedup is not None
        assert other.speedup_ci95 is not None
        assert other.speedup > 1 / runtime_race.TIE
        assert other.speedup_ci95[0] <= other.speedup <= other.speedup_ci95[1]
    assert all(entry.refusal == "" and entry.artifact for entry in manifest.race)


def test_a_runtime_that_refuses_is_told_with_its_reason(
    own_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: OpenVinoRuntime, *_: object, **__: object) -> None:
        raise TargetError("openvino: no such operator")

    monkeypatch.setattr(OpenVinoRuntime, "compile", refuse)
    bundle, _ = build_bundle(request_for(tmp_path / "out"))
    *raced, refused = bundle.manifest.race
    assert {entry.runtime for entry in raced} == {"onnxruntime", "native"}
    assert bundle.manifest.runtime == raced[0].runtime
    assert refused.runtime == "openvino"
    assert refused.refusal == "openvino: no such operator"
    assert refused.speedup is None


def test_where_no_runtime_can_take_part_every_reason_is_told(
    own_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from edgeseg.targets.native.runtime import NativeRuntime
    from edgeseg.targets.onnxruntime import OnnxRuntime

    def refuse(self: object, *_: object, **__: object) -> None:
        raise TargetError("no such operator")

    for runtime in (OpenVinoRuntime, OnnxRuntime, NativeRuntime):
        monkeypatch.setattr(runtime, "compile", refuse)
    with pytest.raises(TargetError) as caught:
        build_bundle(request_for(tmp_path / "out"))
    message = str(caught.value)
    assert "No runtime of intel can take part in --runtime auto" in message
    assert "openvino: no such operator; onnxruntime: no such operator; native: no" in message
    assert "Name a --runtime" in message
    assert not (tmp_path / "out").exists()


def test_a_search_for_the_own_runtime_says_how_fast_the_compiled_network_is(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenVinoRuntime, "quantized_precisions", ())  # a shorter search
    progress = Notes()
    request = request_for(tmp_path / "out", runtime=None, precision="auto", search_seconds=1)
    bundle, _ = build_bundle(request, progress)
    assert bundle.manifest.runtime == "openvino"
    (note,) = [note for title, note in progress.notes if title == "compare with native"]
    assert re.fullmatch(
        r"--runtime native in FP32 is [\d.]+ times as fast here"
        r"|openvino is [\d.]+ times as fast as --runtime native in FP32",
        note,
    )

    def refuse(self: object, *_: object, **__: object) -> None:
        raise TargetError("no such operator")

    from edgeseg.targets.native.runtime import NativeRuntime

    monkeypatch.setattr(NativeRuntime, "compile", refuse)
    progress = Notes()
    again = replace(request, output=tmp_path / "again", tuning=bundle.folder, use_cache=False)
    build_bundle(again, progress)
    assert ("compare with native", "not compared: no such operator") in progress.notes


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"method": "min-max"}, "--method"),
        ({"options": {"provider": "x"}}, "--option"),
        ({"tuning": Path("bundle")}, "--tuning"),
    ],
)
def test_what_belongs_to_one_runtime_is_refused(
    changes: dict[str, Any], option: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=f"^{option} belongs to one runtime"):
        build_bundle(request_for(tmp_path / "out", **changes))


@pytest.mark.parametrize(
    ("medians_ms", "order"),
    [
        ({"own": 1.0, "b": 2.0, "c": 1.5}, ["own", "c", "b"]),
        ({"own": 1.0, "b": 0.5, "c": 0.8}, ["b", "c", "own"]),
        ({"own": 1.0, "b": 0.995}, ["own", "b"]),  # a tie is the device's own
        ({"own": 1.0}, ["own"]),
    ],
)
def test_a_runtime_must_be_clearly_faster_than_the_own_one(
    medians_ms: dict[str, float],
    order: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def take_turns(artifacts: Mapping[str, Any], images: Path) -> list[list[list[float]]]:
        assert np.load(images).shape == (1, 3, 4, 4)
        return [[[medians_ms[name]] * 3] * ROUNDS for name in artifacts]

    monkeypatch.setattr(runtime_race, "_take_turns", take_turns)
    pair = SimpleNamespace(read_image=lambda inputs: np.zeros((inputs.channels, 4, 4), np.float32))
    spec = SimpleNamespace(inputs=SimpleNamespace(prepare=lambda image: image, channels=3))
    context: Any = SimpleNamespace(check_pairs=(pair,), spec=spec)
    artifacts: dict[str, Any] = dict.fromkeys(medians_ms)
    ranking = rank_runtimes(artifacts, context, tmp_path)
    assert list(ranking) == order
    fastest = medians_ms[order[0]]
    for name, ratio in ranking.items():
        assert ratio.speedup == pytest.approx(medians_ms[name] / fastest)
