"""ONNX files that others made: what of them can be a network, and why the rest cannot.

A file is taken where it is one way through ordinary operators from one image to named maps. What
is refused is named by its nodes, as the file names them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UsageError, reason_of
from ...lazy import require
from ...records import sha256_of_file
from .widening import is_half, widen

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

PURPOSE = "Reading an ONNX file"
OLDEST, NEWEST = 11, 23  # opsets
LARGEST_BYTES = 2_000_000_000  # of a file; protobuf holds no more
STANDARD = ("", "ai.onnx")
LOOPS = ("Loop", "Scan")
CONTROL = frozenset({"If", "Loop", "Scan", "SequenceMap"})
QUANTIZED = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul"}
    | {"ConvInteger", "MatMulInteger"}
)
LISTED = 5


@dataclass(frozen=True)
class Port:
    """An input or output of a graph.

    Attributes:
        name: As the file has it.
        element: "float32", "int64", "uint8", ...
        sizes: Of its axes; None where one is not fixed. Empty where the rank is not known.
    """

    name: str
    element: str
    sizes: tuple[int | None, ...]

    @property
    def text(self) -> str:
        """For people: "logits float32 (1, 1, 256, 256)"."""
        sizes = ", ".join("?" if size is None else str(size) for size in self.sizes)
        return f"{self.name} {self.element} ({sizes})"


@dataclass(frozen=True)
class GraphFile:
    """A file that is taken.

    Attributes:
        path: The file.
        model: What is in it, with functions written out and float16 as float32.
        is_widened: Whether anything in it was float16.
    """

    path: Path
    model: ModelProto
    is_widened: bool

    def open_session(self, *, is_plain: bool) -> Any:
        """A session of ONNX Runtime on the file itself; on the model where that was widened.

        Args:
            is_plain: Compute it as the file says it, not as optimisations would have it.

        Raises:
            UsageError: ONNX Runtime does not open it.
        """
        onnxruntime = require("onnxruntime", purpose="Running an ONNX file")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        if is_plain:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        source = self.model.SerializeToString() if self.is_widened else str(self.path)
        try:
            return onnxruntime.InferenceSession(
                source, sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise UsageError(
                f"ONNX Runtime does not open {self.path} ({reason_of(error)}). Export it again."
            ) from error


def read_graph(path: Path) -> GraphFile:
    """Read a file.

    Raises:
        UsageError: It is no ONNX file, of an opset that is not known, quantised already, or holds
            operators of other domains; the message names nodes.
    """
    model = _load(path)
    onnx = require("onnx", purpose=PURPOSE)
    opset = _opset_of(model, path)
    if not OLDEST <= opset <= NEWEST:
        raise UsageError(
            f"{path} is of ONNX opset {opset}; opsets {OLDEST} to {NEWEST} are taken. Export it "
            f"again with opset_version between them, or convert it with onnx.version_converter."
        )
    if model.functions:
        inlined: ModelProto = onnx.inliner.inline_local_functions(model)
        model = inlined
    is_widened = is_half(model)
    if is_widened:
        widen(model)
    _require_float(model, path)
    _require_standard(model, path)
    return GraphFile(path, model, is_widened)


def _load(path: Path) -> ModelProto:
    onnx = require("onnx", purpose=PURPOSE)
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise UsageError(
                f"{path} has {size / 1e9:.1f} GB, and a small network is wanted, of at most "
                f"{LARGEST_BYTES / 1e9:.0f} GB. Check the file."
            )
        model: ModelProto = onnx.load(path)
        onnx.checker.check_model(model)
    except OSError as error:
        reason = error.strerror or reason_of(error)
        raise UsageError(f"Cannot read {path} ({reason}). Check its name.") from error
    except UsageError:
        raise
    except Exception as error:  # protobuf and the checker raise errors of their own
        raise UsageError(
            f"{path} is no ONNX file that can be read ({reason_of(error)}). Export it again, with "
            "its external data beside it."
        ) from error
    if not model.graph.output:
        raise UsageError(f"{path} has no outputs. Export the network with its mask as one.")
    if not model.graph.node:
        raise UsageError(f"{path} holds no operators. Export the network again.")
    return model


def sha256_of_graph(path: Path) -> str:
    """Hash of an ONNX file and of the files beside it that hold its weights."""
    onnx = require("onnx", purpose=PURPOSE)
    digest = hashlib.sha256(path.read_bytes())
    names = {
        entry.value
        for tensor in onnx.load(path, load_external_data=False).graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    for name in sorted(names):
        digest.update(sha256_of_file(path.parent / name).encode())
    return digest.hexdigest()


def _opset_of(model: ModelProto, path: Path) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in STANDARD]
    if not versions:
        raise UsageError(
            f"{path} does not say of which ONNX opset it is. Export it again with opset_version."
        )
    return int(versions[0])


def nodes_of(graph: GraphProto) -> Iterable[NodeProto]:
    """All nodes, those within control flow too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else ())):
                yield from nodes_of(inner)


def listing(nodes: Sequence[NodeProto]) -> str:
    """Names and operators of some nodes: "decoder/up (Resize), ... and 3 more"."""
    shown = [f"{node.name or node.output[0]} ({node.op_type})" for node in nodes[:LISTED]]
    more = [f"{len(nodes) - LISTED} more"] if len(nodes) > LISTED else []
    return " and ".join(filter(None, [", ".join(shown), *more]))


