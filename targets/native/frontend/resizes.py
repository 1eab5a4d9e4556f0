"""Resizes: nearest, linear and cubic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..expressions import Floats, Tensor
from ..ir import MatrixProduct, Resize
from .importer import Importer, Rule, is_image, title_of

if TYPE_CHECKING:
    import onnx_ir as ir

COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")


def _resize(importer: Importer, node: ir.Node) -> None:
    source = importer.tensor(node.inputs[0])
    mode = importer.attribute(node, "mode", "nearest")
    coordinates = importer.attribute(node, "coordinate_transformation_mode", "half_pixel")
    if not is_image(importer.shape(node.inputs[0])):
        raise importer.refusal(node, "resizes something else than an image")
    if mode not in ("nearest", "linear", "cubic") or coordinates not in COORDINATES:
        raise importer.refusal(node, f"has the mode '{mode}' with '{coordinates}'")
    if importer.attribute(node, "antialias", 0) or importer.attribute(node, "exclude_outside", 0):
        raise importer.refusal(node, "has the option antialias or exclude_outside")
    out = importer.result(node)
    if out.channels != source.channels:
        raise importer.refusal(node, "resizes channels")
    scales = _scales(importer, node, source, out)
    if mode == "cubic":
        slope = float(importer.attribute(node, "cubic_coeff_a", -0.75))
        _cubic(importer, node, source, out, (scales, coordinates, slope))
        return
    rounding = importer.attribute(node, "nearest_mode", "round_prefer_floor")
    rows, columns = (
        interpolation(
            source.shape[axis], out.shape[axis], scales[axis - 1], mode, coordinates, rounding
        )
        for axis in (1, 2)
    )
    importer.add(Resize(title_of(node), source, out, rows, columns))


def _cubic(
    importer: Importer,
    node: ir.Node,
    source: Tensor,
    out: Tensor,
    how: tuple[list[float], str, float],
) -> None:
    """Columns, and rows then, by matrices that are nearly empty: it is rare."""
    scales, coordinates, slope = how
    rows, columns = (
        cubic_matrix(source.shape[axis], out.shape[axis], scales[axis - 1], coordinates, slope)
        for axis in (1, 2)
    )
    wide = importer.new(f"{out.name}_wide", (source.channels, source.height, out.width))
    right = np.ascontiguousarray(columns.T)[None]
    importer.add(MatrixProduct(title_of(node), source, Tensor("columns", right.shape, right), wide))
    left = Tensor("rows", (1, *rows.shape), rows[None])
    importer.add(MatrixProduct(title_of(node), left, wide, out))


def _scales(importer: Importer, node: ir.Node, source: Tensor, out: Tensor) -> list[float]:
    """Vertical and horizontal."""
    index = 2 if node.op_type == "Resize" else 1
    given = importer.constant(node, index)
    if given is not None and given.size == 4:
        return [float(given[2]), float(given[3])]
    return [out.shape[axis] / source.shape[axis] for axis in (1, 2)]


def interpolation(
    size: int, count: int, scale: float, mode: str, coordinates: str, rounding: str
) -> tuple[NDArray[np.int32], Floats]:
    """First of the two places that are mixed, and the share of the second, for each output.

    The conventions are those of ONNX's Resize.
    """
    place = _places(size, count, scale, coordinates)
    if mode == "nearest":
        rounded = {
            "floor": np.floor(place),
            "ceil": np.ceil(place),
            "round_prefer_floor": np.ceil(place - 0.5),
            "round_prefer_ceil": np.floor(place + 0.5),
        }[rounding]
        return np.clip(rounded, 0, size - 1).astype(np.int32), np.zeros(count, np.float32)
    place = np.clip(place, 0, size - 1)
    first = np.minimum(np.floor(place), max(size - 2, 0))
    return first.astype(np.int32), (place - first).astype(np.float32)


def cubic_matrix(size: int, count: int, scale: float, coordinates: str, slope: float) -> Floats:
    """What four neighbours contribute to each output, (count, size).

    Args:
        slope: ONNX's cubic_coeff_a.

    Source: Keys 1981, cubic convolution; beyond the edge the last pixel is repeated.
    """
    place = _places(size, count, scale, coordinates)
    first = np.floor(place).astype(np.int64)
    matrix = np.zeros((count, size))
    for offset in range(-1, 3):
        far = np.abs(place - (first + offset))
        near = ((slope + 2) * far - (slope + 3)) * far**2 + 1
        beyond = slope * (((far - 5) * far + 8) * far - 4)
        columns = np.clip(first + offset, 0, size - 1)
        np.add.at(matrix, (np.arange(count), columns), np.where(far <= 1, near, beyond))
    return matrix.astype(np.float32)


def _places(size: int, count: int, scale: float, coordinates: str) -> NDArray[np.float64]:
    """Where each output row or column lies between those of the input."""
    index = np.arange(count, dtype=np.float64)
    if coordinates == "align_corners":
        return index * (size - 1) / (count - 1) if count > 1 else np.zeros(1)
    if coordinates == "asymmetric":
        # In float, as torch and ONNX Runtime do: whole numbers must come out whole.
        return (index.astype(np.float32) * np.float32(1 / scale)).astype(np.float64)
    if coordinates == "pytorch_half_pixel" and count == 1:
        return np.zeros(1)
    return (index + 0.5) / scale - 0.5


RESIZE_RULES: dict[str, Rule] = {"Resize": _resize, "Upsample": _resize}
