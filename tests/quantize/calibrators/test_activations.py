from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from support import needs
from tiny_graphs import INPUT, save_conv_relu_conv

from edgeseg.errors import CalibrationError, DataError, MissingBackendError
from edgeseg.quantize.calibrators.activations import largest_magnitudes, observe_activations

Image = NDArray[np.float32]

FEW = settings(max_examples=30, deadline=None)
# Such that a product with 4 is exact.
VALUES = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
IMAGES = st.lists(arrays(np.float32, (1, 1, 2, 2), elements=VALUES), min_size=1, max_size=4)

need_runtime = needs("onnx", "onnxruntime")


def image_of(*values: float) -> Image:
    """Values in one row, (1, 1, 1, W)."""
    return np.array([[[values]]], np.float32)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """a = (2x, -x), r = relu(a), y = r0 + 3 r1."""
    return save_conv_relu_conv(tmp_path / "tiny.onnx", [[2], [-1]], [[1, 3]])


@need_runtime
def test_values_are_those_of_the_float_graph(graph: Path) -> None:
    (values,) = observe_activations(graph, ["a", "r", "y", "x"], [image_of(5, -3)])
    # By channel; W is 2.
    expected = {
        "a": [[10, -6], [-5, 3]],
        "r": [[10, 0], [0, 3]],
        "y": [[10, 9]],
        "x": [[5, -3]],
    }
    assert {name: value[0, :, 0].tolist() for name, value in values.items()} == expected


@need_runtime
@pytest.mark.parametrize("tensors", [[INPUT], ["r"], []])
def test_only_what_is_named_is_given(graph: Path, tensors: list[str]) -> None:
    (values,) = observe_activations(graph, tensors, [image_of(1)])
    assert list(values) == tensors


@need_runtime
def test_images_are_taken_one_at_a_time(graph: Path) -> None:
    taken = []

    def images() -> Iterator[Image]:
        for value in (1, 2, 3):
            taken.append(value)
            yield image_of(value)

    for index, values in enumerate(observe_activations(graph, ["y"], images())):
        assert taken == [1, 2, 3][: index + 1]
        assert values["y"] == 2 * taken[-1]


@need_runtime
def test_observing_leaves_the_file_as_it_is(graph: Path) -> None:
    before = graph.read_bytes()
    list(observe_activations(graph, ["a"], [image_of(1)]))
    assert graph.read_bytes() == before


@need_runtime
@pytest.mark.parametrize(
    ("tensors", "image"),
    [
        (["no_such_tensor"], image_of(1)),
        (["a"], np.zeros((1, 2, 1, 1), np.float32)),
        (["a"], np.zeros((1, 1, 1, 1), np.float64)),
    ],
)
def test_graph_that_does_not_run_says_what_to_build(
    graph: Path, tensors: list[str], image: Image
) -> None:
    with pytest.raises(
        CalibrationError, match=r"does not run tiny\.onnx for calib.*Build with --precision fp32"
    ):
        list(observe_activations(graph, tensors, [image]))


@need_runtime
def test_file_that_is_no_graph_says_what_to_build(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(CalibrationError, match=r"text\.onnx for calib.*Build with --precision"):
        list(observe_activations(tmp_path / "text.onnx", ["a"], [image_of(1)]))


@need_runtime
def test_image_that_cannot_be_read_is_not_blamed_on_the_graph(graph: Path) -> None:
    def images() -> Iterator[Image]:
        yield image_of(1)
        raise DataError("pair0.png is not an image")

    with pytest.raises(DataError, match=r"pair0\.png"):
        list(observe_activations(graph, ["a"], images()))


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_missing_package_names_the_install_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingBackendError, match=r"Calibration needs.*'edgeseg\[export\]'"):
        list(observe_activations(tmp_path / "tiny.onnx", ["a"], []))


def test_limit_is_the_largest_magnitude_of_all_images() -> None:
    observations = [
        {"a": image_of(1, -3), "b": image_of(0.5)},
        {"a": image_of(2, 2.5), "b": image_of(-0.25)},
        {"a": image_of(0), "b": image_of(0.75)},
    ]
    assert largest_magnitudes(observations) == {"a": 3, "b": 0.75}


@FEW
@given(IMAGES)
def test_scaling_values_scales_limits(images: list[Image]) -> None:
    ranges = largest_magnitudes({"a": image} for image in images)
    larger = largest_magnitudes({"a": 4 * image} for image in images)
    assert larger["a"] == 4 * ranges["a"]


@FEW
@given(IMAGES)
def test_order_and_sign_of_images_do_not_matter(images: list[Image]) -> None:
    ranges = largest_magnitudes({"a": image} for image in images)
    assert largest_magnitudes({"a": -image} for image in images[::-1]) == ranges


@FEW
@given(IMAGES, IMAGES)
def test_limits_of_two_sets_are_the_larger_ones(images: list[Image], others: list[Image]) -> None:
    parts = [largest_magnitudes({"a": image} for image in part) for part in (images, others)]
    whole = largest_magnitudes({"a": image} for image in images + others)
    assert whole["a"] == max(part["a"] for part in parts)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_value_that_is_no_number_names_its_tensor(value: float) -> None:
    observations = [{"a": image_of(1), "b": image_of(2)}, {"a": image_of(3), "b": image_of(value)}]
    with pytest.raises(CalibrationError, match=r"'b' is NaN or infinite.*Use another checkpoint"):
        largest_magnitudes(observations)


def test_no_image_says_what_to_name() -> None:
    with pytest.raises(CalibrationError, match="Name real images with --data"):
        largest_magnitudes([])
