"""Times of TensorRT's layers. No GPU is at hand: tensorrt and cuda are stand-ins, which show that
the calls fit together, not that TensorRT takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_jetson import FILES, SHAPE, write_plan
from numpy.typing import NDArray

from edgeseg.errors import TargetError
from edgeseg.pipeline.profile import attribute
from edgeseg.records import Artifact
from edgeseg.targets.base import ProfileRequest
from edgeseg.targets.profiling.tensorrt import describe_layers, layer_of, profile_layers

IMAGE: NDArray[np.float32] = np.zeros(SHAPE, np.float32)


@pytest.fixture
def request_for_jetson(tmp_path: Path) -> ProfileRequest:
    write_plan(tmp_path)
    settings = {"package": "tensorrt"}
    artifact = Artifact("tensorrt", "int8", "tensorrt-kit", tmp_path, FILES, settings)
    return ProfileRequest(artifact, tmp_path / "net.onnx", IMAGE, 3)


@pytest.mark.usefixtures("device")
def test_layers_are_told_with_their_nodes_and_types(request_for_jetson: ProfileRequest) -> None:
    profile = profile_layers(request_for_jetson)
    reformat, convolution, mask = profile.layers
    assert [one.milliseconds for one in profile.layers] == [0.25, 0.5, 0.125]
    assert (convolution.origins, convolution.precision) == (("first", "relu"), "i8")
    assert convolution.reads == (reformat.name,)
    assert reformat.origins == ()
    assert (mask.kind, mask.precision) == ("PointWiseV2", "f16")
    assert mask.reads == ("first + relu",)
    modules = {"first": "stem.conv", "relu": "stem.act", "mask": "(network)"}
    found = attribute(profile.layers, modules)
    assert [(one.module, one.is_named) for one in found] == [
        ("stem", False),
        ("stem", True),
        ("(network)", True),
    ]
    assert profile.run_ms > 0
    assert profile.counted_ms > 0


def test_engines_without_details_name_their_layers() -> None:
    layers = describe_layers({"Layers": ["first + relu", "PWN(PWN(sigmoid_1), /up/mul)"]})
    assert layer_of("first + relu", 1, layers).origins == ("first", "relu")
    pointwise = layer_of("PWN(PWN(sigmoid_1), /up/mul)", 2, layers)
    assert {"sigmoid_1", "/up/mul"} <= {*pointwise.origins}
    assert pointwise.precision == ""


def test_without_a_gpu_the_advice_is_to_go_where_one_is(
    request_for_jetson: ProfileRequest, device: pytest.MonkeyPatch
) -> None:
    device.setenv("FAKE_TRT_REFUSES", "build")
    with pytest.raises(TargetError, match=r"is not timed: .*Profile it on the machine with the"):
        profile_layers(request_for_jetson)
