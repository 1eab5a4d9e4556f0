"""The table of ways to quantise, from samples of which all is known."""

from __future__ import annotations

from pathlib import Path

import pytest
from known_forms import form
from support import needs

from edgeseg.pipeline.builder.context import BuildContext
from edgeseg.pipeline.builder.request import BuildRequest
from edgeseg.pipeline.studies.int8_ways import every_candidate, rows_of, table_lines
from edgeseg.progress import SILENT


def test_a_row_tells_flips_dice_and_the_worst_image_of_each_split() -> None:
    # Of 400 pixels 100 are the object; 20 missed ones are 500 of 10,000, and a Dice of 160/180.
    rows = list(rows_of("net", form("way", val=[0] * 20, test=[0] * 19 + [20])))
    assert [(row["split"], row["images"], row["flips"]) for row in rows] == [
        ("val", 20, 0.0),
        ("test", 20, pytest.approx(25.0)),
    ]
    assert rows[1]["worst_flips"] == 500
    assert rows[1]["worst_dice"] == pytest.approx(160 / 180 - 1)
    low, high = rows[1]["flips_interval"]
    assert low <= 25 <= high
    assert "image19" not in str(rows)
    _, _, line, _ = table_lines(rows)
    assert line == (
        "| net | val | way | 0.0 (0.0..0.0) | +0.0000 (+0.0000..+0.0000) | 0 | +0.000 |"
    )


@needs("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "openvino", "nncf")
def test_every_calibrator_comes_with_and_without_bias_correction(tmp_path: Path) -> None:
    context = BuildContext(BuildRequest("egeunet", "intel", "int8", tmp_path), SILENT)
    tried = [
        (one.method, dict(one.method_options).get("bias_correction"))
        for one in every_candidate(context, None)  # type: ignore[arg-type]
    ]
    calibrators = ("mse", "min-max", "percentile", "entropy")
    assert tried == [
        ("nncf", None),
        *((one, on) for one in calibrators for on in ("false", "true")),
    ]
