"""What a TFLite file holds: its graph, read without running it, and what is computed inside it."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..lazy import provider_of, require

PURPOSE = "Reading a TFLite model"
ARITHMETIC_NOTE = "reduced_precision_support"
HALF_ARITHMETIC = b"fp16accfp16"  # values in FP16, and sums too


@dataclass(frozen=True)
class Operator:
    """One operator of a model.

    Attributes:
        kind: As TFLite names it, such as "CONV_2D"; "CUSTOM" for those that are not built in.
        custom_name: Of one that is not built in, else empty.
        inputs, outputs: Indices of tensors; inputs that are left out are not among them.
    """

    kind: str
    custom_name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class TfliteModel:
    """The first graph of a file.

    Attributes:
        operators: In the order in which they run.
        names: Of the tensors, by index.
        constants: Indices of the tensors whose values are stored.
        types: Of the tensors, by index, such as "FLOAT32" or "INT8".
    """

    operators: tuple[Operator, ...]
    names: tuple[str, ...]
    constants: frozenset[int]
    types: tuple[str, ...] = ()


def read_tflite(path: Path) -> TfliteModel:
    """Read the graph of a .tflite file that is known to be whole."""
    schema = require("ai_edge_litert.schema_py_generated", purpose=PURPOSE)
    kinds = {
        number: name
        for name, number in vars(schema.BuiltinOperator).items()
        if not name.startswith("_")
    }
    model = unpack_tflite(path.read_bytes())
    graph = model.subgraphs[0]
    operators = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        # Numbers above 127 are in the newer field only.
        kind = kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]
        operators.append(
            Operator(
                kind,
                (code.customCode or b"").decode(),
                tuple(int(index) for index in operator.inputs if index >= 0),
                tuple(int(index) for index in operator.outputs),
            )
        )
    stored = (
        index
        for index, tensor in enumerate(graph.tensors)
        if model.buffers[tensor.buffer].data is not None
    )
    names = tuple(tensor.name.decode() for tensor in graph.tensors)
    type_names = {number: name for name, number in vars(schema.TensorType).items()}
    types = tuple(type_names[tensor.type] for tensor in graph.tensors)
    return TfliteModel(tuple(operators), names, frozenset(stored), types)


def number_tensors(content: bytes) -> bytes:
    """Give the inner tensors of a TFLite file numbers in place of names.

    Converters name them after the operators that they came from, a tenth of the bytes of a small
    network.

    Returns:
        A file that computes the same. Inputs and outputs keep their names.
    """
    model = unpack_tflite(content)
    for graph in model.subgraphs:
        outer = {int(index) for index in (*graph.inputs, *graph.outputs)}
        for index, tensor in enumerate(graph.tensors):
            if index not in outer:
                tensor.name = str(index).encode()
    return pack_tflite(model, len(content))


def with_half_arithmetic(content: bytes) -> bytes:
    """Allow XNNPACK to compute the float part of a TFLite file in FP16, sums included.

    It does so on CPUs that have such arithmetic (ARMv8.2 with `asimdhp`); others compute the same
    as before. The note is the one that TensorFlow's converter writes for FP16 accumulation.
    """
    schema = require("ai_edge_litert.schema_py_generated", purpose=PURPOSE)
    if notes_of(content).get(ARITHMETIC_NOTE) == HALF_ARITHMETIC:
        return content
    model = unpack_tflite(content)
    notes = [note for note in model.metadata or [] if _name_of(note) != ARITHMETIC_NOTE]
    note, buffer = schema.MetadataT(), schema.BufferT()
    note.name, note.buffer = ARITHMETIC_NOTE, len(model.buffers)
    buffer.data = list(HALF_ARITHMETIC)
    model.metadata = [*notes, note]
    model.buffers.append(buffer)
    return pack_tflite(model, len(content))


def notes_of(content: bytes) -> dict[str, bytes]:
    """The metadata of a TFLite file by name."""
    model = unpack_tflite(content)
    values = {_name_of(note): model.buffers[note.buffer].data for note in model.metadata or []}
    return {name: b"" if value is None else bytes(value) for name, value in values.items()}


def _name_of(note: Any) -> str:
    name: str = note.name if isinstance(note.name, str) else note.name.decode()
    return name


def unpack_tflite(content: bytes) -> Any:
    """A file as objects; constants that lie behind its tables come into them."""
    schema = require("ai_edge_litert.schema_py_generated", purpose=PURPOSE)
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0 and 1 say that there is none
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def pack_tflite(model: Any, size: int) -> bytes:
    flatbuffers = require("flatbuffers", purpose=PURPOSE)
    builder = flatbuffers.Builder(size)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def observe_tensors(
    path: Path,
    images: Iterable[NDArray[np.float32]],
    indices: Collection[int] | None = None,
    *,
    decoded: bool = False,
) -> Iterator[dict[int, NDArray[np.float32]]]:
    """Run a model and give its float tensors, those inside it too, for each image.

    Args:
        images: Prepared, (1, 3, H, W) each.
        indices: Of the tensors that are wanted; all by default.
        decoded: Give what codes with one scale stand for too.

    Yields:
        Values by index, as the model lays them out. Constants are among them; tensors of other
        types, and scratch space of operators, which holds no value, are not.
    """
    runtime = require(
        f"{provider_of('ai_edge_litert')}.interpreter", purpose="Running a TFLite model"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that keeping all tensors takes memory
        interpreter = runtime.Interpreter(
            model_content=path.read_bytes(),
            num_threads=1,
            experimental_preserve_all_tensors=True,
            # XNNPACK would keep what is inside it to itself.
            experimental_op_resolver_type=runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]["index"]
    wanted = {
        details["index"]: details["quantization"]
        for details in interpreter.get_tensor_details()
        if (details["dtype"] == np.float32 or (decoded and details["quantization"][0]))
        and (indices is None or details["index"] in indices)
    }
    for image in images:
        interpreter.set_tensor(entry, np.ascontiguousarray(image.transpose(0, 2, 3, 1)))
        interpreter.invoke()
        values = {}
        for index, (scale, zero_point) in wanted.items():
            try:
                held = interpreter.get_tensor(index)
            except ValueError:
                continue  # scratch space
            is_float = held.dtype == np.float32
            values[index] = (
                held if is_float else np.float32(scale) * (held - np.float32(zero_point))
            )
        yield values
