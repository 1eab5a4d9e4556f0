"""The CUDA runtime of a GPU that is not there. The environment says what it pretends:

FAKE_GPU           "name, compute capability, multiprocessors"; empty is none
FAKE_FREE_MB       free memory
"""

from __future__ import annotations

import enum
import os
from types import SimpleNamespace

import fake_memory

STREAM = 7


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorNoDevice = 100


class cudaMemcpyKind(enum.Enum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


OK = cudaError_t.cudaSuccess


def described() -> str:
    return os.environ.get("FAKE_GPU", "Orin, 8.7, 8")


def cudaGetDeviceCount() -> tuple[cudaError_t, int]:
    return (OK, 1) if described() else (cudaError_t.cudaErrorNoDevice, 0)


def cudaGetDeviceProperties(device: int) -> tuple[cudaError_t, SimpleNamespace]:
    name, capability, count = described().split(", ")
    major, minor = map(int, capability.split("."))
    text = name.encode() + b"\0\0"
    return OK, SimpleNamespace(name=text, major=major, minor=minor, multiProcessorCount=int(count))


def cudaMemGetInfo() -> tuple[cudaError_t, int, int]:
    free = int(os.environ.get("FAKE_FREE_MB", "3000")) << 20
    return OK, free, 4000 << 20


def cudaStreamCreate() -> tuple[cudaError_t, int]:
    return OK, STREAM


def cudaStreamSynchronize(stream: int) -> tuple[cudaError_t]:
    assert stream == STREAM
    return (OK,)


def cudaMalloc(size: int) -> tuple[cudaError_t, int]:
    return OK, fake_memory.allocate(size)


def cudaMemcpyAsync(
    target: int, source: int, size: int, kind: cudaMemcpyKind, stream: int
) -> tuple[cudaError_t]:
    assert stream == STREAM
    fake_memory.copy(target, source, size)
    return (OK,)
