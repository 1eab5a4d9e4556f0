"""Every operator on drawn sizes, against ONNX Runtime; fused and on every instruction set here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from native_graphs import Branches, reference
from support import needs

from edgeseg.targets import find_runtime
from edgeseg.targets.native.isa import INSTRUCTION_SETS, runs_here

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")

# In floats, sets with products of bytes differ from others by nothing.
HERE = [name for name, isa in INSTRUCTION_SETS.items() if runs_here(isa) and not isa.machine.bytes]
SIZES = [(17, 23), (8, 8), (1, 1), (32, 48), (5, 16), (40, 3)]


def compare(branches: Branches, folder: Path, isa: str = "here", tolerance: float = 2e-5) -> None:
    """Compile and compare each branch, relative to the size of its values."""
    path = branches.save(folder / "branches.onnx")
    runtime = find_runtime("native", {"isa": isa})
    image = branches.image()
    wanted = reference(path, image).ravel()
    artifact = runtime.compile(path, folder / "made", "fp32")
    given = runtime.load(artifact).run(image).ravel()
    assert given.shape == wanted.shape
    start = 0
    for title, size in zip(branches.titles, sizes_of(path, branches), strict=True):
        one, other = given[start : start + size], wanted[start : start + size]
        limit = tolerance * max(1.0, float(np.abs(other).max()))
        difference = float(np.abs(one - other).max())
        assert difference <= limit, f"{title}: {difference}"
        start += size


def sizes_of(path: Path, branches: Branches) -> list[int]:
    import onnx

    values = {value.name: value for value in onnx.load(path).graph.value_info}
    shapes = [values[name].type.tensor_type.shape.dim for name in branches.results]
    return [int(np.prod([axis.dim_value for axis in shape])) for shape in shapes]


@pytest.mark.parametrize(
    ("size", "isa"),
    [(size, isa) for size in SIZES for isa in (HERE if size in SIZES[:3] else HERE[:1])],
)
def test_convolutions(size: tuple[int, int], isa: str, tmp_path: Path) -> None:
    branches = Branches((3, *size), seed=sum(size))
    draw = branches.generator
    for number in range(12):
        inputs = int(draw.integers(1, 71))
        groups = int(draw.choice([one for one in (1, 2, 3, inputs) if inputs % one == 0]))
        each = int(draw.integers(1, 9))
        kernel = [int(one) for one in draw.integers(1, 6, 2)]
        dilation = [int(one) for one in draw.integers(1, 4, 2)]
        stride = [int(one) for one in draw.integers(1, 4, 2)]
        reach = [(kernel[axis] - 1) * dilation[axis] for axis in (0, 1)]
        pads = [*(int(draw.integers(0, one + 1)) for one in reach), 0, 0]
        for axis in (0, 1):
            missing = reach[axis] + 1 - size[axis] - pads[axis]
            pads[2 + axis] = max(missing, int(draw.integers(0, reach[axis] + 1)))
        weight = branches.random(groups * each, inputs // groups, *kernel)
        settings = {"dilations": dilation, "strides": stride, "pads": pads, "group": groups}
        source = branches.channels(inputs)
        made = branches.node("Conv", source, weight, branches.random(groups * each), **settings)
        branches.end(made, f"{number}: {inputs} -> {groups * each}, {kernel}, {settings}")
    compare(branches, tmp_path, isa)


@pytest.mark.parametrize("size", SIZES)
def test_transposed_convolutions(size: tuple[int, int], tmp_path: Path) -> None:
    branches = Branches((3, *size), seed=1)
    draw = branches.generator
    for number in range(10):
        groups, inputs, outputs = 1 + number % 2, 2 * int(draw.integers(1, 9)), number + 1
        stride = [int(one) for one in draw.integers(1, 4, 2)]
        kernel = [int(draw.integers(one, one + 3)) for one in stride]
        pads = [int(draw.integers(0, one)) for one in kernel] * 2
        if any((size[a] - 1) * stride[a] + kernel[a] <= 2 * pads[a] for a in (0, 1)):
            pads = [0] * 4
        weight = branches.random(inputs, outputs, *kernel)
        bias = branches.random(groups * outputs)
        dilation = [int(one) for one in draw.integers(1, 3, 2)] if number % 3 == 2 else [1, 1]
        settings = {"strides": stride, "pads": pads, "group": groups, "dilations": dilation}
        made = branches.node("ConvTranspose", branches.channels(inputs), weight, bias, **settings)
        branches.end(made, f"{number}: {inputs} -> {outputs}, {kernel}, {settings}")
    compare(branches, tmp_path)


UNARY = {
    "Abs": {},
    "Ceil": {},
    "Celu": {"alpha": 0.6},
    "Erf": {},
    "Exp": {},
    "Floor": {},
    "Gelu": {},
    "HardSigmoid": {"alpha": 0.3, "beta": 0.4},
    "HardSwish": {},
    "Elu": {"alpha": 0.7},
    "LeakyRelu": {"alpha": 0.2},
    "Mish": {},
    "Neg": {},
    "Relu": {},
    "Round": {},
    "Selu": {},
    "Shrink": {"lambd": 0.4, "bias": 0.1},
    "Sigmoid": {},
    "Sign": {},
    "Softplus": {},
    "Softsign": {},
    "Tanh": {},
    "ThresholdedRelu": {"alpha": 0.3},
}


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("size", SIZES[:3])
def test_maps(size: tuple[int, int], isa: str, tmp_path: Path) -> None:
    branches = Branches((3, *size), seed=2)
    for kind, settings in UNARY.items():
        branches.end(branches.node(kind, branches.channels(5), **settings), kind)
    branches.end(branches.node("Gelu", branches.channels(2), approximate="tanh"), "Gelu tanh")
    positive = branches.node("Abs", branches.channels(4))
    away = branches.node("Add", positive, branches.constant(0.5))
    for kind in ("Sqrt", "Log", "Reciprocal"):
        branches.end(branches.node(kind, away), kind)
    for power in (2.0, 3.0, -2.0, 9.0, 1.5, 0.75):
        base = away if power < 0 or power % 1 else branches.channels(4)
        branches.end(branches.node("Pow", base, branches.constant(power)), f"Pow {power}")
    powers = branches.node("Pow", away, branches.node("Abs", branches.random(4, 1, 1)))
    branches.end(powers, "Pow of a tensor")
    slope = branches.random(6, 1, 1)
    branches.end(branches.node("PRelu", branches.channels(6), slope), "PRelu")
    limits = (branches.constant(-0.5), branches.constant(0.75))
    branches.end(branches.node("Clip", branches.channels(3), *limits), "Clip")
    for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min"):
        for shape in ((7, 1, 1), (1, 7, *size), (1, 1, *size), (size[1],), (size[0], 1), ()):
            other = branches.node("Abs", branches.random(*shape)) if shape else "image"
            value = branches.channels(7 if shape else 3)
            if kind == "Div":
                other = branches.node("Add", branches.node("Abs", other), branches.constant(0.5))
            branches.end(branches.node(kind, value, other), f"{kind} {shape}")
    compare(branches, tmp_path, isa)


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("size", SIZES[:3])
def test_claims_and_casts(size: tuple[int, int], isa: str, tmp_path: Path) -> None:
    import onnx

    branches = Branches((3, *size), seed=6)
    kinds = onnx.TensorProto

    def number(claim: str) -> str:
        return str(branches.node("Cast", claim, to=kinds.FLOAT))

    value = branches.node("Round", branches.channels(7))
    claims = []
    for kind in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"):
        for shape in ((1, 7, *size), (7, 1, 1), (1, 1, *size), (1,)):
            other = branches.node("Round", branches.random(*shape))
            claims.append(branches.node(kind, value, other))
            branches.end(number(claims[-1]), f"{kind} {shape}")
    for kind in ("And", "Or", "Xor"):
        branches.end(number(branches.node(kind, claims[0], claims[9])), kind)
    branches.end(number(branches.node("Not", claims[0])), "Not")
    for other in (branches.constant(-1e30), branches.random(7, 1, 1), branches.channels(7)):
        branches.end(branches.node("Where", claims[0], value, other), f"Where {other}")
    fraction = branches.channels(5)
    for kind in (kinds.BOOL, kinds.INT64, kinds.INT32):
        given = value if kind == kinds.BOOL else fraction
        branches.end(number(branches.node("Cast", given, to=kind)), f"Cast {kind}")
    no_number = branches.node("Sqrt", fraction)
    branches.end(number(branches.node("IsNaN", no_number)), "IsNaN")
    compare(branches, tmp_path, isa)


@pytest.mark.parametrize("size", SIZES)
def test_norms_reductions_and_softmax(size: tuple[int, int], tmp_path: Path) -> None:
    branches = Branches((3, *size), seed=3)
    channels = branches.channels(12)
    gamma, beta, mean = (branches.random(12) for _ in range(3))
    variance = branches.constant(np.abs(branches.generator.normal(1, 0.1, 12)))
    normed = branches.node("BatchNormalization", channels, gamma, beta, mean, variance)
    branches.end(normed, "BatchNormalization")
    if size != (1, 1):
        normed = branches.node("InstanceNormalization", channels, gamma, beta)
        branches.end(normed, "InstanceNormalization")
    for groups in (1, 3, 4):
        normed = branches.node(
            "GroupNormalization", channels, gamma, beta, num_groups=groups, epsilon=1e-4
        )
        branches.say_shape(normed, (1, 12, *size))
        branches.end(normed, f"GroupNormalization {groups}")
    tokens = branches.node("Transpose", channels, perm=[0, 2, 3, 1])
    branches.end(branches.node("LayerNormalization", tokens, gamma, beta), "LayerNormalization")
    for axis in (1, 2, 3):
        for kind in ("Softmax", "LogSoftmax"):
            branches.end(branches.node(kind, channels, axis=axis), f"{kind} {axis}")
    for kind in ("Mean", "Max", "Sum", "Min", "L1", "L2", "SumSquare", "LogSumExp"):
        for axes in ([1], [2, 3], [2], [3], [1, 2]):
            given = branches.constant(axes, np.int64)
            reduced = branches.node(f"Reduce{kind}", channels, given)
            branches.end(reduced, f"Reduce{kind} {axes}")
    whole = branches.node("Round", channels)  # has equal values, of which the first counts
    for kind in ("ArgMax", "ArgMin"):
        for axis in (1, 2):
            place = branches.node("Cast", branches.node(kind, whole, axis=axis), to=1)
            branches.end(place, f"{kind} {axis}")
    for kind in ("GlobalAveragePool", "GlobalMaxPool"):
        gate = branches.node(kind, channels)
        branches.end(branches.node("Mul", channels, branches.node("Sigmoid", gate)), kind)
    compare(branches, tmp_path)


@pytest.mark.parametrize("size", [(17, 23), (8, 8), (6, 16)])
def test_rows_and_batches(size: tuple[int, int], tmp_path: Path) -> None:
    """What has no image's axes: rows of channels, and windows that lie in a batch."""
    branches = Branches((3, *size), seed=7)
    channels = branches.channels(12)
    rows = branches.node("Reshape", channels, branches.constant([1, 12, -1], np.int64))
    gamma, beta, mean = (branches.random(12) for _ in range(3))
    variance = branches.constant(np.abs(branches.generator.normal(1, 0.1, 12)))
    normed = branches.node("BatchNormalization", rows, gamma, beta, mean, variance)
    branches.end(normed, "BatchNormalization of rows")
    line = branches.node("Flatten", branches.node("GlobalAveragePool", channels))
    normed = branches.node("BatchNormalization", line, gamma, beta, mean, variance)
    branches.end(normed, "BatchNormalization of a line")
    turned = branches.node("Transpose", branches.node("Relu", rows), perm=[0, 2, 1])
    back = branches.node("Transpose", turned, perm=[0, 2, 1])
    for value, title in ((rows, "reshaped"), (back, "computed")):
        normed = branches.node("InstanceNormalization", value, gamma, beta)
        branches.end(normed, f"InstanceNormalization of rows, {title}")
    # Groups that are no whole channels.
    crossed = branches.node("Reshape", channels, branches.constant([1, size[0], -1], np.int64))
    normed = branches.node(
        "InstanceNormalization", crossed, *(branches.random(size[0]) for _ in range(2))
    )
    branches.end(normed, "InstanceNormalization across channels")
    windows = branches.node("Reshape", channels, branches.constant([4, 3, *size], np.int64))
    branches.end(branches.node("GlobalMaxPool", windows), "GlobalMaxPool of windows")
    branches.end(branches.node("ReduceMean", windows, branches.constant([1], np.int64)), "mean")
    branches.end(branches.node("ReduceMax", windows, branches.constant([2, 3], np.int64)), "max")
    branches.end(branches.node("Softmax", windows, axis=1), "Softmax of windows")
    branches.end(branches.node("Concat", windows, windows, axis=1), "Concat of windows")
    halves = branches.node("Split", windows, branches.constant([1, 2], np.int64), outputs=2, axis=1)
    branches.end(branches.node("Concat", *reversed(halves), axis=1), "Split of windows")
    given = [branches.constant([one], np.int64) for one in (1, 3, 1)]
    branches.end(branches.node("Slice", windows, *given), "Slice of windows")
    normed = branches.node(
        "BatchNormalization",
        windows,
        *(branches.random(3) for _ in range(3)),
        branches.constant([0.5, 1.0, 2.0]),
    )
    branches.end(normed, "BatchNormalization of windows")
    compare(branches, tmp_path)


