"""Reads and changes an ONNX graph: matches operators and replaces them by new ones."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..formats.onnx import add_constant, constant_of, fixed_shape, input_of, is_constant
from ..lazy import require

if TYPE_CHECKING:
    import onnx_ir as ir

MOST_PASSES = 100  # of one rewrite over a graph; each pass must leave less to do


def rewrite_each(model: ir.Model, rewrite: Callable[[Editor, ir.Node], ir.Value | None]) -> int:
    """Offer each standard ONNX operator to a rewrite until it matches none, and tidy up.

    Args:
        model: Changed in place.
        rewrite: Takes an editor, which adds operators before the offered one, and the offered
            operator. It returns the output of a new operator, which replaces the only output of
            the offered one; or None, which leaves the graph as it is, and must then not have added
            anything.

    Returns:
        How many operators were replaced.

    Raises:
        RuntimeError: The rewrite matches its own results again and again.
    """
    total = 0
    for _ in range(MOST_PASSES):
        count = 0
        for node in list(model.graph):
            if node.domain or len(node.outputs) != 1:
                continue
            result = rewrite(Editor(model, node), node)
            if result is not None:
                replace_value(node.outputs[0], result)
                count += 1
        if not count:
            return total
        total += count
        # Between passes, so that new values have shapes.
        tidy(model)
    raise RuntimeError(f"{rewrite.__qualname__} still finds something after {MOST_PASSES} passes.")


class Editor:
    """Adds operators to a graph in front of one of its nodes."""

    def __init__(self, model: ir.Model, before: ir.Node) -> None:
        self.model = model
        self.before = before
        self._count = 0

    def __call__(
        self, kind: str, *inputs: ir.Value | NDArray[Any] | None, **attributes: Any
    ) -> ir.Value:
        """Add an operator.

        Args:
            inputs: Values; arrays become constants of the graph, None leaves an input out.

        Returns:
            The output of the operator.
        """
        onnx_ir = require("onnx_ir", purpose="Lowering")
        label = self._label()
        values = [
            add_constant(self.model.graph, f"{label}_{index}", value)
            if isinstance(value, np.ndarray)
            else value
            for index, value in enumerate(inputs)
        ]
        node: ir.Node = onnx_ir.node(kind, values, attributes=attributes, name=label)
        node.outputs[0].name = f"{label}_out"
        self.model.graph.insert_before(self.before, node)
        return node.outputs[0]

    def convolution(
        self,
        x: ir.Value | None,
        weight: NDArray[Any],
        bias: NDArray[Any] | None = None,
        **attributes: Any,
    ) -> ir.Value:
        """Add a convolution with constant weights, stored as float32; returns its output."""
        inputs: list[ir.Value | NDArray[Any] | None] = [x, np.ascontiguousarray(weight, np.float32)]
        if bias is not None and np.any(bias):
            inputs.append(np.ascontiguousarray(bias, np.float32))
        return self("Conv", *inputs, kernel_shape=list(weight.shape[2:]), **attributes)

    def sum(self, values: Iterable[ir.Value]) -> ir.Value:
        """Add up values from the first to the last; a single value is its own sum."""
        return functools.reduce(lambda total, value: self("Add", total, value), values)

    def _label(self) -> str:
        """A name that no constant begins with.

        The name of the output with a number would do if the new output of a graph did not take the
        name of the old one: another rewrite of it would name its constants like the first one's.
        """
        while True:
            self._count += 1
            label = f"{self.before.outputs[0].name}_l{self._count}"
            if not any(name.startswith(label) for name in self.model.graph.initializers):
                return label


@dataclass(frozen=True)
class Convolution:
    """A convolution with constant weights.

    Attributes:
        source: Its input.
        weight: (O, I / group, kh, kw), float64.
        bias: (O,), float64; zeros where there is none.
        group: Number of groups.
        strides, dilations: (vertical, horizontal).
        pads: (top, left, bottom, right).
    """

    source: ir.Value
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    group: int
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]

    @property
    def is_pointwise(self) -> bool:
        return self.weight.shape[2:] == (1, 1) and self.strides == (1, 1) and not any(self.pads)

    @property
    def adds_channels(self) -> bool:
        return bool(self.weight.shape[0] > self.weight.shape[1] * self.group)

    @property
    def is_depthwise(self) -> bool:
        return bool(self.group == self.weight.shape[0] and self.weight.shape[1] == 1)

    @property
    def reach(self) -> tuple[int, int]:
        """Rows and columns that the dilated kernel spans."""
        return (
            (self.weight.shape[2] - 1) * self.dilations[0] + 1,
            (self.weight.shape[3] - 1) * self.dilations[1] + 1,
        )

    @property
    def attributes(self) -> dict[str, Any]:
        """ONNX attributes, without the kernel size."""
        return {
            "group": self.group,
            "strides": list(self.strides),
            "dilations": list(self.dilations),
            "pads": list(self.pads),
        }

    def dense_weight(self) -> NDArray[np.float64]:
        """Weight (O, I, kh, kw) of the same convolution with one group."""
        outputs, inputs = self.weight.shape[0], self.weight.shape[1] * self.group
        dense = np.zeros((outputs, inputs, *self.weight.shape[2:]))
        for row in range(outputs):
            first = row // (outputs // self.group) * self.weight.shape[1]
            dense[row, first : first + self.weight.shape[1]] = self.weight[row]
        return dense


def convolution_of(value: ir.Value | None) -> Convolution | None:
    """The 2D convolution with constant float32 weights that computes a value, or None."""
    node = made_by(value, "Conv")
    if node is None or not is_constant(node.inputs[1]):
        return None
    weight = constant_of(node.inputs[1])
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    auto_pad = node.attributes.get_string("auto_pad", "NOTSET")
    if weight.ndim != 4 or weight.dtype != np.float32 or auto_pad != "NOTSET":
        return None
    if bias is not None and not is_constant(bias):
        return None
    return Convolution(
        source=input_of(node),
        weight=weight.astype(np.float64),
        bias=np.zeros(len(weight)) if bias is None else constant_of(bias).astype(np.float64),
        group=node.attributes.get_int("group", 1),
        strides=integers(node, "strides", (1, 1)),
        dilations=integers(node, "dilations", (1, 1)),
        pads=integers(node, "pads", (0, 0, 0, 0)),
    )


def pointwise_of(value: ir.Value | None) -> Convolution | None:
    """The 1x1 convolution with one group that computes a value, or None; see `convolution_of`."""
    found = convolution_of(value)
    return found if found is not None and found.is_pointwise and found.group == 1 else None


def integers(node: ir.Node, name: str, default: tuple[int, ...]) -> Any:
    """An attribute that holds several integers, as a tuple."""
    attribute = node.attributes.get(name)
    return default if attribute is None else tuple(attribute.as_ints())


def is_read_once(value: ir.Value | None) -> bool:
    """Whether a value is read by one input of one operator, and is not an output of the graph."""
    return value is not None and len(value.uses()) == 1 and not value.is_graph_output()


def made_by(value: ir.Value | None, kind: str) -> ir.Node | None:
    """The operator that computes a value, if it is a standard ONNX operator of that kind."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == kind and not node.domain else None


