"""What a Resize computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..onnx_graph import constant_of, is_constant
from .editing import channels_of, made_by

# Of the coordinates; "tf_crop_and_resize" may reach outside the map, and puts a value there.
INSIDE = frozenset({"align_corners", "asymmetric", "half_pixel", "pytorch_half_pixel"})


@dataclass(frozen=True)
class Resizing:
    """Sampling of the rows and columns of each channel alike.

    Attributes:
        node: The operator.
        source: A map (1, C, H, W).
        before, after: (height, width). The factors between are those of the coordinates.
        mode: "nearest", "linear" or "cubic".
        coordinates: ONNX's coordinate_transformation_mode, one that stays inside the map.
        rounding: ONNX's nearest_mode.
    """

    node: Any
    source: Any
    before: tuple[int, int]
    after: tuple[int, int]
    mode: str
    coordinates: str
    rounding: str


def resizing_of(value: Any) -> Resizing | None:
    """The plain resizing of a map that computes a value, or None.

    Not plain are antialiasing, kept aspect ratios, axes in another order, and factors that are not
    the quotients of the sizes: 2.1 makes 8 of 4, too, but from other places.
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
        or attributes.get_int("antialias", 0)
        or attributes.get_int("exclude_outside", 0)
        or attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch"
    ):
        return None
    before, after = tuple(node.inputs[0].shape), tuple(value.shape)
    if not _has_exact_factors(node, before, after):
        return None
    return Resizing(
        node,
        node.inputs[0],
        before[2:],
        after[2:],
        attributes.get_string("mode", "nearest"),
        coordinates,
        attributes.get_string("nearest_mode", "round_prefer_floor"),
    )


def _has_exact_factors(node: Any, before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    inputs = [*node.inputs, None, None, None]
    scales, sizes = inputs[2], inputs[3]
    if sizes is not None:
        return is_constant(sizes)
    if not is_constant(scales):
        return False
    exact = np.array(after, np.float32) / np.array(before, np.float32)
    return bool(np.array_equal(constant_of(scales), exact))
