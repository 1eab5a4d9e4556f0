"""Options and the machinery that runtimes inherit, on a runtime that needs no package."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgeseg import lazy
from edgeseg.errors import MissingBackendError, TargetError, UnknownNameError, UsageError
from edgeseg.records import ONNX_FORMAT, Artifact
from edgeseg.targets import Runtime, RuntimeOptions, find_runtime
from edgeseg.targets.base import Written

SETTINGS = {"device": "CPU"}
FAKE_BACKEND = """
class Backend:
    def __init__(self, folder, files, runtime, threads):
        if not (folder / files[0]).exists():
            raise OSError("no such\\n  file")
        self.given = (folder, files, runtime, threads)
"""


@dataclass(frozen=True)
class EngineOptions(RuntimeOptions):
    workers: int = 2
    damping: float = 0.5
    device: str = "first"

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UsageError("The option workers is below 1. Raise it.")


class EngineRuntime(Runtime):
    name = "engine"
    title = "An engine"
    artifact_format = "wav"
    quantized_from = ("wav",)
    compiled_precisions = ("fp32",)
    quantized_precisions = ("int8",)
    build_packages = ()
    run_packages = ("engine",)
    backend_module = "fake_engine_backend"
    options_class = EngineOptions

    def _write(self, onnx_path: Path, folder: Path, precision: str) -> Written:
        (folder / "net.wav").write_text(f"{onnx_path.name} in {precision}")
        return Written(("net.wav",), "loud")

    def runtime_settings(self, precision: str) -> dict[str, Any]:
        return SETTINGS


class QdqRuntime(EngineRuntime):
    """One that compiles quantised graphs."""

    quantized_from = ("wav", ONNX_FORMAT)


class FarRuntime(EngineRuntime):
    """One whose device is elsewhere."""

    def fallback_runtime(self) -> str:
        return "another engine"


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder whose modules can be imported; the backend is there, the engine is not."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(lazy.BACKENDS, "engine", ("engine-dist", "intel"))
    monkeypatch.setitem(lazy.ALTERNATIVES, "engine", ("small_engine",))
    (tmp_path / "fake_engine_backend.py").write_text(FAKE_BACKEND)
    (tmp_path / "net.wav").touch()
    yield tmp_path
    for name in ("engine", "small_engine", "fake_engine_backend"):
        sys.modules.pop(name, None)


# Options


def test_options_have_defaults() -> None:
    assert EngineRuntime().options == EngineOptions() == EngineOptions.from_text("engine", {})


def test_words_become_values_of_the_types_of_the_fields() -> None:
    words = {"workers": "3", "damping": "1e-2", "device": "2"}
    options = EngineOptions.from_text("engine", words)
    assert options == EngineOptions(3, 0.01, "2")
    assert json.loads(json.dumps(options.to_json())) == {
        "workers": 3,
        "damping": 0.01,
        "device": "2",
    }


def test_whole_number_is_taken_for_a_fraction() -> None:
    damping = EngineOptions.from_text("engine", {"damping": "1"}).damping
    assert (damping, type(damping)) == (1.0, float)


def test_unknown_option_names_nearest() -> None:
    with pytest.raises(
        UnknownNameError,
        match=r"Runtime engine has no option 'worker'\. Did you mean workers\? "
        r"Available: damping, dev",
    ):
        EngineOptions.from_text("engine", {"worker": "3"})


def test_a_runtime_without_options_says_so() -> None:
    with pytest.raises(
        UnknownNameError, match=r"Runtime openvino has no option 'speed'\. Available: none"
    ):
        find_runtime("openvino", {"speed": "9"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workers": "many"}, r"workers of runtime engine is 'many'.*type int.*as workers=2"),
        ({"workers": "1.5"}, r"workers of runtime engine is '1\.5'.*type int.*as workers=2"),
        ({"workers": ""}, r"workers of runtime engine is ''.*type int.*as workers=2"),
        ({"damping": "much"}, r"damping of .* is 'much'.*type float.*as damping=0\.5"),
    ],
)
def test_value_of_another_type_shows_one_that_is_right(
    given: Mapping[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        EngineOptions.from_text("engine", given)


def test_value_that_the_options_refuse_keeps_their_words() -> None:
    with pytest.raises(UsageError, match=r"below 1\. Raise it"):
        EngineOptions.from_text("engine", {"workers": "0"})


# Loading


def artifact_in(folder: Path, name: str = "net.wav") -> Artifact:
    return Artifact("engine", "fp32", "wav", folder, (name,), SETTINGS)


def test_artefact_says_what_was_compiled_and_how_to_run_it(tmp_path: Path) -> None:
    made = EngineRuntime().compile(tmp_path / "net.onnx", tmp_path, "fp32")
    assert (made.runtime, made.precision, made.format) == ("engine", "fp32", "wav")
    assert (made.folder, made.files, made.note) == (tmp_path, ("net.wav",), "loud")
    assert made.settings == SETTINGS
    assert (tmp_path / "net.wav").read_text() == "net.onnx in fp32"


@pytest.mark.parametrize(
    ("runtime", "precision", "possible"),
    [(EngineRuntime(), "int8", "fp32"), (QdqRuntime(), "fp16", "fp32, int8")],
)
def test_precision_that_is_not_compiled_is_refused_before_the_work(
    runtime: Runtime, precision: str, possible: str, tmp_path: Path
) -> None:
    with pytest.raises(UnknownNameError, match=rf"compiled precision .*Available: {possible}\."):
        runtime.compile(tmp_path / "net.onnx", tmp_path, precision)
    assert not (tmp_path / "net.wav").exists()


def test_quantised_graphs_are_compiled_where_they_are_taken(tmp_path: Path) -> None:
    assert QdqRuntime().compile(tmp_path / "net.onnx", tmp_path, "int8").precision == "int8"


def test_artefact_is_loaded_with_its_settings(modules: Path) -> None:
    (modules / "engine.py").touch()
    backend: Any = EngineRuntime().load(artifact_in(modules), 3)
    assert backend.given == (modules, ("net.wav",), SETTINGS, 3)


def test_package_that_does_the_same_is_enough(modules: Path) -> None:
    (modules / "small_engine.py").touch()
    EngineRuntime().load(artifact_in(modules))
    diagnosis = EngineRuntime().diagnose()
    assert diagnosis.runs == ("fp32", "int8")
    assert diagnosis.missing == ()


def test_missing_package_is_the_first_choice(modules: Path) -> None:
    with pytest.raises(MissingBackendError, match=r"Running on engine needs.*'engine-dist'"):
        EngineRuntime().load(artifact_in(modules))
    diagnosis = EngineRuntime().diagnose()
    assert diagnosis.runs == ()
    assert diagnosis.missing == (("engine-dist", "pip install 'edgeseg[intel]'"),)


def test_reason_of_a_failure_is_one_line(modules: Path) -> None:
    (modules / "engine.py").touch()
    with pytest.raises(TargetError, match=r"gone\.wav: no such file\. Build it again with"):
        EngineRuntime().load(artifact_in(modules, "gone.wav"))


@pytest.mark.parametrize(
    ("runtime", "computed_by"), [(EngineRuntime(), "engine"), (FarRuntime(), "another engine")]
)
def test_check_names_what_computes(modules: Path, runtime: Runtime, computed_by: str) -> None:
    (modules / "engine.py").touch()
    backend, name = runtime.load_for_check(artifact_in(modules))
    loaded: Any = backend
    assert name == computed_by
    assert loaded.given[-1] == 1  # thread
