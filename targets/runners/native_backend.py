"""Runs a compiled network. Needs numpy only; a bundle carries a copy as `backend.py`."""

from __future__ import annotations

import ctypes
import json
import platform
import shutil
import tempfile
import threading
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = 1
MOST_THREADS = 8
PREFIX = "edgeseg"  # of the library's functions, where the list says nothing else
OTHER_NETWORK = 3  # code of weights that are not this library's
CPU_INFO = Path("/proc/cpuinfo")


class Backend:
    """A handle of the library for this machine, which threads of an application take in turn.

    Args:
        folder: Where the files lie.
        files: First the list of libraries, which lie beside it, the best of an architecture before
            the others.
        runtime: Not asked: the list says all.
        threads: How many compute together; they wait for each other without sleeping.
    """

    def __init__(
        self, folder: Path, files: Sequence[str], runtime: Mapping[str, Any], threads: int
    ) -> None:
        path = Path(folder) / files[0]
        contents = json.loads(path.read_text(encoding="utf-8"))
        # Loading a damaged library can end the process.
        for name, checksum in contents["crc32"].items():
            if zlib.crc32((path.parent / name).read_bytes()) != checksum:
                raise RuntimeError(f"{name} is damaged")
        self._prefix = contents.get("prefix", PREFIX)
        variant = choose(contents["libraries"])
        self.isa = variant["isa"]
        library = path.parent / variant["library"]
        self._open(library, library)
        version = self._function("version")()
        if version != VERSION:
            raise RuntimeError(f"{library.name} has version {version}, not {VERSION}")
        # Both must stay as long as the handle.
        self._weights = aligned(np.fromfile(path.parent / variant["weights"], np.uint8))
        self._threads = min(threads, MOST_THREADS)
        self._handle = ctypes.c_void_p()
        self._reserve()
        code = self._create()
        if code == OTHER_NETWORK:
            # The process knows another library by this path, which was built anew since.
            with tempfile.TemporaryDirectory(prefix="edgeseg-native-") as place:
                self._open(Path(shutil.copy(library, place)), library)
            self._reserve()
            code = self._create()
        self._check(code)
        image, mask = (ctypes.c_int32 * 3)(), (ctypes.c_int32 * 3)()
        self._function("sizes")(image, mask)
        self._image, self._mask = (1, *image), (1, *mask)
        self._lock = threading.Lock()
        self._others = ThreadPoolExecutor(self._threads - 1) if self._threads > 1 else None

    def _open(self, path: Path, title: Path) -> None:
        try:
            self._library = ctypes.CDLL(str(path))
        except OSError as error:
            raise RuntimeError(f"{title.name} does not load: {error}") from error
        self._declare()

    def _function(self, name: str) -> Any:
        return getattr(self._library, f"{self._prefix}_{name}")

    def _reserve(self) -> None:
        size = self._function("memory_bytes")(self._threads)
        self._memory = aligned(np.zeros(size, np.uint8))

    def _create(self) -> int:
        code: int = self._function("create")(
            self._memory.ctypes.data,
            self._memory.size,
            self._threads,
            self._weights.ctypes.data,
            self._weights.size,
            ctypes.byref(self._handle),
        )
        return code

    def _declare(self) -> None:
        pointer, size, side = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int32
        arguments: dict[str, tuple[Any, ...]] = {
            "create": (pointer, size, side, pointer, size, pointer),
            "run_thread": (pointer, side, pointer, pointer),
            "run": (pointer, pointer, pointer),
            "run_picture": (pointer, pointer, side, side, size, pointer),
            "memory_bytes": (side,),
        }
        if hasattr(self._library, f"{self._prefix}_run_pixels"):  # older libraries lack it
            picture = pointer, side, side, side, size
            arguments["run_pixels"] = (pointer, *picture, pointer, pointer)
        for name, types in arguments.items():
            self._function(name).argtypes = types
        self._function("memory_bytes").restype = size
        self._function("error_text").restype = ctypes.c_char_p

    def _check(self, code: int) -> None:
        if code:
            raise RuntimeError(self._function("error_text")(code).decode())

    def run(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (1, C, H, W) of a prepared image (1, 3, H, W)."""
        given = np.ascontiguousarray(image, np.float32)
        if given.shape != self._image:
            raise RuntimeError(f"the image has the shape {given.shape}, not {self._image}")
        mask = np.empty(self._mask, np.float32)
        places = given.ctypes.data, mask.ctypes.data
        with self._lock:
            self._run_threads(places)
        return mask

    def _run_threads(self, places: tuple[int, int]) -> None:
        if self._others is None:
            self._check(self._function("run")(self._handle, *places))
            return
        run = self._function("run_thread")
        others = [
            self._others.submit(run, self._handle, thread, *places)
            for thread in range(1, self._threads)
        ]
        codes = [run(self._handle, 0, *places), *(other.result() for other in others)]
        self._check(max(codes))

    def run_picture(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Class of each pixel, (H, W), of a picture (H, W, C) of any size; RGB where C is 3."""
        channels = self._image[1]
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != channels:
            raise RuntimeError(f"a picture is (H, W, {channels}) of uint8, not {picture.shape}")
        given = np.ascontiguousarray(picture)
        height, width = given.shape[:2]
        labels = np.empty((height, width), np.uint8)
        places = given.ctypes.data, height, width, 0, labels.ctypes.data
        with self._lock:
            self._check(self._function("run_picture")(self._handle, *places))
        return labels

    def run_pixels(
        self, pixels: NDArray[Any], layout: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Classes (H, W) and probabilities (C, H, W) of a picture (H, W) or (H, W, values).

        Args:
            layout: One of the formats in the library's header, which says what a pixel's values
                are: 1 RGB, 2 RGBA, 3 BGR, 4 BGRA, 5 grey, 6 the network's own; 16 more for uint16.

        Raises:
            RuntimeError: The network takes no such pictures.
        """
        given = np.ascontiguousarray(pixels)
        height, width = given.shape[:2]
        row_bytes = given.strides[0]
        labels = np.empty((height, width), np.uint8)
        planes = np.empty((self._mask[1], height, width), np.float32)
        ends = labels.ctypes.data, planes.ctypes.data
        with self._lock:
            run = self._function("run_pixels")
            places = given.ctypes.data, layout, height, width, row_bytes, *ends
            self._check(run(self._handle, *places))
        return labels, planes


def choose(libraries: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The first library that this machine can run.

    Raises:
        RuntimeError: There is none; it says what each lacks, which would otherwise end in an
            illegal instruction.
    """
    system, here, flags = platform.system().lower(), platform.machine(), cpu_flags()
    reasons = []
    for variant in libraries:
        name = variant["isa"]
        missing = sorted(set(variant["flags"]) - flags) if flags is not None else []
        if (variant["system"], variant["architecture"]) != (system, here):
            reasons.append(f"{name} is for {variant['system']} on {variant['architecture']}")
        elif missing:
            reasons.append(f"for {name} this CPU lacks {', '.join(missing)}")
        else:
            return variant
    raise RuntimeError(f"this machine is {system} on {here}; {'; '.join(reasons)}")


def cpu_flags() -> frozenset[str] | None:
    """What the system says that this CPU can do; None where it does not tell."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, values = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(values.split())
    return None


def aligned(content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy at a multiple of 64 bytes."""
    room = np.zeros(content.size + 64, np.uint8)
    start = -room.ctypes.data % 64
    room[start : start + content.size] = content
    return room[start : start + content.size]
