"""Options that several commands have: one name, one type and one text for each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="Network: a name of edgeseg models, package.module:Cls, FILE.onnx or MONAI bundle.",
    ),
]
Weights = Annotated[
    Path | None, typer.Option(help="Checkpoint of the network (default: the shipped weights).")
]
StartWeights = Annotated[
    Path | None, typer.Option("--weights", help="Checkpoint to start from (default: random).")
]
Spec = Annotated[
    Path | None,
    typer.Option(
        help="TOML file that describes a network of your own, or how a named one reads images."
    ),
]
Size = Annotated[str | None, typer.Option(help="Input size, HxW (default: the network's).")]
Data = Annotated[
    Path | None,
    typer.Option(help="Folder with images/ and, to score, masks/ (default: the sample)."),
]
TrainingData = Annotated[
    Path, typer.Option("--data", help="Folder with images/, masks/, train.txt and val.txt.")
]
Split = Annotated[
    list[str] | None,
    typer.Option(
        help="Split to score; may be repeated (default: test; in bench and sweep val too)."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder to write (default: the one that is named above)."),
]
RequiredOutput = Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")]
Overwrite = Annotated[bool, typer.Option(help="Replace what --output holds.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Threads = Annotated[int, typer.Option(help="CPU threads of each artefact.", min=1)]
Runs = Annotated[int, typer.Option(help="Counted inferences of each artefact.", min=1)]
Images = Annotated[int | None, typer.Option(help="Largest number of images to measure on.", min=1)]
CalibrationImages = Annotated[
    int, typer.Option(help="Largest number of calibration images.", min=1)
]
MethodOption = Annotated[
    list[str] | None,
    typer.Option(help="Option of the quantisation method, NAME=VALUE; may be repeated."),
]
Seed = Annotated[
    int | None,
    typer.Option(help="Seed of weights, order and augmentation (default: the recipe's)."),
]
Seeds = Annotated[
    list[int] | None,
    typer.Option("--seed", help="Seed to repeat the study with; may be repeated."),
]
Labels = Annotated[float, typer.Option(help="Share of the train labels to use, chosen by --seed.")]
Mlflow = Annotated[
    str | None,
    typer.Option(
        "--mlflow", help="Write each measured bundle as a run of MLflow there: sqlite:///FILE."
    ),
]
Cache = Annotated[bool, typer.Option(help="Reuse results that are kept from equal work.")]
BundleFolder = Annotated[Path, typer.Argument(help="Bundle folder.")]
