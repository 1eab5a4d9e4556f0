"""The driver's interface of a GPU that is not there."""

from __future__ import annotations

import enum
from typing import Any

import fake_memory

WAITED: list[int] = []


class device_attribute(enum.Enum):
    MULTIPROCESSOR_COUNT = 16


class Context:
    is_current = False

    def push(self) -> None:
        Context.is_current = True

    def pop(self) -> None:
        Context.is_current = False


class Device:
    def __init__(self, index: int) -> None:
        assert index == 0

    @staticmethod
    def count() -> int:
        return 1

    def retain_primary_context(self) -> Context:
        return Context()

    def compute_capability(self) -> tuple[int, int]:
        return 8, 7

    def get_attribute(self, kind: device_attribute) -> int:
        return 8

    def name(self) -> str:
        return "Orin"


class Stream:
    handle = 9

    def __init__(self) -> None:
        assert Context.is_current

    def synchronize(self) -> None:
        WAITED.append(self.handle)


def init() -> None:
    pass


def mem_get_info() -> tuple[int, int]:
    return 3000 << 20, 4000 << 20


def mem_alloc(size: int) -> int:
    return fake_memory.allocate(size)


def memcpy_htod_async(target: int, source: Any, stream: Stream) -> None:
    fake_memory.copy(target, source.ctypes.data, source.nbytes)


def memcpy_dtoh_async(target: Any, source: int, stream: Stream) -> None:
    fake_memory.copy(target.ctypes.data, source, target.nbytes)
