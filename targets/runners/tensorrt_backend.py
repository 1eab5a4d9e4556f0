"""Runs a network with TensorRT or TensorRT-RTX. A bundle carries a copy as `backend.py`.

Needs numpy, tensorrt or tensorrt_rtx, and cuda-python or pycuda.

A bundle for `rtx` holds the engine, which runs on the GPUs and with the version that its record
beside it names. One for `jetson` holds the ONNX file and a plan; the engine is built where it runs,
once, and kept in EDGESEG_CACHE_DIR or ~/.cache/edgeseg with a record of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ENGINE_FILE = "model.engine"
RECORD_FILE = "engine.json"
MEGABYTE = 1 << 20
CUDA_12 = "JetPack 6 has CUDA 12: pip install 'cuda-python<13'"
TITLES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}


class Backend:
    """An engine with one execution context, which threads of an application take in turn.

    Args:
        folder: Where the files lie.
        files: Among them one .json: the record of an engine (`rtx`), or the plan for building
            one (`jetson`).
        runtime: `package`, "tensorrt" or "tensorrt_rtx".
        threads: Not used; the GPU does the work.

    Raises:
        RuntimeError: A package, the GPU, memory or a file is missing, or the engine was built
            for another version or device.
    """

    def __init__(
        self, folder: Path, files: Sequence[str], runtime: Mapping[str, Any], threads: int
    ) -> None:
        trt = import_tensorrt(runtime["package"])
        self._cuda = open_cuda()
        self._machine = describe_machine(trt, self._cuda)
        record = read_record(folder, files)
        if "engine" in record:
            refuse_elsewhere(record, self._machine, "Build the bundle for this machine")
            path = find_file(folder, files, record["engine"]["file"])
            self.record = record
        else:
            path, self.record = ensure_engine(trt, self._cuda, folder, files)
        self._logger = make_logger(trt)
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        self._context: Any = self._engine.create_execution_context() if self._engine else None
        if self._context is None:
            raise RuntimeError(
                f"{self._machine['title']} does not load {path.name}: {self._logger.reason()}. If "
                "memory is short, close other programs"
            )
        self._shapes = [tuple(record[side]["shape"]) for side in ("input", "output")]
        self._addresses = [self._cuda.allocate(4 * int(np.prod(shape))) for shape in self._shapes]
        for side, address in zip(("input", "output"), self._addresses, strict=True):
            self._context.set_tensor_address(record[side]["name"], address)
        self._lock = threading.Lock()

    def run(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (1, C, H, W) of a prepared image (1, 3, H, W)."""
        if image.shape != self._shapes[0]:
            raise ValueError(f"The network takes {self._shapes[0]}, got {image.shape}.")
        result = np.empty(self._shapes[1], np.float32)
        given = np.ascontiguousarray(image, np.float32)
        with self._lock:
            self._cuda.copy_in(self._addresses[0], given)
            if not self._context.execute_async_v3(self._cuda.stream_handle):
                raise RuntimeError(f"the engine does not run: {self._logger.reason()}")
            self._cuda.copy_out(result, self._addresses[1])
            self._cuda.wait()
        return result

    def watch(self, profiler: Any) -> str:
        """Let TensorRT tell an `IProfiler` how long each layer takes, which costs time itself.

        Returns:
            What the engine tells of its layers, as JSON.
        """
        self._context.profiler = profiler
        trt = import_tensorrt(self._machine["package"])
        inspector = self._engine.create_engine_inspector()
        text: str = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        return text

    def describe(self) -> dict[str, Any]:
        """What computes: versions, device and engine, for the record of a measurement."""
        return {
            "runtime": f"{self._machine['title']} {self._machine['version']}",
            "device": self._machine["device"],
            "compute_capability": self._machine["compute_capability"],
            "precision": self.record["precision"],
            "dla_core": self.record.get("dla_core", -1),
            "engine_bytes": self.record["engine"]["size_bytes"],
        }


