"""Forms beside the FP32 reference, and how far probabilities are from the truth."""

from __future__ import annotations

import numpy as np
import pytest
from known_forms import form
from support import needs

from edgeseg.contract import IGNORED, OutputContract
from edgeseg.errors import EdgesegError
from edgeseg.pipeline.studies.limits import StudyRequest
from edgeseg.pipeline.studies.reference.__main__ import table_lines
from edgeseg.pipeline.studies.reference.reliability import BINS, calibration_error, count_bins
from edgeseg.pipeline.studies.reference.study import (
    REFERENCE,
    differences_of,
    forms_by,
    study_forms,
)

ONE = OutputContract(("background", "lesion"), 1)
TWO = OutputContract(("background", "lesion"), 2)


def test_pixels_are_counted_by_the_confidence_of_their_class() -> None:
    probabilities = np.array([[[[0.9, 0.1, 0.7, 0.2]]]], np.float32)
    truth = np.array([[1, 0, 0, IGNORED]], np.uint8)
    counts = count_bins(probabilities, truth, ONE)
    assert counts.shape == (BINS, 3)
    # 0.9 and 1 - 0.1 are right, 0.7 is wrong; nothing is known of the last.
    assert counts[13].tolist() == [2, pytest.approx(1.8), 2]
    assert counts[10].tolist() == [1, pytest.approx(0.7), 0]
    assert counts.sum(0)[0] == 3
    both = np.concatenate([1 - probabilities, probabilities], axis=1)
    assert count_bins(both, truth, TWO) == pytest.approx(counts)
    error, _ = calibration_error(counts[None])
    assert error == pytest.approx((0.2 + 0.7) / 3)


def test_certain_and_right_is_no_error() -> None:
    truth = np.array([[0, 1]], np.uint8)
    counts = count_bins(truth[None, None].astype(np.float32), truth, ONE)
    assert calibration_error(np.stack([counts] * 3)) == (0.0, (0.0, 0.0))


def test_error_of_images_has_an_interval() -> None:
    truth = np.zeros((1, 4), np.uint8)
    images = [np.full((1, 1, 1, 4), level, np.float32) for level in (0.0, 0.1, 0.2, 0.3)]
    counts = np.stack([count_bins(image, truth, ONE) for image in images])
    error, (low, high) = calibration_error(counts)
    assert error == pytest.approx(0.15)
    assert low < error < high


def test_a_form_is_told_with_its_worst_image_and_sizes() -> None:
    # Of 400 pixels 100 are the object; 20 missed ones are 500 of 10,000, and a Dice of 160/180.
    found = differences_of(form("way", val=[0] * 3, test=[0] * 19 + [20]).test)
    assert found["flips"] == pytest.approx(25.0)
    assert found["worst_flips"] == 500
    assert found["worst_dice"] == pytest.approx(160 / 180 - 1)
    assert sorted(found["by_size"]) == ["large", "medium", "small"]
    assert "image19" not in str(found)
    row = {"model": "net", "form": "way", "dice_pooled": 0.9, "dice_pooled_interval": [0.8, 1.0]}
    titles, _, line = table_lines([{**row, **found}])
    assert titles.count("|") == line.count("|")
    assert "| 0.9000 (0.8000..1.0000) |" in line
    assert "| 25.0 (" in line


@needs("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime")
def test_the_same_network_in_fp32_differs_in_nothing() -> None:
    request = StudyRequest("egeunet", None, ("onnxruntime",), splits=("val",))
    reference, same = study_forms(
        request, candidates_of=lambda context, _: [context.fixed_candidate("fp32")]
    )
    assert reference["form"] == REFERENCE
    assert same["form"].startswith("onnxruntime: fp32")
    assert (same["flips"], same["worst_flips"], same["images"]) == (0, 0, reference["images"])
    for key in ("dice_pooled", "iou_pooled", "hd95_px"):
        assert same[key] == reference[key]
    assert same["calibration_error"] == pytest.approx(reference["calibration_error"], abs=1e-4)
    assert 0 < same["calibration_error"] < 0.2


@needs("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime")
def test_forms_by_named_methods_are_told_with_their_options() -> None:
    request = StudyRequest("egeunet", None, ("onnxruntime",), splits=("val",))
    methods = ("min-max", "percentile,percentile=99")
    _, plain, cut = study_forms(request, candidates_of=forms_by(methods))
    assert plain["form"].startswith("onnxruntime: int8 by min-max")
    assert cut["form"].startswith("onnxruntime: int8 by percentile")
    assert cut["form"].endswith(", percentile=99")
    assert plain["flips"] > 0


@needs("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime")
def test_an_option_that_a_method_lacks_is_named() -> None:
    request = StudyRequest("egeunet", None, ("onnxruntime",), splits=("val",))
    with pytest.raises(EdgesegError, match="percent"):
        list(study_forms(request, candidates_of=forms_by(["percentile,percent=99"])))
