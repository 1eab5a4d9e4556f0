from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewritten_graphs import Rewrite, draw, graph, left_alone, rewritten
from support import needs

from edgeseg.lower.pointwise import (
    concat_by_sum,
    dense_pointwise,
    merge_pointwise,
    pointwise_before_resize,
    pointwise_by_product,
    split_by_pointwise,
    sum_into_pointwise,
    thin_pointwise_by_product,
)

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")


# Of maps 8x8.
FACTORS = {
    "scales": np.array([1, 1, 2, 1.5], np.float32),
    "uneven": np.array([1, 1, 1.1, 1.1], np.float32),  # gives 8x8 from other places
    "sizes": np.array([1, 4, 13, 16]),
    "fewer_rows": np.array([1, 4, 7, 16]),
    "two": np.array([16, 16]),
}


@given(group=st.sampled_from([2, 3, 6]), inputs=st.integers(1, 3), outputs=st.integers(1, 3))
@settings(max_examples=10, deadline=None)
def test_groups_become_one(group: int, inputs: int, outputs: int) -> None:
    model = graph(
        f"y = Conv<group = {group}>(x, w, b)",
        {"w": draw(group * outputs, inputs, 1, 1), "b": draw(group * outputs)},
        inputs={"x": (1, group * inputs, 5, 6)},
    )
    left = rewritten(dense_pointwise, model, {"Conv": 1})
    assert left.graph[0].attributes.get_int("group", 1) == 1


@pytest.mark.parametrize(
    ("attributes", "kernel"),
    [
        ("group = 1", (4, 4, 1, 1)),
        ("group = 2, strides = [2,2]", (4, 2, 1, 1)),
        ("group = 2, pads = [0,0,1,1]", (4, 2, 1, 1)),
        ("group = 2", (4, 2, 1, 3)),
        ("group = 2", (66, 2, 1, 1)),
    ],
)
def test_other_groups_stay(attributes: str, kernel: tuple[int, ...]) -> None:
    model = graph(f"y = Conv<{attributes}>(x, w)", {"w": draw(*kernel)})
    left_alone(dense_pointwise, model)


@given(
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.integers(1, 2),
    pads=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    channels=st.tuples(st.integers(2, 6), st.integers(1, 6)),
    biases=st.tuples(st.booleans(), st.booleans()),
)
@settings(max_examples=15, deadline=None)
def test_two_convolutions_become_one(
    kernel: tuple[int, int],
    strides: int,
    pads: list[int],
    channels: tuple[int, int],
    biases: tuple[bool, bool],
) -> None:
    middle, outputs = max(channels), min(channels)
    model = graph(
        f"m = Conv<strides = [{strides},{strides}], pads = {pads}>(x, v{', c' * biases[0]}) "
        f"y = Conv(m, w{', d' * biases[1]})",
        {
            "v": draw(middle, 4, *kernel),
            "c": draw(middle),
            "w": draw(outputs, middle, 1, 1),
            "d": draw(outputs, seed=1),
        },
    )
    rewritten(merge_pointwise, model, {"Conv": 1})


@pytest.mark.parametrize(
    ("body", "results"),
    [
        ("m = Conv(x, v) y = Conv(m, more)", "y"),  # would be more work
        ("m = Conv<group = 2>(x, halves) y = Conv(m, w)", "y"),
        ("m = Conv(x, v) y = Conv<group = 2>(m, halves)", "y"),
        ("m = Conv(x, v) y = Conv<strides = [2,2]>(m, w)", "y"),
        ("m = Conv(x, v) y = Conv<pads = [1,1,1,1]>(m, w)", "y"),
        ("m = Conv(x, v) y = Conv<pads = [1,1,1,1]>(m, large)", "y"),
        ("m = Conv(x, v) y = Conv(m, w)", "ym"),
        ("m = Conv(x, v) a = Conv(m, w) b = Relu(m) y = Mul(a, b)", "y"),
        ("m = Conv(x, v) u = Neg(w) y = Conv(m, u)", "y"),
        ("u = Neg(v) m = Conv(x, u) y = Conv(m, w)", "y"),
        ("m = Conv(x, v, computed) y = Conv(m, w)", "y"),
        ("m = Relu(x) y = Conv(m, w)", "y"),
    ],
)
def test_other_pairs_stay(body: str, results: str) -> None:
    constants = {
        "v": draw(4, 4, 1, 1),
        "w": draw(4, 4, 1, 1, seed=1),
        "more": draw(6, 4, 1, 1),
        "halves": draw(4, 2, 1, 1),
        "large": draw(4, 4, 3, 3),
        "c": draw(4),
    }
    body = f"computed = Neg(c) {body}" if "computed" in body else body
    left_alone(merge_pointwise, graph(body, constants, results=tuple(results)))


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4), biased=st.booleans())
@settings(max_examples=10, deadline=None)
def test_a_concatenation_becomes_a_sum(sizes: list[int], biased: bool) -> None:
    names = [f"x{index}" for index in range(len(sizes))]
    count = min(3, sum(sizes))
    model = graph(
        f"m = Concat<axis = 1>({', '.join(names)}) y = Conv(m, w{', b' * biased})",
        {"w": draw(count, sum(sizes), 1, 1), "b": draw(count)},
        inputs={name: (1, size, 5, 6) for name, size in zip(names, sizes, strict=True)},
    )
    left = {"Conv": len(sizes), "Add": len(sizes) - 1}
    rewritten(concat_by_sum, model, {kind: count for kind, count in left.items() if count})


