from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from support import needs

from edgeseg.errors import UnknownNameError, UsageError
from edgeseg.pipeline.build import BuildRequest, build_bundle
from edgeseg.pipeline.external_toolkits import parse_toolkits

RunCli = Callable[..., "CompletedProcess[str]"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a network of few operators."""
    output = tmp_path_factory.mktemp("small") / "bundle"
    return build_bundle(BuildRequest("ulite", "onnxruntime", "fp32", output, size=(64, 64)))[
        0
    ].folder


def test_toolkits_are_named_with_their_interpreters() -> None:
    assert parse_toolkits([f"torch={sys.executable}"]) == {"torch": Path(sys.executable)}
    assert parse_toolkits([]) == {}


def test_a_toolkit_may_be_named_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "python").symlink_to(sys.executable)
    # It is run in another folder; the link itself is what belongs to the environment.
    assert parse_toolkits(["torch=python"]) == {"torch": tmp_path / "python"}


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("torch", "--toolkit torch has no interpreter. Give it as torch=PATH/bin/python."),
        ("torch=", "has no interpreter"),
        ("torch=nowhere/python", "There is no interpreter at nowhere/python for torch."),
    ],
)
def test_a_toolkit_without_interpreter_is_refused(word: str, reason: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_toolkits([word])
    assert reason in str(raised.value)


def test_an_unknown_toolkit_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean executorch"):
        parse_toolkits([f"executorh={sys.executable}"])


@pytest.mark.slow
@needs("torch", "onnxruntime")
def test_a_toolkit_is_timed_beside_the_bundle_and_converted_once(
    small: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    words = ["bench", small, "--split", "val", "--images", 1, "--runs", 12]
    words += ["--toolkit", f"torch={sys.executable}", "--json", tmp_path / "bench.json"]
    done = run_cli(*words)
    assert done.returncode == 0, done.stderr
    assert "torch converts ulite" in done.stderr
    assert "ulite by torch" in done.stdout
    assert "Warning: ulite by torch" not in done.stdout + done.stderr
    rows = json.loads((tmp_path / "bench.json").read_text())["rows"]
    baseline, toolkit, own = rows
    assert (baseline["is_baseline"], toolkit["is_baseline"]) == (True, False)
    assert toolkit["target"] == "torch"
    assert toolkit["baseline"]["name"] == baseline["name"] == own["baseline"]["name"]
    assert toolkit["latency_ms"]["p50"] > 0
    assert toolkit["accuracy"] is None
    assert toolkit["artifact_bytes"] > 3_500_000
    assert "torch converts" not in run_cli(*words).stderr


@pytest.mark.slow
@needs("torch", "onnxruntime")
def test_a_toolkit_that_does_not_convert_says_why(small: Path, run_cli: RunCli) -> None:
    # Neither package is in this environment.
    done = run_cli("bench", small, "--toolkit", f"executorch={sys.executable}")
    assert done.returncode == 1
    assert "executorch does not convert ulite" in done.stderr
    assert "No module named 'executorch'" in done.stderr


@pytest.mark.slow
@needs("torch", "onnxruntime")
def test_toolkits_and_devices_exclude_each_other(small: Path, run_cli: RunCli) -> None:
    words = ["--peer", f"torch={sys.executable}", "--device", "ssh://nobody@localhost"]
    done = run_cli("bench", small, *words)
    assert done.returncode == 2
    assert "--toolkit measures on this machine" in done.stderr
