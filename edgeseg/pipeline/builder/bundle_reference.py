"""Which FP32 reference a bundle is compared with. Measuring processes import `runners` only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeseg.benchmarks.process import ProcessRunner
from edgeseg.bundle.bundle import SOURCE_ONNX, SOURCE_WEIGHTS, Bundle
from edgeseg.errors import UsageError
from edgeseg.models import is_registered
from edgeseg.models.construction import names_code
from edgeseg.records import ONNX_FORMAT, Artifact
from edgeseg.targets import find_runtime

from .runners import ArtifactRunner, ReferenceRunner

GRAPH_RUNTIME = "onnxruntime"


def reference_runner(bundle: Bundle, model: str | None = None) -> ProcessRunner:
    """How to run a bundle's FP32 reference.

    Nothing that the bundle names is imported, unless it is installed as a network of edgeseg or
    of a plug-in: the bundle may have come from anywhere. The reference of another network is the
    bundle's own FP32 graph, which was compared with PyTorch when it was built.

    Args:
        model: "package.module:Class" that the user names; where the bundle is of that class, its
            reference is that class in PyTorch, looked for in the working folder too.
    """
    spec, weights = bundle.manifest.model.spec, bundle.folder / SOURCE_WEIGHTS
    if may_import(bundle, model):
        return ReferenceRunner(spec, weights, folder=Path.cwd())
    graph = bundle.folder / SOURCE_ONNX
    settings = find_runtime(GRAPH_RUNTIME).runtime_settings("fp32")
    files = (graph.name,)
    artifact = Artifact(GRAPH_RUNTIME, "fp32", ONNX_FORMAT, graph.parent, files, settings)
    return ArtifactRunner(artifact, threads=0)


def may_import(bundle: Bundle, model: str | None) -> bool:
    """Whether the class of a bundle's network may be imported: it is installed, or was named.

    Who names the class has not named what the bundle's arguments name.
    """
    spec = bundle.manifest.model.spec
    is_named = model is not None and spec.get("place") == model
    return is_registered(spec) or (is_named and not names_code(spec.get("arguments", {})))


def require_named(bundles: Sequence[Bundle], model: str | None) -> None:
    """Refuse a class that no bundle is of.

    Raises:
        UsageError: `model` is the class of none of them.
    """
    places = {str(bundle.manifest.model.spec.get("place")) for bundle in bundles}
    if model is not None and model not in places:
        listing = ", ".join(sorted(places))
        raise UsageError(
            f"--model {model} is the class of none of these bundles, whose manifests say {listing}."
            " Name that of a bundle, or leave the option out."
        )
