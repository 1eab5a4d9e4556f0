from __future__ import annotations

import json
import string
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edgeseg.errors import CalibrationError, UsageError
from edgeseg.quantize.plan.files import load_plan, save_plan
from edgeseg.quantize.plan.quant_plan import Provenance, QuantPlan, WeightGrid

FEW = settings(max_examples=30, deadline=None)
# A zero byte is refused wherever JSON is read; see tests/storage/test_reading.py.
NAMES = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=8)
LIMITS = st.floats(1e-30, 1e30)
NUMBERS = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
POSITIVE = st.floats(2.0**-40, 2.0**40, width=32)


@st.composite
def grids(draw: st.DrawFn) -> WeightGrid:
    shape = draw(array_shapes(min_dims=4, max_dims=4, max_side=3))
    quantized = draw(arrays(np.int8, shape, elements=st.integers(-127, 127)))
    return WeightGrid(quantized, draw(arrays(np.float32, shape[:1], elements=POSITIVE)))


RANGES = st.dictionaries(NAMES, st.tuples(LIMITS, st.integers(-128, 127)), max_size=4)


def plan_of(ranges: dict[str, tuple[float, int]], **parts: Any) -> QuantPlan:
    limits = {name: limit for name, (limit, _) in ranges.items()}
    zero_points = {name: zero for name, (_, zero) in ranges.items() if zero}
    return QuantPlan(limits, zero_points=zero_points, **parts)


PLANS = st.builds(
    plan_of,
    ranges=RANGES,
    float_nodes=st.lists(NAMES, unique=True, max_size=3).map(lambda names: tuple(sorted(names))),
    weights=st.dictionaries(NAMES, grids(), max_size=3),
    biases=st.dictionaries(NAMES, arrays(np.float32, st.integers(1, 4), elements=NUMBERS)),
    provenance=st.builds(
        Provenance,
        method=st.text(string.ascii_lowercase, max_size=5),
        settings=st.dictionaries(NAMES, st.one_of(st.booleans(), st.integers(), LIMITS)),
        graph_sha256=DIGESTS,
        images=st.lists(DIGESTS, max_size=3).map(tuple),
        seed=st.none() | st.integers(0, 99),
        agreement=st.dictionaries(NAMES, LIMITS, max_size=2),
    ),
)


def example() -> QuantPlan:
    grid = WeightGrid(np.array([[[[3]]], [[[-127]]]], np.int8), np.array([0.5, 2], np.float32))
    bias = np.array([1, -1], np.float32)
    return QuantPlan({"x": 2.5, "r": 1.0}, ("c",), {"a": grid}, {"a": bias})


def test_scale_is_the_limit_over_127_in_float32() -> None:
    assert QuantPlan({"relu": 12.7}).scale("relu") == float(np.float32(0.1))
    assert QuantPlan({"relu": 127}).scale("relu") == 1


@FEW
@given(LIMITS)
def test_scale_grows_with_the_limit(limit: float) -> None:
    plan = QuantPlan({"small": limit, "large": 4 * limit})
    assert plan.scale("large") == 4 * plan.scale("small")
    assert 127 * plan.scale("small") == pytest.approx(limit, rel=1e-6)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf")])
def test_range_that_cannot_be_used_is_refused(limit: float) -> None:
    with pytest.raises(
        CalibrationError, match=rf"'dead' has no usable range.* is {limit}\..*dead layer"
    ) as caught:
        QuantPlan({"relu": 1.0, "dead": limit})
    assert "Calibrate with real images" in str(caught.value)


@pytest.mark.parametrize(("name", "zero"), [("relu", 128), ("relu", -129), ("no_such_range", 0)])
def test_zero_point_that_cannot_be_is_refused(name: str, zero: int) -> None:
    with pytest.raises(CalibrationError, match=rf"'{name}' has the zero point {zero}.*-128\.\.127"):
        QuantPlan({"relu": 1.0}, zero_points={name: zero})


def test_zero_point_is_0_where_none_is_given() -> None:
    plan = QuantPlan({"a": 1.0, "b": 1.0}, zero_points={"a": -128})
    assert (plan.zero_point("a"), plan.zero_point("b")) == (-128, 0)


def test_weights_are_values_times_scales() -> None:
    weights = example().weights["a"].weights()
    assert weights.dtype == np.float32
    assert weights.ravel().tolist() == [1.5, -254]


@pytest.mark.parametrize(
    ("values", "scales", "reason"),
    [
        (np.zeros((2, 1), np.float32), np.ones(2, np.float32), "must be int8"),
        (np.full((2, 1), -128, np.int8), np.ones(2, np.float32), r"from -127 to 127"),
        (np.zeros((2, 1), np.int8), np.ones(3, np.float32), r"must be float32 \(2,\)"),
        (np.zeros((2, 1), np.int8), np.ones(2, np.float64), "must be float32"),
        (np.zeros((2, 1), np.int8), np.zeros(2, np.float32), "not a positive number"),
        (np.zeros((1, 1), np.int8), np.array([np.nan], np.float32), "NaN in the checkpoint"),
    ],
)
def test_invalid_grid_is_refused(values: np.ndarray, scales: np.ndarray, reason: str) -> None:
    with pytest.raises(CalibrationError, match=reason):
        WeightGrid(values, scales)


