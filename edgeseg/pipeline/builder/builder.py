"""Builds any form of a network that a runtime can have, and checks it."""

from __future__ import annotations

import itertools
import shutil
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import UnknownNameError, UsageError
from edgeseg.lazy import require_installed
from edgeseg.lower.rewrites import lower_graph
from edgeseg.metrics.agreement import Agreement, require_parity
from edgeseg.progress import SILENT, Progress
from edgeseg.quantize import Calibrator, Emitter, Quantizer, QuantPlan
from edgeseg.quantize.sensitivity import convolutions_to_keep
from edgeseg.records import ONNX_FORMAT, Artifact, QuantizationRecord, sha256_of_file
from edgeseg.reference.reference import check_graph
from edgeseg.targets import Backend
from edgeseg.targets.base import HALF_FLAGS
from edgeseg.tuning.candidate import Candidate

from .context import BuildContext
from .convolutions import quantizable_convs_of

KEPT = 8  # artefacts, each of float and quantised ones


@dataclass(frozen=True)
class BuiltArtifact:
    """One form of the network.

    Attributes:
        artifact: What the runtime loads.
        lowering: How often each rewrite changed the graph.
        quantization: How it was quantised; None for a float precision.
        plan: The plan by which it was quantised, where there is one.
        backend, checked_by: What computes it on this machine, and its name.
        agreement: With torch, on the check images.
        masks: What it gave for the check images, (1, C, H, W) each.
    """

    artifact: Artifact
    lowering: dict[str, int]
    quantization: QuantizationRecord | None
    plan: QuantPlan | None
    backend: Backend
    checked_by: str
    agreement: Agreement
    masks: tuple[NDArray[np.float32], ...]


@dataclass(frozen=True)
class _Form:
    """What was made of a candidate, whatever the runtime's settings."""

    artifact: Artifact
    quantization: QuantizationRecord | None = None
    plan: QuantPlan | None = None


