"""Puts a bundle together from what was made and checked."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from edgeseg.bundle.bundle import (
    PLAN_FOLDER,
    SOURCE_ONNX,
    SOURCE_WEIGHTS,
    list_files,
    manifest_text,
)
from edgeseg.bundle.contract_words import contract_words
from edgeseg.bundle.manifest import (
    MANIFEST_NAME,
    MOST_ABS_DIFF,
    AgreementRecord,
    ArtifactRecord,
    GoldenRecord,
    LimitsRecord,
    Manifest,
    ModelRecord,
    QuantizationManifest,
    RuntimeRecord,
    TuningRecord,
)
from edgeseg.quantize.plan.files import save_plan
from edgeseg.records import VERSION
from edgeseg.storage import cache

from .builder import BuiltArtifact
from .context import BuildContext
from .runner_files import runner_files

# Pixels per 10,000 of the golden mask that may flip on another machine: kernels differ in the
# order of sums, those of reduced precision also in how they round and saturate.
GOLDEN_FLIPS = 1.0
GOLDEN_FLIPS_REDUCED = 100.0
GOLDEN_LEAST = 0.05


def write_bundle(
    context: BuildContext,
    made: BuiltArtifact,
    tuning: TuningRecord | None,
    limits: LimitsRecord | None,
    race: Sequence[RuntimeRecord],
    compared: Mapping[str, float],
    bundle: Path,
) -> None:
    """Add all but the artefact, which is there already, to a bundle's folder."""
    onnx_path = context.exported.path
    if made.plan is not None:
        save_plan(made.plan, bundle / PLAN_FOLDER)
    (bundle / "source").mkdir()
    shutil.copyfile(onnx_path, bundle / SOURCE_ONNX)
    context.reference.save_weights(bundle / SOURCE_WEIGHTS)
    _write_runner(context, bundle / "runner")
    golden = _write_golden(context, made, bundle / "golden")
    manifest = _describe(context, made, tuning, limits, race, compared, golden, bundle)
    (bundle / MANIFEST_NAME).write_text(manifest_text(manifest), encoding="utf-8")


def _write_runner(context: BuildContext, folder: Path) -> None:
    folder.mkdir()
    for name, path in runner_files(context.runtime).items():
        shutil.copyfile(path, folder / name)


def _write_golden(context: BuildContext, made: BuiltArtifact, folder: Path) -> GoldenRecord:
    folder.mkdir()
    image = context.check_pairs[0].read_image(context.spec.inputs)
    np.save(folder / "image.npy", image)
    # Half precision: off by at most 2.4e-4 of a probability, and half the bytes.
    np.save(folder / "mask.npy", made.masks[0].astype(np.float16))
    runtime, artifact = context.runtime, made.artifact
    # Another machine may compute it in FP16, which this one did not.
    is_half = runtime.is_half(artifact.settings)
    tolerance = None if is_half else runtime.tolerances.get(artifact.precision)
    return GoldenRecord(
        image="golden/image.npy",
        mask="golden/mask.npy",
        max_abs_diff=_reduced_limit(made) if tolerance is None else tolerance,
        max_flips_per_10k=GOLDEN_FLIPS_REDUCED if tolerance is None else GOLDEN_FLIPS,
    )


def _reduced_limit(made: BuiltArtifact) -> float:
    """Largest difference of a probability to the golden mask in reduced precision, 0..1.

    It is how far the artefact was measured to be from the FP32 reference on the check images: two
    machines that round differently are closer to each other than INT8 is to FP32. Where another
    runtime checked the artefact, its own one was not measured, and there is no limit.
    """
    if made.checked_by != made.artifact.runtime:
        return MOST_ABS_DIFF
    return min(max(made.agreement.max_abs_diff, GOLDEN_LEAST), MOST_ABS_DIFF)


def _describe(
    context: BuildContext,
    made: BuiltArtifact,
    tuning: TuningRecord | None,
    limits: LimitsRecord | None,
    race: Sequence[RuntimeRecord],
    compared: Mapping[str, float],
    golden: GoldenRecord,
    bundle: Path,
) -> Manifest:
    spec, artifact = context.spec, made.artifact
    checks = {"onnx": context.exported.agreement, "artifact": made.agreement}
    shipped = spec.weights if context.model.is_shipped else None
    quantization = made.quantization
    return Manifest(
        edgeseg_version=VERSION,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        model=ModelRecord(
            name=spec.name,
            parameters=spec.parameters,
            source=spec.source,
            spec=spec.to_json(),
            weights_sha256=context.model.weights_sha256,
            weights_data=shipped.data if shipped else None,
            weights_licence=shipped.licence if shipped else None,
        ),
        name=context.name,
        target=context.device.name,
        runtime=context.runtime.name,
        precision=context.precision,
        input=spec.inputs.to_json(),
        output=spec.outputs.to_json(),
        contract=contract_words(spec.inputs, spec.outputs, artifact.settings),
        artifact=ArtifactRecord(
            format=artifact.format,
            files=tuple(f"artifact/{name}" for name in artifact.files),
            settings=artifact.settings,
        ),
        golden=golden,
        lowering=made.lowering,
        quantization=QuantizationManifest.model_validate(
            {**quantization.to_json(), "compared": dict(compared)}
        )
        if quantization
        else None,
        options=context.runtime.options.to_json(),
        tuning=tuning,
        limits=limits,
        race=tuple(race),
        checked_by=made.checked_by,
        checks={name: AgreementRecord(**check.to_json()) for name, check in checks.items()},
        toolchain=cache.toolchain_versions(),
        files=list_files(bundle),
        identity_covers="manifest",
    )