def import_tensorrt(package: str) -> Any:
    """The module `package`: tensorrt or tensorrt_rtx."""
    try:
        if package == "tensorrt":
            import tensorrt
        else:
            import tensorrt_rtx as tensorrt
    except (ImportError, OSError) as error:
        advice = (
            "JetPack brings it: sudo apt install python3-libnvinfer; a virtual environment needs "
            "--system-site-packages"
            if package == "tensorrt"
            else "install it with: pip install tensorrt-rtx"
        )
        raise RuntimeError(f"the package {package} does not load ({error}). {advice}") from error
    return tensorrt


class CudaPython:
    """The GPU through NVIDIA's cuda-python."""

    def __init__(self) -> None:
        try:
            from cuda.bindings import runtime
        except ImportError:
            from cuda import cudart as runtime  # before 12.6
        self._runtime = runtime
        if self._call("cudaGetDeviceCount") < 1:
            raise RuntimeError("there is none")
        self._properties = self._call("cudaGetDeviceProperties", 0)
        self._stream = self._call("cudaStreamCreate")
        self.stream_handle = int(self._stream)

    def _call(self, name: str, *arguments: Any) -> Any:
        code, *values = getattr(self._runtime, name)(*arguments)
        if int(code) != 0:
            raise RuntimeError(f"{name} gives {getattr(code, 'name', code)}")
        return values[0] if len(values) == 1 else values

    def device(self) -> tuple[str, str, int]:
        """Name, compute capability, multiprocessors."""
        properties = self._properties
        name = properties.name
        text = name.decode() if isinstance(name, bytes) else str(name)
        capability = f"{properties.major}.{properties.minor}"
        return text.strip("\0 "), capability, int(properties.multiProcessorCount)

    def free_bytes(self) -> int:
        return int(self._call("cudaMemGetInfo")[0])

    def allocate(self, size: int) -> int:
        return int(self._call("cudaMalloc", size))

    def copy_in(self, address: int, source: NDArray[np.float32]) -> None:
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        size = source.nbytes
        self._call("cudaMemcpyAsync", address, source.ctypes.data, size, kind, self._stream)
        self.wait()  # `source` may go as soon as this returns

    def copy_out(self, result: NDArray[np.float32], address: int) -> None:
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        size = result.nbytes
        self._call("cudaMemcpyAsync", result.ctypes.data, address, size, kind, self._stream)

    def wait(self) -> None:
        self._call("cudaStreamSynchronize", self._stream)


class PyCuda:
    """The GPU through pycuda."""

    def __init__(self) -> None:
        import pycuda.driver as driver

        self._driver = driver
        driver.init()
        if driver.Device.count() < 1:
            raise RuntimeError("there is none")
        self._device = driver.Device(0)
        context = self._device.retain_primary_context()
        context.push()
        atexit.register(context.pop)
        self._stream = driver.Stream()
        self._memory: list[Any] = []
        self.stream_handle = int(self._stream.handle)

    def device(self) -> tuple[str, str, int]:
        major, minor = self._device.compute_capability()
        count = self._device.get_attribute(self._driver.device_attribute.MULTIPROCESSOR_COUNT)
        return str(self._device.name()), f"{major}.{minor}", int(count)

    def free_bytes(self) -> int:
        return int(self._driver.mem_get_info()[0])

    def allocate(self, size: int) -> int:
        self._memory.append(self._driver.mem_alloc(size))  # freed once nobody holds it
        return int(self._memory[-1])

    def copy_in(self, address: int, source: NDArray[np.float32]) -> None:
        self._driver.memcpy_htod_async(address, source, self._stream)
        self.wait()

    def copy_out(self, result: NDArray[np.float32], address: int) -> None:
        self._driver.memcpy_dtoh_async(result, address, self._stream)

    def wait(self) -> None:
        self._stream.synchronize()


def missing_reason(package: str) -> str | None:
    """Why nothing runs on a GPU here; None when it does."""
    try:
        import_tensorrt(package)
        open_cuda()
    except RuntimeError as error:
        return str(error)
    return None