@pytest.mark.parametrize("size", [(17, 23), (8, 8), (32, 48), (6, 16)])
def test_pools_and_resizes(size: tuple[int, int], tmp_path: Path) -> None:
    branches = Branches((3, *size), seed=4)
    channels = branches.channels(5)
    for kernel, stride, pads in (
        ([2, 2], [2, 2], [0] * 4),
        ([3, 3], [2, 2], [1] * 4),
        ([3, 3], [1, 1], [1] * 4),
        ([2, 3], [1, 2], [0, 1, 1, 1]),
        ([5, 5], [1, 1], [2] * 4),
    ):
        settings = {"kernel_shape": kernel, "strides": stride, "pads": pads}
        for kind, more in (
            ("MaxPool", {}),
            ("MaxPool", {"ceil_mode": 1}),
            ("AveragePool", {}),
            ("AveragePool", {"count_include_pad": 1}),
            ("AveragePool", {"ceil_mode": 1}),
            ("AveragePool", {"ceil_mode": 1, "count_include_pad": 1}),
        ):
            made = branches.node(kind, channels, **settings, **more)
            branches.end(made, f"{kind} {settings} {more}")
    planes = branches.node("Unsqueeze", channels, branches.constant([1], np.int64))
    for kind in ("MaxPool", "AveragePool"):
        made = branches.node(kind, planes, kernel_shape=[3, 1, 1], pads=[1, 0, 0, 1, 0, 0])
        branches.end(made, f"{kind} of planes")
    for mode, coordinates in (
        ("linear", "half_pixel"),
        ("linear", "pytorch_half_pixel"),
        ("linear", "align_corners"),
        ("linear", "asymmetric"),
        ("nearest", "asymmetric"),
        ("nearest", "half_pixel"),
        ("cubic", "half_pixel"),
        ("cubic", "align_corners"),
        ("cubic", "pytorch_half_pixel"),
    ):
        for target in ((2 * size[0], 2 * size[1]), (31, 45), (5, 7), (1, 1)):
            wanted = branches.constant([1, 5, *target], np.int64)
            settings = {"mode": mode, "coordinate_transformation_mode": coordinates}
            if mode == "nearest":
                settings["nearest_mode"] = "floor"
            made = branches.node("Resize", channels, "", "", wanted, **settings)
            branches.end(made, f"Resize {target} {settings}")
    compare(branches, tmp_path)


