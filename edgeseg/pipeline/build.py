"""From a trained network to a bundle: the one place where the parts meet."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgeseg.storage.temporary import temporary_folder
from edgeseg.targets import find_runtime
from edgeseg.targets.devices import find_device

from ..bundle.bundle import Bundle, open_bundle, require_free_output
from ..bundle.manifest import RuntimeRecord, TuningRecord
from ..errors import EdgesegError, TargetError, UsageError
from ..metrics.quantities import options_of
from ..progress import SILENT, Progress
from ..storage import cache
from ..storage.atomic import writing_folder
from ..tuning.candidate import Candidate
from ..tuning.constraints import ACCEPT_UNCERTAIN, MIN_AGREEMENT
from .builder import second_load
from .builder.builder import Builder
from .builder.context import BuildContext
from .builder.earlier_tuning import read_tuning_record, require_same_build, warn_unlike
from .builder.method_choice import MethodChoice, choose_method
from .builder.request import AUTO, BuildRequest, completed, open_split
from .evaluator.runtime_race import rank_runtimes
from .evaluator.verdict import NamedPrecision

NATIVE = "native"
__all__ = ["BuildRequest", "build_bundle", "open_split"]


@dataclass(frozen=True)
class _Plan:
    """What is built of a network for one runtime.

    Attributes:
        candidate: The form of the network.
        tuning: How it was chosen; None where a precision was named.
        race: The runtimes that were compared; empty where one was named.
        compared: Flips per 10,000 pixels of the quantisation methods that were compared.
    """

    context: BuildContext
    builder: Builder
    candidate: Candidate
    tuning: TuningRecord | None
    race: tuple[RuntimeRecord, ...] = ()
    compared: Mapping[str, float] = field(default_factory=dict)

    def named_precision(self) -> NamedPrecision:
        """What judges the artefact where no search has."""
        return NamedPrecision(self.context, self.builder.work / "judged", self.builder.progress)

    def record(self) -> dict[str, Any]:
        """Everything that decides the content of the bundle, as JSON."""
        tuning, judged = None, None
        if self.tuning is not None:
            tuning = self.tuning.model_dump(mode="json")
        if self.tuning is None or self.tuning.limits is None:  # as in older bundles
            judged = self.named_precision().identity(self.candidate.precision)
        return {
            **self.context.record(self.candidate),
            "precision": self.context.precision,
            "tuning": tuning,
            "judged": judged,
            "compared": dict(self.compared),
            "race": [row.model_dump(mode="json") for row in self.race],
        }


def build_bundle(request: BuildRequest, progress: Progress = SILENT) -> tuple[Bundle, bool]:
    """Build a bundle, or copy it from the cache when the same was built before.

    Returns:
        The bundle, and whether it came from the cache.

    Raises:
        EdgesegError: Of any kind; nothing is left at `output` then.
    """
    request = completed(request)
    output = request.output
    assert output is not None
    require_free_output(output, overwrite=request.overwrite)
    with temporary_folder("build") as work:
        if request.runtime == AUTO:
            plan = _plan_fastest_runtime(request, Path(work), progress)
        else:
            plan = _plan(request, Path(work), progress)
        folder, was_cached = cache.get_or_make(
            "bundles",
            plan.record(),
            lambda folder: _build(plan, folder, progress),
            enabled=request.use_cache,
        )
        is_measured_here = request.runtime is None and request.device is None
        if not was_cached and is_measured_here and plan.tuning is not None:
            _compare_with_native(plan, open_bundle(folder / "bundle"), Path(work), progress)
    if output.is_dir() and not any(output.iterdir()):
        output.rmdir()
    with writing_folder(output, replace=request.overwrite) as partial:
        shutil.copytree(folder / "bundle", partial, dirs_exist_ok=True)
    return open_bundle(output), was_cached


def _plan(request: BuildRequest, work: Path, progress: Progress) -> _Plan:
    """Choose what is built for the runtime of the request, by measuring where it asks for that."""
    context = BuildContext(request, progress)
    builder = Builder(context, work, progress)
    tuning = _tuning_of(context, builder, progress)
    if tuning is None:
        choice = choose_method(context, builder, context.precision)
    else:
        choice = MethodChoice(Candidate.from_json(tuning.candidate))
    context.require_packages([choice.candidate])
    return _Plan(context, builder, choice.candidate, tuning, compared=choice.flips_per_10k)


def _plan_fastest_runtime(request: BuildRequest, work: Path, progress: Progress) -> _Plan:
    """Choose for each of the device's runtimes, and let what was chosen take turns.

    The seconds for the search are shared out evenly.

    Raises:
        TargetError: No runtime of the device builds the network and runs on this machine.
        UsageError: The request has options of one runtime.
    """
    _require_no_runtime_options(request)
    device = find_device(request.target)
    if not device.is_measured:
        raise TargetError(
            f"--runtime auto measures runtimes, and this machine cannot tell which is fastest for "
            f"{device.name} ({device.title}). Name one: {', '.join(device.runtimes)}."
        )
    names = device.runtimes
    seconds = request.search_seconds / len(names)
    plans: dict[str, _Plan] = {}
    artifacts = {}
    refusals = {}
    for name in names:
        fallback = find_runtime(name).fallback_runtime()
        if fallback:
            refusals[name] = f"it does not run on this machine, where {fallback} checks artefacts"
            continue
        try:
            own = replace(request, runtime=name, search_seconds=seconds)
            plan = _plan(own, work / name, progress)
            built = plan.builder.make(plan.candidate, work / name / "racing")
        except EdgesegError as error:
            refusals[name] = str(error)
        else:
            plans[name], artifacts[name] = plan, built.artifact
    if not plans:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in refusals.items())
        raise TargetError(
            f"No runtime of {request.target} can take part in --runtime auto. {reasons}. Name a "
            "--runtime, or build on the device with edgeseg installed there."
        )
    context = next(iter(plans.values())).context
    with progress.stage("race of runtimes"):
        ranking = rank_runtimes(artifacts, context, work)
    winner = plans[next(iter(ranking))]
    race = [
        RuntimeRecord(
            runtime=name,
            artifact=plans[name].candidate.name,
            speedup=ratio.speedup,
            speedup_ci95=ratio.interval,
            refusal="",
        )
        for name, ratio in ranking.items()
    ]
    race += [
        RuntimeRecord(runtime=name, artifact="", speedup=None, speedup_ci95=None, refusal=reason)
        for name, reason in refusals.items()
    ]
    return replace(winner, race=tuple(race))


def _compare_with_native(plan: _Plan, bundle: Bundle, work: Path, progress: Progress) -> None:
    """Say how fast the compiled network is here, beside what a search found for the device's own.

    Where it cannot be built, that is said; the build does not fail for it.
    """
    own = plan.context.runtime.name
    if NATIVE not in find_device(plan.context.request.target).runtimes or own == NATIVE:
        return
    with progress.stage(f"compare with {NATIVE}") as stage:
        try:
            request = replace(
                plan.context.request,
                runtime=NATIVE,
                precision="fp32",
                options={"isa": "here"},
                method=None,
                method_options={},
                tuning=None,
                max_change={},
                min_agreement=None,
                accept_uncertain=False,
            )
            context = BuildContext(request, SILENT)
            builder = Builder(context, work / NATIVE)
            built = builder.make(context.fixed_candidate("fp32"), work / NATIVE / "compared")
            artifacts = {own: bundle.artifact, NATIVE: built.artifact}
            ranking = rank_runtimes(artifacts, plan.context, work)
        except EdgesegError as error:
            stage.note(f"not compared: {error}")
            return
        times = ranking[own].speedup / ranking[NATIVE].speedup
        stage.note(
            f"--runtime {NATIVE} in FP32 is {times:.1f} times as fast here"
            if times > 1
            else f"{own} is {1 / times:.1f} times as fast as --runtime {NATIVE} in FP32"
        )


def _require_no_runtime_options(request: BuildRequest) -> None:
    """Refuse what belongs to one runtime where several take part."""
    named: Sequence[tuple[str, object]] = (
        ("--method", request.method),
        ("--method-option", request.method_options),
        ("--option", request.options),
        ("--tuning", request.tuning),
        ("--device", request.device),
    )
    for option, value in named:
        if value:
            raise UsageError(
                f"{option} belongs to one runtime, and --runtime auto compares several. Leave one "
                "of them out."
            )


def _tuning_of(context: BuildContext, builder: Builder, progress: Progress) -> TuningRecord | None:
    """That of the bundle or file which the request names, or a new one; None unless "auto"."""
    from .auto import machine_here, tune
    from .measuring.device_link import link_to, tried_of

    request = context.request
    _require_search(request)
    if context.precision != AUTO:
        if request.tuning is not None:
            raise UsageError(
                f"--tuning takes the place of a search, and --precision {context.precision} "
                "makes none. Leave one of them out."
            )
        return None
    if request.tuning is None:
        return tune(context, builder, progress)
    record = read_tuning_record(request.tuning)
    require_same_build(context, record, request.tuning)
    if request.device is None:
        machine, where = machine_here(context.runtime), "this machine"
    else:
        where = request.device.device
        with link_to(request.device, tried_of(context), progress) as link:
            machine = link.fingerprint
    warning = warn_unlike(record, machine, where)
    if warning:
        with progress.stage("take a tuning") as stage:
            stage.note(warning)
    return record


def _require_search(request: BuildRequest) -> None:
    """Refuse what says how to search where nothing is searched.

    Raises:
        UsageError: Names the option.
    """
    if request.device is not None and request.precision != AUTO:
        raise UsageError(
            f"--device says where --precision auto measures, and --precision {request.precision} "
            "measures nothing. Leave one of them out; edgeseg bench --device measures the bundle."
        )
    named = options_of(request.max_change)
    if request.min_agreement is not None:
        named.append(MIN_AGREEMENT)
    if request.accept_uncertain:
        named.append(ACCEPT_UNCERTAIN)
    if named and request.precision != AUTO:
        raise UsageError(
            f"{named[0]} limits what --precision auto may choose, and --precision "
            f"{request.precision} leaves no choice. Leave one of them out; what it costs is told "
            "all the same, and edgeseg bench judges it on your images."
        )
    if request.method is not None or request.method_options:
        named.append("--method")
    if named and request.tuning is not None:
        raise UsageError(
            f"{named[0]} decides a search, and --tuning takes the place of one. Leave one of "
            "them out."
        )


def _build(plan: _Plan, folder: Path, progress: Progress) -> None:
    """Fill `folder/bundle`, and load what it holds once more."""
    from .builder.bundle_writer import write_bundle

    bundle = folder / "bundle"
    built = plan.builder.make(plan.candidate, bundle / "artifact")
    tuning = plan.tuning
    limits = None if tuning is None else tuning.limits
    if limits is None:
        limits = plan.named_precision().judge(built)
    write_bundle(plan.context, built, tuning, limits, plan.race, plan.compared, bundle)
    with progress.stage("load it again in another process"):
        inputs = plan.context.references.inputs
        second_load.require_sound_bundle(open_bundle(bundle), inputs, built.masks)
