from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeseg.errors import CalibrationError
from edgeseg.quantize.plan import QuantPlan

FEW = settings(max_examples=30, deadline=None)


def test_scale_is_the_limit_over_127() -> None:
    assert QuantPlan({"relu": 12.7}).scale("relu") == pytest.approx(0.1, rel=1e-15)
    assert QuantPlan({"relu": 127}).scale("relu") == 1


@FEW
@given(st.floats(1e-30, 1e30))
def test_scale_grows_with_the_limit(limit: float) -> None:
    plan = QuantPlan({"small": limit, "large": 4 * limit})
    assert plan.scale("large") == 4 * plan.scale("small")
    assert 127 * plan.scale("small") == pytest.approx(limit)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf")])
def test_range_that_cannot_be_used_is_refused(limit: float) -> None:
    with pytest.raises(
        CalibrationError, match=rf"'dead' has no usable range.* is {limit}\..*dead layer"
    ) as caught:
        QuantPlan({"relu": 1.0, "dead": limit})
    assert "Calibrate with real images" in str(caught.value)


def test_plan_is_json() -> None:
    plan = QuantPlan({"x": 2.5}, ("conv_3",), "qdq", {"ranges": "largest magnitude"})
    record = json.loads(json.dumps(plan.to_json()))
    assert record.pop("float_nodes") == ["conv_3"]
    assert QuantPlan(float_nodes=("conv_3",), **record) == plan
