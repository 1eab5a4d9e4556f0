"""Build networks that others published for three runtimes in two precisions, and check each.

    python examples/networks/sweep.py --output sweep [--data FOLDER] [--network NAME]...

Each network is trained briefly, so that its masks have an edge to lose, and then taken as a user's
own: a description, a checkpoint, `edgeseg build`. A cell of the table tells the FP32 reference's
masks from those of the finished bundle, by two new processes. A run that was ended goes on where it
stopped. Needs `pip install transformers` beside edgeseg's extra `all`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))
# Threads of OpenMP wait by spinning, which takes the cores from each other beside other work.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from edgeseg.benchmarks.environment import describe_environment  # noqa: E402
from edgeseg.bundle.bundle import Bundle  # noqa: E402
from edgeseg.data.folder import SAMPLE_FOLDER, open_folder  # noqa: E402
from edgeseg.errors import EdgesegError  # noqa: E402
from edgeseg.pipeline.build import BuildRequest, build_bundle  # noqa: E402
from edgeseg.pipeline.builder.second_load import predict_in_new_process  # noqa: E402
from edgeseg.pipeline.train import TrainRequest, train_model  # noqa: E402
from edgeseg.reference.reference import open_torch  # noqa: E402
from edgeseg.storage.atomic import write_text  # noqa: E402
from edgeseg.training.options import TrainingOptions  # noqa: E402

SIZE = 128
EPOCHS, STEPS = 2, 60
IMAGES = 16  # of val, on which a cell is checked
TARGETS = {"intel": "openvino", "onnxruntime": "onnxruntime", "android": "litert"}
PRECISIONS = ("fp32", "int8")
RESULTS = "results.json"


@dataclass(frozen=True)
class Network:
    """Attributes:
    made_by: "module:class or function" of this folder.
    source: Whose structure it is.
    arguments: Of the class or function.
    output: Which of several maps is the mask.
    """

    made_by: str
    source: str
    arguments: dict[str, object] = field(default_factory=dict)
    output: str | int | None = None


MONAI = "MONAI"
NETWORKS = {
    "UNeXt": Network("tokens:UNeXt", "Valanarasu 2022"),
    "MALUNet": Network("tokens:MALUNet", "Ruan 2022"),
    "CMUNeXt": Network("encoders:CMUNeXt", "Tang 2023"),
    "ENet": Network("encoders:ENet", "Paszke 2016"),
    "PraNet": Network("encoders:PraNet", "Fan 2020", output=-1),
    "BiSeNetV2": Network("two_branches:BiSeNetV2", "Yu 2020"),
    "DDRNet": Network("two_branches:DDRNet", "Hong 2021"),
    "PIDNet": Network("two_branches:PIDNet", "Xu 2022"),
    "SegFormer": Network("libraries:segformer", "transformers", output="logits"),
    "UNet": Network(
        "libraries:monai",
        MONAI,
        {"name": "UNet", "channels": [8, 16, 32, 64], "strides": [2, 2, 2], "num_res_units": 2},
    ),
    "BasicUNet": Network(
        "libraries:monai", MONAI, {"name": "BasicUNet", "features": [8, 8, 16, 32, 64, 8]}
    ),
    "BasicUNetPlusPlus": Network(
        "libraries:monai", MONAI, {"name": "BasicUNetPlusPlus", "features": [8, 8, 16, 32, 64, 8]}
    ),
    "AttentionUnet": Network(
        "libraries:monai",
        MONAI,
        {"name": "AttentionUnet", "channels": [8, 16, 32], "strides": [2, 2]},
    ),
    "DynUNet": Network(
        "libraries:monai",
        MONAI,
        {
            "name": "DynUNet",
            "kernel_size": [3, 3, 3, 3],
            "strides": [1, 2, 2, 2],
            "upsample_kernel_size": [2, 2, 2],
            "filters": [8, 16, 32, 64],
        },
    ),
    "RegUNet": Network("libraries:reg_unet", MONAI),
    "SegResNet": Network(
        "libraries:monai",
        MONAI,
        {"name": "SegResNet", "init_filters": 8, "blocks_down": [1, 1, 1], "blocks_up": [1, 1]},
    ),
    "VNet": Network("libraries:PaddedVNet", MONAI),
    "UNETR": Network("libraries:unetr", MONAI, {"size": SIZE}),
    "HighResNet": Network("libraries:monai", MONAI, {"name": "HighResNet"}),
    "MedNeXt": Network(
        "libraries:monai",
        MONAI,
        {
            "name": "MedNeXt",
            "init_filters": 8,
            "blocks_down": [1, 1, 1],
            "blocks_up": [1, 1, 1],
            "encoder_expansion_ratio": 2,
            "decoder_expansion_ratio": 2,
            "bottleneck_expansion_ratio": 2,
            "blocks_bottleneck": 1,
        },
    ),
}


@dataclass(frozen=True)
class Cell:
    """One build.

    Attributes:
        max_abs_diff: Largest difference of a probability to torch, over the images.
        flips_per_10k: Pixels of 10,000 whose label differs from torch's.
        repeats: Whether two new processes gave the same masks.
        method: How INT8 was made.
        refusal: Why it was not built.
    """

    max_abs_diff: float | None = None
    flips_per_10k: float | None = None
    repeats: bool | None = None
    method: str = ""
    refusal: str = ""


def describe(network: Network) -> str:
    """The network's description for --spec."""
    lines = [
        'classes = ["background", "lesion"]',
        "channels = 1",
        'returns = "logits"',
        f"height = {SIZE}\nwidth = {SIZE}\nstride = 32",
    ]
    if network.output is not None:
        lines.append(f"output = {json.dumps(network.output)}")
    lines += [
        "[normalization]",
        'kind = "mean_std"',
        "mean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]",
        "[arguments]",
        *(f"{name} = {json.dumps(value)}" for name, value in network.arguments.items()),
    ]
    return "\n".join(lines) + "\n"