@pytest.mark.parametrize("size", [(17, 23), (8, 8), (6, 16)])
def test_moves_and_products(size: tuple[int, int], tmp_path: Path) -> None:
    branches = Branches((3, *size), seed=5)
    channels = branches.channels(12)
    one, two, three = branches.node("Split", channels, outputs=3, axis=1, num_outputs=3)
    branches.end(branches.node("Concat", three, one, two, one, axis=1), "shuffled")
    branches.end(branches.node("Concat", channels, channels, axis=2), "Concat 2")
    joined = branches.node("Concat", branches.node("Relu", one), two, axis=1)
    kernel = branches.random(4, 8, 3, 3)
    branches.end(branches.node("Conv", joined, kernel, pads=[1] * 4), "Conv of a Concat")
    for axes, starts, ends, steps in (
        ([1], [2], [9], [1]),
        ([1], [0], [12], [3]),
        ([2, 3], [1, 2], [-1, 100], [1, 2]),
        ([3], [-1], [-100], [-1]),
    ):
        given = [branches.constant(values, np.int64) for values in (starts, ends, axes, steps)]
        branches.end(branches.node("Slice", channels, *given), f"Slice {axes} {starts} {ends}")
    for mode in ("constant", "reflect", "edge"):
        pads = branches.constant([0, 0, 2, 1, 0, 0, 1, 3], np.int64)
        branches.end(branches.node("Pad", channels, pads, mode=mode), f"Pad {mode}")
    for mode in ("DCR", "CRD"):
        branches.end(branches.node("DepthToSpace", channels, blocksize=2, mode=mode), mode)
    if size[0] % 2 == 0:
        branches.end(branches.node("SpaceToDepth", channels, blocksize=2), "SpaceToDepth")
    branches.end(branches.node("Transpose", channels, perm=[0, 3, 1, 2]), "Transpose")
    tiles = branches.constant([1, 1, 2, 3], np.int64)
    branches.end(branches.node("Tile", channels, tiles), "Tile")
    places = branches.constant([3, 0, 11, 3], np.int64)
    branches.end(branches.node("Gather", channels, places, axis=1), "Gather")
    flipped = branches.constant(np.indices((1, 12, *size))[1][:, ::-1], np.int64)
    branches.end(branches.node("GatherElements", channels, flipped, axis=1), "GatherElements")
    points = branches.constant([[[0, 3, 2], [0, 11, 5]], [[0, -1, 0], [0, 0, 1]]], np.int64)
    branches.end(branches.node("GatherND", channels, points), "GatherND")
    news = branches.node(
        "Reshape",
        branches.node(
            "Slice",
            channels,
            *(branches.constant(one, np.int64) for one in ([0, 0, 0], [3, 1, 4], [1, 2, 3])),
        ),
        branches.constant([3, 1, 4], np.int64),
    )
    columns = np.stack(np.meshgrid([2, 5, 7], [1], [0, 1, 3, 4], indexing="ij"), -1)
    lines = branches.constant(
        np.concatenate([np.zeros_like(columns[..., :1]), columns], -1), np.int64
    )
    branches.end(branches.node("ScatterND", channels, lines, news), "ScatterND")
    row = branches.constant(np.zeros((1, 12, 1, size[1])), np.int64)
    one_row = branches.random(1, 12, 1, size[1])
    put = branches.node("ScatterElements", channels, row, one_row, axis=2)
    branches.end(put, "ScatterElements")
    rows = branches.node("Reshape", channels, branches.constant([1, 12, -1], np.int64))
    turned = branches.node("Transpose", rows, perm=[0, 2, 1])
    product = branches.node("MatMul", rows, turned)
    branches.end(branches.node("Softmax", product, axis=-1), "attention")
    line = branches.node("Flatten", branches.node("GlobalAveragePool", channels))
    made = branches.node("Gemm", line, branches.random(9, 12), branches.random(9), transB=1)
    branches.end(made, "Gemm")
    settings = {"transA": 1, "alpha": 0.5, "beta": 2.0}
    column = branches.node("Reshape", line, branches.constant([12, 1], np.int64))
    made = branches.node("Gemm", column, branches.random(12, 5), branches.random(5), **settings)
    branches.end(made, "Gemm with factors")
    heads = branches.node("Reshape", channels, branches.constant([2, 6, *size], np.int64))
    for shape in ((size[1], 5), (6, size[1], 5), (2, 1, size[1], 5), (size[1],)):
        made = branches.node("MatMul", heads, branches.random(*shape))
        branches.end(made, f"MatMul {shape}")
    made = branches.node("MatMul", branches.random(1, 6, 4, size[0]), heads)
    branches.end(made, "MatMul from the left")
    for equation in ("bchw,bdhw->bcd", "bchw,bdhw->dbhwc", "bchw,ecwk->hbek"):
        other = branches.random(3, 6, size[1], 2) if "k" in equation else heads
        made = branches.node("Einsum", heads, other, equation=equation)
        branches.end(made, f"Einsum {equation}")
    compare(branches, tmp_path)
