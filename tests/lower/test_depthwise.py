from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewritten_graphs import draw, graph, left_alone, rewritten
from support import needs

from edgeseg.lower.depthwise import (
    box_by_depthwise,
    dense_stem,
    merge_parallel,
    stride_before_dilation,
)

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")


DEPTHWISE = "group = 4, pads = [1,1,1,1]"
FARTHER = "group = 4, dilations = [3,3], pads = [3,3,3,3]"
BOX = "AveragePool<kernel_shape = [3,3], pads = [1,1,1,1], count_include_pad = 1>(x)"
LARGER_BOX = "AveragePool<kernel_shape = [5,5], pads = [2,2,2,2], count_include_pad = 1>(x)"
WIDER = "group = 4, dilations = [2,2], pads = [2,2,2,2]"


@pytest.mark.parametrize(
    "attributes",
    [
        "kernel_shape = [2,2], strides = [2,2]",
        "kernel_shape = [3,3], pads = [1,1,1,1], count_include_pad = 1",
        "kernel_shape = [3,5], pads = [1,2,0,1], count_include_pad = 1",
        "kernel_shape = [3,3], dilations = [2,2], pads = [2,2,2,2], count_include_pad = 1",
    ],
)
@pytest.mark.parametrize("sum_of_both", ["Add(a, b)", "Add(b, a)"])
def test_an_average_beside_a_depthwise_convolution_is_one(
    attributes: str, sum_of_both: str
) -> None:
    shared = attributes.replace(", count_include_pad = 1", "")
    model = graph(
        f"a = AveragePool<{attributes}>(x) b = Conv<{shared}, group = 4>(x, w) y = {sum_of_both}",
        {"w": draw(4, 1, *(int(size) for size in shared.split("[")[1].split("]")[0].split(",")))},
    )
    rewritten(box_by_depthwise, model, {"Conv": 2, "Add": 1})


@pytest.mark.parametrize(
    ("body", "convolutions", "count"),
    [
        ("s = Add(x, a) y = Add(s, b)", 2, 1),
        (f"p = {LARGER_BOX} s = Add(a, p) y = Add(s, b)", 3, 2),
    ],
)
def test_an_average_in_a_sum_of_what_one_map_gives_is_one(
    body: str, convolutions: int, count: int
) -> None:
    model = graph(f"a = {BOX} b = Conv<{DEPTHWISE}>(x, w) {body}", {"w": draw(4, 1, 3, 3)})
    rewritten(box_by_depthwise, model, {"Conv": convolutions, "Add": 2}, count=count)


@pytest.mark.parametrize(
    "readers",
    [
        "y = Relu(a)",
        "r = Relu(x) y = Add(a, r)",
        f"b = Conv<{DEPTHWISE}>(x, w) r = Relu(a) s = Add(a, b) y = Add(s, r)",
        f"r = Relu(x) b = Conv<{DEPTHWISE}>(r, w) y = Add(a, b)",
        f"r = Relu(x) s = Add(r, a) b = Conv<{DEPTHWISE}>(x, w) y = Add(s, b)",
        f"b = Conv<{DEPTHWISE}>(x, w) s = Add(a, b) y = Mul(s, b)",
        f"b = Conv<{FARTHER}>(x, w) y = Add(a, b)",
        f"b = Conv<{DEPTHWISE}>(x, w) c = Conv<{FARTHER}>(x, w) s = Add(a, c) y = Add(b, s)",
        "b = Conv<pads = [1,1,1,1]>(x, v) y = Add(a, b)",
    ],
)
def test_an_average_that_could_not_be_merged_stays(readers: str) -> None:
    weights = {"w": draw(4, 1, 3, 3), "v": draw(4, 4, 3, 3)}
    used = {name: value for name, value in weights.items() if f", {name})" in readers}
    left_alone(box_by_depthwise, graph(f"a = {BOX} {readers}", used))


