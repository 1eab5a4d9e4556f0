"""External toolkits: how each converts a network, and how it runs the result.

Standalone: it is imported here for the table, and by `toolkit_worker.py` beside it in the toolkit's
own environment. Needs Python 3.8; a toolkit's packages are imported where it is used.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Run = Callable[[Any], Any]

# What a toolkit may start from.
PROGRAM = "program"  # what `torch.export.save` wrote
ONNX = "onnx"  # the plain export


class Toolkit(abc.ABC):
    """A toolkit that converts a network and runs it on the CPU in FP32.

    Attributes:
        packages: What its environment needs: import name -> name that installs it.
        source: What it converts, `PROGRAM` or `ONNX`.
        modules: Modules to import before memory and time count.
        how: What is done to the network, for people, as the end of "NETWORK is ...".
    """

    packages: Mapping[str, str]
    source: str = PROGRAM
    modules: Sequence[str]
    how: str

    @abc.abstractmethod
    def convert(self, source: Path, folder: Path) -> None:
        """Write what `open` reads into an empty folder, and nothing else: its size is reported.

        Raises:
            Exception: The toolkit does not take the network; of whatever class it raises.
        """

    @abc.abstractmethod
    def open(self, folder: Path, threads: int) -> Run:
        """Open what `convert` wrote.

        Returns:
            Maps a prepared image, (1, 3, H, W) float32, to the mask, (1, C, H, W).
        """


class ExecuTorch(Toolkit):
    packages: Mapping[str, str] = {"executorch": "executorch", "torch": "torch", "numpy": "numpy"}
    modules = ("torch", "executorch.extension.pybindings.portable_lib", "executorch.runtime")
    how = "lowered to XNNPACK from the program of torch.export"

    def convert(self, source: Path, folder: Path) -> None:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        program, _ = load_program(source)
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        (folder / "network.pte").write_bytes(lowered.to_executorch().buffer)

    def open(self, folder: Path, threads: int) -> Run:
        import torch
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        # Its pool starts with all cores.
        portable_lib._unsafe_reset_threadpool(threads)
        method = Runtime.get().load_program(str(folder / "network.pte")).load_method("forward")
        return lambda image: method.execute((torch.from_numpy(image),))[0].numpy()


class LiteRtTorch(Toolkit):
    packages: Mapping[str, str] = {
        "litert_torch": "litert-torch",
        "ai_edge_litert": "ai-edge-litert",
        "torch": "torch",
        "numpy": "numpy",
    }
    modules = ("ai_edge_litert.interpreter",)
    how = "converted by litert-torch from the program of torch.export"

    def convert(self, source: Path, folder: Path) -> None:
        import litert_torch

        program, example = load_program(source)
        litert_torch.convert(program.module(), (example,)).export(str(folder / "network.tflite"))

    def open(self, folder: Path, threads: int) -> Run:
        from ai_edge_litert.interpreter import Interpreter

        path = str(folder / "network.tflite")
        interpreter = Interpreter(model_path=path, num_threads=threads)
        interpreter.allocate_tensors()
        entry = interpreter.get_input_details()[0]["index"]
        result = interpreter.get_output_details()[0]["index"]

        def run(image: Any) -> Any:
            interpreter.set_tensor(entry, image)
            interpreter.invoke()
            return interpreter.get_tensor(result)

        return run


class Torch(Toolkit):
    packages: Mapping[str, str] = {"torch": "torch", "numpy": "numpy"}
    modules = ("torch",)
    how = "run as torch.export wrote it"

    def convert(self, source: Path, folder: Path) -> None:
        import torch

        program, _ = load_program(source)
        torch.export.save(program, str(folder / "network.pt2"))

    def open(self, folder: Path, threads: int) -> Run:
        import torch

        torch.set_num_threads(threads)
        network = torch.export.load(str(folder / "network.pt2")).module()

        def run(image: Any) -> Any:
            with torch.inference_mode():
                return network(torch.from_numpy(image)).numpy()

        return run


def load_program(source: Path) -> tuple[Any, Any]:
    """The program that `torch.export.save` wrote, and the image that it was exported with."""
    import torch

    program = torch.export.load(str(source))
    return program, program.example_inputs[0][0]


TOOLKITS: dict[str, Toolkit] = {
    "executorch": ExecuTorch(),
    "litert-torch": LiteRtTorch(),
    "torch": Torch(),
}
