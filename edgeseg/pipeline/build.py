"""From a trained network to a bundle: the one place where the parts meet."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgeseg.quantize import Calibrator, Quantizer, QuantPlan, find_emitter, find_method
from edgeseg.quantize.calibration_images import CalibrationImages, choose_calibration_images
from edgeseg.targets import Backend, Target, find_target

from .. import __version__, cache
from ..atomic import writing_folder
from ..bundle import (
    PLAN_FOLDER,
    SOURCE_ONNX,
    SOURCE_WEIGHTS,
    Bundle,
    list_files,
    manifest_text,
    open_bundle,
    require_free_output,
)
from ..data.folder import FolderDataset, Pair, open_folder, open_sample
from ..errors import UsageError
from ..float_model import (
    EXPORT_PACKAGES,
    ReferenceImages,
    check_graph,
    export_checked,
    reference_images,
)
from ..lazy import require_installed
from ..lower.rewrites import lower_graph
from ..manifest import (
    MANIFEST_NAME,
    AgreementRecord,
    ArtifactRecord,
    GoldenRecord,
    Manifest,
    ModelRecord,
    QuantizationManifest,
)
from ..models import ModelSpec, find_model
from ..parity import Agreement, require_parity
from ..progress import SILENT, Progress
from ..records import ONNX_FORMAT, Artifact, QuantizationRecord, sha256_of_file

CHECK_IMAGES = 8
# Pixels per 10,000 of the golden mask that may flip on another machine: kernels differ in the
# order of sums, those of reduced precision also in how they round and saturate.
GOLDEN_FLIPS = 1.0
GOLDEN_FLIPS_REDUCED = 100.0


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Attributes:
        model, target, precision: Names.
        output: Folder of the bundle.
        weights: Checkpoint; None takes the shipped one.
        data: Folder with real images, for calibration (train) and checks (val); None takes the
            sample that the package carries.
        spec: Describes a model of the user's own, "package.module:Class".
        calibration_images: At most so many are used.
        method: Quantisation method; None takes the target's first.
        method_options: Of the method, by name.
        options: Of the target, by name.
        size: (height, width) of the input; None is the model's default.
        overwrite: Replace a bundle at `output`.
        use_cache: False builds everything anew.
    """

    model: str
    target: str
    precision: str
    output: Path
    weights: Path | None = None
    data: Path | None = None
    spec: Path | None = None
    calibration_images: int = 64
    method: str | None = None
    method_options: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    overwrite: bool = False
    use_cache: bool = True


def open_split(data: Path | None, *splits: str, labelled: bool = True) -> FolderDataset:
    """Splits of a data folder, or of the sample."""
    if data is None:
        return open_sample(splits)
    if not data.is_dir():
        raise UsageError(f"No data folder at {data}. Check --data.")
    return open_folder(data, splits, labelled=labelled)


def build_bundle(request: BuildRequest, progress: Progress = SILENT) -> tuple[Bundle, bool]:
    """Build a bundle, or copy it from the cache when the same was built before.

    Returns:
        The bundle, and whether it came from the cache.

    Raises:
        EdgesegError: Of any kind; nothing is left at `output` then.
    """
    require_free_output(request.output, overwrite=request.overwrite)
    build = _Build(request, progress)
    folder, was_cached = cache.get_or_make(
        "bundles", build.record(), build.write, enabled=request.use_cache
    )
    if request.output.is_dir() and not any(request.output.iterdir()):
        request.output.rmdir()
    with writing_folder(request.output, replace=request.overwrite) as partial:
        shutil.copytree(folder / "bundle", partial, dirs_exist_ok=True)
    return open_bundle(request.output), was_cached


def as_artifact(onnx_path: Path) -> Artifact:
    """A float graph that is not compiled yet."""
    return Artifact("", "fp32", ONNX_FORMAT, onnx_path.parent, (onnx_path.name,))


