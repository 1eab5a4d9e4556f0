"""A machine with TensorRT and a GPU that are not there: see tests/targets/fakes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from edgeseg.targets.runners.tensorrt_backend import Backend, describe_content

FAKES = Path(__file__).parents[2] / "targets" / "fakes"
FAKES_PYCUDA = Path(__file__).parents[2] / "targets" / "fakes_pycuda"
FAKE_MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings", "cuda", "pycuda")
FILES = ("artifact/plan.json", "artifact/model.onnx")
GRAPH = b"a graph"
SHAPE = (1, 3, 32, 32)


def take_out(prefixes: tuple[str, ...] = (*FAKE_MODULES, "fake_memory")) -> dict[str, Any]:
    """Forget modules, so that the next import looks for them again."""
    names = [name for name in sys.modules if name.partition(".")[0] in prefixes]
    return {name: sys.modules.pop(name) for name in names}


def make_plan(**changes: Any) -> dict[str, Any]:
    return {
        "precision": "int8",
        "onnx": describe_content("model.onnx", GRAPH),
        "input": {"name": "image", "shape": list(SHAPE)},
        "output": {"name": "mask", "shape": [1, 1, *SHAPE[2:]]},
        "tensorrt": {"least": "10.3", "below": "12.0"},
        "strongly_typed": True,
        "workspace_mb": 512,
        "dla_core": -1,
        **changes,
    }


def write_plan(folder: Path, **changes: Any) -> None:
    """What an artefact for `jetson` consists of, in `folder`/artifact."""
    (folder / "artifact").mkdir(exist_ok=True)
    (folder / FILES[0]).write_text(json.dumps(make_plan(**changes)))
    (folder / FILES[1]).write_bytes(GRAPH)


def load(folder: Path) -> Any:
    """Load a bundle for `jetson`."""
    return Backend(folder, FILES, {"package": "tensorrt"}, 1)