@pytest.mark.parametrize(
    "attributes",
    [
        "kernel_shape = [3,3], pads = [1,1,1,1]",  # borders count fewer pixels
        'kernel_shape = [3,3], auto_pad = "SAME_UPPER", count_include_pad = 1',
        "kernel_shape = [3,3], strides = [2,2], ceil_mode = 1",
        "kernel_shape = [7,7]",
    ],
)
def test_other_averages_stay(attributes: str) -> None:
    pooled = f"a = AveragePool<{attributes}>(x)"
    same = attributes.replace(", count_include_pad = 1", "")  # a map of the same size
    same = same.replace("ceil_mode = 1", "pads = [0,0,1,1]")
    same = same.replace('auto_pad = "SAME_UPPER"', "pads = [1,1,1,1]")
    model = graph(
        f"{pooled} b = Conv<{same}, group = 4>(x, w) y = Add(a, b)",
        {"w": draw(4, 1, 7, 7) if "7" in attributes else draw(4, 1, 3, 3)},
    )
    left_alone(box_by_depthwise, model)


def test_averages_of_rows_do_no_harm() -> None:
    model = graph(
        "a = AveragePool<kernel_shape = [3]>(x) b = Conv<group = 4>(x, w) y = Add(a, b)",
        {"w": draw(4, 1, 3)},
        inputs={"x": (1, 4, 8)},
    )
    left_alone(box_by_depthwise, model)


def test_averages_of_maps_of_unknown_channels_stay() -> None:
    model = graph(
        "a = AveragePool<kernel_shape = [3,3]>(x) b = Conv<group = 4>(x, w) y = Add(a, b)",
        {"w": draw(4, 1, 3, 3)},
        inputs={"x": (1, "channels", 8, 8)},
    )
    left_alone(box_by_depthwise, model)


