"""From a trained network to a bundle: the one place where the parts meet."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import edgeseg.contract
from edgeseg.quantize import find_quantizer
from edgeseg.quantize.calibration_images import CalibrationImages, choose_calibration_images
from edgeseg.targets import Target, find_target

from .. import __version__, cache
from ..atomic import writing_folder
from ..bundle import (
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
from ..float_model import EXPORT_PACKAGES, ReferenceImages, export_checked, reference_images
from ..lazy import require_installed
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
from ..records import Artifact, QuantizationRecord, sha256_of_file

ARTIFACT_TOLERANCE = 1e-3  # of a probability, FP32 artefact against torch
CHECK_IMAGES = 8
# How far the golden mask may be off on another machine. FP32 kernels differ in the order of
# sums; BF16 and INT8 ones also in how they round and saturate, which moves edges.
GOLDEN_LIMITS = {"fp32": (ARTIFACT_TOLERANCE, 1.0)}
GOLDEN_LIMITS_REDUCED = (1.0, 100.0)


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


class _Build:
    """One build; everything that costs time happens in `write`, after the cache was asked."""

    def __init__(self, request: BuildRequest, progress: Progress) -> None:
        self.request = request
        self.progress = progress
        spec = find_model(request.model, request.spec)
        self.spec: ModelSpec = spec.at_size(*request.size) if request.size else spec
        self.target: Target = find_target(request.target)
        self.target.require_precision(request.precision)
        self.weights_path = self.spec.resolve_weights(request.weights)
        self.is_quantized = request.precision in self.target.quantized_precisions
        self.quantizer = (
            find_quantizer(request.method, self.target.artifact_format)
            if self.is_quantized
            else None
        )
        if self.quantizer is None and request.method is not None:
            raise UsageError(
                f"--method {request.method} goes with a quantised precision; {request.precision} "
                "is none. Leave --method out."
            )
        packages = (
            *EXPORT_PACKAGES,
            *self.target.build_packages,
            *(self.quantizer.packages if self.quantizer else ()),
        )
        require_installed(packages, purpose=f"Building for target {self.target.name}")
        self.check_pairs = self._choose_check_pairs()

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
        if self.quantizer is not None:
            quantization = {
                "method": self.quantizer.name,
                "settings": self.quantizer.settings(),
                "images": self.calibration.identities(),
            }
        return {
            "model": self.spec.to_json(),
            "weights": sha256_of_file(self.weights_path),
            "shipped": self.request.weights is None,
            "target": self.request.target,
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
        artifact, quantization = self._compile(onnx_path, bundle / "artifact", folder / "float")
        agreement = self._check(artifact, references)
        shutil.rmtree(folder / "float", ignore_errors=True)
        (bundle / "source").mkdir()
        shutil.copyfile(onnx_path, bundle / SOURCE_ONNX)
        save_weights(bundle / SOURCE_WEIGHTS, network)
        self._write_runner(bundle / "runner")
        golden = self._write_golden(bundle / "golden", artifact)
        manifest = self._describe(
            artifact, quantization, {"onnx": onnx_agreement, "artifact": agreement}, golden, bundle
        )
        (bundle / MANIFEST_NAME).write_text(manifest_text(manifest), encoding="utf-8")

    def _compile(
        self, onnx_path: Path, folder: Path, float_folder: Path
    ) -> tuple[Artifact, QuantizationRecord | None]:
        title = f"compile for {self.target.name}"
        if self.quantizer is None:
            with self.progress.stage(title):
                return self.target.compile(onnx_path, folder, self.request.precision), None
        with self.progress.stage(title):
            artifact = self.target.compile(onnx_path, float_folder, "fp32")
        return self.quantizer.quantize(
            artifact,
            self.calibration,
            folder,
            input_name=self.spec.inputs.name,
            progress=self.progress,
        )

    def _check(self, artifact: Artifact, references: ReferenceImages) -> Agreement:
        what = f"The {artifact.precision} artefact for {self.target.name}"
        with self.progress.stage("check the artefact against torch"):
            backend = self.target.load(artifact.folder, artifact.files, artifact.runtime, 1)
            agreement = references.compare(backend.run, self.spec.outputs, what)
            if artifact.precision == "fp32":
                require_parity(agreement, ARTIFACT_TOLERANCE, what)
        return agreement

    def _write_runner(self, folder: Path) -> None:
        import importlib

        folder.mkdir()
        backend_file = importlib.import_module(self.target.backend_module).__file__
        assert backend_file is not None
        sources = {
            "contract.py": Path(edgeseg.contract.__file__),
            "backend.py": Path(backend_file),
            "run.py": Path(backend_file).with_name("run.py"),
        }
        for name, source in sources.items():
            shutil.copyfile(source, folder / name)

    def _write_golden(self, folder: Path, artifact: Artifact) -> GoldenRecord:
        folder.mkdir()
        image = self.check_pairs[0].read_image()
        backend = self.target.load(artifact.folder, artifact.files, artifact.runtime, 1)
        mask = backend.run(self.spec.inputs.prepare(image))
        np.save(folder / "image.npy", image)
        # Half precision: off by at most 2.4e-4 of a probability, and half the bytes.
        np.save(folder / "mask.npy", mask.astype(np.float16))
        largest, flips = GOLDEN_LIMITS.get(artifact.precision, GOLDEN_LIMITS_REDUCED)
        return GoldenRecord(
            image="golden/image.npy",
            mask="golden/mask.npy",
            max_abs_diff=largest,
            max_flips_per_10k=flips,
        )

    def _describe(
        self,
        artifact: Artifact,
        quantization: QuantizationRecord | None,
        checks: dict[str, Agreement],
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
            quantization=QuantizationManifest.model_validate(quantization.to_json())
            if quantization
            else None,
            checks={name: AgreementRecord(**check.to_json()) for name, check in checks.items()},
            toolchain=cache.toolchain_versions(),
            files=list_files(bundle),
        )
