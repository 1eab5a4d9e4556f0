"""The process in which another toolkit runs the same network, in an environment of its own.

    PYTHON peer_worker.py convert PEER PROGRAM FILE
    PYTHON peer_worker.py measure PEER FILE THREADS

PROGRAM is what `torch.export.save` wrote; FILE is what the peer makes of it. Needs the peer and
numpy, not EdgeSeg; `cpu.py` and `memory.py` lie beside it. "measure" speaks as `worker.py` does,
without labels: JSON commands from standard input, a line each, and a JSON line for each answer.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
Run = Callable[[Any], Any]


def convert_litert_torch(program: Any, example: Any, path: str) -> None:
    import litert_torch

    litert_torch.convert(program.module(), (example,)).export(path)


def open_litert_torch(path: str, threads: int) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=threads)
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]["index"]
    result = interpreter.get_output_details()[0]["index"]

    def run(image: Any) -> Any:
        interpreter.set_tensor(entry, image)
        interpreter.invoke()
        return interpreter.get_tensor(result)

    return run


def convert_executorch(program: Any, example: Any, path: str) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    Path(path).write_bytes(lowered.to_executorch().buffer)


def open_executorch(path: str, threads: int) -> Run:
    import torch
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    # Its pool starts with all cores.
    portable_lib._unsafe_reset_threadpool(threads)
    method = Runtime.get().load_program(path).load_method("forward")
    return lambda image: method.execute((torch.from_numpy(image),))[0].numpy()


def convert_torch(program: Any, example: Any, path: str) -> None:
    import torch

    torch.export.save(program, path)


def open_torch(path: str, threads: int) -> Run:
    import torch

    torch.set_num_threads(threads)
    network = torch.export.load(path).module()

    def run(image: Any) -> Any:
        with torch.inference_mode():
            return network(torch.from_numpy(image)).numpy()

    return run


# How to convert and how to open; "torch" runs the program as it is.
TOOLKITS: dict[str, tuple[Callable[[Any, Any, str], None], Callable[[str, int], Run]]] = {
    "executorch": (convert_executorch, open_executorch),
    "litert-torch": (convert_litert_torch, open_litert_torch),
    "torch": (convert_torch, open_torch),
}


# What is imported before memory and time of loading count.
RUNTIMES = {
    "executorch": (
        "torch",
        "executorch.extension.pybindings.portable_lib",
        "executorch.runtime",
    ),
    "litert-torch": ("ai_edge_litert.interpreter",),
    "torch": ("torch",),
}


def convert(toolkit: str, program: str, path: str) -> None:
    import torch

    loaded = torch.export.load(program)
    example = loaded.example_inputs[0][0]
    TOOLKITS[toolkit][0](loaded, example, path)


def measure(toolkit: str, path: str, threads: int) -> None:
    import numpy as np

    # Libraries print; answers go through a copy of standard output that they do not know.
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    cpu, memory = (runpy.run_path(str(HERE / name)) for name in ("cpu.py", "memory.py"))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpu["allowed_cores"]()[:threads])
    run: Run = lambda image: None  # noqa: E731
    images: Any = None
    turn = 0
    for line in sys.stdin:
        request = json.loads(line)
        command = request["command"]
        if command == "load":
            if request.get("images"):
                images = np.load(request["images"], allow_pickle=False)
            for module in RUNTIMES[toolkit]:
                importlib.import_module(module)
            memory["reset_peak_rss"]()
            bare = memory["rss_bytes"]()
            started = time.perf_counter()
            run = TOOLKITS[toolkit][1](path, threads)
            answer = {"load_ms": (time.perf_counter() - started) * 1e3, "bare_rss_bytes": bare}
        elif command == "first":
            started = time.perf_counter()
            run(images[0])
            answer = {"first_ms": (time.perf_counter() - started) * 1e3}
        elif command == "time":
            run(images[0])  # another process ran before
            latencies = []
            for _ in range(request["count"]):
                started = time.perf_counter()
                run(images[turn])
                latencies.append((time.perf_counter() - started) * 1e3)
                turn = (turn + 1) % len(images)
            answer = {"latencies_ms": latencies}
        elif command == "memory":
            answer = {"peak_rss_bytes": memory["peak_rss_bytes"]()}
        else:
            answer = {"error": f"{command} is not known here"}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "convert":
        convert(*sys.argv[2:5])
    else:
        measure(sys.argv[2], sys.argv[3], int(sys.argv[4]))
