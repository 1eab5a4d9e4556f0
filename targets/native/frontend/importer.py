"""From an ONNX graph to a program; the operators' own rules lie in the files beside this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import TargetError
from edgeseg.formats.onnx import MODULE, constant_of, fixed_shape, is_constant

from ..expressions import Call, Expression, Floats, Load, Scalar, Shape, Tensor, image_shape
from ..ir import Gather, Nest, Program, Statement, Step

if TYPE_CHECKING:
    import onnx_ir as ir

Rule: TypeAlias = "Callable[[Importer, ir.Node], None]"


class Importer:
    """Turns nodes into steps, one after the other.

    Attributes:
        steps: So far.
        tensors: By ONNX value; the tensor's shape is the value's with the batch of one left out.
        rounded: Scale and zero of values that a quantised graph rounds; they are not rounded here.
        weight_scales: Of quantised convolutions, by the name of their output.
    """

    def __init__(self, rules: dict[str, Rule], weight_scales: Mapping[str, Floats]) -> None:
        self.rules = rules
        self.weight_scales = weight_scales
        self.rounded: dict[ir.Value, tuple[float, int]] = {}
        self.steps: list[Step] = []
        self.tensors: dict[ir.Value, Tensor] = {}

    def program(self, model: ir.Model) -> Program:
        (image,), (mask,) = model.graph.inputs, model.graph.outputs
        self.tensors[image] = Tensor(str(image.name), self._image_shape(image))
        for node in model.graph:
            rule = self.rules.get(node.op_type) if not node.domain else None
            if rule is None:
                raise self.refusal(node, "is not among the operators that it has")
            rule(self, node)
        return Program(self.tensors[image], self.tensors[mask], self.steps)

    def refusal(self, node: ir.Node, why: str) -> TargetError:
        """An error that names the operator and where it is in the network."""
        module = node.metadata_props.get(MODULE)
        where = f" of module '{module}'" if module else ""
        return TargetError(
            f"Runtime native cannot compile {node.op_type} '{node.name}'{where}: it {why}. Write "
            "that part of the model in another way, or build with another --runtime."
        )

    def attribute(self, node: ir.Node, name: str, default: Any = None) -> Any:
        found = node.attributes.get(name)
        return default if found is None else found.value

    def constant(self, node: ir.Node, index: int) -> NDArray[Any] | None:
        """Content of an input; None where it is left out.

        Raises:
            TargetError: It is computed.
        """
        value = node.inputs[index] if index < len(node.inputs) else None
        if value is None:
            return None
        if not is_constant(value):
            raise self.refusal(node, f"has an input {index} that is not constant")
        return constant_of(value)

    def shape(self, value: ir.Value | None) -> tuple[int, ...]:
        """All sizes of a value.

        Raises:
            TargetError: One is open.
        """
        assert value is not None
        found = fixed_shape(value)
        if found is None:
            raise TargetError(
                f"The size of '{value.name}' is not known before the network runs. Export it with "
                "a fixed input size."
            )
        return found

    def _image_shape(self, value: ir.Value) -> Shape:
        shape = self.shape(value)
        return image_shape(shape) or (1, 1, int(np.prod(shape)))

    def tensor(self, value: ir.Value | None) -> Tensor:
        """The tensor of a value; a constant becomes one."""
        assert value is not None
        if value not in self.tensors:
            content = np.asarray(constant_of(value), np.float32)
            shape = image_shape(content.shape) or (1, 1, content.size)
            self.tensors[value] = Tensor(str(value.name), shape, content.reshape(shape))
        return self.tensors[value]

    def result(self, node: ir.Node, index: int = 0) -> Tensor:
        """A new tensor for an output of a node."""
        value = node.outputs[index]
        tensor = Tensor(str(value.name), self._image_shape(value))
        self.tensors[value] = tensor
        return tensor

    def new(self, name: str, shape: Shape) -> Tensor:
        return Tensor(name, shape)

    def add(self, step: Step) -> None:
        self.steps.append(step)

    def map(self, node: ir.Node, expression: Expression, out: Tensor | None = None) -> None:
        """Compute the output of a node element by element."""
        out = out or self.result(node)
        self.add(Nest(title_of(node), [Statement(out, expression, out.channels)]))

    def call(self, node: ir.Node, function: str, *arguments: Expression) -> None:
        self.map(node, Call(function, arguments))

    def operand(self, value: ir.Value | None, shape: Sequence[int], node: ir.Node) -> Expression:
        """What of a value is read for one element of a result of `shape`, as ONNX broadcasts."""
        assert value is not None
        if is_constant(value):
            return self.constant_operand(np.asarray(constant_of(value), np.float32), shape)
        size = self.shape(value)
        whole = image_shape(shape)
        padded = (1,) * (len(shape) - len(size)) + tuple(size)
        tensor = self.tensor(value)
        if whole is not None:
            own = image_shape(padded)
            assert own is not None
            # Whole, or the same for all pixels; channels may be repeated in either case.
            if own[1:] in (whole[1:], (1, 1)):
                return Load(self.reshaped(node, tensor, own))
        elif tuple(padded) == tuple(shape):
            return Load(tensor)
        indices = np.arange(int(np.prod(size)), dtype=np.int32).reshape(padded)
        expanded = self.new(f"{tensor.name}_repeated", whole or (1, 1, int(np.prod(shape))))
        self.add(Gather(title_of(node), tensor, expanded, np.broadcast_to(indices, shape).ravel()))
        return Load(expanded)

    def constant_operand(self, content: Floats, shape: Sequence[int]) -> Expression:
        """A constant as `operand` would read it."""
        if content.size and (content == content.flat[0]).all():
            return Scalar(float(content.flat[0]))
        whole = image_shape(shape)
        padded = content.reshape((1,) * (len(shape) - content.ndim) + content.shape)
        if whole is None:
            flat = np.broadcast_to(padded, shape).reshape(1, 1, -1)
            return Load(Tensor("constant", (1, 1, flat.size), np.ascontiguousarray(flat)))
        own = image_shape(padded.shape)
        assert own is not None
        pixels = own[1:] if own[1:] == (1, 1) else whole[1:]
        stored = np.broadcast_to(padded.reshape(own), (own[0], *pixels))
        return Load(Tensor("constant", (own[0], *pixels), np.ascontiguousarray(stored)))

    def reshaped(self, node: ir.Node, tensor: Tensor, shape: Shape) -> Tensor:
        """The same elements in another shape."""
        if tensor.shape == shape:
            return tensor
        if tensor.constant is not None:
            return Tensor(tensor.name, shape, tensor.constant.reshape(shape))
        made = self.new(f"{tensor.name}_reshaped", shape)
        count = int(np.prod(shape))
        self.add(Gather(title_of(node), tensor, made, np.arange(count, dtype=np.int32)))
        return made


def is_image(shape: Sequence[int]) -> bool:
    """Whether a tensor of that ONNX shape has its channels in the first axis."""
    return len(shape) == 4 and shape[0] == 1


def title_of(node: ir.Node) -> str:
    return f"{node.op_type} {node.outputs[0].name}"


def axes_first(
    importer: Importer, node: ir.Node, source: Tensor, shape: Sequence[int], axes: tuple[int, ...]
) -> Tensor:
    """A tensor of that ONNX shape with some axes as its channels, and all others as its pixels."""
    if is_image(shape) and axes == (1,):
        return source
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    count = int(np.prod([shape[axis] for axis in axes]))
    order = np.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape).transpose(*axes, *kept)
    moved = importer.new(f"{source.name}_moved", (count, 1, order.size // count))
    importer.add(Gather(title_of(node), source, moved, order.ravel()))
    return moved


def axes_back(
    importer: Importer, node: ir.Node, made: Tensor, shape: Sequence[int], axes: tuple[int, ...]
) -> None:
    """Give a node's output what has the form of `axes_first`."""
    if is_image(shape) and axes == (1,):
        importer.tensors[node.outputs[0]] = made
        return
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    order = np.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape).transpose(*axes, *kept)
    back = np.empty(order.size, np.int32)
    back[order.ravel()] = np.arange(order.size)
    importer.add(Gather(title_of(node), made, importer.result(node), back))
