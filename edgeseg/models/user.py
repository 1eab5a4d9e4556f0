"""Networks that users bring: a class that can be imported, and a TOML file that describes it.

title = "My network"
classes = ["background", "lesion"]
channels = 1               # 1: sigmoid mask of two classes; else one a class, softmax
returns = "logits"         # what forward() gives: "logits" or "probabilities"
height = 256
width = 256
stride = 32                # height and width are multiples of it

[normalization]
kind = "mean_std"          # or "min_max" with low and high
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]

[arguments]                # keyword arguments of the class; may be left out
width = 32
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

from ..contract import InputContract, MeanStd, MinMax, OutputContract
from ..errors import UsageError
from ..lazy import require_installed
from .spec import ModelSpec

REQUIRED = ("classes", "channels", "returns", "height", "width", "stride", "normalization")
OPTIONAL = ("title", "arguments")
NORMALIZATIONS = {"mean_std": MeanStd, "min_max": MinMax}


def read_user_model(import_path: str, spec_path: Path | None) -> ModelSpec:
    """Spec of a user's network; parameters and MACs are counted on it.

    Args:
        import_path: "package.module:Class", importable from here or from the working folder.
        spec_path: TOML file as this module describes.

    Raises:
        UsageError: The file or the class is missing or does not make sense.
    """
    if spec_path is None:
        raise UsageError(
            f"The network {import_path} is not one of edgeseg's own. Describe it in a TOML file "
            "and give that with --spec (edgeseg distill: --teacher-spec, --student-spec); "
            "docs/custom-models.md shows one. Commands without that option take edgeseg's own."
        )
    record = _read_toml(spec_path)
    try:
        spec = _spec_of_record(import_path, record)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{spec_path} describes no network: {error} Correct that entry."
        ) from error
    require_installed(["torch"], purpose=f"The model {import_path}")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)  # at the end: nothing there hides a library
    return spec.counted()


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        record = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"Cannot read {path} ({error.strerror}). Check the path.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}. Correct it.") from error
    missing = [name for name in REQUIRED if name not in record]
    unknown = [name for name in record if name not in (*REQUIRED, *OPTIONAL)]
    if missing or unknown:
        raise UsageError(
            f"{path} lacks {', '.join(missing) or 'nothing'} and has the unknown entries "
            f"{', '.join(unknown) or 'none'}. docs/custom-models.md shows a whole file."
        )
    return record


def _spec_of_record(import_path: str, record: dict[str, Any]) -> ModelSpec:
    module, _, name = import_path.partition(":")
    if not module or not name:
        raise ValueError(f"the model is written package.module:Class, not {import_path}.")
    settings = dict(record["normalization"])
    normalization = NORMALIZATIONS[settings.pop("kind")](**settings)
    inputs = InputContract(record["height"], record["width"], record["stride"], normalization)
    return ModelSpec(
        name=name.lower(),
        import_path=import_path,
        title=record.get("title", name),
        source="brought by the user",
        parameters=0,
        macs=0,
        inputs=inputs,
        outputs=OutputContract(tuple(record["classes"]), record["channels"]),
        weights=None,
        arguments=dict(record.get("arguments", {})),
        returns=record["returns"],
    )
