"""Of two quantisation methods a build takes the one that keeps the masks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeseg.errors import CalibrationError
from edgeseg.pipeline.builder.method_choice import choose_method
from edgeseg.progress import SILENT
from edgeseg.targets import find_runtime
from edgeseg.tuning.candidate import Candidate


class FakeBuilder:
    """Builds nothing; each method flips as many pixels as it is told, or fails."""

    def __init__(self, flips: dict[str, float | str]) -> None:
        self.flips = flips
        self.built: list[str] = []

    def place(self, name: str) -> Path:
        return Path(name)

    def make(self, candidate: Candidate, folder: Path) -> Any:
        self.built.append(candidate.method)
        flips = self.flips[candidate.method]
        if isinstance(flips, str):
            raise CalibrationError(flips)
        return SimpleNamespace(agreement=SimpleNamespace(flips_per_10k=flips))


def context_for(runtime: str, method: str | None = None, **options: str) -> Any:
    """What `choose_method` asks of a `BuildContext`."""
    found = find_runtime(runtime)
    vendor = {"openvino": "nncf", "litert": "ai-edge-quantizer"}.get(runtime, "min-max")

    def fixed_candidate(precision: str) -> Candidate:
        return Candidate(precision, method="" if precision == "fp32" else method or vendor)

    request = SimpleNamespace(method=method, method_options=options, use_cache=True)
    return SimpleNamespace(
        runtime=found,
        request=request,
        progress=SILENT,
        fixed_candidate=fixed_candidate,
        require_packages=lambda candidates: None,
        record=lambda candidate: {"candidate": candidate.to_json(), "of": request.use_cache},
    )


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESEG_CACHE_DIR", str(tmp_path))


@pytest.mark.parametrize(
    ("flips", "taken", "built"),
    [
        ({"nncf": 40.0, "min-max": 1.0}, "nncf", ["nncf"]),
        ({"nncf": 99.0, "min-max": 9.0}, "min-max", ["nncf", "min-max"]),
        ({"nncf": 99.0, "min-max": 98.0}, "min-max", ["nncf", "min-max"]),
        ({"nncf": 99.0, "min-max": 99.0}, "nncf", ["nncf", "min-max"]),
        ({"nncf": 99.0, "min-max": "It fails."}, "nncf", ["nncf", "min-max"]),
        ({"nncf": "It fails.", "min-max": 300.0}, "min-max", ["nncf", "min-max"]),
    ],
)
def test_the_vendors_method_stays_unless_it_is_bad_and_another_is_better(
    flips: dict[str, float | str], taken: str, built: list[str]
) -> None:
    builder = FakeBuilder(flips)
    choice = choose_method(context_for("openvino"), builder, "int8")  # type: ignore[arg-type]
    assert choice.candidate.method == taken
    assert builder.built == built
    numbers = {name: flips[name] for name in built if not isinstance(flips[name], str)}
    assert choice.flips_per_10k == numbers


def test_what_was_compared_before_is_not_built_again() -> None:
    builder = FakeBuilder({"nncf": 99.0, "min-max": 9.0})
    context = context_for("openvino")
    first = choose_method(context, builder, "int8")  # type: ignore[arg-type]
    assert choose_method(context, builder, "int8") == first  # type: ignore[arg-type]
    assert builder.built == ["nncf", "min-max"]


@pytest.mark.parametrize(
    "context",
    [context_for("openvino", "nncf"), context_for("openvino", a="b"), context_for("onnxruntime")],
)
def test_a_method_that_was_named_or_is_the_only_one_is_taken_unseen(context: Any) -> None:
    builder = FakeBuilder({})
    choice = choose_method(context, builder, "int8")  # type: ignore[arg-type]
    assert choice.candidate == context.fixed_candidate("int8")
    assert (choice.flips_per_10k, builder.built) == ({}, [])


def test_a_float_precision_has_no_method() -> None:
    builder = FakeBuilder({})
    choice = choose_method(context_for("openvino"), builder, "fp32")  # type: ignore[arg-type]
    assert choice.candidate == Candidate("fp32")


def test_all_reasons_are_told_where_no_method_works() -> None:
    builder = FakeBuilder({"nncf": "It has no ranges.", "min-max": "It has collapsed."})
    with pytest.raises(CalibrationError, match=r"nncf: It has no ranges\. min-max: It has coll"):
        choose_method(context_for("openvino"), builder, "int8")  # type: ignore[arg-type]
