"""Building ahead of time with TensorRT-RTX, which needs no GPU, and reading what it made."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from edgeseg.errors import TargetError
from edgeseg.lazy import require

from ..runners.tensorrt_backend import make_logger, parse_network
from .graph import label

if TYPE_CHECKING:
    import onnx_ir as ir

# Kernels that the builder generates for operators between the ones it has kernels for.
GENERATED = "kgen"
NO_KERNELS = ("signal", "wait")
TYPES = {"Float": "fp32", "Half": "fp16", "Int8": "int8"}
CONVOLUTIONS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class KernelReport:
    """What an engine launches, as its builder tells it.

    Attributes:
        kernels: Launched for one inference.
        convolutions: How many convolutions and matrix products compute in each type.
        float_convolutions: Names of those that an INT8 network computes in float.
        unfused: Operators that are in no kernel of a convolution, counted by type: each group of
            them reads and writes memory for itself.
    """

    kernels: int
    convolutions: dict[str, int]
    float_convolutions: tuple[str, ...]
    unfused: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        types = ", ".join(f"{count} {name}" for name, count in self.convolutions.items())
        return (
            f"{self.kernels} kernels, convolutions {types}, "
            f"{sum(self.unfused.values())} operators outside their kernels"
        )


def build_ahead_of_time(
    model: ir.Model, onnx: bytes, compute_capability: str
) -> tuple[bytes, KernelReport | None]:
    """Build an engine for a compute capability.

    Args:
        model: The graph in `onnx`, for names in the report.
        compute_capability: Such as "8.6".

    Returns:
        The engine, and what it launches; None where the builder tells that in another form.

    Raises:
        MissingBackendError: tensorrt_rtx is not installed.
        TargetError: The parser or the builder refuses the graph; names node and reason.
    """
    trt = require("tensorrt_rtx", purpose="Building for TensorRT")
    logger = make_logger(trt)
    try:
        builder, network, parser = parse_network(trt, logger, onnx)
    except RuntimeError as error:
        raise TargetError(
            f"TensorRT does not take the graph: {error}. Replace the operator in the model, or "
            "report it as a bug."
        ) from error
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # float32 is meant where it stands
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.num_compute_capabilities = 1
    architecture = getattr(trt.ComputeCapability, f"SM{compute_capability.replace('.', '')}")
    config.set_compute_capability(architecture, 0)
    engine = builder.build_serialized_network(network, config)
    del parser  # held the weights until here
    if engine is None:
        raise TargetError(
            f"TensorRT does not build the graph for compute capability {compute_capability}: "
            f"{logger.reason()}. Replace the operator in the model, or report it as a bug."
        )
    return bytes(engine), read_layers(logger.layers, model.graph)


def read_layers(text: str, graph: ir.Graph) -> KernelReport | None:
    """Read the list of layers that the builder logs.

    Args:
        text: One line for each, with the names of the ONNX nodes that it computes.
        graph: The graph that was built.

    Returns:
        None when the text has no layer of the known form.
    """
    operators = {label(node): node.op_type for node in graph}
    layers = [_read_layer(line) for line in text.splitlines() if line.startswith("Name: ")]
    kernels = [layer for layer in layers if layer is not None and layer[0] not in NO_KERNELS]
    if not kernels:
        return None
    types: dict[str, str] = {}
    fused: set[str] = set()
    # Generated kernels come first, as they name convolutions for whose results they do something.
    for kind, precision, nodes in sorted(kernels, key=lambda layer: layer[0] != GENERATED):
        found = [name for name in nodes if operators.get(name) in CONVOLUTIONS]
        for name in found:
            types[name] = precision
        if found and kind != GENERATED:
            fused.update(nodes)
    is_int8 = "QuantizeLinear" in operators.values()
    separate = {name for _, _, nodes in kernels for name in nodes if name in operators} - fused
    unfused = Counter(operators[name] for name in separate - types.keys())
    return KernelReport(
        kernels=len(kernels),
        convolutions=dict(sorted(Counter(types.values()).items())),
        float_convolutions=tuple(
            sorted(name for name, precision in types.items() if is_int8 and precision != "int8")
        ),
        unfused=dict(sorted(unfused.items())),
    )


def _read_layer(line: str) -> tuple[str, str, tuple[str, ...]] | None:
    """Kind, type of the first input and ONNX nodes of a layer."""
    kind = re.search(r"LayerType: (\w+)", line)
    if kind is None:
        return None
    first = re.search(r"Datatype: (\w+)", line)
    first_type = first.group(1) if first else ""
    nodes = re.findall(r"\[ONNX Layer: ([^\]]+)\]", line)
    return kind.group(1), TYPES.get(first_type, first_type.lower()), tuple(nodes)
