"""From the name of a model to its spec."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import EdgesegError, UnknownNameError
from ..records import is_onnx_file
from .foreign.monai_bundle import is_monai_bundle, read_monai_bundle
from .foreign.onnx_file import read_onnx_model
from .foreign.user import read_user_model, with_images_of
from .registry import MODELS
from .spec import ModelSpec
from .variants import describe_variant, split_variant_name, variant_of


def find_model(
    name: str, spec_path: Path | None = None, size: tuple[int, int] | None = None
) -> ModelSpec:
    """Spec of a model.

    Args:
        name: Name of a registered model or of its edge variant (NAME-twin, NAME-twin-relu),
            "package.module:Class" of a network of the user's own, the path of an ONNX file, or the
            folder of a trained bundle of MONAI.
        spec_path: TOML file that describes the user's own network; of a registered one, how images
            are read.
        size: (height, width) of the input; None is the model's default.

    Raises:
        UnknownNameError: No such model.
        UsageError: See `edgeseg.models.foreign.user.read_user_model` and `ModelSpec.at_size`.
        EdgesegError: Another package registered something that is no spec.
    """
    if is_onnx_file(name):
        return read_onnx_model(Path(name), spec_path, size)
    spec = _find_spec(name, spec_path)
    return spec if size is None else spec.at_size(*size)


def is_registered(record: Mapping[str, Any]) -> bool:
    """Whether what `ModelSpec.to_json` wrote is one of the installed networks, or its edge variant.

    Such a record may come from a bundle that somebody sent. What it names is imported and called
    only where this holds: class and arguments are then those of an installed package.

    Raises:
        EdgesegError: Another package registered the name for something that is no spec.
    """
    known = MODELS.names()
    name = str(record.get("name"))
    original, ending = (name, "") if name in known else split_variant_name(name)
    if original not in known:
        return False
    spec = _registered(original)
    if ending:
        spec = describe_variant(spec, ending)
    arguments = json.loads(json.dumps(spec.arguments))
    return (record.get("place"), record.get("arguments")) == (spec.import_path, arguments)


def list_models() -> list[ModelSpec]:
    """Specs of all registered models.

    Raises:
        EdgesegError: Another package registered something that does not load or is no spec.
    """
    return [_registered(name) for name in MODELS.names()]


def _find_spec(name: str, spec_path: Path | None) -> ModelSpec:
    if ":" in name:
        return read_user_model(name, spec_path)
    known = MODELS.names()
    if name not in known and is_monai_bundle(name):
        return read_monai_bundle(Path(name), spec_path)
    original, ending = (name, "") if name in known else split_variant_name(name)
    if original not in known:
        raise UnknownNameError("model", name, known)
    spec = _registered(original)
    spec = variant_of(spec, ending) if ending else spec
    return spec if spec_path is None else with_images_of(spec, spec_path)


def _registered(name: str) -> ModelSpec:
    spec = MODELS.find(name)
    if not isinstance(spec, ModelSpec) or spec.name != name:
        stated = f"of the name '{spec.name}'" if isinstance(spec, ModelSpec) else "no ModelSpec"
        raise EdgesegError(
            f"The model '{name}' is registered as {MODELS.places()[name]}, which is {stated}. "
            f"State SPEC = ModelSpec(name='{name}', ...) there, or uninstall the package."
        )
    return spec