def open_cuda() -> CudaPython | PyCuda:
    """The first GPU, through whichever package is there.

    Raises:
        RuntimeError: Neither package, or no GPU.
    """
    missing = []
    for kind in (CudaPython, PyCuda):
        try:
            return kind()
        except ImportError as error:
            missing.append(str(error))
        except Exception as error:
            # pycuda's exceptions have no common class outside it.
            reason = " ".join(str(error).split())
            raise RuntimeError(
                f"no NVIDIA GPU can be used here: {reason}. Run this on the device, with a "
                f"cuda-python of its CUDA version ({CUDA_12})"
            ) from error
    raise RuntimeError(
        f"neither cuda-python nor pycuda is installed ({'; '.join(missing)}). Install one with: "
        f"pip install cuda-python ({CUDA_12})"
    )


def describe_machine(trt: Any, cuda: CudaPython | PyCuda) -> dict[str, str]:
    """What an engine depends on."""
    package = trt.__name__.partition(".")[0]
    name, capability, multiprocessors = cuda.device()
    return {
        "package": package,
        "title": TITLES[package],
        "version": str(trt.__version__),
        "compute_capability": capability,
        "device": f"{name} with {multiprocessors} multiprocessors",
        "platform": f"{platform.system()} {platform.machine()}",
    }


def make_logger(trt: Any) -> Any:
    """A logger that keeps messages instead of printing them."""

    class Messages(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.layers = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)
            elif message.startswith("Layers:"):
                self.layers = message

        def reason(self) -> str:
            return " ".join(" ".join(self.errors).split())[:400] or "it names no reason"

    return Messages()


