"""Reading and changing an ONNX graph: what rewrites match, and how they put new nodes in place."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..formats.onnx import add_constant, constant_of, fixed_shape, is_constant
from ..lazy import require

MOST_PASSES = 100  # of one rewrite; each pass must leave less to do


def rewrite_each(model: Any, rewrite: Callable[[Editor, Any], Any | None]) -> int:
    """Offer each of ONNX's own operators to a rewrite until it finds nothing more, and tidy up.

    Args:
        model: An `onnx_ir.Model`, changed in place.
        rewrite: Takes an editor, which adds operators before the one offered, and the operator.
            Returns the result of a new operator that replaces the (only) result of the one
            offered. None leaves that as it is; nothing must have been added then.

    Returns:
        How many operators were replaced.

    Raises:
        RuntimeError: The rewrite finds its own results again and again.
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

    def __init__(self, model: Any, before: Any) -> None:
        self.model = model
        self.before = before
        self._count = 0

    def __call__(self, kind: str, *inputs: Any, **attributes: Any) -> Any:
        """Result of a new operator.

        Args:
            inputs: Values; arrays become constants of the graph, None leaves an input out.
        """
        ir = require("onnx_ir", purpose="Lowering")
        label = self._label()
        values = [
            add_constant(self.model.graph, f"{label}_{index}", value)
            if isinstance(value, np.ndarray)
            else value
            for index, value in enumerate(inputs)
        ]
        node = ir.node(kind, values, attributes=attributes, name=label)
        node.outputs[0].name = f"{label}_out"
        self.model.graph.insert_before(self.before, node)
        return node.outputs[0]

    def convolution(
        self, x: Any, weight: NDArray[Any], bias: NDArray[Any] | None = None, **attributes: Any
    ) -> Any:
        """Result of a new convolution; arrays are stored as float32."""
        inputs = [x, np.ascontiguousarray(weight, np.float32)]
        if bias is not None and np.any(bias):
            inputs.append(np.ascontiguousarray(bias, np.float32))
        return self("Conv", *inputs, kernel_shape=list(weight.shape[2:]), **attributes)

    def sum(self, values: Iterable[Any]) -> Any:
        """The values added up from the first to the last; one alone is itself."""
        return functools.reduce(lambda total, value: self("Add", total, value), values)

    def _label(self) -> str:
        """A name that no constant begins with.

        One for each result would do, but a new result of the graph takes the name of the old one:
        another rewrite of it would give its constants the names of the first one's.
        """
        while True:
            self._count += 1
            label = f"{self.before.outputs[0].name}_l{self._count}"
            if not any(name.startswith(label) for name in self.model.graph.initializers):
                return label


@dataclass(frozen=True)
class Convolution:
    """What a convolution with constant weights computes.

    Attributes:
        source: Its input.
        weight: (O, I / group, kh, kw), float64.
        bias: (O,), float64; zeros where there is none.
        group: Number of groups.
        strides, dilations: (vertical, horizontal).
        pads: (top, left, bottom, right).
    """

    source: Any
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
        return self.weight.shape[0] > self.weight.shape[1] * self.group

    @property
    def is_depthwise(self) -> bool:
        return self.group == self.weight.shape[0] and self.weight.shape[1] == 1

    @property
    def reach(self) -> tuple[int, int]:
        """Rows and columns that the dilated kernel spans."""
        return (
            (self.weight.shape[2] - 1) * self.dilations[0] + 1,
            (self.weight.shape[3] - 1) * self.dilations[1] + 1,
        )

    @property
    def attributes(self) -> dict[str, Any]:
        """As ONNX names them, without the size of the kernel."""
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


def convolution_of(value: Any) -> Convolution | None:
    """The convolution of four axes with constant float32 weights that computes a value, or None."""
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
        source=node.inputs[0],
        weight=weight.astype(np.float64),
        bias=np.zeros(len(weight)) if bias is None else constant_of(bias).astype(np.float64),
        group=node.attributes.get_int("group", 1),
        strides=integers(node, "strides", (1, 1)),
        dilations=integers(node, "dilations", (1, 1)),
        pads=integers(node, "pads", (0, 0, 0, 0)),
    )


