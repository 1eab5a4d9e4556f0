"""The process in which an external toolkit runs the same network, in its own environment.

    PYTHON toolkit_worker.py convert TOOLKIT PROGRAM FILE
    PYTHON toolkit_worker.py measure TOOLKIT FILE THREADS

PROGRAM is what `torch.export.save` wrote; FILE is what the toolkit makes of it. Needs the toolkit
and numpy, not EdgeSeg; `protocol.py`, `timing.py`, `cpu.py` and `memory.py` lie beside this file.
"measure" answers the requests of `protocol`, but writes no label maps.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from . import cpu, protocol, timing
else:
    import cpu
    import protocol
    import timing

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


# How each converts a program, and how it opens the result; "torch" runs the program as it is.
TOOLKITS: dict[str, tuple[Callable[[Any, Any, str], None], Callable[[str, int], Run]]] = {
    "executorch": (convert_executorch, open_executorch),
    "litert-torch": (convert_litert_torch, open_litert_torch),
    "torch": (convert_torch, open_torch),
}


# Modules that each imports before memory and time count.
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


class ToolkitWorker(timing.TimedWorker):
    """Measures what a toolkit made of the network.

    Args:
        toolkit: One of `TOOLKITS`.
        path: The converted network.
        threads: CPU threads of the toolkit, kept on as many cores.
    """

    def __init__(self, toolkit: str, path: str, threads: int) -> None:
        self.toolkit = toolkit
        self.path = path
        self.threads = threads
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cpu.allowed_cores()[:threads])

    def import_runtime(self) -> None:
        for module in RUNTIMES[self.toolkit]:
            importlib.import_module(module)

    def open_network(self) -> Run:
        return TOOLKITS[self.toolkit][1](self.path, self.threads)


if __name__ == "__main__":
    if sys.argv[1] == "convert":
        convert(*sys.argv[2:5])
    else:
        protocol.serve(ToolkitWorker(sys.argv[2], sys.argv[3], int(sys.argv[4])))
