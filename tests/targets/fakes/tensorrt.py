"""TensorRT as far as edgeseg calls it, for machines without a GPU.

It knows one network: foreground is where the first channel is above 127. Its engines are JSON of
what the builder was asked for. The environment says what it pretends:

    FAKE_TRT_VERSION   "10.3.0" unless told
    FAKE_TRT_REFUSES   "parse", "build" or "run": what fails
    FAKE_DLA_CORES     0 unless told
"""

from __future__ import annotations

import enum
import json
import os
from typing import Any

import fake_memory
import numpy as np

__version__ = os.environ.get("FAKE_TRT_VERSION", "10.3.0")
MAGIC = b"ENGINE "


def refuses(step: str) -> bool:
    return os.environ.get("FAKE_TRT_REFUSES") == step


class ILogger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        VERBOSE = 4

    def __init__(self) -> None:
        self.is_made = True


class NetworkDefinitionCreationFlag(enum.IntEnum):
    EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 1


class MemoryPoolType(enum.Enum):
    WORKSPACE = "workspace"


class BuilderFlag(enum.Enum):
    FP16 = "fp16"
    TF32 = "tf32"
    GPU_FALLBACK = "gpu_fallback"


class DeviceType(enum.Enum):
    GPU = "gpu"
    DLA = "dla"


class ProfilingVerbosity(enum.Enum):
    DETAILED = "detailed"


class LayerInformationFormat(enum.Enum):
    JSON = "json"


class IProfiler:
    def __init__(self) -> None:
        self.is_made = True


class TimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content


class BuilderConfig:
    def __init__(self) -> None:
        self.default_device_type = DeviceType.GPU
        self.DLA_core = -1
        self.asked: dict[str, Any] = {"flags": ["tf32"]}

    def set_memory_pool_limit(self, kind: MemoryPoolType, size: int) -> None:
        self.asked[kind.value] = size

    def set_flag(self, flag: BuilderFlag) -> None:
        self.asked["flags"].append(flag.value)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.asked["flags"].remove(flag.value)

    def create_timing_cache(self, content: bytes) -> TimingCache | None:
        return None if content == b"damaged" else TimingCache(content)

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> None:
        assert isinstance(cache, TimingCache)
        assert not ignore_mismatch
        self.timings = cache
        self.asked["timings"] = cache.content.decode()

    def get_timing_cache(self) -> TimingCache:
        return TimingCache(self.timings.content + b"+1")


class Network:
    def __init__(self, flags: int) -> None:
        self.flags = flags


class Builder:
    num_DLA_cores = int(os.environ.get("FAKE_DLA_CORES", "0"))

    def __init__(self, logger: Any) -> None:
        assert logger.is_made
        self.logger = logger

    def create_network(self, flags: int) -> Network:
        return Network(flags)

    def create_builder_config(self) -> BuilderConfig:
        return BuilderConfig()

    def build_serialized_network(self, network: Network, config: BuilderConfig) -> bytes | None:
        if refuses("build"):
            self.logger.log(ILogger.Severity.ERROR, "Could not find\n  any implementation")
            return None
        assert config.profiling_verbosity is ProfilingVerbosity.DETAILED
        typed = bool(network.flags & 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        asked = {
            **config.asked,
            "typed": typed,
            "device": config.default_device_type.value,
            "dla_core": config.DLA_core,
        }
        return MAGIC + json.dumps(asked).encode()


class ParserError:
    def __init__(self, operator: str, name: str, reason: str) -> None:
        self.content = (operator, name, reason)

    def node_operator(self) -> str:
        return self.content[0]

    def node_name(self) -> str:
        return self.content[1]

    def desc(self) -> str:
        return self.content[2]


class OnnxParser:
    num_errors = 2

    def __init__(self, network: Network, logger: Any) -> None:
        assert isinstance(network, Network)

    def parse(self, content: bytes) -> bool:
        return bool(content) and not refuses("parse")

    def get_error(self, index: int) -> ParserError:
        # It says some things twice.
        return ParserError("Resize", "up2", "Assertion failed:\n cubic is not supported")


class Context:
    profiler: Any = None

    def __init__(self) -> None:
        self.addresses: list[int] = []

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses.append(address)
        return True

    def execute_async_v3(self, stream: int) -> bool:
        if refuses("run"):
            return False
        source, target = self.addresses
        size = fake_memory.size_of(target)
        plane = fake_memory.BUFFERS[source].raw[:size]
        mask = (np.frombuffer(plane, np.float32) > 127).astype(np.float32)
        fake_memory.copy(target, mask.ctypes.data, size)
        if self.profiler is not None:
            assert self.profiler.is_made
            for layer, took in zip(LAYERS, (0.25, 0.5, 0.125), strict=True):
                self.profiler.report_layer_time(layer["Name"], took)
        return True


# As TensorRT's inspector tells layers of engines that were built with details.
LAYERS: list[dict[str, Any]] = [
    {
        "Name": "Reformatting CopyNode for Input Tensor 0 to first + relu",
        "LayerType": "Reformat",
        "Inputs": [{"Name": "image", "Format/Datatype": "Row major linear FP32"}],
        "Outputs": [{"Name": "moved", "Format/Datatype": "Channel major INT8 format"}],
        "Metadata": "",
    },
    {
        "Name": "first + relu",
        "LayerType": "CaskConvolution",
        "Inputs": [{"Name": "moved", "Format/Datatype": "Channel major INT8 format"}],
        "Outputs": [{"Name": "bent", "Format/Datatype": "Row major linear FP16 format"}],
        "Metadata": "[ONNX Layer: first]\u001e[ONNX Layer: relu]",
    },
    {
        "Name": "PWN(mask)",
        "LayerType": "PointWiseV2",
        "Inputs": [{"Name": "bent", "Format/Datatype": "Row major linear FP16 format"}],
        "Outputs": [{"Name": "mask", "Format/Datatype": "Row major linear FP32"}],
        "Metadata": "[ONNX Layer: mask]",
    },
]


class Inspector:
    def get_engine_information(self, kind: LayerInformationFormat) -> str:
        assert kind is LayerInformationFormat.JSON
        return json.dumps({"Layers": LAYERS, "Bindings": ["image", "mask"]})


class Engine:
    def create_engine_inspector(self) -> Inspector:
        return Inspector()

    def create_execution_context(self) -> Context:
        return Context()


class Runtime:
    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, content: bytes) -> Engine | None:
        if not content.startswith(MAGIC):
            self.logger.log(ILogger.Severity.ERROR, "magic tag does not match")
            return None
        return Engine()