def test_a_constant_part_is_convolved_too() -> None:
    model = graph(
        "m = Concat<axis = -3>(x, place) y = Conv(m, w)",
        {"place": draw(1, 2, 8, 8), "w": draw(3, 6, 1, 1)},
    )
    rewritten(concat_by_sum, model, {"Conv": 2, "Add": 1})


@pytest.mark.parametrize(
    ("body", "results"),
    [
        ("m = Concat<axis = 2>(x, x) y = Conv(m, half)", "y"),
        ("m = Concat<axis = 1>(x, x) y = Conv<group = 2>(m, half)", "y"),
        ("m = Concat<axis = 1>(x, x) y = Conv<strides = [2,2]>(m, w)", "y"),
        ("m = Concat<axis = 1>(x, x) y = Conv<pads = [1,0,1,0]>(m, w)", "y"),
        ("m = Concat<axis = 1>(x, x) y = Conv(m, w)", "ym"),
        ("m = Concat<axis = 1>(x, x) y = Conv(m, more)", "y"),
        ("m = Concat<axis = 1>(x, x) a = Conv(m, w) b = Conv(m, w2) y = Mul(a, b)", "y"),
    ],
)
def test_other_concatenations_stay(body: str, results: str) -> None:
    constants = {
        "w": draw(4, 8, 1, 1),
        "w2": draw(4, 8, 1, 1, seed=1),
        "half": draw(4, 4, 1, 1),
        "more": draw(9, 8, 1, 1),
    }
    left_alone(concat_by_sum, graph(body, constants, results=tuple(results)))


def test_parts_of_unknown_channels_stay() -> None:
    model = graph(
        "m = Concat<axis = 1>(x, z) y = Conv(m, w)",
        {"w": draw(4, 8, 1, 1)},
        inputs={"x": (1, "some", 8, 8), "z": (1, "others", 8, 8)},
    )
    left_alone(concat_by_sum, model)


@pytest.mark.parametrize(
    "resize",
    [
        'Resize<mode = "linear">(x, , scales)',
        'Resize<mode = "linear", coordinate_transformation_mode = "align_corners">(x, , , sizes)',
        'Resize<mode = "linear", coordinate_transformation_mode = "asymmetric">(x, , , sizes)',
        'Resize<mode = "cubic">(x, , , sizes)',
        'Resize<nearest_mode = "ceil">(x, , scales)',
    ],
)
@pytest.mark.parametrize("outputs", [1, 3])
def test_a_convolution_goes_before_an_enlargement(resize: str, outputs: int) -> None:
    constants = {"w": draw(outputs, 4, 1, 1), "b": draw(outputs), **FACTORS}
    model = graph(f"m = {resize} y = Conv(m, w, b)", constants)
    left = rewritten(pointwise_before_resize, model, {"Conv": 1, "Resize": 1})
    assert left.graph[0].op_type == "Conv"


