"""Layers of compiled networks: parts of steps, and what cannot be profiled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeseg.errors import TargetError
from edgeseg.records import Artifact
from edgeseg.targets.base import ProfileRequest
from edgeseg.targets.native.isa import best_here
from edgeseg.targets.native.profile import NetworkProfile, StepProfile
from edgeseg.targets.profiling import native
from edgeseg.targets.profiling.native import parts_of, profile_layers


def step(seconds: float, *titles: str, precision: str = "f32") -> StepProfile:
    return StepProfile(titles[0], "Convolution", 0, seconds, titles, precision)


def test_parts_of_a_strip_share_its_time_as_they_take_it_alone() -> None:
    steps = [step(1, "Conv a"), step(2, "Conv b", "Relu c"), step(3, "Conv d")]
    alone = [step(5, "Conv a"), step(9, "Conv b", precision="i8"), step(3, "Relu c")]
    found = parts_of(steps, [*alone, step(7, "Conv d")])
    assert [(one.name, one.milliseconds, one.precision, one.origins) for one in found] == [
        ("Conv a", 1000, "f32", ("a",)),
        ("Conv b", 1500, "i8", ("b",)),
        ("Relu c", 500, "f32", ("c",)),
        ("Conv d", 3000, "f32", ("d",)),
    ]


def request_for(isa: str, precision: str) -> ProfileRequest:
    settings = {"isa": [isa]}
    artifact = Artifact("native", precision, "native", Path("net"), ("network.json",), settings)
    return ProfileRequest(artifact, Path("net.onnx"), np.zeros((1, 3, 8, 8), np.float32), 1)


def test_a_network_for_another_machine_is_refused() -> None:
    with pytest.raises(TargetError, match=r"compiled for ios, which.*--option isa=here"):
        profile_layers(request_for("ios", "fp32"))


def test_what_auto_chose_is_told_by_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    isa = best_here()
    if isa is None:
        pytest.skip("no instruction set of this machine is known")
    compiled: list[Path] = []

    def profile_graph(path: Path, *_: object, **__: object) -> NetworkProfile:
        compiled.append(path)
        return NetworkProfile(isa.name, 1.0, 1.0, (), 1.0)

    monkeypatch.setattr(native, "profile_graph", profile_graph)
    request = request_for(isa.name, "auto")
    profile_layers(request)
    profile_layers(replace(request, quantized_path=Path("quantized.onnx")))
    assert compiled == [Path("net.onnx")] * 2 + [Path("quantized.onnx")] * 2


def test_an_int8_network_without_its_plan_is_refused() -> None:
    isa = best_here()
    if isa is None:
        pytest.skip("no instruction set of this machine is known")
    with pytest.raises(TargetError, match=r"has no plan beside it.*Profile the whole bundle"):
        profile_layers(request_for(isa.name, "int8"))