def pointwise_of(value: Any) -> Convolution | None:
    """The 1x1 convolution of one group that computes a value, as `convolution_of`, or None."""
    found = convolution_of(value)
    return found if found is not None and found.is_pointwise and found.group == 1 else None


def integers(node: Any, name: str, default: tuple[int, ...]) -> Any:
    """An attribute of several integers, as a tuple."""
    attribute = node.attributes.get(name)
    return default if attribute is None else tuple(attribute.as_ints())


def is_read_once(value: Any) -> bool:
    """Whether one input of one operator is all that a value is for."""
    return len(value.uses()) == 1 and not value.is_graph_output()


def made_by(value: Any, kind: str) -> Any | None:
    """The operator that computes a value, if it is that one of ONNX's own."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == kind and not node.domain else None


def channels_of(value: Any) -> int | None:
    """Channels of a float32 map (1, C, H, W); None for any other value or an unknown size."""
    ir = require("onnx_ir", purpose="Lowering")
    shape = fixed_shape(value)
    if shape is None or len(shape) != 4 or value.dtype != ir.DataType.FLOAT:
        return None
    return shape[1] if shape[0] == 1 else None


def maps_of_one_size(values: Sequence[Any]) -> bool:
    """Whether all are maps (1, C, H, W) with one H and one W."""
    known = all(channels_of(value) is not None for value in values)
    return known and len({tuple(value.shape[2:]) for value in values}) == 1


def both_ways(node: Any) -> list[tuple[Any, Any]]:
    """The two inputs of an operator that does not mind their order, as they are and swapped."""
    return [] if node is None else [tuple(node.inputs), tuple(reversed(node.inputs))]


def replace_value(old: Any, new: Any) -> None:
    """Let everyone read `new`, a new operator's result, in place of `old`.

    A result of the graph keeps its name.
    """
    ir = require("onnx_ir", purpose="Lowering")
    name, is_output = old.name, old.is_graph_output()
    new.shape, new.type = old.shape, old.type
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    if is_output:
        old.name, new.name = f"{name}_replaced", name


def concatenated(value: Any) -> list[Any] | None:
    """Parts of a concatenation over the channels."""
    node = made_by(value, "Concat")
    if node is None or node.attributes.get_int("axis", 0) not in (1, -3):
        return None
    return list(node.inputs)


def summands(value: Any, *, also_shared: bool) -> Iterator[Any]:
    """Values whose sum a value is.

    Args:
        also_shared: Go through inner sums that others read, too.
    """
    node = made_by(value, "Add")
    if node is None:
        yield value
        return
    for part in node.inputs:
        if also_shared or is_read_once(part):
            yield from summands(part, also_shared=also_shared)
        else:
            yield part


def apply_rule(
    model: Any,
    pattern: Callable[..., Any],
    rewrite: Callable[..., Any],
    fits: Callable[..., bool],
) -> int:
    """Replace every match of a pattern, and tidy up.

    Args:
        model: An `onnx_ir.Model`, changed in place.
        pattern, rewrite, fits: As `onnxscript.rewriter.pattern.RewriteRule` takes them.

    Returns:
        How many matches were replaced.
    """
    rules = require("onnxscript.rewriter.pattern", purpose="Lowering")
    # Shared intermediate values, such as the centred one of a norm, stay while they have readers.
    rule = rules.RewriteRule(pattern, rewrite, fits, remove_nodes=False)
    count: int = rule.apply_to_model(model)
    if count:
        tidy(model)
    return count


def tidy(model: Any) -> None:
    """Compute equal values once, remove what nothing reads, name the rest and infer shapes."""
    passes = require("onnx_ir.passes.common", purpose="Lowering")
    passes.DeduplicateInitializersPass()(model)
    passes.CommonSubexpressionEliminationPass()(model)
    passes.RemoveUnusedNodesPass()(model)
    passes.NameFixPass()(model)
    passes.ShapeInferencePass()(model)
