"""From an ONNX graph to a TensorFlow function, with the layout of every tensor known.

TFLite's operators on maps keep the channels last, ONNX's keep them at axis 1. Each value here is
held in one of the two layouts, and is turned into the other where an operator asks for it:

    plain   the axes of ONNX: (N, C, H, W)
    last    axis 1 moved to the end: (N, H, W, C); for values of three axes or more

Operators that compute element by element, join, cut or reduce work in the layout that they are
given, so that a chain of convolutions is never turned round. Nothing is guessed from sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import TargetError, reason_of
from edgeseg.formats.onnx import MODULE, constant_of, fixed_shape, is_constant

if TYPE_CHECKING:
    import onnx_ir as ir

Rule: TypeAlias = "Callable[[Translator, ir.Node], None]"


class Translator:
    """Computes the values of a graph, one operator after the other, while TensorFlow records.

    Args:
        tensorflow: The package.
        rules: By type of operator.
        fuses_gelu: Write Gelu with TensorFlow's erfc, which TFLite does not have: its converter
            finds most of them and takes its own operator Gelu instead.
    """

    def __init__(
        self, tensorflow: Any, rules: Mapping[str, Rule], *, fuses_gelu: bool = True
    ) -> None:
        self.tf = tensorflow
        self.fuses_gelu = fuses_gelu
        self._rules = rules
        self._plain: dict[ir.Value, Any] = {}
        self._last: dict[ir.Value, Any] = {}
        self._turned: dict[ir.Value, Any] = {}  # in the layout that they are not held in
        self._node: ir.Node | None = None

    def compute(self, graph: ir.Graph, image: Any) -> Any:
        """The mask (N, H, W, C) of an image (N, H, W, 3), as tensors.

        Raises:
            TargetError: An operator has no rule, or its rule refuses it, or TensorFlow does.
        """
        (source,), (mask,) = graph.inputs, graph.outputs
        self.give(source, image, last=True)
        for node in graph:
            self._node = node
            rule = self._rules.get(node.op_type) if not node.domain else None
            if rule is None:
                raise self.refusal("is not among the operators that it knows")
            try:
                rule(self, node)
            except TargetError:
                raise
            except Exception as error:
                # TensorFlow raises several kinds where it takes no such shape or type.
                reason = reason_of(error).rstrip(".")
                raise self.refusal(f"is refused by TensorFlow: {reason}") from error
        return self.last(mask)

    def refusal(self, why: str) -> TargetError:
        """An error that names the operator at hand, and where it is in the network."""
        node = self._node
        assert node is not None
        module = node.metadata_props.get(MODULE)
        where = f" of module '{module}'" if module else ""
        return TargetError(
            f"{node.op_type} '{node.name}'{where} {why}. Write that part of the model in "
            "another way, or build for another --target."
        )

    # What is known of a value

    def shape(self, value: ir.Value | None) -> tuple[int, ...]:
        """Sizes of all axes, as in ONNX.

        Raises:
            TargetError: One is open.
        """
        found = fixed_shape(value)
        if found is None:
            name = value.name if value is not None else ""
            raise self.refusal(f"has a value '{name}' whose size is not known before it runs")
        return found

    def rank(self, value: ir.Value | None) -> int:
        return len(self.shape(value))

    def content(self, node: ir.Node, index: int) -> NDArray[Any] | None:
        """Content of an input that must be constant; None where it is left out.

        Raises:
            TargetError: It is computed.
        """
        value = node.inputs[index] if index < len(node.inputs) else None
        if value is None:
            return None
        if not is_constant(value):
            raise self.refusal(f"has an input {index} that depends on the image")
        return constant_of(value)

    def integers(self, node: ir.Node, index: int, default: Sequence[int] = ()) -> list[int]:
        """An input of constant integers as a list."""
        content = self.content(node, index)
        return list(default) if content is None else [int(number) for number in content.ravel()]

    def attribute(self, node: ir.Node, name: str, default: Any = None) -> Any:
        found = node.attributes.get(name)
        if found is None:
            return default
        return list(found.value) if isinstance(found.value, tuple) else found.value

    # Tensors

    def is_last(self, value: ir.Value | None) -> bool:
        """Whether a value is held with its channels last."""
        return value in self._last

    def held(self, value: ir.Value | None) -> Any:
        """A value in the layout that it is held in."""
        return self.in_layout(value, self.is_last(value))

    def in_layout(self, value: ir.Value | None, last: bool) -> Any:
        return self.last(value) if last else self.plain(value)

    def plain(self, value: ir.Value | None) -> Any:
        """A value with the axes of ONNX."""
        assert value is not None
        if is_constant(value):
            return self.tf.constant(narrowed(constant_of(value)))
        if value not in self._last:
            return self._plain[value]
        if value not in self._turned:
            rank = self.rank(value)
            order = [0, rank - 1, *range(1, rank - 1)]
            self._turned[value] = self.turned(self._last[value], order)
        return self._turned[value]

    def last(self, value: ir.Value | None) -> Any:
        """A value of three axes or more, with axis 1 moved to the end."""
        assert value is not None
        if is_constant(value):
            return self.tf.constant(narrowed(np.moveaxis(constant_of(value), 1, -1)))
        if value in self._last:
            return self._last[value]
        if value not in self._turned:
            order = [0, *range(2, self.rank(value)), 1]
            self._turned[value] = self.turned(self._plain[value], order)
        return self._turned[value]

    def give(self, value: ir.Value, tensor: Any, *, last: bool = False) -> None:
        """State what a value is.

        Args:
            last: Whether the channels are last; it means nothing below three axes.
        """
        (self._last if last and self.rank(value) > 2 else self._plain)[value] = tensor

    def operands(self, values: Sequence[ir.Value | None]) -> tuple[list[Any], bool]:
        """Values that are broadcast against each other, and whether their channels are last."""
        rank = max(map(self.rank, values))
        last = any(self.is_last(value) and self.rank(value) == rank for value in values)
        return [self._operand(value, rank, last) for value in values], last

    def _operand(self, value: ir.Value | None, rank: int, last: bool) -> Any:
        if not last:
            return self.plain(value)
        shape = self.shape(value)
        if len(shape) == rank:
            return self.last(value)
        full = (1,) * (rank - len(shape)) + shape
        return self.turned(self.tf.reshape(self.plain(value), full), [0, *range(2, rank), 1])

    def turned(self, tensor: Any, order: Sequence[int]) -> Any:
        """A tensor with its axes in another order; where only axes of size 1 move, nothing moves
        in memory."""
        shape = [int(size) for size in tensor.shape]
        if list(order) == list(range(len(shape))):
            return tensor
        long = [axis for axis in order if shape[axis] != 1]
        if long == sorted(long):
            return self.tf.reshape(tensor, [shape[axis] for axis in order])
        return self.tf.transpose(tensor, list(order))

    def axis_of(self, axis: int, rank: int, last: bool) -> int:
        """Where an axis of ONNX, which may count from the end, is in a layout."""
        axis %= rank
        if not last or axis == 0:
            return axis
        return rank - 1 if axis == 1 else axis - 1


def narrowed(content: NDArray[Any]) -> NDArray[Any]:
    """An array in the types that TFLite computes with: float32, int32 and bool."""
    if content.dtype == np.bool_:
        return content
    if np.issubdtype(content.dtype, np.floating):
        return content.astype(np.float32)
    limits = np.iinfo(np.int32)
    whole: NDArray[np.int32] = np.clip(content, limits.min, limits.max).astype(np.int32)
    return whole