def test_bias_that_is_no_number_names_its_convolution() -> None:
    with pytest.raises(CalibrationError, match=r"bias of the convolution 'a'.*Calibrate anew"):
        QuantPlan({}, biases={"a": np.array([np.inf], np.float32)})


def test_more_convolutions_can_be_float() -> None:
    plan = example()
    assert plan.with_float(["b", "c", "a"]).float_nodes == ("a", "b", "c")
    assert plan.with_float([]) == plan
    assert plan.with_float(["b"]).ranges == plan.ranges
    assert plan.float_nodes == ("c",)


def test_record_names_what_the_manifest_wants() -> None:
    images = ("00", "11")
    plan = QuantPlan({}, provenance=Provenance("mse", {"bins": 9}, images=images))
    record = plan.record({"int8_convolutions": 3})
    assert (record.method, record.settings, record.images) == ("mse", {"bins": 9}, images)
    assert record.layers == {"int8_convolutions": 3}


@pytest.mark.parametrize(
    "other",
    [
        QuantPlan({"x": 2.5}),
        replace(example(), ranges={"x": 2.5, "r": 1.5}),
        replace(example(), zero_points={"r": -128}),
        example().with_float(["b"]),
        replace(example(), biases={"a": np.array([1, -1.5], np.float32)}),
        replace(example(), provenance=Provenance(seed=1)),
        replace(
            example(),
            weights={"a": WeightGrid(example().weights["a"].values, np.ones(2, np.float32))},
        ),
    ],
)
def test_plans_are_equal_when_all_is(other: QuantPlan) -> None:
    assert example() == example()
    assert other != example()
    assert other.to_json() != example().to_json()


# On disk


@FEW
@given(PLANS)
def test_a_plan_survives_a_round_trip(plan: QuantPlan) -> None:
    with TemporaryDirectory() as folder:
        save_plan(plan, Path(folder) / "plan")
        again = load_plan(Path(folder) / "plan")
    assert again == plan
    assert again.provenance == plan.provenance
    for name, grid in plan.weights.items():
        assert again.weights[name].weights().tobytes() == grid.weights().tobytes()
    for name in plan.ranges:
        assert again.scale(name) == plan.scale(name)


def test_saving_replaces_the_plan_and_leaves_other_files(tmp_path: Path) -> None:
    save_plan(example(), tmp_path)
    (tmp_path / "note.txt").write_text("mine")
    save_plan(example().with_float(["b"]), tmp_path)
    assert load_plan(tmp_path).float_nodes == ("b", "c")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"plan.json", "plan.safetensors", "note.txt"}


def test_equal_plans_give_equal_files(tmp_path: Path) -> None:
    plan = example()
    turned = replace(plan, ranges=dict(reversed(plan.ranges.items())))
    save_plan(plan, tmp_path / "one")
    save_plan(turned, tmp_path / "two")
    for name in ("plan.json", "plan.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_folder_without_a_plan_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no quantisation plan.*Name the folder of a plan"):
        load_plan(tmp_path)


def test_plan_of_another_version_says_what_to_install(tmp_path: Path) -> None:
    save_plan(example(), tmp_path)
    record = json.loads((tmp_path / "plan.json").read_text())
    (tmp_path / "plan.json").write_text(json.dumps({**record, "schema_version": 9}))
    with pytest.raises(CalibrationError, match=r"version 9; this edgeseg reads 1 to 2\. Cal"):
        load_plan(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plan.json", b"{"),
        ("plan.json", b'{"schema_version": 1}'),
        ("plan.json", b'{"schema_version": 2}'),
        ("plan.safetensors", b"rubbish"),
        ("plan.safetensors", None),
    ],
)
def test_damaged_plan_says_so(tmp_path: Path, name: str, content: bytes | None) -> None:
    save_plan(example(), tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CalibrationError, match=r"is not a complete plan.*or calibrate anew"):
        load_plan(tmp_path)


def test_tensors_of_another_plan_are_noticed(tmp_path: Path) -> None:
    save_plan(example(), tmp_path / "one")
    grid = WeightGrid(example().weights["a"].values, np.array([0.5, 3], np.float32))
    save_plan(replace(example(), weights={"a": grid}), tmp_path / "two")
    other = (tmp_path / "two" / "plan.safetensors").read_bytes()
    (tmp_path / "one" / "plan.safetensors").write_bytes(other)
    with pytest.raises(CalibrationError, match=r"does not belong to plan\.json.*Copy both again"):
        load_plan(tmp_path / "one")
