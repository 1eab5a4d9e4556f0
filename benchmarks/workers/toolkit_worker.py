"""The process in which an external toolkit runs the same network, in its own environment.

    PYTHON toolkit_worker.py convert TOOLKIT SOURCE FOLDER
    PYTHON toolkit_worker.py measure TOOLKIT FOLDER THREADS CONTRACT

SOURCE is what the toolkit takes, FOLDER gets what it makes of it; CONTRACT is the file of
`edgeseg.contract`, which stands alone. Needs the toolkit and numpy, not EdgeSeg; the
other modules of this folder that it imports lie beside this file. "convert" writes the reason of a
failure to standard error, "measure" answers the requests of `messages`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING or __package__:
    from . import cpu, messages, protocol, timing, toolkits
else:
    import cpu
    import messages
    import protocol
    import timing
    import toolkits


class ToolkitWorker(timing.TimedWorker):
    """Measures what a toolkit made of the network.

    Args:
        toolkit: The toolkit.
        folder: What its `convert` wrote.
        threads: CPU threads of the toolkit, kept on as many cores.
        contract: File of `edgeseg.contract`.
    """

    def __init__(
        self, toolkit: toolkits.Toolkit, folder: Path, threads: int, contract: Path
    ) -> None:
        self.toolkit = toolkit
        self.folder = folder
        self.threads = threads
        self.contract = contract
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cpu.allowed_cores()[:threads])

    def import_runtime(self) -> None:
        protocol.hide_reporting_packages()
        for module in self.toolkit.modules:
            importlib.import_module(module)

    def open_network(self) -> Callable[[Any], Any]:
        return self.toolkit.open(self.folder, self.threads)

    def label_prepared(self, request: messages.LabelPrepared) -> messages.Done:
        outputs = import_file(self.contract).OutputContract.from_json(dict(request.outputs))
        labels = []
        for index, image in enumerate(np.load(request.images, mmap_mode="r")[: request.count]):
            mask = self.run(np.ascontiguousarray(image))
            require_mask(mask, (1, outputs.channels, *image.shape[2:]), f"image {index}")
            labels.append(outputs.labels(mask))
        np.save(request.result, np.stack(labels))
        return messages.Done()


def require_mask(mask: Any, shape: tuple[int, ...], name: str) -> None:
    """Refuse what is no mask: what a toolkit computes is nowhere else looked at.

    Raises:
        ValueError: It has another shape, or holds NaN or infinity.
    """
    if mask.shape != shape:
        raise ValueError(f"the mask of {name} has the shape {mask.shape} and not {shape}")
    if not np.isfinite(mask).all():
        raise ValueError(f"the mask of {name} holds NaN or infinity")


def import_file(path: Path) -> Any:
    """Import a module that lies beside others which are not to be found by their names."""
    name = f"edgeseg_{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look themselves up there
        spec.loader.exec_module(module)
    return sys.modules[name]


def convert(toolkit: toolkits.Toolkit, source: Path, folder: Path) -> None:
    """Convert a network; ends the process with the reason where that fails."""
    os.dup2(2, 1)  # what a converter prints may be all that says why it failed
    try:
        toolkit.convert(source, folder)
    except Exception as error:
        sys.exit(protocol.explain(error))


def main() -> None:
    command, name, *rest = sys.argv[1:]
    toolkit = toolkits.TOOLKITS[name]
    if command == "convert":
        source, folder = rest
        convert(toolkit, Path(source), Path(folder))
    else:
        folder, threads, contract = rest
        protocol.serve(ToolkitWorker(toolkit, Path(folder), int(threads), Path(contract)))


if __name__ == "__main__":
    main()
