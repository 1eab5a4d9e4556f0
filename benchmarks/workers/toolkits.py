"""External toolkits: how each converts a network, and how it runs the result.

Standalone: it is imported here for the table, and by `toolkit_worker.py` beside it in the toolkit's
own environment. Needs Python 3.9; a toolkit's packages are imported where it is used.
"""

from __future__ import annotations

import abc
import shutil
import subprocess
import tempfile
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


class Mnn(Toolkit):
    """MNN, by its Module interface with its defaults; precision "normal" is FP32 on a CPU.

    Its command `mnnconvert` installs a package and reports each conversion to its maker. It wraps
    `_tools`, which does neither and is called here.
    """

    packages: Mapping[str, str] = {"MNN": "MNN", "numpy": "numpy"}
    source = ONNX
    modules = ("MNN",)
    how = "converted by MNNConvert from the ONNX graph, in FP32"

    def convert(self, source: Path, folder: Path) -> None:
        import _tools

        path = folder / "network.mnn"
        words = ("mnnconvert", "-f", "ONNX", "--modelFile", source, "--MNNModel", path)
        # It answers True whatever happens, and prints the reason.
        _tools.mnnconvert([*map(str, words), "--bizCode", "edgeseg"])
        if not path.is_file():
            raise RuntimeError("MNNConvert wrote no network")

    def open(self, folder: Path, threads: int) -> Run:
        import MNN
        import numpy as np

        manager = MNN.nn.create_runtime_manager(({"backend": "CPU", "numThread": threads},))
        path = str(folder / "network.mnn")
        network = MNN.nn.load_module_from_file(path, [], [], runtime_manager=manager)

        def run(image: Any) -> Any:
            entry = MNN.expr.const(image, list(image.shape), MNN.expr.NCHW)
            (mask,) = network.forward([entry])
            return np.array(mask.read())

        return run


class Ncnn(Toolkit):
    """ncnn, with its defaults except that nothing is kept in half precision.

    pnnx takes TorchScript: the graph that it makes of ONNX files has other reductions, and the
    masks of EGE-UNet are then wrong.
    """

    packages: Mapping[str, str] = {
        "ncnn": "ncnn",
        "pnnx": "pnnx",
        "torch": "torch",
        "numpy": "numpy",
    }
    modules = ("ncnn",)
    how = "converted by pnnx from TorchScript, in FP32 with fp16 and bf16 storage off"
    half_precision = (
        "use_fp16_packed",
        "use_fp16_storage",
        "use_fp16_arithmetic",
        "use_bf16_storage",
    )
    files = ("network.ncnn.param", "network.ncnn.bin")

    def convert(self, source: Path, folder: Path) -> None:
        import torch
        from pnnx import EXEC_PATH

        program, example = load_program(source)
        with tempfile.TemporaryDirectory() as name:
            work = Path(name)
            traced = torch.jit.trace(program.module(), example)  # type: ignore[no-untyped-call]
            traced.save(str(work / "network.pt"))
            shape = ",".join(map(str, example.shape))
            command = [EXEC_PATH, "network.pt", f"inputshape=[{shape}]", "fp16=0"]
            subprocess.run(command, cwd=name, check=True)
            for file in self.files:
                if not (work / file).is_file():
                    raise RuntimeError(f"pnnx wrote no {file}")
                shutil.move(str(work / file), str(folder / file))
        # pnnx may write layers that ncnn does not have, and only ncnn says so.
        self.open(folder, 1)(example.numpy())

    def open(self, folder: Path, threads: int) -> Run:
        import ncnn
        import numpy as np

        network = ncnn.Net()
        network.opt.num_threads = threads
        for option in self.half_precision:
            setattr(network.opt, option, False)
        graph, weights = (str(folder / name) for name in self.files)
        if network.load_param(graph) != 0 or network.load_model(weights) != 0:
            raise RuntimeError("ncnn does not load what pnnx wrote")
        (entry,), (result,) = network.input_names(), network.output_names()

        def run(image: Any) -> Any:
            extractor = network.create_extractor()
            # Without the batch: a blob of ncnn is (C, H, W).
            extractor.input(entry, ncnn.Mat(image[0]))
            status, mask = extractor.extract(result)
            if status != 0:
                raise RuntimeError(f"ncnn does not run the network: status {status}")
            return np.array(mask)[np.newaxis]

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
    "mnn": Mnn(),
    "ncnn": Ncnn(),
    "torch": Torch(),
}