class _Build:
    """One build; everything that costs time happens in `write`, after the cache was asked."""

    def __init__(self, request: BuildRequest, progress: Progress) -> None:
        self.request = request
        self.progress = progress
        self.spec: ModelSpec = find_model(request.model, request.spec, request.size)
        self.target: Target = find_target(request.target, request.options)
        self.target.require_precision(request.precision)
        self.weights_path = self.spec.resolve_weights(request.weights)
        self.is_quantized = request.precision in self.target.quantized_precisions
        self.method = self._find_method()
        packages = (
            *EXPORT_PACKAGES,
            *self.target.build_packages,
            *(self.method.packages if self.method else ()),
        )
        require_installed(packages, purpose=f"Building for target {self.target.name}")
        self.check_pairs = self._choose_check_pairs()

    def _find_method(self) -> Quantizer | Calibrator | None:
        request = self.request
        if self.is_quantized:
            formats = self.target.quantized_from
            return find_method(request.method, formats, request.method_options)
        if request.method is not None or request.method_options:
            raise UsageError(
                f"--method and --method-option go with a quantised precision; {request.precision} "
                "is none. Leave them out."
            )
        return None

    def _choose_check_pairs(self) -> tuple[Pair, ...]:
        dataset = open_split(self.request.data, "val", labelled=False)
        return tuple(dataset)[:CHECK_IMAGES]

    @cached_property
    def calibration(self) -> CalibrationImages:
        dataset = open_split(self.request.data, "train", labelled=False)
        return choose_calibration_images(dataset, self.spec.inputs, self.request.calibration_images)

    def record(self) -> dict[str, Any]:
        """Everything that decides the bundle's content."""
        quantization = None
        if self.method is not None:
            quantization = {
                "method": self.method.name,
                "settings": self.method.settings(),
                "images": self.calibration.identities(),
            }
        return {
            "model": self.spec.to_json(),
            "weights": sha256_of_file(self.weights_path),
            "shipped": self.request.weights is None,
            "target": self.request.target,
            "options": self.target.options.to_json(),
            "precision": self.request.precision,
            "checks": [(pair.name, sha256_of_file(pair.image_path)) for pair in self.check_pairs],
            "quantization": quantization,
        }

    def write(self, folder: Path) -> None:
        """Fill `folder/bundle`."""
        from ..models.weights import save_weights

        with self.progress.stage("load the model"):
            network = self.spec.load_network(self.weights_path)
            references = reference_images(network, self.spec, self.check_pairs)
        onnx_path, onnx_agreement = export_checked(
            network,
            self.spec,
            self.weights_path,
            lambda: references,
            progress=self.progress,
            use_cache=self.request.use_cache,
        )
        bundle = folder / "bundle"
        between = folder / "between"
        graph_path, lowering = self._lower(onnx_path, between, references)
        artifact, quantization = self._compile(graph_path, bundle, between)
        backend, checked_by = self._load_for_check(artifact)
        agreement = self._check(artifact, backend, references)
        shutil.rmtree(between, ignore_errors=True)
        (bundle / "source").mkdir()
        shutil.copyfile(onnx_path, bundle / SOURCE_ONNX)
        save_weights(bundle / SOURCE_WEIGHTS, network)
        self._write_runner(bundle / "runner")
        golden = self._write_golden(bundle / "golden", artifact, backend)
        checks = {"onnx": onnx_agreement, "artifact": agreement}
        manifest = self._describe(
            artifact, lowering, quantization, checks, checked_by, golden, bundle
        )
        (bundle / MANIFEST_NAME).write_text(manifest_text(manifest), encoding="utf-8")

    def _lower(
        self, onnx_path: Path, folder: Path, references: ReferenceImages
    ) -> tuple[Path, dict[str, int]]:
        """The graph in the form that the target runs fastest, and how often what was rewritten."""
        names = self.target.rewrites.get(self.request.precision, ())
        if not names:
            return onnx_path, {}
        path = folder / "lowered.onnx"
        with self.progress.stage("lower"):
            counts = lower_graph(onnx_path, names, path)
            check_graph(path, self.spec, references, "The lowered ONNX graph")
        return path, counts

    def _compile(
        self, onnx_path: Path, bundle: Path, between: Path
    ) -> tuple[Artifact, QuantizationRecord | None]:
        """Float graphs are compiled; quantised ones are quantised before or after that."""
        precision, folder = self.request.precision, bundle / "artifact"
        if self.method is None:
            return self._compile_graph(onnx_path, folder, precision), None
        if isinstance(self.method, Calibrator):
            plan = self.method.calibrate(
                onnx_path,
                self.calibration,
                input_name=self.spec.inputs.name,
                progress=self.progress,
            )
            plan.save(bundle / PLAN_FOLDER)
            return self._compile_plan(plan, onnx_path, folder, between)
        if self.method.artifact_format == ONNX_FORMAT:
            quantized, record = self._quantize(self.method, as_artifact(onnx_path), between)
            quantized_path = quantized.folder / quantized.files[0]
            return self._compile_graph(quantized_path, folder, precision), record
        artifact = self._compile_graph(onnx_path, between, "fp32")
        quantized, record = self._quantize(self.method, artifact, folder)
        self.target.finish(quantized)
        return quantized, record

    def _compile_plan(
        self, plan: QuantPlan, onnx_path: Path, folder: Path, between: Path
    ) -> tuple[Artifact, QuantizationRecord]:
        """What a plan says, as the target's artefact in `folder`."""
        emitter = find_emitter(self.target.quantized_from)
        require_installed(emitter.packages, purpose=f"Building for target {self.target.name}")
        if emitter.artifact_format == ONNX_FORMAT:
            graph = as_artifact(onnx_path)
            made, layers = emitter.emit(plan, onnx_path, graph, self.calibration, between)
            artifact = self._compile_graph(made.folder / made.files[0], folder, "int8")
        else:
            compiled = self._compile_graph(onnx_path, between, "fp32")
            artifact, layers = emitter.emit(plan, onnx_path, compiled, self.calibration, folder)
            self.target.finish(artifact)
        return artifact, plan.record(layers)

    def _compile_graph(self, onnx_path: Path, folder: Path, precision: str) -> Artifact:
        with self.progress.stage(f"compile for {self.target.name}") as stage:
            artifact = self.target.compile(onnx_path, folder, precision)
            if artifact.note:
                stage.note(artifact.note)
        return artifact

    def _quantize(
        self, quantizer: Quantizer, artifact: Artifact, folder: Path
    ) -> tuple[Artifact, QuantizationRecord]:
        return quantizer.quantize(
            artifact,
            self.calibration,
            folder,
            input_name=self.spec.inputs.name,
            progress=self.progress,
        )

    def _load_for_check(self, artifact: Artifact) -> tuple[Backend, str]:
        return self.target.load_for_check(artifact.folder, artifact.files, artifact.runtime)

    def _check(
        self, artifact: Artifact, backend: Backend, references: ReferenceImages
    ) -> Agreement:
        what = f"The {artifact.precision} artefact for {self.target.name}"
        with self.progress.stage("check the artefact against torch"):
            agreement = references.compare(backend.run, self.spec.outputs, what)
            tolerance = self.target.tolerances.get(artifact.precision)
            if tolerance is not None:
                require_parity(agreement, tolerance, what)
        return agreement

    def _write_runner(self, folder: Path) -> None:
        folder.mkdir()
        modules = {
            "contract.py": "edgeseg.contract",
            "backend.py": self.target.backend_module,
            "run.py": "edgeseg.targets.runners.run",
            "device_bench.py": "edgeseg.targets.runners.device_bench",
            **self.target.runner_modules,
        }
        for name, module in modules.items():
            # Found, not imported: run.py looks for the others beside itself.
            found = importlib.util.find_spec(module)
            assert found is not None
            assert found.origin is not None
            shutil.copyfile(found.origin, folder / name)

    def _write_golden(self, folder: Path, artifact: Artifact, backend: Backend) -> GoldenRecord:
        folder.mkdir()
        image = self.check_pairs[0].read_image()
        mask = backend.run(self.spec.inputs.prepare(image))
        np.save(folder / "image.npy", image)
        # Half precision: off by at most 2.4e-4 of a probability, and half the bytes.
        np.save(folder / "mask.npy", mask.astype(np.float16))
        tolerance = self.target.tolerances.get(artifact.precision)
        return GoldenRecord(
            image="golden/image.npy",
            mask="golden/mask.npy",
            max_abs_diff=1.0 if tolerance is None else tolerance,
            max_flips_per_10k=GOLDEN_FLIPS_REDUCED if tolerance is None else GOLDEN_FLIPS,
        )

    def _describe(
        self,
        artifact: Artifact,
        lowering: dict[str, int],
        quantization: QuantizationRecord | None,
        checks: dict[str, Agreement],
        checked_by: str,
        golden: GoldenRecord,
        bundle: Path,
    ) -> Manifest:
        shipped = self.spec.weights if self.request.weights is None else None
        return Manifest(
            edgeseg_version=__version__,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            model=ModelRecord(
                name=self.spec.name,
                parameters=self.spec.parameters,
                source=self.spec.source,
                spec=self.spec.to_json(),
                weights_sha256=sha256_of_file(self.weights_path),
                weights_data=shipped.data if shipped else None,
                weights_licence=shipped.licence if shipped else None,
            ),
            target=self.target.name,
            precision=artifact.precision,
            input=self.spec.inputs.to_json(),
            output=self.spec.outputs.to_json(),
            artifact=ArtifactRecord(
                format=artifact.format,
                files=tuple(f"artifact/{name}" for name in artifact.files),
                runtime=artifact.runtime,
            ),
            golden=golden,
            lowering=lowering,
            quantization=QuantizationManifest.model_validate(quantization.to_json())
            if quantization
            else None,
            options=self.target.options.to_json(),
            checked_by=checked_by,
            checks={name: AgreementRecord(**check.to_json()) for name, check in checks.items()},
            toolchain=cache.toolchain_versions(),
            files=list_files(bundle),
        )
