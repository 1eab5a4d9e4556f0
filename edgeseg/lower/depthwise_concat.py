"""Depthwise convolutions of parts of a map, concatenated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .editing import (
    Convolution,
    Editor,
    channels_of,
    concatenated,
    convolution_of,
    maps_of_one_size,
    pointwise_of,
    rewrite_each,
    summands,
)


def depthwise_after_concat(model: Any) -> int:
    """Write a concatenation of depthwise convolutions as a sum of such over all channels.

    [D_1 x_1; ...; D_n x_n] = sum over kernels k of D'_k [x_1; ...; x_n], D'_k with the weights of
    the parts that have a kernel of that size, dilation and stride, and zeros for the others. It is
    more arithmetic, but vectors of channels are full and nothing is copied: runtimes add sums up
    inside the convolutions. Parts may be sums, also running ones.

    Args:
        model: An `onnx_ir.Model`, changed in place.

    Returns:
        How many concatenations were rewritten.
    """
    return _convolve_after(model, _concatenation)


def depthwise_of_copies(model: Any) -> int:
    """As `depthwise_after_concat`, where all parts convolve one 1x1 convolution of a map.

    That gives its channels once for each part then. OpenVINO, which copies slowly, gains a little
    by it; runtimes that do not lose by the arithmetic.

    Args:
        model: An `onnx_ir.Model`, changed in place.

    Returns:
        How many concatenations were rewritten.
    """
    return _convolve_after(model, _copies)


def _convolve_after(model: Any, join: Callable[[Editor, list[Any]], Any | None]) -> int:
    def rewrite(edit: Editor, node: Any) -> Any | None:
        parts = concatenated(node.outputs[0])
        if parts is None or len(parts) < 2:
            return None
        terms = [_terms(part) for part in parts]
        found = [term for part in terms if part is not None for term in part]
        if None in terms or not found:
            return None
        sources = [part[0].source for part in terms if part is not None]
        sizes = [len(part[0].weight) for part in terms if part is not None]
        if any(channels_of(source) != size for source, size in zip(sources, sizes, strict=True)):
            return None
        if not maps_of_one_size(sources):
            return None
        joined = join(edit, sources)
        if joined is None:
            return None
        products = []
        for kernel in dict.fromkeys(_kernel(term) for term in found):
            weight = np.zeros((sum(sizes), 1, *kernel[0]))
            bias = np.zeros(sum(sizes))
            for part, end in zip(terms, np.cumsum(sizes).tolist(), strict=True):
                for term in part or ():
                    if _kernel(term) == kernel:
                        weight[end - len(term.weight) : end] += term.weight
                        bias[end - len(term.weight) : end] += term.bias
            _, strides, dilations, pads = kernel
            product = edit.convolution(
                joined,
                weight,
                bias,
                group=len(weight),
                strides=list(strides),
                dilations=list(dilations),
                pads=list(pads),
            )
            products.append(product)
        return edit.sum(products)

    return rewrite_each(model, rewrite)


def _kernel(term: Convolution) -> tuple[tuple[int, int], Any, Any, Any]:
    height, width = term.weight.shape[2:]
    return (height, width), term.strides, term.dilations, term.pads


def _terms(value: Any) -> list[Convolution] | None:
    """Depthwise convolutions of one map whose sum a value is; None if it is anything else."""
    terms = []
    for part in summands(value, also_shared=True):
        found = convolution_of(part)
        if found is None or not found.is_depthwise or found.weight[0].size == 1:
            return None
        terms.append(found)
    return terms if len({term.source for term in terms}) == 1 else None


def _concatenation(edit: Editor, sources: list[Any]) -> Any | None:
    """Different maps as one."""
    return edit("Concat", *sources, axis=1) if len(set(sources)) == len(sources) else None


def _copies(edit: Editor, sources: list[Any]) -> Any | None:
    """One map as often as it is there, if a 1x1 convolution gives it."""
    first = pointwise_of(sources[0])
    if len(set(sources)) > 1 or first is None:
        return None
    copies = len(sources)
    return edit.convolution(
        first.source, np.tile(first.weight, (copies, 1, 1, 1)), np.tile(first.bias, copies)
    )