class Builder:
    """Builds forms of one network for one runtime.

    Rewritten graphs, plans and the artefacts made last are kept, as several forms have them in
    common.

    Args:
        work: A folder of which the workshop may do as it likes; it is made when it is needed.
    """

    def __init__(self, context: BuildContext, work: Path, progress: Progress = SILENT) -> None:
        self.context = context
        self.runtime = context.runtime
        self.spec = context.spec
        self.work = work
        self.progress = progress
        self._graphs: dict[tuple[str, ...], tuple[Path, dict[str, int]]] = {}
        self._plans: dict[tuple[str, str, tuple[tuple[str, str], ...]], QuantPlan] = {}
        self._float: OrderedDict[tuple[str, str], _Form] = OrderedDict()
        self._quantized: OrderedDict[Candidate, _Form] = OrderedDict()
        self._numbers = itertools.count()

    def make(self, candidate: Candidate, folder: Path) -> BuiltArtifact:
        """Make the artefact of a candidate in `folder` and compare it with torch.

        Raises:
            EdgesegError: It cannot be made, or does not compute what it should.
        """
        self.runtime.require_precision(candidate.precision)
        variant = self._settings_of_variant(candidate)
        graph, lowering = self.lower(candidate.rewrites)
        form = self._form(candidate, graph)
        artifact = copy_artifact(form.artifact, folder)
        artifact = replace(artifact, settings={**artifact.settings, **variant})
        self.runtime.finish_variant(artifact)
        backend, checked_by = self.runtime.load_for_check(artifact)
        agreement, masks = self._check(artifact, backend)
        return BuiltArtifact(
            artifact,
            lowering,
            form.quantization,
            form.plan,
            backend,
            checked_by,
            agreement,
            masks,
        )

    def lower(self, names: tuple[str, ...]) -> tuple[Path, dict[str, int]]:
        """The rewritten graph, compared with torch, and how often each rewrite changed it."""
        exported = self.context.exported.path
        if not names:
            return exported, {}
        if names not in self._graphs:
            path = self.place("lowered") / "model.onnx"
            with self.progress.stage("lower"):
                counts = lower_graph(exported, names, path)
                references = self.context.references
                check_graph(path, self.spec, references, "The lowered ONNX graph")
            self._graphs[names] = path, counts
        return self._graphs[names]

    def keep_sensitive(self, candidate: Candidate) -> Candidate:
        """The candidate with so many more convolutions in float that few pixels flip.

        Args:
            candidate: By a method that makes a plan.

        Raises:
            EdgesegError: It cannot be calibrated.
        """
        graph, _ = self.lower(candidate.rewrites)
        method = self.context.quantization(candidate.method, dict(candidate.method_options)).method
        assert isinstance(method, Calibrator)
        kept = convolutions_to_keep(
            graph,
            self._plan(candidate, method, graph),
            self.context.calibration,
            self.spec.outputs,
            {conv.name: conv.products for conv in quantizable_convs_of(graph)},
            self.progress,
        )
        return replace(candidate, float_nodes=kept)

    def _settings_of_variant(self, candidate: Candidate) -> dict[str, object]:
        precision = candidate.precision
        variants = {
            **self.runtime.runtime_variants(precision),
            # The device has such arithmetic, if not this machine: there it was offered.
            **self.runtime.half_variants(precision, HALF_FLAGS),
        }
        if candidate.variant and candidate.variant not in variants:
            raise UnknownNameError(
                "variant",
                candidate.variant,
                variants,
                f"runtime {self.runtime.name} in {candidate.precision}",
            )
        return dict(variants[candidate.variant]) if candidate.variant else {}

    def _form(self, candidate: Candidate, graph: Path) -> _Form:
        if not candidate.method:
            return _Form(self._compiled_float(graph, candidate.precision))
        return _kept(
            self._quantized,
            replace(candidate, variant=""),
            lambda: self._make_quantized(candidate, graph, self.place("int8")),
        )

    def _make_quantized(self, candidate: Candidate, graph: Path, folder: Path) -> _Form:
        """Graphs are quantised before or after they are compiled."""
        spec = self.context.quantization(candidate.method, dict(candidate.method_options))
        method, emitter = spec.method, spec.emitter
        if isinstance(method, Calibrator):
            assert emitter is not None
            plan = self._plan(candidate, method, graph)
            compiled = self._compile_plan(plan, emitter, graph, folder, candidate.precision)
            return _Form(*compiled, plan)
        if candidate.float_nodes:
            raise UsageError(
                f"The quantisation method {method.name} makes no plan, so that no convolution can "
                "be left in float. Take another --method."
            )
        if method.artifact_format == ONNX_FORMAT:
            quantized, record = self._quantize(method, as_artifact(graph), self.place("quantized"))
            path = quantized.folder / quantized.files[0]
            return _Form(self._compile_graph(path, folder, candidate.precision), record)
        quantized, record = self._quantize(method, self._compiled_float(graph), folder)
        self.runtime.finish(quantized)
        return _Form(quantized, record)

    def _plan(self, candidate: Candidate, method: Calibrator, graph: Path) -> QuantPlan:
        key = (sha256_of_file(graph), candidate.method, candidate.method_options)
        if key not in self._plans:
            images = self.context.calibration
            self._plans[key] = method.calibrate(graph, images, progress=self.progress)
        return self._plans[key].with_float(candidate.float_nodes)

    def _compile_plan(
        self, plan: QuantPlan, emitter: Emitter, graph: Path, folder: Path, precision: str
    ) -> tuple[Artifact, QuantizationRecord]:
        """What a plan says, as the runtime's artefact in `folder`."""
        require_installed(emitter.packages, purpose=f"Building for {self.runtime.name}")
        images = self.context.calibration
        if emitter.artifact_format == ONNX_FORMAT:
            source, place = as_artifact(graph), self.place("quantized")
            made, layers = emitter.emit(plan, graph, source, images, place)
            artifact = self._compile_graph(made.folder / made.files[0], folder, precision)
        else:
            compiled = self._compiled_float(graph)
            artifact, layers = emitter.emit(plan, graph, compiled, images, folder)
            self.runtime.finish(artifact)
        return artifact, plan.record(layers)

    def _compiled_float(self, graph: Path, precision: str = "fp32") -> Artifact:
        return _kept(
            self._float,
            (sha256_of_file(graph), precision),
            lambda: _Form(self._compile_graph(graph, self.place("float"), precision)),
        ).artifact

    def place(self, name: str) -> Path:
        """A new folder for what only comes between."""
        return self.work / f"{name}{next(self._numbers)}"

    def _compile_graph(self, graph: Path, folder: Path, precision: str) -> Artifact:
        with self.progress.stage(f"compile for {self.runtime.name}") as stage:
            artifact = self.runtime.compile(graph, folder, precision)
            if artifact.note:
                stage.note(artifact.note)
        return artifact

    def _quantize(
        self, quantizer: Quantizer, artifact: Artifact, folder: Path
    ) -> tuple[Artifact, QuantizationRecord]:
        return quantizer.quantize(
            artifact,
            self.context.calibration,
            folder,
            progress=self.progress,
        )

    def _check(
        self, artifact: Artifact, backend: Backend
    ) -> tuple[Agreement, tuple[NDArray[np.float32], ...]]:
        """Agreement with torch, and the masks that were compared."""
        masks = []

        def run(image: NDArray[np.float32]) -> NDArray[np.float32]:
            masks.append(np.array(backend.run(image), np.float32))
            return masks[-1]

        what = f"The {artifact.precision} artefact for {self.runtime.name}"
        references = self.context.references
        with self.progress.stage("check the artefact against the FP32 reference"):
            agreement = references.compare(run, self.spec.outputs, what)
            tolerance = self.runtime.tolerances.get(artifact.precision)
            if tolerance is not None and not self.runtime.is_half(artifact.settings):
                require_parity(agreement, tolerance, what)
        return agreement, tuple(masks)


def as_artifact(onnx_path: Path) -> Artifact:
    """A float graph that is not compiled yet."""
    return Artifact("", "fp32", ONNX_FORMAT, onnx_path.parent, (onnx_path.name,))


def copy_artifact(artifact: Artifact, folder: Path) -> Artifact:
    for name in artifact.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(artifact.folder / name, folder / name)
    return replace(artifact, folder=folder)


def _kept(forms: OrderedDict[Any, _Form], key: Any, make: Callable[[], _Form]) -> _Form:
    """The form of that key, made when it is missing; the one asked for longest ago goes."""
    if key not in forms:
        forms[key] = make()
        if len(forms) > KEPT:
            _, oldest = forms.popitem(last=False)
            shutil.rmtree(oldest.artifact.folder, ignore_errors=True)
    forms.move_to_end(key)
    return forms[key]