def parse_network(
    trt: Any, logger: Any, onnx: bytes, *, strongly_typed: bool = True
) -> tuple[Any, Any, Any]:
    """Builder and network of an ONNX graph, and the parser, which holds the weights.

    Raises:
        RuntimeError: TensorRT refuses the graph; names the nodes and the reasons.
    """
    builder = trt.Builder(logger)
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(1 << int(flag) if strongly_typed and flag is not None else 0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        raise RuntimeError("; ".join(dict.fromkeys(map(describe_error, errors))) or logger.reason())
    return builder, network, parser


def describe_error(error: Any) -> str:
    """Operator, node and reason of a parser's error."""
    reason = " ".join(error.desc().split())[:300]
    if reason in ("", "false"):  # what it says of an operator that it does not know
        reason = "there is no such operator in TensorRT"
    name = error.node_name()
    return f"{error.node_operator()} '{name}': {reason}" if name else reason


def ensure_engine(
    trt: Any,
    cuda: CudaPython | PyCuda,
    folder: Path,
    files: Sequence[str],
    *,
    workspace_mb: int | None = None,
    rebuild: bool = False,
) -> tuple[Path, dict[str, Any]]:
    """The engine of a plan for this machine, built if it is missing or for another.

    Args:
        workspace_mb: In place of the plan's.
        rebuild: Build it in any case.

    Returns:
        Its file and its record.

    Raises:
        RuntimeError: TensorRT is of a version for which the graph was not made, memory is short,
            or the graph is refused.
    """
    plan = read_record(folder, files)
    machine = describe_machine(trt, cuda)
    require_version(plan, machine)
    place = engine_folder(plan)
    workspace = plan["workspace_mb"] if workspace_mb is None else workspace_mb
    reason = "it was asked for" if rebuild else stale_reason(place, plan, machine, workspace_mb)
    if reason is not None:
        print(
            f"Building the {plan['precision']} engine, once: {reason}. This takes minutes.",
            file=sys.stderr,
        )
        onnx = find_file(folder, files, plan["onnx"]["file"]).read_bytes()
        build_engine(trt, cuda, onnx, plan, machine, place, workspace)
    else:
        with contextlib.suppress(OSError):
            os.utime(place / RECORD_FILE)  # when it was last used
    return place / ENGINE_FILE, json.loads((place / RECORD_FILE).read_text(encoding="utf-8"))


def require_version(plan: Mapping[str, Any], machine: Mapping[str, str]) -> None:
    """Refuse a TensorRT for which the plan was not made."""
    least, below = plan["tensorrt"]["least"], plan["tensorrt"]["below"]
    version = _numbers(machine["version"])
    if not _numbers(least) <= version < _numbers(below):
        raise RuntimeError(
            f"the plan is for TensorRT from {least} to below {below}, and here is "
            f"{machine['version']}. Build the bundle with an edgeseg that knows this version"
        )


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


def engine_folder(plan: Mapping[str, Any]) -> Path:
    """Where the engine of a plan is kept: in the cache, by content of the graph."""
    base = os.environ.get("EDGESEG_CACHE_DIR")
    if not base:
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        base = str(Path(cache) / "edgeseg")
    core = f"-dla{plan['dla_core']}" if plan["dla_core"] >= 0 else ""
    return Path(base) / "engines" / f"{plan['onnx']['sha256'][:16]}-{plan['precision']}{core}"


def stale_reason(
    place: Path,
    plan: Mapping[str, Any],
    machine: Mapping[str, str],
    workspace_mb: int | None = None,
) -> str | None:
    """Why the engine in a folder cannot be used here; None when it can.

    Args:
        workspace_mb: That it must have been built with; None takes any.
    """
    engine, record_path = place / ENGINE_FILE, place / RECORD_FILE
    if not engine.is_file() or not record_path.is_file():
        return "there is none for this graph yet"
    try:
        record = json.loads(record_path.read_text(encoding="utf-8"))
        refuse_elsewhere(record, machine)
        check_file(engine, record["engine"])
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        return str(error)
    if record["onnx"]["sha256"] != plan["onnx"]["sha256"]:
        return "the graph is another"
    if workspace_mb not in (None, record["workspace_mb"]):
        return f"it was built with a workspace of {record['workspace_mb']} MB"
    return None


def refuse_elsewhere(
    record: Mapping[str, Any], machine: Mapping[str, str], advice: str = ""
) -> None:
    """Refuse an engine that was built for another version or device.

    Raises:
        RuntimeError: Says for which, and what is here; ends with `advice`.
    """
    for key, words in (
        ("package", "the package"),
        ("version", "the version"),
        ("compute_capability", "compute capability"),
        ("device", "the device"),
        ("platform", "the platform"),
    ):
        if record[key] not in (None, machine[key]):
            raise RuntimeError(
                f"the engine was built for {words} {record[key]}, and here is {machine[key]}: "
                f"engines run nowhere else. {advice}".rstrip(" .")
            )


def build_engine(
    trt: Any,
    cuda: CudaPython | PyCuda,
    onnx: bytes,
    plan: Mapping[str, Any],
    machine: Mapping[str, str],
    place: Path,
    workspace_mb: int,
) -> None:
    """Write an engine and its record to the folder `place`, each whole or not at all."""
    free_mb = cuda.free_bytes() // MEGABYTE
    if free_mb < workspace_mb:
        raise RuntimeError(
            f"building needs a workspace of {workspace_mb} MB, and {free_mb} MB of the device's "
            "memory are free. Close other programs, or give a smaller one: python runner/kit.py "
            "build --workspace-mb N"
        )
    started = time.perf_counter()
    logger = make_logger(trt)
    dla_core = plan["dla_core"]
    # Before 11, DLA goes with networks that are not strongly typed.
    weak = dla_core >= 0 and _numbers(machine["version"]) < [11]
    try:
        builder, network, parser = parse_network(trt, logger, onnx, strongly_typed=not weak)
    except RuntimeError as error:
        raise RuntimeError(f"{machine['title']} refuses the graph: {error}") from error
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mb * MEGABYTE)
    config.clear_flag(trt.BuilderFlag.TF32)  # float32 is meant where it stands
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # for `watch`; no slower
    if dla_core >= 0:
        _use_dla(trt, builder, config, dla_core, weak=weak)
    timing_path = _use_timing_cache(config, machine, place.parent)
    engine = builder.build_serialized_network(network, config)
    del parser
    if engine is None:
        raise RuntimeError(
            f"{machine['title']} does not build the engine: {logger.reason()}. If memory is short, "
            f"close other programs, or give a workspace other than {workspace_mb} MB: python "
            "runner/kit.py build --workspace-mb N"
        )
    content = bytes(engine)
    record = {
        **{key: value for key, value in machine.items() if key != "title"},
        **{key: plan[key] for key in ("precision", "dla_core", "onnx", "input", "output")},
        "workspace_mb": workspace_mb,
        "build_s": round(time.perf_counter() - started, 1),
        "engine": describe_content(ENGINE_FILE, content),
    }
    try:
        place.mkdir(parents=True, exist_ok=True)
        # The record last: until it is there, the engine counts as damaged.
        write_whole(place / ENGINE_FILE, content)
        write_whole(place / RECORD_FILE, json.dumps(record, indent=2).encode())
        write_whole(timing_path, bytes(config.get_timing_cache().serialize()))
    except OSError as error:
        raise RuntimeError(
            f"the engine cannot be written to {place} ({error}). Set EDGESEG_CACHE_DIR to a "
            "folder that can be"
        ) from error