def _found(model: ModelProto, wanted: Callable[[Any], bool]) -> list[NodeProto]:
    return [node for node in nodes_of(model.graph) if wanted(node)]


def _require_float(model: ModelProto, path: Path) -> None:
    """Refuse a graph that somebody quantised: its scales are another tool's, and INT8 is chosen
    here against the FP32 network, which it no longer holds."""
    found = _found(model, lambda node: node.op_type in QUANTIZED)
    if found:
        raise UsageError(
            f"{path} is quantised already, in {listing(found)}. Its FP32 weights are gone, so that "
            "nothing can tell what quantising costs. Give the FP32 file that it was made of; "
            "--precision int8 quantises it."
        )


def _require_standard(model: ModelProto, path: Path) -> None:
    found = _found(model, lambda node: node.domain not in STANDARD)
    if found:
        domains = ", ".join(sorted({node.domain for node in found}))
        raise UsageError(
            f"{path} has operators outside the ONNX standard, of {domains}: {listing(found)}. "
            "Only the tool that made them computes them. Export the network again without "
            "optimisation for one runtime, or with standard operators in their place."
        )


def require_one_way(model: ModelProto, path: Path) -> None:
    """Refuse control flow, which the values of an image decide.

    Raises:
        UsageError: Names the nodes.
    """
    found = _found(model, lambda node: node.op_type in CONTROL)
    if found:
        raise UsageError(
            f"{path} decides while it runs, in {listing(found)}, and that does not fold to one way "
            "at a fixed size. Export the network in eval mode with an example of a fixed size, "
            "without torch.jit.script."
        )


def require_no_loop(model: ModelProto, path: Path) -> None:
    """Refuse loops, which may run for ever, before anything is run.

    Raises:
        UsageError: Names the nodes.
    """
    found = _found(model, lambda node: node.op_type in LOOPS)
    if found:
        raise UsageError(
            f"{path} runs in a loop, in {listing(found)}. Export the network in eval mode with an "
            "example of a fixed size, without torch.jit.script."
        )


def ports(values: Iterable[ValueInfoProto]) -> tuple[Port, ...]:
    """Inputs or outputs of a graph."""
    onnx = require("onnx", purpose=PURPOSE)
    found = []
    for value in values:
        tensor = value.type.tensor_type
        is_known = tensor.elem_type in onnx.TensorProto.DataType.values() and tensor.elem_type
        known = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type) if is_known else None
        sizes = tuple(
            int(axis.dim_value) if axis.HasField("dim_value") and axis.dim_value > 0 else None
            for axis in tensor.shape.dim
        )
        found.append(Port(value.name, str(known or "sequence"), sizes))
    return tuple(found)


def image_input(model: ModelProto, path: Path) -> Port:
    """The one input that is no weight.

    Raises:
        UsageError: There are several, or it is no batch of float images.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [port for port in ports(model.graph.input) if port.name not in weights]
    if len(inputs) != 1:
        texts = ", ".join(port.text for port in inputs) or "none"
        raise UsageError(
            f"{path} has {len(inputs)} inputs ({texts}), and one image is wanted. Export the "
            "network with the others as constants."
        )
    (port,) = inputs
    if len(port.sizes) != 4 or port.element != "float32":
        raise UsageError(
            f"The input of {path} is {port.text}, and a batch of float images is wanted, "
            "(1, C, H, W) or (1, H, W, C). Export the network without what prepares the image."
        )
    if port.sizes[0] not in (None, 1):
        raise UsageError(
            f"The input of {path} is {port.text}: {port.sizes[0]} images at once, and one is "
            "wanted. Export it with a batch of 1, or with a free one (dynamic_axes)."
        )
    return port


def layout_of(port: Port, path: Path) -> tuple[str, int]:
    """Where the channels of an image are, "NCHW" or "NHWC", and how many there are.

    Raises:
        UsageError: The file does not tell, or there are more than four.
    """
    first, last = port.sizes[1], port.sizes[3]
    is_first, is_last = (size is not None and 1 <= size <= 4 for size in (first, last))
    if is_first and first is not None:
        return "NCHW", first
    if is_last and last is not None:
        return "NHWC", last
    raise UsageError(
        f"The input of {path} is {port.text}, which has no axis of 1 to 4 channels. Export the "
        "network for pictures, with the number of channels fixed."
    )


def choose_output(model: ModelProto, name: str | int | None, path: Path) -> Port:
    """The output that holds the mask.

    Args:
        name: Its name or index; None where there is only one.

    Raises:
        UsageError: There is no such output, or several and none is named.
    """
    outputs = ports(model.graph.output)
    texts = ", ".join(port.text for port in outputs)
    if name is None and len(outputs) == 1:
        return outputs[0]
    if isinstance(name, int) and -len(outputs) <= name < len(outputs):
        return outputs[name]
    for port in outputs:
        if port.name == name:
            return port
    said = "does not say which" if name is None else f"says output = {name!r}"
    raise UsageError(
        f"{path} has {len(outputs)} outputs ({texts}), and the spec {said}. Write output = "
        f'"{outputs[0].name}" there, or the name of another one.'
    )
