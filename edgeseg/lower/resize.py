"""Rewrites of Resize."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..formats.onnx import constant_of, fixed_shape, input_of, is_constant
from .graph import Editor, channels_of, is_read_once, made_by, pointwise_of, rewrite_each
from .rewrite import as_rewrite

if TYPE_CHECKING:
    import onnx_ir as ir

# Coordinate modes; "tf_crop_and_resize" may reach outside the map, and puts a value there.
INSIDE = frozenset({"align_corners", "asymmetric", "half_pixel", "pytorch_half_pixel"})


@dataclass(frozen=True)
class Resizing:
    """A Resize that samples rows and columns of all channels in the same way.

    Attributes:
        node: The operator.
        source: A map (1, C, H, W).
        before, after: (height, width); their quotients are the factors of the coordinates.
        mode: "nearest", "linear" or "cubic".
        coordinates: ONNX's coordinate_transformation_mode, one that stays inside the map.
        rounding: ONNX's nearest_mode.
    """

    node: ir.Node
    source: ir.Value
    before: tuple[int, int]
    after: tuple[int, int]
    mode: str
    coordinates: str
    rounding: str


def resizing_of(value: ir.Value) -> Resizing | None:
    """The Resize of a map that computes a value, or None.

    Operators with antialiasing, kept aspect ratios, reordered axes, or factors other than the
    quotients of the sizes are left out: the factor 2.1 turns 4 into 8, too, but samples elsewhere.
    """
    node = made_by(value, "Resize")
    if node is None or channels_of(node.inputs[0]) is None:
        return None
    if channels_of(value) != channels_of(node.inputs[0]):
        return None
    attributes = node.attributes
    coordinates = attributes.get_string("coordinate_transformation_mode", "half_pixel")
    if (
        coordinates not in INSIDE
        or "axes" in attributes
        or attributes.get_int("antialias", 0) != 0
        or attributes.get_int("exclude_outside", 0) != 0
        or attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch"
    ):
        return None
    before, after = fixed_shape(node.inputs[0]), fixed_shape(value)
    assert before is not None
    assert after is not None
    if not _has_exact_factors(node, before, after):
        return None
    return Resizing(
        node,
        input_of(node),
        (before[2], before[3]),
        (after[2], after[3]),
        attributes.get_string("mode", "nearest"),
        coordinates,
        attributes.get_string("nearest_mode", "round_prefer_floor"),
    )


def _has_exact_factors(node: ir.Node, before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    inputs = [*node.inputs, None, None, None]
    scales, sizes = inputs[2], inputs[3]
    if sizes is not None:
        return is_constant(sizes)
    if not is_constant(scales):
        return False
    exact = np.array(after, np.float32) / np.array(before, np.float32)
    return bool(np.array_equal(constant_of(scales), exact))


FLOAT = 1  # ONNX's number of the element type float32


@as_rewrite("resize-by-matrices", layout="channels-last")
def resize_by_matrices(model: ir.Model) -> int:
    """Write bilinear resizing of a one-channel map x as R x C with constant matrices.

    Runtimes that keep channels last vectorise resizing over channels; for one channel it takes
    several times as long as the two products.

    Returns:
        How many operators were rewritten.
    """
    return _by_matrices(model, most_channels=1)


@as_rewrite("resize-maps-by-matrices", layout="channels-first")
def resize_maps_by_matrices(model: ir.Model) -> int:
    """Like `resize_by_matrices`, for maps with any number of channels.

    It pays on runtimes that keep channels first, such as ONNX Runtime.

    Returns:
        How many operators were rewritten.
    """
    return _by_matrices(model, most_channels=None)


def _by_matrices(model: ir.Model, most_channels: int | None) -> int:
    def rewrite(edit: Editor, node: ir.Node) -> ir.Value | None:
        resizing = resizing_of(node.outputs[0])
        if resizing is None or resizing.mode != "linear" or resizing.coordinates == "asymmetric":
            return None
        if most_channels is not None and (channels_of(resizing.source) or 0) > most_channels:
            return None
        if makes_matrix(node):
            return None
        rows, columns = (
            _matrix(edit, resizing, old, new)
            for old, new in zip(resizing.before, resizing.after, strict=True)
        )
        columns = edit("Transpose", columns, perm=[0, 1, 3, 2])
        return edit("MatMul", rows, edit("MatMul", resizing.source, columns))

    return rewrite_each(model, rewrite)


def makes_matrix(node: ir.Node) -> bool:
    """Whether a Resize computes one of the matrices of this file, which depend on no input."""
    unsqueezing = made_by(node.inputs[0], "Unsqueeze")
    return unsqueezing is not None and made_by(unsqueezing.inputs[0], "EyeLike") is not None


def _matrix(edit: Editor, resizing: Resizing, old: int, new: int) -> Any:
    """The matrix (1, 1, new, old) of a Resize along one axis, which is the resized identity.

    The runtime computes it when it loads the graph: as a constant it would take more bytes than
    the weights of a small network.
    """
    square = edit("EyeLike", edit("ConstantOfShape", np.array([old, old])), dtype=FLOAT)
    identity = edit("Unsqueeze", square, np.array([0, 1]))
    sizes = np.array([1, 1, new, old])
    return edit("Resize", identity, None, None, sizes, **resizing.node.attributes)


@as_rewrite("nearest-by-shuffle", layout="channels-last")
def nearest_by_shuffle(model: ir.Model) -> int:
    """Write nearest-neighbour enlargement to twice the size as DepthToSpace.

    A 1x1 convolution computes four copies of each channel, which DepthToSpace arranges as the four
    pixels. XNNPACK has a kernel for that, but none for nearest-neighbour resizing, which would cut
    TFLite's graph in parts.

    Returns:
        How many operators were rewritten.
    """

    def rewrite(edit: Editor, node: ir.Node) -> ir.Value | None:
        resizing = resizing_of(node.outputs[0])
        if resizing is None or not _doubles(resizing):
            return None
        x = resizing.source
        channels = channels_of(x)
        assert channels is not None
        found = pointwise_of(x)
        if found is None or not is_read_once(x):
            weight, bias, source = np.eye(channels)[:, :, None, None], np.zeros(channels), x
        else:
            weight, bias, source = found.weight, found.bias, found.source
        copies = edit.convolution(source, np.tile(weight, (4, 1, 1, 1)), np.tile(bias, 4))
        return edit("DepthToSpace", copies, blocksize=2, mode="DCR")

    return rewrite_each(model, rewrite)


def _doubles(resizing: Resizing) -> bool:
    """Whether pixel i of the result is pixel i // 2 of the source."""
    place, rounding = resizing.coordinates, resizing.rounding
    repeats = (place == "asymmetric" and rounding == "floor") or (
        place in ("half_pixel", "pytorch_half_pixel") and rounding.startswith("round")
    )
    doubled = tuple(2 * size for size in resizing.before)
    return resizing.mode == "nearest" and repeats and resizing.after == doubled