def _use_dla(trt: Any, builder: Any, config: Any, dla_core: int, *, weak: bool) -> None:
    """Run layers on a DLA core, and on the GPU what that does not run.

    Args:
        weak: The network is not strongly typed, so that its precision has to be named.
    """
    if builder.num_DLA_cores <= dla_core:
        raise RuntimeError(
            f"the plan asks for DLA core {dla_core}, and this device with this TensorRT has "
            f"{builder.num_DLA_cores}. Build the bundle without --option dla_core"
        )
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = dla_core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    if weak:
        config.set_flag(trt.BuilderFlag.FP16)


def _use_timing_cache(config: Any, machine: Mapping[str, str], folder: Path) -> Path:
    """Take the timings of earlier builds on this machine; returns the file that keeps them."""
    # Timings hold for a version and a device, not for a graph.
    known = hashlib.sha256(json.dumps(dict(machine), sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"timing-{known}.cache"
    timings = config.create_timing_cache(path.read_bytes() if path.is_file() else b"")
    config.set_timing_cache(timings or config.create_timing_cache(b""), False)
    return path


def describe_content(name: str, content: bytes) -> dict[str, Any]:
    return {
        "file": name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
    }


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, also when the power fails."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".partial-", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink()
            raise


def find_file(folder: Path, files: Sequence[str], name: str) -> Path:
    """The one of `files` that is called `name`."""
    for file in files:
        if Path(file).name == name:
            return Path(folder) / file
    raise RuntimeError(f"the bundle has no file {name}. Copy it again")


def read_record(folder: Path, files: Sequence[str]) -> dict[str, Any]:
    """The plan, or the record of an engine, whose files are as it says.

    Raises:
        RuntimeError: It is not readable, or a file is not the one that it names.
    """
    path = next(Path(folder) / name for name in files if name.endswith(".json"))
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        described = [record[key] for key in ("engine", "onnx") if key in record]
        for one in described:
            check_file(find_file(folder, files, one["file"]), one)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RuntimeError(
            f"{path.name} is not readable ({error}). Copy the bundle again"
        ) from error
    return record


def check_file(path: Path, described: Mapping[str, Any]) -> None:
    """Refuse a file that was changed, cut short, or added to."""
    if not path.is_file():
        raise RuntimeError(f"{path.name} is missing")
    content = path.read_bytes()
    if describe_content(described["file"], content) != dict(described):
        raise RuntimeError(f"{path.name} was changed after it was written: its sha256 is another")
