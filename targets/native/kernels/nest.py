"""C of a nest: all statements for some neighbouring pixels, then for the next ones."""

from __future__ import annotations

from collections.abc import Callable

from ..expressions import Tensor, calls, loads
from ..ir import Nest, Statement
from .writer import Extent, Place, Span, Writer, masked, rows_loop, spans, value_of

MOST_VECTORS = 4
COSTLY = frozenset(
    {"gelu", "erf", "exp", "sigmoid", "tanh", "softplus", "mish", "gelu_tanh", "elu", "log", "pow"}
)


def write_nest(writer: Writer, step: Nest, rows: int = 0) -> Extent:
    """A function that computes the rows, or columns, from `from` to `to`.

    Args:
        rows: Of a strip; 0 where the step runs on the whole image.

    Returns:
        What threads can share.
    """
    height, width = step.shape
    is_flat = not rows and _is_flat(writer, step)
    if is_flat:
        height, width = 1, height * width
    lanes = writer.machine.lanes
    while lanes > 4 and width < lanes:
        lanes //= 2
    vectors = _vectors(step, writer.machine.registers)
    with writer.step(), writer.block(rows_loop(is_flat)):
        _columns(writer, step, width, lanes, vectors, is_flat)
    return Extent(width, lanes * vectors) if is_flat else Extent(height)


def _is_flat(writer: Writer, step: Nest) -> bool:
    """Whether rows lie one behind the other without gaps in all that is read and written."""
    tensors = {
        tensor
        for statement in step.statements
        for tensor in (*loads(statement.expression), statement.out)
    }
    kept = {statement.out for statement in step.statements if not statement.is_stored}
    height, width = step.shape
    return all(
        tensor in kept or tensor.pixels == 1 or writer.pitch(tensor) == width for tensor in tensors
    ) and (width % 8 == 0 or height == 1)


def _vectors(step: Nest, registers: int) -> int:
    """How many vectors at once: few where functions need many registers."""
    functions = {name for one in step.statements for name in calls(one.expression)}
    if functions & COSTLY:
        return 2 if registers >= 32 else 1
    return MOST_VECTORS if registers >= 32 else 2


def _columns(
    writer: Writer, step: Nest, width: int, lanes: int, vectors: int, is_flat: bool
) -> None:
    for span, count in spans(width, lanes, vectors):
        stride = span.lanes * span.vectors
        with writer.block(writer.loop("x", span.start + stride * count, span.start, stride)):
            if is_flat:
                writer.line("if (x < from || x >= to) continue;")
            _pixels(writer, step, span)


def _pixels(writer: Writer, step: Nest, span: Span) -> None:
    names: dict[Tensor, str] = {}
    for index, statement in enumerate(step.statements):
        if statement.reduction:
            names[statement.out] = f"r{index}"
            _reduce(writer, step, statement, span, names)
            if statement.is_stored:
                for vector in range(span.vectors):
                    _store(writer, statement, span, vector, "0", f"r{index}_{vector}")
        elif not statement.is_stored:
            names[statement.out] = f"r{index}"
            for vector in range(span.vectors):
                value = _value(writer, step, statement, span, vector, names, "0")
                writer.line(f"const F{span.lanes} r{index}_{vector} = {value};")
        else:
            writer.line("AS_WRITTEN")
            with writer.block(_channels(writer, statement)):
                for vector in range(span.vectors):
                    value = _value(writer, step, statement, span, vector, names, "c")
                    _store(writer, statement, span, vector, "c", value)


def _channels(writer: Writer, statement: Statement) -> str:
    return writer.loop("c", statement.channels)


def _reduce(
    writer: Writer,
    step: Nest,
    statement: Statement,
    span: Span,
    names: dict[Tensor, str],
) -> None:
    lanes = span.lanes
    name = names[statement.out]
    start = "0.0f" if statement.reduction == "add" else "-__builtin_inff()"
    for vector in range(span.vectors):
        writer.line(f"F{lanes} {name}_{vector} = splat{lanes}({start});")
    with writer.block(_channels(writer, statement)):
        for vector in range(span.vectors):
            value = _value(writer, step, statement, span, vector, names, "c")
            total = f"{name}_{vector}"
            writer.line(f"{total} = {statement.reduction}{lanes}({total}, {value});")


def _value(
    writer: Writer,
    step: Nest,
    statement: Statement,
    span: Span,
    vector: int,
    names: dict[Tensor, str],
    channel: str,
) -> str:
    shape = (statement.channels, *step.shape)
    variables: dict[Tensor | None, str] = {
        tensor: f"{name}_{vector}" for tensor, name in names.items() if tensor is not statement.out
    }
    place = Place(channel, shape, _offset(writer, span, vector), variables, span.lanes)
    return value_of(writer, statement.expression, place)


def _offset(writer: Writer, span: Span, vector: int) -> Callable[[Tensor], str]:
    def offset(tensor: Tensor) -> str:
        return f"{writer.row(tensor)} * {writer.pitch(tensor)} + x + {vector * span.lanes}"

    return offset


def _store(
    writer: Writer,
    statement: Statement,
    span: Span,
    vector: int,
    channel: str,
    value: str,
) -> None:
    tensor = statement.out
    address = f"{writer.plane(tensor, channel)} + {_offset(writer, span, vector)(tensor)}"
    last = vector == span.vectors - 1
    kept = masked(f"({value})", span) if last else value
    writer.line(f"store{span.lanes}({address}, {kept});")