def channels_of(value: ir.Value | None) -> int | None:
    """Channels of a float32 map (1, C, H, W); None for any other value or an unknown size."""
    onnx_ir = require("onnx_ir", purpose="Lowering")
    shape = fixed_shape(value)
    if shape is None or len(shape) != 4 or value is None or value.dtype != onnx_ir.DataType.FLOAT:
        return None
    return shape[1] if shape[0] == 1 else None


def size_of(value: ir.Value | None) -> tuple[int, int]:
    """Height and width of a map (1, C, H, W) whose `channels_of` are known."""
    shape = fixed_shape(value)
    assert shape is not None
    return shape[2], shape[3]


def maps_of_one_size(values: Sequence[ir.Value]) -> bool:
    """Whether all values are maps (1, C, H, W) of the same height and width."""
    known = all(channels_of(value) is not None for value in values)
    return known and len({size_of(value) for value in values}) == 1


def both_ways(node: ir.Node | None) -> list[tuple[ir.Value, ir.Value]]:
    """The two inputs of a commutative operator, in their order and swapped."""
    if node is None:
        return []
    first, second = input_of(node, 0), input_of(node, 1)
    return [(first, second), (second, first)]


def replace_value(old: ir.Value, new: ir.Value) -> None:
    """Let all readers of `old` read `new`, the output of a new operator.

    An output of the graph keeps its name.
    """
    onnx_ir = require("onnx_ir", purpose="Lowering")
    name, is_output = old.name, old.is_graph_output()
    new.shape, new.type = old.shape, old.type
    onnx_ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    if is_output:
        old.name, new.name = f"{name}_replaced", name


def concatenated(value: ir.Value | None) -> list[ir.Value] | None:
    """The inputs of the concatenation of channels that computes a value, or None."""
    node = made_by(value, "Concat")
    if node is None or node.attributes.get_int("axis", 0) not in (1, -3):
        return None
    return [part for part in node.inputs if part is not None]


def summands(value: ir.Value, *, also_shared: bool) -> Iterator[ir.Value]:
    """The values that are added up to a value.

    Args:
        also_shared: Take apart inner sums that other operators read, too.
    """
    node = made_by(value, "Add")
    if node is None:
        yield value
        return
    for part in (input_of(node, 0), input_of(node, 1)):
        if also_shared or is_read_once(part):
            yield from summands(part, also_shared=also_shared)
        else:
            yield part


def apply_rule(
    model: ir.Model,
    pattern: Callable[..., Any],
    rewrite: Callable[..., Any],
    fits: Callable[..., bool],
) -> int:
    """Replace every match of a pattern, and tidy up.

    Args:
        model: Changed in place.
        pattern, rewrite, fits: The arguments of `onnxscript.rewriter.pattern.RewriteRule`.

    Returns:
        How many matches were replaced.
    """
    rules = require("onnxscript.rewriter.pattern", purpose="Lowering")
    # Shared intermediate values, such as the centred values of a norm, stay while they are read.
    rule = rules.RewriteRule(pattern, rewrite, fits, remove_nodes=False)
    count: int = rule.apply_to_model(model)
    if count:
        tidy(model)
    return count


def tidy(model: ir.Model) -> None:
    """Compute equal values once, remove unused operators, name the rest and infer shapes."""
    passes = require("onnx_ir.passes.common", purpose="Lowering")
    passes.DeduplicateInitializersPass()(model)
    passes.CommonSubexpressionEliminationPass()(model)
    passes.RemoveUnusedNodesPass()(model)
    passes.NameFixPass()(model)
    passes.ShapeInferencePass()(model)
