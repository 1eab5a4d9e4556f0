"""The contract in words says what the code does."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edgeseg.bundle.contract_words import contract_words
from edgeseg.contract import (
    GREY_SHARES,
    InputContract,
    MeanStd,
    MinMax,
    OutputContract,
    resize_plane,
)

OUTPUTS = OutputContract(("skin", "lesion"), 1, threshold=0.4)
NHWC = {"input": {"layout": "NHWC", "dtype": "float32"}, "output": {"layout": "NHWC"}}


def words_of(inputs: InputContract, end: str = "input", **settings: object) -> str:
    return " ".join(contract_words(inputs, OUTPUTS, settings)[end])


def test_a_stretched_network_is_told_from_one_with_constants() -> None:
    stretched = words_of(InputContract(16, 24, 8, MinMax(0, 255)))
    assert "(pixel - min) * (255 - 0) / (max - min) + 0" in stretched
    assert "over all pixels and all channels together" in stretched
    assert "no division by 255" in stretched
    constants = words_of(InputContract(16, 24, 8, MeanStd((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))))
    assert "(pixel / 255 - mean) / std, with mean = (0.5, 0.4, 0.3)" in constants
    assert "min" not in constants.split("Normalise")[1].split("tensor")[0]


def test_the_layout_is_that_of_the_artefact() -> None:
    inputs = InputContract(16, 24, 8, MinMax())
    assert "float32, NCHW, (1, 3, 16, 24): one plane for each channel" in words_of(inputs)
    form = {"layout": "NHWC", "dtype": "int8", "scale": 0.5, "zero_point": -128}
    told = words_of(inputs, input=form)
    assert "int8, NHWC, (1, 16, 24, 3): the channels of a pixel side by side" in told
    assert "real = 0.5 * (quantized - -128)" in told
    floats = {"layout": "NHWC", "dtype": "float32", "scale": None, "zero_point": None}
    assert "quantized" not in words_of(inputs, input=floats)


@pytest.mark.parametrize(("channels", "function"), [(1, "sigmoid"), (3, "softmax")])
def test_the_output_is_said_to_be_probabilities(channels: int, function: str) -> None:
    classes = ("skin", "lesion") if channels == 1 else ("skin", "left", "right")
    outputs = OutputContract(classes, channels, threshold=0.4)
    told = " ".join(contract_words(InputContract(8, 8, 8, MinMax()), outputs, {})["output"])
    assert "probabilities already" in told or "already, 0..1" in told
    assert f"Apply no {function}." in told
    assert ("at least 0.4" in told) == (channels == 1)
    assert "the probabilities, not the labels" in told


def test_the_kernel_in_words_is_the_kernel_in_code() -> None:
    """Whoever writes down the sentence gets the weights of `resize_plane`."""
    told = words_of(InputContract(8, 8, 8, MinMax()))
    assert "support = max(scale, 1), centre = (i + 0.5) * scale" in told
    line = np.random.default_rng(0).integers(0, 256, 37).astype(np.uint8)
    for size in (5, 16, 37, 90):
        scale = len(line) / size
        support = max(scale, 1)
        wanted = []
        for i in range(size):
            centre = (i + 0.5) * scale
            first = max(0, int(np.floor(centre - support + 0.5)))
            last = min(len(line), int(np.floor(centre + support + 0.5)))
            weights = [max(0, 1 - abs(j + 0.5 - centre) / support) for j in range(first, last)]
            wanted.append(np.dot(weights, line[first:last]) / sum(weights))
        assert np.allclose(resize_plane(line[None], 1, size)[0], wanted, atol=1e-3)


def test_grey_is_said_with_its_numbers() -> None:
    told = words_of(InputContract(8, 8, 8, MinMax(), channels=1, white=4095))
    assert [int(number) for number in re.findall(r"(\d+) \* (?:red|green|blue)", told)] == [
        *GREY_SHARES
    ]
    assert "larger values than 4095 become 4095" in told