@pytest.mark.parametrize(
    ("body", "results"),
    [
        ("m = Resize(x, , , fewer_rows) y = Conv(m, w)", "y"),
        ("m = Resize(x, , , sizes) y = Conv(m, more)", "y"),
        ("m = Resize(x, , , sizes) y = Conv<group = 2>(m, halves)", "y"),
        ("m = Resize(x, , , sizes) y = Conv<strides = [2,2]>(m, w)", "y"),
        ("m = Resize(x, , , sizes) y = Conv<pads = [0,0,0,1]>(m, w)", "y"),
        ("m = Resize(x, , , sizes) y = Conv(m, w)", "ym"),
        ("m = Resize(x, , , sizes) a = Conv(m, w) b = Relu(m) y = Mul(a, b)", "y"),
        # values from outside the map, which the convolution would change
        (
            'm = Resize<coordinate_transformation_mode = "tf_crop_and_resize", mode = "linear">'
            "(x, window, , sizes) y = Conv(m, w)",
            "y",
        ),
        ("m = Resize(x, , uneven) y = Conv(m, w)", "y"),
        ("m = Resize<axes = [2,3]>(x, , , two) y = Conv(m, w)", "y"),
        ('m = Resize<mode = "linear", antialias = 1>(x, , , sizes) y = Conv(m, w)', "y"),
    ],
)
def test_other_resizing_stays_in_front(body: str, results: str) -> None:
    constants = {
        "w": draw(4, 4, 1, 1),
        "more": draw(6, 4, 1, 1),
        "halves": draw(4, 2, 1, 1),
        "window": np.array([0, 0, -1, 0, 1, 1, 2, 1], np.float32),
        **FACTORS,
    }
    left_alone(pointwise_before_resize, graph(body, constants, results=tuple(results)))


@pytest.mark.parametrize("biased", [False, True])
def test_a_convolution_is_a_matrix_product(biased: bool) -> None:
    model = graph(
        f"y = Conv(x, w{', b' * biased})",
        {"w": draw(6, 5, 1, 1), "b": draw(6)},
        inputs={"x": (1, 5, 7, 10)},
    )
    left = {"Reshape": 2, "MatMul": 1, **({"Add": 1} if biased else {})}
    rewritten(pointwise_by_product, model, left)


@pytest.mark.parametrize("rewrite", [pointwise_by_product, thin_pointwise_by_product])
@pytest.mark.parametrize(
    ("convolution", "kernel"),
    [
        ("Conv<pads = [1,1,1,1]>", (4, 4, 3, 3)),
        ("Conv<pads = [1,1,1,1]>", (4, 4, 1, 1)),
        ("Conv<strides = [2,2]>", (4, 4, 1, 1)),
        ("Conv<group = 2>", (4, 2, 1, 1)),
    ],
)
def test_other_convolutions_are_no_products(
    rewrite: Rewrite, convolution: str, kernel: tuple[int, ...]
) -> None:
    model = graph(f"y = {convolution}(x, w)", {"w": draw(*kernel)}, inputs={"x": (1, 4, 20, 20)})
    left_alone(rewrite, model)


@pytest.mark.parametrize("shape", [(1, 4, 7, 9), (1, 4, "height", 9), (2, 4, 8, 8)])
def test_maps_that_are_small_unknown_or_several_are_not_flattened(
    shape: tuple[int | str, ...],
) -> None:
    model = graph("y = Conv(x, w)", {"w": draw(2, 4, 1, 1)}, inputs={"x": shape})
    left_alone(pointwise_by_product, model)


def test_only_thin_convolutions_are_products() -> None:
    body = "a = Conv(x, v) b = Conv(x, w) c = Conv(b, u) y = Add(a, c)"
    constants = {"v": draw(4, 6, 1, 1), "w": draw(5, 6, 1, 1), "u": draw(4, 5, 1, 1)}
    model = graph(body, constants, inputs={"x": (1, 6, 8, 8)})
    left = {"Conv": 1, "MatMul": 2, "Reshape": 4, "Add": 1}
    after = rewritten(thin_pointwise_by_product, model, left, count=2)
    assert after.graph.outputs[0].shape == (1, 4, 8, 8)


WEIGHTS = {
    "w": draw(4, 4, 1, 1),
    "v": draw(4, 4, 1, 1, seed=1),
    "b": draw(4),
    "three": draw(4, 4, 3, 3),
    "wide": draw(6, 4, 1, 1),
    "grouped": draw(4, 1, 1, 1),
    "one": draw(1, 4, 1, 1),
}


