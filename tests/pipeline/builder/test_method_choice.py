"""Of several ways to quantise a build takes the first that keeps the masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support import needs
from tiny_graphs import node, pointwise, save_graph

from edgeseg.errors import CalibrationError
from edgeseg.pipeline.builder.method_choice import choose_method
from edgeseg.progress import SILENT
from edgeseg.quantize import resolve_quantization
from edgeseg.targets import find_runtime
from edgeseg.tuning.candidate import Candidate

DEPTHWISE = "mse, 1 convolutions in float"
SENSITIVE = "mse, 2 convolutions in float"


class FakeBuilder:
    """Builds nothing; each way flips as many pixels as it is told, or fails.

    Args:
        graph: The network.
        sensitive: Convolutions that INT8 changes most by.
    """

    def __init__(
        self,
        flips: dict[str, float | str],
        graph: Path | None = None,
        sensitive: tuple[str, ...] = (),
    ) -> None:
        self.flips = flips
        self.sensitive = sensitive
        self.fails_to_rank = ""
        self.graph = graph
        self.built: list[str] = []

    def place(self, name: str) -> Path:
        return Path(name)

    def lower(self, names: tuple[str, ...]) -> tuple[Path, dict[str, int]]:
        assert self.graph is not None
        return self.graph, {}

    def keep_sensitive(self, candidate: Candidate) -> Candidate:
        if candidate.method == self.fails_to_rank:
            raise CalibrationError("No range.")
        return replace(candidate, float_nodes=self.sensitive)

    def make(self, candidate: Candidate, folder: Path) -> Any:
        kept = {(): candidate.method, ("b",): DEPTHWISE, ("a", "b"): SENSITIVE}
        name = kept[candidate.float_nodes]
        self.built.append(name)
        flips = self.flips[name]
        if isinstance(flips, str):
            raise CalibrationError(flips)
        return SimpleNamespace(agreement=SimpleNamespace(flips_per_10k=flips))


@pytest.fixture(params=[True, False], ids=["depthwise", "dense"])
def has_depthwise(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def graph(has_depthwise: bool, tmp_path: Path) -> Path:
    """Four convolutions, the second depthwise or not; the last one stays in float."""
    pytest.importorskip("onnx")
    middle = np.ones((3, 1 if has_depthwise else 3, 1, 1), np.float32)
    nodes = [
        node("Conv", ["x", "w"], "a"),
        node("Conv", ["a", "middle"], "b", group=3 if has_depthwise else 1),
        node("Conv", ["b", "w"], "c"),
        node("Conv", ["c", "w"], "y"),
    ]
    constants = {"w": pointwise(np.ones((3, 3))), "middle": middle}
    return save_graph(tmp_path / "net.onnx", nodes, constants, channels=3)


def context_for(runtime: str, method: str | None = None, **options: str) -> Any:
    """What `choose_method` asks of a `BuildContext`."""
    found = find_runtime(runtime)
    vendor = {"openvino": "nncf", "litert": "ai-edge-quantizer"}.get(runtime, "mse")

    def fixed_candidate(precision: str) -> Candidate:
        return Candidate(precision, method="" if precision == "fp32" else method or vendor)

    request = SimpleNamespace(method=method, method_options=options, use_cache=True)
    return SimpleNamespace(
        runtime=found,
        request=request,
        progress=SILENT,
        fixed_candidate=fixed_candidate,
        quantization=lambda name, options: resolve_quantization(found, name, options),
        require_packages=lambda candidates: None,
        record=lambda candidate: {"candidate": candidate.to_json(), "of": request.use_cache},
    )


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESEG_CACHE_DIR", str(tmp_path))


@needs("onnx", "onnx_ir")
@pytest.mark.parametrize(
    ("flips", "taken", "built"),
    [
        ({"nncf": 20.0}, "nncf", 1),
        ({"nncf": 21.0, "mse": 9.0}, "mse", 2),
        ({"nncf": "It fails.", "mse": 9.0}, "mse", 2),
        ({"nncf": 99.0, "mse": 98.0, DEPTHWISE: 97.0}, DEPTHWISE, 3),
        ({"nncf": 99.0, "mse": 30.0, DEPTHWISE: 31.0}, "mse", 3),
        ({"nncf": 28.0, "mse": 30.0, DEPTHWISE: 31.0}, "nncf", 3),
        ({"nncf": 99.0, "mse": 99.0, DEPTHWISE: "It fails."}, "nncf", 3),
        ({"nncf": "It fails.", "mse": 300.0, DEPTHWISE: "It fails."}, "mse", 3),
    ],
)
@pytest.mark.parametrize("has_depthwise", [True], indirect=True)
def test_the_first_good_way_is_taken_else_the_best(
    flips: dict[str, float | str], taken: str, built: int, graph: Path
) -> None:
    builder = FakeBuilder(flips, graph)
    choice = choose_method(context_for("openvino"), builder, "int8")  # type: ignore[arg-type]
    name = DEPTHWISE if choice.candidate.float_nodes else choice.candidate.method
    assert name == taken
    assert builder.built == ["nncf", "mse", DEPTHWISE][:built]
    numbers = {name: flips[name] for name in builder.built if not isinstance(flips[name], str)}
    assert choice.flips_per_10k == numbers


@needs("onnx", "onnx_ir")
@pytest.mark.parametrize("has_depthwise", [True], indirect=True)
@pytest.mark.parametrize("sensitive", [("a", "b"), ("a", "b", "c"), ()])
def test_sensitive_convolutions_stay_in_float_before_all_depthwise_ones(
    sensitive: tuple[str, ...], graph: Path
) -> None:
    """But for what is known already, and for a whole network in float."""
    builder = FakeBuilder({"mse": 99.0, SENSITIVE: 20.0, DEPTHWISE: 20.0}, graph, sensitive)
    context = context_for("onnxruntime")
    choice = choose_method(context, builder, "int8")  # type: ignore[arg-type]
    expected = ("a", "b") if sensitive == ("a", "b") else ("b",)
    assert choice.candidate.float_nodes == expected


@needs("onnx", "onnx_ir")
@pytest.mark.parametrize("has_depthwise", [True], indirect=True)
def test_a_method_that_cannot_rank_convolutions_has_its_other_ways(graph: Path) -> None:
    builder = FakeBuilder({"mse": 99.0, DEPTHWISE: 20.0}, graph)
    builder.fails_to_rank = "mse"
    choice = choose_method(context_for("onnxruntime"), builder, "int8")  # type: ignore[arg-type]
    assert choice.candidate.float_nodes == ("b",)


@needs("onnx", "onnx_ir")
@pytest.mark.parametrize("has_depthwise", [False], indirect=True)
def test_without_depthwise_convolutions_there_is_one_way_less(graph: Path) -> None:
    builder = FakeBuilder({"mse": 99.0}, graph)
    choice = choose_method(context_for("onnxruntime"), builder, "int8")  # type: ignore[arg-type]
    assert (choice.candidate.method, builder.built) == ("mse", ["mse"])
    assert choice.flips_per_10k == {"mse": 99.0}


def test_what_was_compared_before_is_not_built_again() -> None:
    builder = FakeBuilder({"nncf": 99.0, "mse": 9.0})
    context = context_for("openvino")
    first = choose_method(context, builder, "int8")  # type: ignore[arg-type]
    assert choose_method(context, builder, "int8") == first  # type: ignore[arg-type]
    assert builder.built == ["nncf", "mse"]


@pytest.mark.parametrize(
    "context",
    [context_for("openvino", "nncf"), context_for("openvino", a="b")],
)
def test_a_method_that_was_named_is_taken_unseen(context: Any) -> None:
    builder = FakeBuilder({})
    choice = choose_method(context, builder, "int8")  # type: ignore[arg-type]
    assert choice.candidate == context.fixed_candidate("int8")
    assert (choice.flips_per_10k, builder.built) == ({}, [])


def test_a_float_precision_has_no_method() -> None:
    builder = FakeBuilder({})
    choice = choose_method(context_for("openvino"), builder, "fp32")  # type: ignore[arg-type]
    assert choice.candidate == Candidate("fp32")


@needs("onnx", "onnx_ir")
@pytest.mark.parametrize("has_depthwise", [False], indirect=True)
def test_all_reasons_are_told_where_no_method_works(graph: Path) -> None:
    builder = FakeBuilder({"nncf": "It has no ranges.", "mse": "It has collapsed."}, graph)
    with pytest.raises(CalibrationError, match=r"nncf: It has no ranges\. mse: It has coll"):
        choose_method(context_for("openvino"), builder, "int8")  # type: ignore[arg-type]