def train(network: Network, data: Path, folder: Path) -> tuple[Path, Path]:
    """Write the description and train briefly; returns both files."""
    spec, run = folder / "spec.toml", folder / "run"
    weights = run / "best.safetensors"
    write_text(spec, describe(network))
    if not (folder / "trained").is_file():
        settings = {"epochs": EPOCHS, "epoch_steps": STEPS}
        options = TrainingOptions(settings=settings, resume=run.is_dir())
        train_model(TrainRequest(network.made_by, data, run, spec, training=options))
        write_text(folder / "trained", "")
    return spec, weights


def check(bundle: Bundle, weights: Path, data: Path) -> Cell:
    """Compare the finished bundle with torch, in two new processes."""
    contract = bundle.inputs
    pairs = open_folder(data, ["val"]).pairs[:IMAGES]
    inputs = [contract.prepare(pair.read_image(contract.channels)) for pair in pairs]
    torch = open_torch(bundle.manifest.model.spec, str(weights))
    expected = np.stack([torch.run(image) for image in inputs])
    first, second = (
        np.stack(predict_in_new_process(bundle.artifact, inputs, bundle.manifest.name))
        for _ in range(2)
    )
    labels = [
        np.stack([bundle.outputs.labels(mask) for mask in masks]) for masks in (expected, first)
    ]
    quantization = bundle.manifest.quantization
    return Cell(
        float(np.abs(first - expected).max()),
        float((labels[0] != labels[1]).mean()) * 10_000,
        bool(np.array_equal(first, second)),
        quantization.method if quantization else "",
    )


def sweep(names: list[str], data: Path, output: Path) -> dict[str, Cell]:
    """Fill the table, cell by cell; what `output` holds already stays."""
    path = output / RESULTS
    cells = {}
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))["cells"]
        cells = {name: Cell(**cell) for name, cell in kept.items()}
    for name in names:
        network = NETWORKS[name]
        spec, weights = train(network, data, output / name)
        for target, runtime in TARGETS.items():
            for precision in PRECISIONS:
                key = f"{name} {runtime} {precision}"
                if key in cells:
                    continue
                folder = output / name / f"{runtime}-{precision}"
                request = BuildRequest(
                    network.made_by,
                    target,
                    precision,
                    folder,
                    weights=weights,
                    data=data,
                    spec=spec,
                    overwrite=True,
                )
                try:
                    cells[key] = check(build_bundle(request)[0], weights, data)
                except EdgesegError as error:
                    cells[key] = Cell(refusal=str(error))
                print(key, cells[key], flush=True)
                record = {name: asdict(cell) for name, cell in cells.items()}
                facts = {
                    "environment": describe_environment(threads=1),
                    "images": IMAGES,
                    "size": SIZE,
                }
                write_text(path, json.dumps({**facts, "cells": record}, indent=1) + "\n")
    return cells


def table(cells: dict[str, Cell]) -> str:
    """Markdown: a row for each network, a column for each runtime and precision."""
    columns = [(runtime, own) for runtime in TARGETS.values() for own in PRECISIONS]
    titles = ["network", "source", *(f"{runtime} {own.upper()}" for runtime, own in columns)]
    lines = ["| " + " | ".join(titles) + " |", "|---|---|" + "---:|" * len(columns)]
    for name, network in NETWORKS.items():
        row = [cells.get(f"{name} {runtime} {own}") for runtime, own in columns]
        if any(row):
            words = [name, network.source, *(describe_cell(cell) for cell in row)]
            lines.append("| " + " | ".join(words) + " |")
    return "\n".join(lines) + "\n"


def describe_cell(cell: Cell | None) -> str:
    """FP32: the largest difference of a probability; INT8: flips of 10,000 pixels."""
    if cell is None:
        return ""
    if cell.refusal:
        return "refused"
    words = f"{cell.flips_per_10k:.1f} flips" if cell.method else f"{cell.max_abs_diff:.0e}"
    return words + ("" if cell.repeats else ", **not the same twice**")


def main() -> None:
    parser = argparse.ArgumentParser(description="Sweep over networks that others published.")
    parser.add_argument("--output", type=Path, required=True, help="folder for all that is made")
    parser.add_argument("--data", type=Path, default=SAMPLE_FOLDER, help="data folder")
    parser.add_argument("--network", action="append", choices=list(NETWORKS), help="only these")
    options = parser.parse_args()
    cells = sweep(options.network or list(NETWORKS), options.data, options.output.resolve())
    text = table(cells)
    write_text(options.output / "table.md", text)
    print(text)
    for name, cell in cells.items():
        if cell.refusal:
            print(f"{name} is refused: {cell.refusal}")
    built = [cell for cell in cells.values() if not cell.refusal]
    print(f"{len(built)} of {len(cells)} cells are built.")


if __name__ == "__main__":
    main()
