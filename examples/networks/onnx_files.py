"""Build ONNX files of published networks, by both exporters and in several opsets, without torch.

    python examples/networks/onnx_files.py --output onnx [--file NAME]...

Each file is written by one process, with torch, and built by another, which must not load it. A
cell of the table tells ONNX Runtime's masks of the file from those of the finished bundle. Needs
`pip install transformers` beside edgeseg's extra `all`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))
os.environ.setdefault("OMP_NUM_THREADS", "1")
SIZE = 128
TARGETS = {"intel": "openvino", "onnxruntime": "onnxruntime", "android": "litert"}
LIMIT = 1e-4  # of a probability


@dataclass(frozen=True)
class File:
    """Attributes:
    network: A key of NETWORKS of `sweep`, or the name of one of edgeseg's networks.
    opset: Of the file.
    is_script: Written by torch's older exporter, by TorchScript; else by the newer one.
    is_free: Sizes are free axes.
    """

    network: str
    opset: int
    is_script: bool = False
    is_free: bool = False


FILES = {
    "egeunet-script-11": File("egeunet", 11, is_script=True),
    "egeunet-20": File("egeunet", 20),
    "ulite-script-17": File("ulite", 17, is_script=True, is_free=True),
    "miniseg-21": File("miniseg", 21),
    "unet-script-13": File("UNet", 13, is_script=True),
    "basicunet-script-11-free": File("BasicUNet", 11, is_script=True, is_free=True),
    "attentionunet-18": File("AttentionUnet", 18),
    "segresnet-script-17": File("SegResNet", 17, is_script=True),
    "segformer-script-14": File("SegFormer", 14, is_script=True),
    "segformer-21": File("SegFormer", 21),
    "unext-20": File("UNeXt", 20),
    "bisenetv2-script-12": File("BiSeNetV2", 12, is_script=True),
}


def export(name: str, path: Path) -> None:
    """Write a file of FILES, with random or shipped weights, in eval mode."""
    import torch

    from edgeseg.models import find_model

    file = FILES[name]
    torch.manual_seed(0)
    from sweep import NETWORKS

    if file.network in NETWORKS:
        network = NETWORKS[file.network]
        module, _, maker = network.made_by.partition(":")
        made = getattr(importlib.import_module(module), maker)(**network.arguments)
        outputs = ["logits"]
    else:
        spec = find_model(file.network)
        made, outputs = spec.load_network(spec.resolve_weights(None)), ["mask"]
    axes = {"pixels": {0: "batch", 2: "height", 3: "width"}} if file.is_free else None
    example = torch.rand(1, 3, SIZE, SIZE)
    torch.onnx.export(
        made.eval(),
        (example,),
        str(path),
        opset_version=file.opset,
        dynamo=not file.is_script,
        dynamic_axes=axes,
        input_names=["pixels"],
        output_names=outputs,
    )


def build(name: str, path: Path) -> dict[str, object]:
    """Describe and build a file for each runtime; largest differences, or refusals, by runtime."""
    from edgeseg.errors import EdgesegError
    from edgeseg.pipeline.build import BuildRequest, build_bundle
    from edgeseg.pipeline.inspect import inspect_onnx, write_spec

    spec = path.with_suffix(".toml")
    spec.unlink(missing_ok=True)
    found: dict[str, object] = {}
    try:
        write_spec(inspect_onnx(path, (SIZE, SIZE)), spec)
        for target, runtime in TARGETS.items():
            folder = path.parent / f"{name}-{runtime}"
            request = BuildRequest(
                str(path), target, "fp32", folder, spec=spec, overwrite=True, use_cache=False
            )
            checks = build_bundle(request)[0].manifest.checks
            found[runtime] = checks["artifact"].max_abs_diff
    except EdgesegError as error:
        found["refusal"] = str(error)
    found["torch"] = "torch" in sys.modules
    return found


def run_apart(words: Sequence[str]) -> str:
    """What this program prints last, in a process of its own.

    Raises:
        SystemExit: It fails.
    """
    command = [sys.executable, str(FOLDER / "onnx_files.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed: {done.stderr[-800:]}")
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def main() -> None:
    parser = argparse.ArgumentParser(description="Build ONNX files of published networks.")
    parser.add_argument("--output", type=Path, required=True, help="folder for all that is made")
    parser.add_argument("--file", action="append", choices=list(FILES), help="only these")
    parser.add_argument("--export", help=argparse.SUPPRESS)
    parser.add_argument("--build", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for name in filter(None, (options.export, options.build)):
        path = options.output / f"{name}.onnx"
        if options.export:
            export(name, path)
        else:
            print(json.dumps(build(name, path)))
        return
    output = ("--output", str(options.output))
    good = 0
    for name in options.file or FILES:
        run_apart((*output, "--export", name))
        cell = json.loads(run_apart((*output, "--build", name)))
        differences = [cell.get(runtime) for runtime in TARGETS.values()]
        is_good = not cell["torch"] and all(one is not None and one < LIMIT for one in differences)
        good += is_good
        print(f"{name}: {'as the file' if is_good else 'NOT'}, {cell}", flush=True)
    print(f"{good} of {len(options.file or FILES)} files are built and compute what they say.")


if __name__ == "__main__":
    main()
