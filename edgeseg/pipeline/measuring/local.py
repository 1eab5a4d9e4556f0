"""Measuring bundles on this machine: what is compared with what."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from edgeseg.benchmarks.measure import measure
from edgeseg.benchmarks.participants import Participant, on_threads
from edgeseg.benchmarks.report import Failure, Report
from edgeseg.benchmarks.settings import BenchSettings
from edgeseg.targets import find_runtime

from ...bundle.bundle import SOURCE_ONNX, SOURCE_WEIGHTS, Bundle
from ...data.folder import FolderDataset
from ...errors import BenchmarkError, TargetError, UnknownNameError, UsageError
from ...progress import SILENT, Progress
from ...records import sha256_of_file
from ..builder.baselines import BASELINES, PLAIN, baseline_artifact
from ..builder.bundle_reference import reference_runner, require_named
from ..builder.runners import ArtifactRunner
from .external_toolkits import open_environments, require_timed, toolkit_participants


def bench_bundles(
    bundles: Sequence[Bundle],
    dataset: FolderDataset,
    settings: BenchSettings,
    progress: Progress = SILENT,
    *,
    baseline_kind: str = PLAIN,
    toolkits: Mapping[str, Path] = MappingProxyType({}),
    model: str | None = None,
) -> Report:
    """Measure bundles in one interleaved run, each against its FP32 baseline.

    Args:
        bundles: Of one model, weights and contract each; several targets may be mixed.
        dataset: Labelled images for accuracy.
        baseline_kind: "plain" is what the runtime's own tool makes of the exported graph, "target"
            what edgeseg compiles from it in FP32, not rewritten but repaired.
        toolkits: Interpreters with external toolkits, by name; they run each network too.
        model: See `reference_runner`.

    Raises:
        UnknownNameError: No such kind of baseline.
        BenchmarkError: A bundle has no source, or a process dies.
        TargetError: The tool refuses the graph of every bundle; one whose graph it refuses is left
            out, and the report's failures say so.
        UsageError: An interpreter lacks what its toolkit needs, or a bundle's runtime does not run
            on this machine, where toolkits run; or no bundle is of the class `model`.
    """
    require_baseline_kind(baseline_kind)
    settings.require_cores()
    require_named(bundles, model)
    environments = open_environments(toolkits)
    participants: list[Participant] = []
    networks: set[str] = set()  # that toolkits were given
    names = name_bundles(bundles)
    baselines, failures = _baselines(bundles, names, settings, progress, baseline_kind, model)
    for bundle, baseline in baselines:
        known = {participant.key for participant in participants}
        if baseline.key not in known:
            participants.append(baseline)
        if environments:
            require_timed(bundle, baseline)
        if baseline.reference_key not in networks:
            networks.add(baseline.reference_key)
            others, failed = toolkit_participants(
                bundle, baseline, environments, settings, progress, model
            )
            participants += others
            failures += failed
        participant = bundle_participant(bundle, baseline, settings)
        participants.append(replace(participant, name=names[participant.key]))
    shipped = [each for each in participants if each.key in names and not each.fallback_runtime]
    participants += on_threads(shipped, settings.sweep_threads)
    report = measure(participants, dataset, settings, progress)
    report = replace(report, failures=[*failures, *report.failures])
    note_candidates(report, bundles)
    return report


def _baselines(
    bundles: Sequence[Bundle],
    names: Mapping[str, str],
    settings: BenchSettings,
    progress: Progress,
    kind: str,
    model: str | None,
) -> tuple[list[tuple[Bundle, Participant]], list[Failure]]:
    """Each bundle with its baseline, and those that have none.

    Raises:
        TargetError: None has one.
    """
    found = []
    failures = []
    for bundle in bundles:
        bundle.check_files()
        try:
            found.append((bundle, baseline_participant(bundle, settings, progress, kind, model)))
        except TargetError as error:
            manifest = bundle.manifest
            name = names[bundle_key(bundle)]
            failures.append(Failure(name, manifest.model.name, manifest.target, str(error)))
            if len(failures) == len(bundles):
                raise
    return found, failures


def note_candidates(report: Report, bundles: Sequence[Bundle]) -> None:
    """Add to each row what its bundle says of itself.

    `candidate` is what `--precision auto` chose, None for other precisions; `limits` whether the
    val images of the build kept the limits on its masks, None where that was not judged.
    """
    manifests = {bundle_key(bundle): bundle.manifest for bundle in bundles}
    for row in report.rows:
        manifest = manifests.get(row["key"])
        tuning = None if manifest is None else manifest.tuning
        limits = None if manifest is None else manifest.limits
        row["candidate"] = tuning.candidate if tuning is not None else None
        row["limits"] = None if limits is None else limits.model_dump(exclude={"verdicts"})


def name_bundles(bundles: Sequence[Bundle]) -> dict[str, str]:
    """Names for people by key; those of equal bundles have the folder added.

    Raises:
        UsageError: A bundle was named twice.
    """
    keys = [bundle_key(bundle) for bundle in bundles]
    titles = [bundle.name for bundle in bundles]
    names = {}
    for bundle, key, title in zip(bundles, keys, titles, strict=True):
        if keys.count(key) > 1:
            raise UsageError(f"{bundle.folder} was named twice. Name each bundle once.")
        names[key] = f"{title} ({bundle.folder.name})" if titles.count(title) > 1 else title
    return names


def bundle_key(bundle: Bundle) -> str:
    return str(bundle.folder.resolve())


def require_source(bundle: Bundle) -> None:
    """Refuse a bundle that lacks what it is compared with.

    Raises:
        BenchmarkError: It has no float weights or no ONNX file.
    """
    if not all((bundle.folder / name).is_file() for name in (SOURCE_ONNX, SOURCE_WEIGHTS)):
        raise BenchmarkError(
            f"{bundle.folder} has no source/ folder, so there is nothing to compare it with. "
            "Measure the whole bundle that edgeseg build wrote."
        )


def bundle_participant(
    bundle: Bundle, baseline: Participant, settings: BenchSettings
) -> Participant:
    manifest = bundle.manifest
    return Participant(
        key=bundle_key(bundle),
        name=bundle.name,
        model=manifest.model.name,
        target=manifest.target,
        precision=manifest.precision,
        runner=ArtifactRunner(bundle.artifact, settings.threads),
        reference=baseline.reference,
        reference_key=baseline.reference_key,
        inputs=bundle.inputs,
        outputs=bundle.outputs,
        artifact_bytes=bundle.artifact_bytes,
        baseline_key=baseline.key,
        fallback_runtime=find_runtime(manifest.runtime).fallback_runtime(),
        bundle_sha256=bundle.identity,
    )


def require_baseline_kind(kind: str) -> None:
    """Refuse a word that is none of `BASELINES`."""
    if kind not in BASELINES:
        raise UnknownNameError("baseline", kind, BASELINES)


def baseline_participant(
    bundle: Bundle,
    settings: BenchSettings,
    progress: Progress,
    kind: str = PLAIN,
    model: str | None = None,
) -> Participant:
    """The FP32 artefact of the bundle's own ONNX file, compiled here and cached."""
    manifest = bundle.manifest
    require_source(bundle)
    onnx_path = bundle.folder / SOURCE_ONNX
    options = {name: str(value) for name, value in manifest.options.items()}
    runtime = find_runtime(manifest.runtime, options)
    try:
        artifact = baseline_artifact(runtime, onnx_path, kind, progress)
    except TargetError as error:
        if kind != PLAIN:
            raise
        raise TargetError(
            f"The runtime's own tool does not take the plain export: {error} Or measure against "
            "what edgeseg makes in FP32, with --baseline target."
        ) from error
    return Participant(
        key=str(artifact.folder),
        name=f"{manifest.name.removesuffix(manifest.precision)}fp32 ({BASELINES[kind]})",
        model=manifest.model.name,
        target=manifest.target,
        precision="fp32",
        runner=ArtifactRunner(artifact, settings.threads),
        reference=reference_runner(bundle, model),
        reference_key=reference_key(bundle),
        inputs=bundle.inputs,
        outputs=bundle.outputs,
        artifact_bytes=artifact.size_bytes,
        baseline_key=str(artifact.folder),
        fallback_runtime=runtime.fallback_runtime(),
    )


def reference_key(bundle: Bundle) -> str:
    weights = sha256_of_file(bundle.folder / SOURCE_WEIGHTS)
    return json.dumps([bundle.manifest.model.spec, weights])
