"""The input contract resizes as Pillow does and says what it cannot take."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image
from support import ROOT

from edgeseg.contract import (
    InputContract,
    MeanStd,
    MinMax,
    OutputContract,
    filter_taps,
    resize_plane,
)

SIDES = st.integers(1, 40)
PLANES = arrays(np.uint8, st.tuples(SIDES, SIDES))
FEW = settings(max_examples=60, deadline=None)


@FEW
@given(SIDES, SIDES)
def test_every_tap_lies_in_the_source_and_weighs_one(size_in: int, size_out: int) -> None:
    taps = filter_taps(size_in, size_out)
    assert len(taps) == size_out
    for first, weights in taps:
        assert first >= 0
        assert 1 <= len(weights) <= size_in - first
        assert weights.min() >= 0
        assert weights.sum() == pytest.approx(1, abs=1e-6)


def test_taps_that_shrink_four_to_two() -> None:
    # Scale and support are 2. The first centre is 1: pixels at 0.5, 1.5, 2.5 are 0.25, 0.25 and
    # 0.75 supports away and weigh 3 : 3 : 1. The second is its mirror image.
    (first, left), (second, right) = filter_taps(4, 2)
    assert (first, second) == (0, 1)
    np.testing.assert_allclose(left, [3 / 7, 3 / 7, 1 / 7], rtol=1e-6)
    np.testing.assert_allclose(right, [1 / 7, 3 / 7, 3 / 7], rtol=1e-6)


def test_a_line_of_two_grows_to_four() -> None:
    # Centres 0.25, 0.75, 1.25, 1.75 between pixels at 0.5 and 1.5; the ends see one pixel only.
    assert resize_plane(np.array([[0, 4]], np.uint8), 1, 4).tolist() == [[0, 1, 3, 4]]


@FEW
@given(PLANES)
def test_the_same_size_changes_nothing(plane: NDArray[np.uint8]) -> None:
    result = resize_plane(plane, *plane.shape)
    assert result.dtype == np.float32
    assert (result == plane).all()


@FEW
@given(PLANES, SIDES, SIDES)
def test_resizing_is_that_of_pillow(plane: NDArray[np.uint8], height: int, width: int) -> None:
    ours = resize_plane(plane, height, width)
    exact = Image.fromarray(plane.astype(np.float32)).resize((width, height), Image.BILINEAR)
    np.testing.assert_allclose(ours, np.asarray(exact), atol=1e-3)
    # In 8 bits Pillow rounds after each of the two passes: half a grey level each.
    passes = (plane.shape[0] != height) + (plane.shape[1] != width)
    coarse = Image.fromarray(plane).resize((width, height), Image.BILINEAR)
    assert np.abs(ours - np.asarray(coarse)).max() <= 0.5 * passes + 0.01


@FEW
@given(PLANES, SIDES, SIDES)
def test_a_mirrored_plane_gives_the_mirrored_result(
    plane: NDArray[np.uint8], height: int, width: int
) -> None:
    ours = resize_plane(plane, height, width)
    for axis in (0, 1):
        mirrored = resize_plane(np.flip(plane, axis), height, width)
        np.testing.assert_allclose(np.flip(mirrored, axis), ours, atol=1e-3)
    np.testing.assert_allclose(resize_plane(plane.T, width, height).T, ours, atol=1e-3)


@given(
    st.integers(0, 65535), st.integers(1, 40), st.integers(1, 40), st.integers(1, 90),
    st.integers(1, 90),
)  # fmt: skip
def test_what_is_flat_stays_flat_as_it_grows(
    value: int, height: int, width: int, taller: int, wider: int
) -> None:
    """Else a contract that stretches from the minimum to the maximum would stretch rounding."""
    plane = np.full((height, width), value, np.uint16)
    assert np.unique(resize_plane(plane, height + taller, width + wider)).tolist() == [value]


def test_colours_do_not_mix() -> None:
    image = np.random.default_rng(1).integers(0, 256, (13, 9, 3), np.uint8)
    ours = resize_plane(image, 7, 20)
    for channel in range(3):
        alone = resize_plane(image[..., channel], 7, 20)
        np.testing.assert_allclose(ours[..., channel], alone, atol=1e-4)


def test_min_max_stretches_between_its_bounds() -> None:
    pixels = np.array([10, 15, 30], np.float32)
    np.testing.assert_allclose(MinMax().apply(pixels), [0, 0.25, 1])
    np.testing.assert_allclose(MinMax(-1, 3).apply(pixels), [-1, 0, 3])


def test_min_max_of_a_flat_image_is_low() -> None:
    assert MinMax(-2, 5).apply(np.full((2, 2), 77, np.float32)).tolist() == [[-2, -2], [-2, -2]]


@FEW
@given(PLANES, st.floats(0.1, 10), st.floats(-100, 100))
def test_min_max_does_not_see_brightness_or_contrast(
    plane: NDArray[np.uint8], gain: float, offset: float
) -> None:
    pixels = plane.astype(np.float32)
    changed = pixels * np.float32(gain) + np.float32(offset)
    np.testing.assert_allclose(MinMax().apply(changed), MinMax().apply(pixels), atol=1e-3)


def test_mean_std_by_hand() -> None:
    # 255 is 1, 51 is 0.2 and 0 is 0 before the mean is taken off.
    normalization = MeanStd(mean=(0.5, 0.5, 0.25), std=(0.25, 0.3, 0.5))
    result = normalization.apply(np.array([[[255, 51, 0]]], np.float32))
    np.testing.assert_allclose(result, [[[2, -1, -0.5]]], rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MinMax(1, 1), "low < high"),
        (lambda: MinMax(kind="mean_std"), "'min_max', not 'mean_std'"),
        (lambda: MeanStd(kind="min_max"), "'mean_std', not 'min_max'"),
        (lambda: MeanStd(mean=(0.5, 0.5)), "a finite mean and a std for each of 1 to 4"),
        (lambda: MeanStd(std=(1, 1, 0)), "positive finite std"),
        (lambda: MeanStd(std=(1, 1, float("nan"))), "positive finite std"),
        (lambda: MinMax(0, float("inf")), "low < high"),
        (lambda: OutputContract(("a", "b"), 1, 7.0), "between 0 and 1"),
        (lambda: InputContract(0, 8, 8, MinMax()), "positive, got 0x8/8"),
        (lambda: OutputContract(("lesion",), 1), "Background counts as a class"),
        (lambda: OutputContract(("a", "b", "c"), 1), "one channel a class, or one channel for two"),
        (lambda: OutputContract(("a", "b"), 3), "3 channels cannot hold 2 classes"),
    ],
)
def test_settings_without_sense_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_a_size_off_the_stride_names_the_nearest_right_ones() -> None:
    with pytest.raises(ValueError, match=r"100x256 \(HxW\).*stride 32.* 96x256 and 128x256"):
        InputContract(100, 256, 32, MinMax())


def test_a_size_below_the_stride_names_one_right_size() -> None:
    with pytest.raises(ValueError, match="stride 8") as caught:
        InputContract(5, 5, 8, MinMax())
    assert str(caught.value).count("8x8") == 1


def test_an_image_becomes_planes_of_red_green_blue() -> None:
    contract = InputContract(8, 16, 8, MeanStd())
    tensor = contract.prepare(np.full((5, 3, 3), (255, 0, 51), np.uint8))
    assert tensor.shape == contract.shape == (1, 3, 8, 16)
    assert tensor.dtype == np.float32
    assert tensor.flags["C_CONTIGUOUS"]
    for plane, value in zip(tensor[0], (1, 0, 0.2), strict=True):
        np.testing.assert_allclose(plane, value, atol=1e-6)


def test_rows_stay_rows() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[0] = 255
    tensor = InputContract(4, 4, 4, MeanStd()).prepare(image)
    assert tensor[0, 0].tolist() == [[1] * 4, [0] * 4, [0] * 4, [0] * 4]


def test_sixteen_bits_of_the_same_picture_give_the_same_input() -> None:
    image = np.random.default_rng(2).integers(0, 256, (11, 14, 3), np.uint8)
    for normalization in (MinMax(), MeanStd((0.5,) * 3, (0.2,) * 3)):
        contract = InputContract(8, 8, 8, normalization)
        fine = contract.prepare(image.astype(np.uint16) * 257)  # white 255 becomes white 65535
        np.testing.assert_allclose(fine, contract.prepare(image), atol=1e-5)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4), np.uint8), r"\(H, W, 3\), got shape \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"\(H, W, 3\), got shape \(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), r"got shape \(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.float32), "uint8 or uint16, got float32"),
    ],
)
def test_what_is_no_image_is_not_prepared(image: NDArray[Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        InputContract(4, 4, 4, MinMax()).prepare(image)


@pytest.mark.parametrize("normalization", [MinMax(-1, 1), MeanStd((0.1, 0.2, 0.3), (1, 2, 3))])
def test_an_input_contract_survives_json(normalization: MinMax | MeanStd) -> None:
    contract = InputContract(64, 96, 32, normalization, "pixels")
    assert InputContract.from_json(json.loads(json.dumps(contract.to_json()))) == contract


@pytest.mark.parametrize(
    "contract",
    [OutputContract(("skin", "lesion"), 1, 0.3), OutputContract(("a", "b", "c"), 3, name="out")],
)
def test_an_output_contract_survives_json(contract: OutputContract) -> None:
    assert OutputContract.from_json(json.loads(json.dumps(contract.to_json()))) == contract


@pytest.mark.parametrize("change", [{"layout": "NHWC"}, {"color": "BGR"}, {"resize": "nearest"}])
def test_an_input_that_cannot_be_honoured_is_refused(change: dict[str, str]) -> None:
    record = InputContract(8, 8, 8, MinMax()).to_json() | change
    with pytest.raises(ValueError, match=next(iter(change.values()))):
        InputContract.from_json(record)


def test_the_threshold_itself_is_foreground() -> None:
    outputs = OutputContract(("skin", "lesion"), 1, 0.5)
    probabilities = np.array([[[[0.49, 0.5], [0.51, 0]]]], np.float32)
    assert outputs.labels(probabilities).tolist() == [[0, 1], [1, 0]]


def test_several_channels_give_the_most_probable_class() -> None:
    outputs = OutputContract(("a", "b", "c"), 3)
    probabilities = np.array([[0.2, 0.5], [0.3, 0.4], [0.5, 0.1]], np.float32)
    assert outputs.labels(probabilities.reshape(1, 3, 1, 2)).tolist() == [[2, 0]]


def test_probabilities_are_stretched_before_they_become_labels() -> None:
    outputs = OutputContract(("skin", "lesion"), 1, 0.7)
    probabilities = np.array([[[[0, 1]]]], np.float32)
    # 0, 1/4, 3/4, 1 at the four pixels; only stretched labels could not tell 0.7 from 0.8.
    assert outputs.restore(probabilities, 1, 4).tolist() == [[0, 0, 1, 1]]
    strict = OutputContract(("skin", "lesion"), 1, 0.8)
    assert strict.restore(probabilities, 1, 4).tolist() == [[0, 0, 0, 1]]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_restored_mask_has_the_size_of_the_image(channels: int) -> None:
    outputs = OutputContract(("a", "b", "c")[: max(channels, 2)], channels)
    restored = outputs.restore(np.ones((1, channels, 4, 4), np.float32) / 3, 7, 2)
    assert restored.shape == (7, 2)
    assert restored.dtype == np.uint8


def test_shrunk_labels_are_those_that_cover_most() -> None:
    # A pixel of the half size sees its own quadrant with (6/7)^2 of its weight.
    quadrants = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 1, 1], [2, 2, 1, 1]], np.uint8)
    three = OutputContract(("a", "b", "c"), 3)
    assert three.shrink_labels(quadrants, 2, 2).tolist() == [[0, 1], [2, 1]]
    two = OutputContract(("a", "b"), 1)
    assert two.shrink_labels((quadrants == 1).astype(np.uint8), 2, 2).tolist() == [[0, 1], [0, 1]]


def test_classes_are_no_grey_levels() -> None:
    # Between 0 and 2 lies no class 1.
    labels = np.array([[0, 0, 0, 2, 2, 2]], np.uint8)
    shrunk = OutputContract(("a", "b", "c"), 3).shrink_labels(labels, 1, 3)
    assert 1 not in shrunk


@FEW
@given(arrays(np.uint8, st.tuples(SIDES, SIDES), elements=st.integers(0, 2)))
def test_labels_of_the_right_size_stay_as_they_are(labels: NDArray[np.uint8]) -> None:
    outputs = OutputContract(("a", "b", "c"), 3)
    assert (outputs.shrink_labels(labels, *labels.shape) == labels).all()


def test_the_file_needs_numpy_only(tmp_path: Path) -> None:
    shutil.copy(ROOT / "edgeseg" / "contract.py", tmp_path / "carried.py")
    program = (
        "import sys, numpy.typing; before = set(sys.modules); import carried;"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(*sorted(new - set(sys.stdlib_module_names)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["carried"]


def test_a_record_that_says_nothing_of_channels_means_three() -> None:
    record = InputContract(8, 8, 8, MeanStd()).to_json()
    assert "channels" not in record
    assert InputContract.from_json(record).shape == (1, 3, 8, 8)
    grey = InputContract(8, 8, 8, MinMax(), channels=1)
    assert InputContract.from_json(grey.to_json()) == grey
    assert grey.to_json()["color"] == "grey"
    with pytest.raises(ValueError, match="cannot honour: color 'RGB'"):
        InputContract.from_json({**record, "channels": 2, "normalization": MinMax().to_json()})


def test_one_channel_is_prepared_from_grey_and_from_colour() -> None:
    inputs = InputContract(1, 2, 1, MeanStd((0.5,), (0.25,)), channels=1)
    # (76 / 255 - 0.5) / 0.25 and (150 / 255 - 0.5) / 0.25: the brightness of red and of green.
    expected = [[[[-0.807843, 0.352941]]]]
    color = np.array([[[255, 0, 0], [0, 255, 0]]], np.uint8)
    grey = np.array([[76, 150]], np.uint8)
    for image in (color, grey, grey[..., None], grey.astype(np.uint16) * 257):
        np.testing.assert_allclose(inputs.prepare(image), expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"\(H, W\), \(H, W, 1\) or \(H, W, 3\), got"):
        inputs.prepare(np.zeros((4, 4, 2), np.uint8))


@pytest.mark.parametrize("channels", [0, 5])
def test_an_image_has_one_to_four_channels(channels: int) -> None:
    with pytest.raises(ValueError, match="1, 2, 3 or 4 channels"):
        InputContract(8, 8, 8, MinMax(), channels=channels)


def test_white_is_where_the_contract_says() -> None:
    inputs = InputContract(1, 3, 1, MeanStd(), white=4095)
    image = np.repeat(np.array([[0, 4095, 65535]], np.uint16)[..., None], 3, axis=2)
    np.testing.assert_allclose(inputs.prepare(image)[0, 0], [[0, 1, 1]], rtol=1e-6)
    assert InputContract.from_json(inputs.to_json()) == inputs
    plain = InputContract(1, 3, 1, MeanStd())
    np.testing.assert_allclose(plain.prepare(image)[0, 0], [[0, 4095 / 65535, 1]], rtol=1e-6)
    assert "white" not in plain.to_json()
    small = np.full((1, 3, 3), 255, np.uint8)  # 8 bits are as they were
    assert inputs.prepare(small).max() == 1


@pytest.mark.parametrize("white", [0, 65536])
def test_white_is_a_value_of_sixteen_bits(white: int) -> None:
    with pytest.raises(ValueError, match="White is a value from 1 to 65535"):
        InputContract(8, 8, 8, MinMax(), white=white)


@pytest.mark.parametrize("channels", [1, 3])
def test_ignored_pixels_stay_so_at_the_size_of_the_network(channels: int) -> None:
    names = ("rest", "a", "b")[: 2 if channels == 1 else 3]
    outputs = OutputContract(names, channels, ignore=128)
    assert OutputContract.from_json(outputs.to_json()) == outputs
    labels = np.kron(np.array([[0, 1, 255]], np.uint8), np.ones((4, 4), np.uint8))
    assert outputs.shrink_labels(labels, 1, 3).tolist() == [[0, 1, 255]]
    assert outputs.shrink_labels(labels, 4, 12) is labels
    with pytest.raises(ValueError, match="A value to ignore is 0 to 65535"):
        OutputContract(names, channels, ignore=-1)
