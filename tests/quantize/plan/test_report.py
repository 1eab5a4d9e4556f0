from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgeseg.quantize.plan.quant_plan import Provenance, QuantPlan, WeightGrid
from edgeseg.quantize.plan.report import Difference, compare_plans

GRID = WeightGrid(np.array([[[[3]]], [[[5]]]], np.int8), np.array([1, 2], np.float32))
PLAN = QuantPlan(
    {"x": 2.0, "r": 1.0},
    weights={"a": GRID},
    biases={"a": np.array([1, 3], np.float32)},
    provenance=Provenance("mse", {"bins": 9}, images=("0a", "0b")),
)


def test_equal_plans_do_not_differ() -> None:
    assert compare_plans(PLAN, replace(PLAN)) == []


def test_order_of_images_is_no_difference() -> None:
    turned = replace(PLAN, provenance=replace(PLAN.provenance, images=("0b", "0a")))
    assert compare_plans(PLAN, turned) == []


def test_each_kind_of_difference_is_told() -> None:
    grid = WeightGrid(np.array([[[[3]]], [[[6]]]], np.int8), np.array([1, 1], np.float32))
    other = QuantPlan(
        {"x": 2.5, "s": 1.0},
        ("a",),
        {"a": grid},
        {"a": np.array([1, 3.5], np.float32)},
        zero_points={"s": -128},
        provenance=Provenance("mse", {"bins": 10}, images=("0b",)),
    )
    assert compare_plans(PLAN, other) == [
        Difference("convolution", "a", "int8", "float"),
        Difference("range", "r", "1.0", "none"),
        Difference("range", "s", "none", "1.0, zero point -128"),
        Difference("range", "x", "2.0", "2.5"),
        Difference("weights", "a", "2 quantized values", "1 values differ, scales times 0.5..1"),
        Difference("bias", "a", "mean magnitude 2", "mean magnitude 2.25, moved by up to 0.5"),
        Difference("settings", "", "{'bins': 9}", "{'bins': 10}"),
        Difference("images", "", "2 images, 1 of them in both", "1 images, 1 of them in both"),
    ]


def test_what_only_one_plan_has_is_told() -> None:
    bare = replace(PLAN, weights={}, biases={})
    assert compare_plans(bare, PLAN) == [
        Difference("convolution", "a", "none", "int8"),
        Difference("weights", "a", "none", "shape (2, 1, 1, 1)"),
        Difference("bias", "a", "the graph's", "mean magnitude 2"),
    ]
