"""Measures the network of this bundle where it runs. Needs numpy and the bundle's runtime only.

    python runner/device_bench.py --runs 200                     print timings as JSON
    python runner/device_bench.py --images DIR --output LABELS   write label maps as well

DIR holds .npy files: decoded images (H, W, C), uint8, or inputs that were prepared elsewhere,
(1, 3, h, w), float32. LABELS receives a file of the same name for each: the class of each pixel,
(H, W) or (h, w), uint8.
"""

from __future__ import annotations

import argparse
import json
import platform
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
STEADY_RATIO = 1.03  # medians of two blocks in a row this close are steady
WARM_UP_BLOCKS = 30
WARM_UP_COUNT = 5


def measure(folder: Any, runs: int = 200, threads: int = 1, load: Any = None) -> tuple[Any, Any]:
    """Load the bundle's network and time single inferences of its golden image.

    Preparing the image and finishing the mask are not timed; copies to and from a GPU are.

    Args:
        folder: The bundle.
        runs: Inferences that count.
        threads: CPU threads.
        load: `Network` of run.py; None takes that beside this file.

    Returns:
        The network, and a record for JSON. Milliseconds, bytes.
    """
    if runs < 1:
        raise ValueError(f"The number of runs is {runs}; it must be at least 1.")
    load = load or runpy.run_path(str(HERE / "run.py"))["Network"]
    bare_rss_bytes = _status_bytes("VmRSS")
    started = time.perf_counter()
    network = load(folder, threads)
    load_ms = (time.perf_counter() - started) * 1e3
    manifest = network.manifest
    image = np.load(Path(folder) / manifest["golden"]["image"], allow_pickle=False)
    prepared = network.inputs.prepare(image)
    (first_ms,) = time_runs(network.backend, prepared, 1)
    warm_up = warm(network.backend, prepared)
    latencies = time_runs(network.backend, prepared, runs)
    describe = getattr(network.backend, "describe", dict)
    return network, {
        "model": manifest["model"]["name"],
        "target": manifest["target"],
        "precision": manifest["precision"],
        "input": list(prepared.shape),
        "threads": threads,
        "runs": runs,
        "warm_up": warm_up,
        "load_ms": load_ms,
        "first_ms": first_ms,
        "latency_ms": summarize(latencies),
        "bare_rss_bytes": bare_rss_bytes,
        "peak_rss_bytes": _status_bytes("VmHWM"),
        "runtime": describe(),
        "machine": describe_machine(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def time_runs(backend: Any, prepared: Any, count: int) -> list[float]:
    """Latency of each of `count` inferences, ms."""
    latencies = []
    for _ in range(count):
        started = time.perf_counter_ns()
        backend.run(prepared)
        latencies.append((time.perf_counter_ns() - started) / 1e6)
    return latencies


def warm(backend: Any, prepared: Any) -> dict[str, Any]:
    """Run blocks until two in a row have nearly one median; clocks of devices rise slowly."""
    previous = float(np.median(time_runs(backend, prepared, WARM_UP_COUNT)))
    for block in range(2, WARM_UP_BLOCKS + 1):
        median = float(np.median(time_runs(backend, prepared, WARM_UP_COUNT)))
        if max(median, previous) <= STEADY_RATIO * min(median, previous):
            return {"inferences": block * WARM_UP_COUNT, "is_steady": True}
        previous = median
    return {"inferences": WARM_UP_BLOCKS * WARM_UP_COUNT, "is_steady": False}


def summarize(latencies: list[float]) -> dict[str, float]:
    p50, p90, p99 = np.percentile(latencies, (50, 90, 99))
    mean = float(np.mean(latencies))
    return {"p50": float(p50), "p90": float(p90), "p99": float(p99), "mean": mean}


def write_labels(network: Any, images: Path, output: Path) -> int:
    """Write the label map of each .npy file in `images`; returns how many there were."""
    paths = sorted(images.glob("*.npy"))
    if not paths:
        raise ValueError(f"There is no .npy file in {images}.")
    output.mkdir(parents=True, exist_ok=True)
    for path in paths:
        image = np.load(path, allow_pickle=False)
        if image.ndim == 4:
            probabilities = network.backend.run(image)
            if not np.isfinite(probabilities).all():
                raise RuntimeError(f"The mask of {path} holds NaN or infinity.")
            labels = network.outputs.labels(probabilities)
        else:
            labels = network.predict(image)
        np.save(output / path.name, labels)
    return len(paths)


def describe_machine() -> dict[str, Any]:
    board = Path("/proc/device-tree/model")
    return {
        "board": board.read_text(errors="replace").strip("\0 \n") if board.is_file() else None,
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def _status_bytes(field: str) -> int | None:
    """Memory of this process as Linux counts it; None elsewhere."""
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.is_file() else ():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200, help="inferences to time")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--images", type=Path, help="folder of .npy images to label")
    parser.add_argument("--output", type=Path, help="where their label maps go")
    arguments = parser.parse_args()
    if (arguments.images is None) != (arguments.output is None):
        parser.error("give --images and --output together")
    try:
        network, record = measure(HERE.parent, arguments.runs, arguments.threads)
        if arguments.images is not None:
            record["labelled_images"] = write_labels(network, arguments.images, arguments.output)
    except (OSError, EOFError, ValueError, RuntimeError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(record, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
