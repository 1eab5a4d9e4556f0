"""Devices and the runtimes that compute on them."""

from __future__ import annotations

import pytest

from edgeseg.errors import UnknownNameError
from edgeseg.targets import RUNTIMES
from edgeseg.targets.devices import device_names, find_device


@pytest.mark.parametrize(
    ("name", "runtimes"),
    [
        ("intel", ("openvino", "onnxruntime", "native")),
        ("android", ("litert", "onnxruntime", "native")),
        ("jetson", ("tensorrt", "onnxruntime", "native")),
        ("rtx", ("tensorrt-rtx", "onnxruntime")),
        ("web", ("native", "litert", "onnxruntime")),
    ],
)
def test_a_device_names_its_own_runtime_first(name: str, runtimes: tuple[str, ...]) -> None:
    device = find_device(name)
    assert device.runtimes == runtimes
    assert device.resolve_runtime(None) == runtimes[0]
    assert device.resolve_runtime("onnxruntime") == "onnxruntime"


@pytest.mark.parametrize("name", RUNTIMES.names())
def test_a_runtime_stands_for_any_device_that_has_it(name: str) -> None:
    assert find_device(name).runtimes == (name,)


def test_every_device_is_named_once() -> None:
    assert device_names() == ("android", "intel", "jetson", "rtx", "web", "onnxruntime", "native")


def test_an_unknown_target_is_told_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown target 'intle'\. Did you mean intel\?"):
        find_device("intle")


def test_a_runtime_of_another_device_is_refused() -> None:
    with pytest.raises(
        UnknownNameError,
        match=r"android has no runtime 'openvino'.*Available: litert, native, onnxruntime",
    ):
        find_device("android").resolve_runtime("openvino")
