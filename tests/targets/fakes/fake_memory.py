"""Memory of a GPU that is not there: ordinary memory, by address."""

from __future__ import annotations

import ctypes
from typing import Any

BUFFERS: dict[int, Any] = {}


def allocate(size: int) -> int:
    buffer = ctypes.create_string_buffer(size)
    address = ctypes.addressof(buffer)
    BUFFERS[address] = buffer
    return address


def size_of(address: int) -> int:
    return len(BUFFERS[address])


def copy(target: int, source: int, size: int) -> None:
    ctypes.memmove(target, source, size)
