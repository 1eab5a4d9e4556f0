"""Runs a compiled network. Needs numpy only; a bundle carries a copy as `backend.py`."""

from __future__ import annotations

import ctypes
import platform
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = 1
HEADER = struct.Struct("<4sIQQQQI20x")  # at the end: bytes and CRC-32 of library and header


class Backend:
    """A handle of the library.

    Args:
        folder: Where the files lie.
        files: The library, its weights and its header.
        runtime: `architecture`, `flags` of /proc/cpuinfo that the CPU needs, and `isa`.
        threads: 1; the network runs on the calling thread.
    """

    def __init__(
        self, folder: Path, files: Sequence[str], runtime: Mapping[str, Any], threads: int
    ) -> None:
        _require_cpu(runtime)
        library, weights, header = (Path(folder) / name for name in files[:3])
        content = np.fromfile(weights, np.uint8)
        _require_whole(content, (library, header))
        try:
            self._library = ctypes.CDLL(str(library))
        except OSError as error:
            raise RuntimeError(f"{library.name} does not load: {error}") from error
        self._declare()
        if self._library.edgeseg_version() != VERSION:
            raise RuntimeError(
                f"{library.name} has version {self._library.edgeseg_version()}, not {VERSION}"
            )
        image, mask = (ctypes.c_int32 * 3)(), (ctypes.c_int32 * 3)()
        self._library.edgeseg_sizes(image, mask)
        self._image, self._mask = (1, *image), (1, *mask)
        # Both must stay as long as the handle.
        self._weights = _aligned(content)
        self._memory = _aligned(np.zeros(self._library.edgeseg_memory_bytes(), np.uint8))
        self._handle = ctypes.c_void_p()
        code = self._library.edgeseg_create(
            self._memory.ctypes.data,
            self._memory.size,
            self._weights.ctypes.data,
            self._weights.size,
            ctypes.byref(self._handle),
        )
        self._check(code)

    def _declare(self) -> None:
        library, pointer, size = self._library, ctypes.c_void_p, ctypes.c_size_t
        library.edgeseg_error_text.restype = ctypes.c_char_p
        library.edgeseg_memory_bytes.restype = size
        library.edgeseg_create.argtypes = (pointer, size, pointer, size, pointer)
        library.edgeseg_run.argtypes = (pointer, pointer, pointer)

    def _check(self, code: int) -> None:
        if code:
            raise RuntimeError(self._library.edgeseg_error_text(code).decode())

    def run(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (1, C, H, W) of a prepared image (1, 3, H, W)."""
        given = np.ascontiguousarray(image, np.float32)
        if given.shape != self._image:
            raise RuntimeError(f"the image has the shape {given.shape}, not {self._image}")
        mask = np.empty(self._mask, np.float32)
        self._check(self._library.edgeseg_run(self._handle, given.ctypes.data, mask.ctypes.data))
        return mask


def _require_whole(weights: NDArray[np.uint8], beside: Sequence[Path]) -> None:
    """Refuse a damaged library: loading one can end the process."""
    if weights.size < HEADER.size:
        raise RuntimeError("the weights are cut short")
    *_, size, crc = HEADER.unpack(weights[: HEADER.size].tobytes())
    content = b"".join(path.read_bytes() for path in beside)
    if len(content) != size or zlib.crc32(content) != crc:
        names = " or ".join(path.name for path in beside)
        raise RuntimeError(f"{names} is damaged, or the weights belong to another network")


def _aligned(content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy at a multiple of 64 bytes."""
    room = np.zeros(content.size + 64, np.uint8)
    start = -room.ctypes.data % 64
    room[start : start + content.size] = content
    return room[start : start + content.size]


def _require_cpu(runtime: Mapping[str, Any]) -> None:
    """Refuse what would end in an illegal instruction."""
    here = platform.machine()
    if here != runtime["architecture"]:
        raise RuntimeError(f"it is compiled for {runtime['architecture']}, and this is {here}")
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        name, _, values = line.partition(":")
        if name.strip() in ("flags", "Features"):
            missing = sorted(set(runtime["flags"]) - set(values.split()))
            if missing:
                raise RuntimeError(
                    f"it is compiled for {runtime['isa']}, and this CPU lacks {', '.join(missing)}"
                )
            return