@given(
    dilations=st.tuples(st.sampled_from([1, 2]), st.sampled_from([1, 2])),
    strides=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    group=st.sampled_from([1, 2, 4]),
    biases=st.booleans(),
)
@settings(max_examples=15, deadline=None)
def test_equal_kernels_are_added(
    dilations: tuple[int, int], strides: tuple[int, int], group: int, biases: bool
) -> None:
    shared = f"group = {group}, dilations = {list(dilations)}, strides = {list(strides)}"
    model = graph(
        f"a = Conv<{shared}>(x, v{', c' * biases}) b = Conv<{shared}>(x, w) y = Add(a, b)",
        {"v": draw(4, 4 // group, 3, 3), "w": draw(4, 4 // group, 3, 3, seed=1), "c": draw(4)},
    )
    rewritten(merge_parallel, model, {"Conv": 1})


@given(
    sizes=st.tuples(*[st.sampled_from([1, 3, 5])] * 4),
    strides=st.integers(1, 2),
    extra=st.integers(0, 1),
)
@settings(max_examples=20, deadline=None)
def test_depthwise_kernels_of_other_sizes_are_laid_over_each_other(
    sizes: tuple[int, int, int, int], strides: int, extra: int
) -> None:
    one, other = sizes[:2], sizes[2:]
    convolutions = [
        f"{name} = Conv<group = 4, strides = [{strides},{strides}], "
        f"pads = [{h // 2 + extra},{w // 2},{h // 2},{w // 2 + extra}]>(x, {weight}, c{name})"
        for name, weight, (h, w) in (("a", "v", one), ("b", "w", other))
    ]
    model = graph(
        f"{' '.join(convolutions)} y = Add(a, b)",
        {
            "v": draw(4, 1, *one),
            "w": draw(4, 1, *other, seed=1),
            "ca": draw(4),
            "cb": draw(4, seed=1),
        },
    )
    span = max(one[0], other[0]) * max(one[1], other[1])
    if span <= 2 * (np.prod(one) + np.prod(other)):
        rewritten(merge_parallel, model, {"Conv": 1})
    else:
        left_alone(merge_parallel, model)


def test_a_dilated_kernel_is_laid_over_a_dense_one() -> None:
    model = graph(
        f"a = Conv<{DEPTHWISE}>(x, v) b = Conv<{WIDER}>(x, w, c) y = Add(b, a)",
        {"v": draw(4, 1, 3, 3), "w": draw(4, 1, 3, 3, seed=1), "c": draw(4)},
    )
    rewritten(merge_parallel, model, {"Conv": 1})


@pytest.mark.parametrize("group", [1, 2, 4])
def test_a_map_is_added_at_the_centre(group: int) -> None:
    model = graph(
        f"a = Conv<group = {group}, dilations = [2,1], pads = [2,2,2,2]>(x, w, c) y = Add(a, x)",
        {"w": draw(4, 4 // group, 3, 5), "c": draw(4)},
    )
    rewritten(merge_parallel, model, {"Conv": 1})


def test_sums_of_several_are_merged() -> None:
    model = graph(
        f"a = Conv<{DEPTHWISE}>(x, v) b = Conv<{WIDER}>(x, w) s = Add(x, a) y = Add(s, b)",
        {"v": draw(4, 1, 3, 3), "w": draw(4, 1, 3, 3, seed=1)},
    )
    rewritten(merge_parallel, model, {"Conv": 1}, count=2)


@pytest.mark.parametrize(
    "body",
    [
        # of two maps
        f"r = Relu(x) a = Conv<{DEPTHWISE}>(x, v) b = Conv<{DEPTHWISE}>(r, w) y = Add(a, b)",
        # one is read by another, too
        f"a = Conv<{DEPTHWISE}>(x, v) b = Conv<{DEPTHWISE}>(x, w) s = Add(a, b) y = Mul(s, a)",
        # a sum with itself
        f"a = Conv<{DEPTHWISE}>(x, v) y = Add(a, a)",
        # other strides, one row, spread over the other's
        "a = Conv<group = 4, strides = [8,1], pads = [1,1,1,1]>(x, v) "
        f"b = Conv<{DEPTHWISE}>(x, w) y = Add(a, b)",
        # about other centres
        f"a = Conv<group = 4, pads = [0,1,2,1]>(x, v) b = Conv<{DEPTHWISE}>(x, w) y = Add(a, b)",
        "a = Conv<group = 4, dilations = [2,2], pads = [1,2,3,2]>(x, v) "
        f"b = Conv<{DEPTHWISE}>(x, w) y = Add(a, b)",
        # spanning more than 5x5
        "a = Conv<group = 4, dilations = [3,3], pads = [3,3,3,3]>(x, v) "
        f"b = Conv<{DEPTHWISE}>(x, w) y = Add(a, b)",
        # weights that are computed, and sizes that are not stated
        f"u = Neg(v) a = Conv<{DEPTHWISE}>(x, u) b = Conv<{DEPTHWISE}>(x, w) y = Add(a, b)",
        'a = Conv<group = 4, auto_pad = "SAME_UPPER">(x, v) '
        f"b = Conv<{DEPTHWISE}>(x, w) y = Add(a, b)",
        # the map itself, but not at the kernel's centre
        "a = Conv<group = 4, pads = [0,1,2,1]>(x, v) y = Add(x, a)",
        "a = Conv<group = 4, pads = [0,0,1,1]>(x, even) y = Add(x, a)",
        "a = Conv<pads = [1,1,1,1]>(x, one) y = Add(x, a)",
    ],
)
def test_other_sums_stay(body: str) -> None:
    constants = {
        "v": draw(4, 1, 3, 3),
        "w": draw(4, 1, 3, 3, seed=1),
        "even": draw(4, 1, 2, 2),
        "one": draw(1, 4, 3, 3),
    }
    left_alone(merge_parallel, graph(body, constants))


def test_dense_kernels_of_other_dilations_stay() -> None:
    model = graph(
        "a = Conv<pads = [1,1,1,1]>(x, v) b = Conv<dilations = [2,2], pads = [2,2,2,2]>(x, w) "
        "y = Add(a, b)",
        {"v": draw(4, 4, 3, 3), "w": draw(4, 4, 3, 3, seed=1)},
    )
    left_alone(merge_parallel, model)


def test_a_summand_that_the_graph_returns_stays() -> None:
    model = graph(
        f"a = Conv<{DEPTHWISE}>(x, v) b = Conv<{DEPTHWISE}>(x, w) y = Add(a, b)",
        {"v": draw(4, 1, 3, 3), "w": draw(4, 1, 3, 3, seed=1)},
        results=("y", "a"),
    )
    left_alone(merge_parallel, model)


@given(
    height=st.integers(5, 12),
    width=st.integers(5, 12),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilations=st.tuples(st.sampled_from([2, 4]), st.sampled_from([2, 4])),
    pads=st.lists(st.sampled_from([0, 2, 4]), min_size=4, max_size=4),
)
@settings(max_examples=25, deadline=None)
def test_every_other_pixel_is_left_out(
    height: int,
    width: int,
    kernel: tuple[int, int],
    dilations: tuple[int, int],
    pads: list[int],
) -> None:
    sizes = zip((height, width), kernel, dilations, pads[:2], pads[2:], strict=True)
    if any(size + low + high <= (taps - 1) * step for size, taps, step, low, high in sizes):
        return  # nothing would be left of the map
    model = graph(
        "m = Conv(x, v, c) "
        f"y = Conv<strides = [2,2], group = 4, dilations = {list(dilations)}, pads = {pads}>(m, w)",
        {"v": draw(4, 4, 1, 1), "c": draw(4), "w": draw(4, 1, *kernel)},
        inputs={"x": (1, 4, height, width)},
    )
    left = rewritten(stride_before_dilation, model, {"Conv": 2})
    assert [node.attributes["strides"].as_ints() for node in left.graph] == [(2, 2), (1, 1)]


@pytest.mark.parametrize(
    ("attributes", "before"),
    [
        ("strides = [2,2], dilations = [2,1], pads = [2,2,2,2]", "Conv(x, v, c)"),
        ("strides = [2,2], dilations = [2,2], pads = [1,1,1,1]", "Conv(x, v, c)"),
        ("strides = [2,2], dilations = [2,2], pads = [2,2,2,1]", "Conv(x, v, c)"),
        ("strides = [1,2], dilations = [2,2], pads = [2,2,2,2]", "Conv(x, v, c)"),
        ("strides = [1,1], dilations = [2,2], pads = [2,2,2,2]", "Conv(x, v, c)"),
        ("strides = [2,2], dilations = [2,2], pads = [2,2,2,2]", "Relu(x)"),
        ("strides = [2,2], dilations = [2,2], pads = [2,2,2,2]", "Conv<pads = [1,1,1,1]>(x, v, c)"),
        ("strides = [2,2], dilations = [2,2], pads = [2,2,2,2]", "Conv<strides = [2,2]>(x, v, c)"),
    ],
)
def test_other_strided_convolutions_stay(attributes: str, before: str) -> None:
    model = graph(
        f"m = {before} y = Conv<group = 4, {attributes}>(m, w)",
        {"v": draw(4, 4, 1, 1), "c": draw(4), "w": draw(4, 1, 3, 3)},
    )
    left_alone(stride_before_dilation, model)


@pytest.mark.parametrize(
    ("first", "attributes"),
    [("Conv(x, v)", "pads = [1,1,1,1], strides = [2,2]"), ("Conv(x, v, c)", "dilations = [2,1]")],
)
def test_a_stem_is_one_dense_convolution(first: str, attributes: str) -> None:
    model = graph(
        f"m = {first} y = Conv<group = 8, {attributes}>(m, w, d)",
        {"v": draw(8, 3, 1, 1), "c": draw(8), "w": draw(8, 1, 3, 3), "d": draw(8, seed=1)},
        inputs={"x": (1, 3, 9, 8)},
    )
    rewritten(dense_stem, model, {"Conv": 1})


@pytest.mark.parametrize(
    ("body", "results"),
    [
        # outside the map the bias would be missing
        ("m = Conv(x, v, c) y = Conv<group = 8, pads = [1,1,1,1]>(m, w)", "y"),
        ("m = Conv(x, v) d = Conv<group = 8>(m, w) s = Conv<group = 8>(m, w2) y = Mul(s, d)", "y"),
        ("m = Conv(x, v) y = Conv<group = 8>(m, w)", "ym"),
        ("m = Conv<strides = [2,2]>(x, v) y = Conv<group = 8>(m, w)", "y"),
        ("m = Conv<pads = [1,0,0,0]>(x, v) y = Conv<group = 8>(m, w)", "y"),
        ("m = Conv(x, v) y = Conv<group = 4>(m, w4)", "y"),
        ("m = Conv<group = 2>(x, v2) y = Conv<group = 8>(m, w)", "y"),
        ("m = Relu(x) y = Conv<group = 4>(m, w)", "y"),
    ],
)
def test_other_stems_stay(body: str, results: str) -> None:
    constants = {
        "v": draw(8, 4, 1, 1),
        "v2": draw(8, 2, 1, 1),
        "c": draw(8),
        "w": draw(8, 1, 3, 3),
        "w2": draw(8, 1, 3, 3, seed=1),
        "w4": draw(8, 2, 3, 3),
    }
    left_alone(dense_stem, graph(body, constants, results=tuple(results)))


def test_a_stem_of_many_channels_stays() -> None:
    model = graph(
        "m = Conv(x, v) y = Conv<group = 8>(m, w)",
        {"v": draw(8, 5, 1, 1), "w": draw(8, 1, 3, 3)},
        inputs={"x": (1, 5, 8, 8)},
    )
    left_alone(dense_stem, model)