@given(terms=st.integers(1, 3), sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4))
@settings(max_examples=15, deadline=None)
def test_parts_are_sums_of_their_own(terms: int, sizes: list[int]) -> None:
    total = sum(sizes)
    names = [f"c{index}" for index in range(terms)]
    body = [f"{name} = Conv({name}x, {name}w, {name}b)" for name in names]
    body += [f"s{i} = Add({'s' + str(i - 1) if i > 1 else 'c0'}, c{i})" for i in range(1, terms)]
    whole = f"s{terms - 1}" if terms > 1 else "c0"
    parts = [f"p{index}" for index in range(len(sizes))]
    body.append(f"{', '.join(parts)} = Split<axis = 1>({whole}, sizes)")
    body += [f"y{part} = Relu({part})" for part in parts]
    constants = {"sizes": np.array(sizes)}
    for index, name in enumerate(names):
        constants[f"{name}w"] = draw(total, 3, 1, 1, seed=index)
        constants[f"{name}b"] = draw(total, seed=index)
    model = graph(
        " ".join(body),
        constants,
        inputs={f"{name}x": (1, 3, 5, 6) for name in names},
        results=[f"y{part}" for part in parts],
    )
    count = len(parts)
    wanted = {"Conv": terms * count, "Relu": count}
    if terms > 1:
        wanted["Add"] = (terms - 1) * count
    rewritten(split_by_pointwise, model, wanted)


@pytest.mark.parametrize(
    "body",
    [
        "s = Conv<pads = [1,1,1,1]>(x, three) p, q = Split<axis = 1, num_outputs = 2>(s)",
        "s = Conv<group = 4>(x, grouped) p, q = Split<axis = 1, num_outputs = 2>(s)",
        "c = Conv(x, w) s = Add(c, x) p, q = Split<axis = 1, num_outputs = 2>(s)",
        "s = Conv(x, w) p, q = Split<axis = 2, num_outputs = 2>(s)",
        "c = Conv(x, w) d = Conv(x, one) s = Add(c, d) p, q = Split<axis = 1, num_outputs = 2>(s)",
        "p, q = Split<axis = 1, num_outputs = 2>(x)",
    ],
)
def test_other_splits_stay(body: str) -> None:
    model = graph(f"{body} y = Add(p, q)", WEIGHTS)
    left_alone(split_by_pointwise, model)


@pytest.mark.parametrize(
    ("body", "results"),
    [
        ("s = Conv(x, w) p, q = Split<axis = 1, num_outputs = 2>(s) y = Add(p, q)", ("y", "s")),
        (
            "c = Conv(x, w) d = Conv(x, v) s = Add(c, d) "
            "p, q = Split<axis = 1, num_outputs = 2>(s) y = Add(p, q) z = Relu(c)",
            ("y", "z"),
        ),
    ],
)
def test_what_others_read_stays(body: str, results: tuple[str, ...]) -> None:
    left_alone(split_by_pointwise, graph(body, WEIGHTS, results=results))


@pytest.mark.parametrize(
    ("body", "operators"),
    [
        ("c = Conv(x, w, b) y = Add(x, c)", {"Conv": 1}),
        ("c = Conv(x, w, b) y = Add(c, x)", {"Conv": 1}),
        (
            "c = Conv(x, w) r = Relu(x) s = Add(r, c) y = Add(s, x)",
            {"Conv": 1, "Relu": 1, "Add": 1},
        ),
        (
            "c = Conv(x, w) d = Conv(c, v) s = Add(c, d) r = Relu(c) y = Add(s, r)",
            {"Conv": 2, "Relu": 1, "Add": 1},
        ),
        # Both convolutions read x, and x is added once.
        ("c = Conv(x, w) d = Conv(x, v) s = Add(c, d) y = Add(s, x)", {"Conv": 2, "Add": 1}),
    ],
)
def test_identity_goes_into_the_convolution(body: str, operators: dict[str, int]) -> None:
    rewritten(sum_into_pointwise, graph(body, WEIGHTS), operators)


@pytest.mark.parametrize(
    "body",
    [
        "c = Conv<pads = [1,1,1,1]>(x, three) y = Add(x, c)",
        "c = Conv<group = 4>(x, grouped) y = Add(x, c)",
        "r = Relu(x) c = Conv(r, w) y = Add(x, c)",
        "c = Conv(x, w) y = Sub(x, c)",
        "c = Conv(x, w) z = Add(x, c) y = Add(z, c)",
    ],
)
def test_other_sums_stay(body: str) -> None:
    left_alone(sum_into_pointwise, graph(body, WEIGHTS))


def test_a_sum_that_broadcasts_stays() -> None:
    model = graph(
        "c = Conv(x, w) y = Add(x, c)",
        {"w": draw(4, 1, 1, 1)},
        inputs={"x": (1, 1, 5, 6)},
    )
    left_alone(sum_into_pointwise, model)
