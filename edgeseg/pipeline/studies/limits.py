"""How often a form of a network that was certified on val breaks its limits on held-back images.

Reduced forms of a network are made for some targets, and compared with the FP32 reference on the
val images and on those of the test split, which no build sees. Then a build is imitated that has
only some of the val images: the rule by point estimates that held until 2026 says which forms it
would have taken, and so does the rule by intervals. What either took is looked at on test.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeseg.benchmarks.accuracy import true_labels
from edgeseg.contract import OutputContract
from edgeseg.data.clusters import clusters_of
from edgeseg.data.folder import FolderDataset
from edgeseg.errors import EdgesegError
from edgeseg.metrics.findings import Finding, judge_findings, state_of
from edgeseg.metrics.limits import HOLDS, MarginVerdict
from edgeseg.metrics.paired import PairedSample, pair_labels
from edgeseg.metrics.quantities import QUANTITIES
from edgeseg.metrics.scores import Labels, MetricSet, ReferenceScores
from edgeseg.progress import SILENT, Progress
from edgeseg.quantize import usual_methods
from edgeseg.reference.reference import onnx_predictor
from edgeseg.storage.atomic import write_text
from edgeseg.storage.temporary import temporary_folder
from edgeseg.targets import Backend
from edgeseg.tuning.candidate import Candidate
from edgeseg.tuning.constraints import choose_constraints, limited_metrics

from ..auto import fixed_candidates
from ..builder.builder import Builder
from ..builder.context import BuildContext
from ..builder.request import BuildRequest, open_split

SIZES = (8, 16, 32, 64, 128)
RESAMPLES = 100
SEED = 0
SPLITS = ("val", "test")
RULES = ("estimates", "intervals")


@dataclass(frozen=True)
class StudyRequest:
    """What to study.

    Attributes:
        model: Network with shipped weights.
        data: Folder with labelled val and test images; None takes the sample.
        targets: Each gives its reduced forms.
        sizes: Numbers of val images that a build is imitated with; all of them come on top.
        resamples: How often each number is drawn.
        splits: Of which images forms answer.
    """

    model: str
    data: Path | None
    targets: tuple[str, ...]
    sizes: tuple[int, ...] = SIZES
    resamples: int = RESAMPLES
    splits: tuple[str, ...] = SPLITS


@dataclass(frozen=True)
class Form:
    """A form of the network beside the FP32 reference.

    Attributes:
        name: Its target, and what it is.
        of_split: On the images of each split.
    """

    name: str
    of_split: Mapping[str, PairedSample]

    @property
    def val(self) -> PairedSample:
        return self.of_split["val"]

    @property
    def test(self) -> PairedSample:
        return self.of_split["test"]


@dataclass(frozen=True)
class Rule:
    """What a rule took of so many imitated builds and forms, and what that was worth on test.

    Attributes:
        asked: Pairs of a build and a form.
        taken: Those of them that it took.
        broken_mean: Taken ones that break a limit on a mean over images on test.
        broken_worst: Taken ones that break a limit on a single image there.
        missed: Forms that keep all limits on test and were not taken.
    """

    asked: int = 0
    taken: int = 0
    broken_mean: int = 0
    broken_worst: int = 0
    missed: int = 0

    def counting(self, *, took: bool, on_test: Mapping[str, bool]) -> Rule:
        """The same with one more pair.

        Args:
            on_test: By limit, whether it holds there.
        """
        broken = {name for name, holds in on_test.items() if not holds}
        is_worst = any(name in QUANTITIES and QUANTITIES[name].is_worst for name in broken)
        is_mean = any(not (name in QUANTITIES and QUANTITIES[name].is_worst) for name in broken)
        return Rule(
            self.asked + 1,
            self.taken + took,
            self.broken_mean + (took and is_mean),
            self.broken_worst + (took and is_worst),
            self.missed + (not took and not broken),
        )

    def to_json(self) -> dict[str, int]:
        return dict(vars(self))


def study_limits(request: StudyRequest, progress: Progress = SILENT) -> dict[str, Any]:
    """Make the forms, and imitate the builds.

    Returns:
        JSON record: `forms` with what each changes on test, and `rows`, one for each number of val
        images.

    Raises:
        EdgesegError: No form can be made, or a split is missing.
    """
    with temporary_folder("limits") as name:
        forms = list(make_forms(request, Path(name), progress, reduced_candidates))
    limits = limits_of(forms[0].val, 2)
    rows = [
        imitate(forms, limits, count, 1 if count == whole else request.resamples)
        for whole in [len(forms[0].val.names)]
        for count in (*(size for size in request.sizes if size < whole), whole)
    ]
    return {
        "model": request.model,
        "data": None if request.data is None else request.data.name,
        "images": {split: len(getattr(forms[0], split).names) for split in SPLITS},
        "limits": limits,
        "forms": [describe(form, limits) for form in forms],
        "rows": rows,
    }


def make_forms(
    request: StudyRequest,
    work: Path,
    progress: Progress,
    candidates_of: Callable[[BuildContext, Builder], Iterable[Candidate]],
) -> Iterator[Form]:
    """Forms of the network for each target, beside the FP32 reference."""
    pairs: dict[str, tuple[FolderDataset, Labels, ReferenceScores]] = {}
    for target in request.targets:
        build = BuildRequest(request.model, target, "auto", work, data=request.data)
        context = BuildContext(build, progress)
        builder = Builder(context, work / target, progress)
        for split in request.splits:
            if split not in pairs:
                pairs[split] = _reference_of(context, split)
        for candidate in candidates_of(context, builder):
            with progress.stage(f"{target}: {candidate.name}"):
                try:
                    backend = builder.make(candidate, builder.place("form")).backend
                except EdgesegError as error:
                    print(f"left out: {target}, {candidate.name}: {error}", flush=True)
                    continue
                made = {name: _paired(backend, context, *pairs[name]) for name in request.splits}
            yield Form(f"{target}: {candidate.name}", made)


def reduced_candidates(context: BuildContext, _: Builder) -> list[Candidate]:
    """What a build without a search makes for each precision that is not compared probability by
    probability."""
    methods = usual_methods(context.runtime.quantized_from)
    made = []
    for candidate in fixed_candidates(context):
        if candidate.method:
            made += [replace(candidate, method=name) for name in methods]
        elif candidate.precision not in context.runtime.tolerances:
            made.append(candidate)
    return made


def limits_of(sample: PairedSample, class_count: int) -> dict[str, float]:
    """Those of `auto`."""
    assert sample.ours is not None
    return choose_constraints({}, None, class_count, has_labels=True).limits


def imitate(
    forms: Sequence[Form], limits: Mapping[str, float], count: int, resamples: int
) -> dict[str, Any]:
    """What both rules take with so many val images, and what becomes of it on test."""
    generator = np.random.default_rng(SEED)
    rules = {name: Rule() for name in RULES}
    known = [points_within(form.test.findings(), limits) for form in forms]
    for _ in range(resamples):
        places = np.sort(generator.permutation(len(forms[0].val.names))[:count]).tolist()
        for form, on_test in zip(forms, known, strict=True):
            findings = form.val.only(places).findings()
            took = {
                "estimates": taken_by_estimates(findings, limits),
                "intervals": state_of(judge_findings(findings, limits)) == HOLDS,
            }
            for name, rule in rules.items():
                rules[name] = rule.counting(took=took[name], on_test=on_test)
    return {"val_images": count, **{name: rule.to_json() for name, rule in rules.items()}}


def taken_by_estimates(findings: Sequence[Finding], limits: Mapping[str, float]) -> bool:
    """Whether auto took it until 2026: metrics alone were limited, by their point estimates."""
    metrics = {name: most for name, most in limits.items() if name not in QUANTITIES}
    return all(points_within(findings, metrics).values())


def points_within(findings: Sequence[Finding], limits: Mapping[str, float]) -> dict[str, bool]:
    """By limit, whether what was found over all images lies within it."""
    verdicts = judge_findings([one for one in findings if not one.part], limits)
    return {verdict.metric: verdict.is_within for verdict in verdicts}


def describe(form: Form, limits: Mapping[str, float]) -> dict[str, Any]:
    """What a form changes on test, as JSON."""
    verdicts = judge_findings([one for one in form.test.findings() if not one.part], limits)
    return {"form": form.name, "test": [_short(verdict) for verdict in verdicts]}


def _short(verdict: MarginVerdict) -> dict[str, Any]:
    return {
        "limit": verdict.metric,
        "allowed": verdict.allowed,
        "change": verdict.change,
        "interval": list(verdict.interval),
        "state": verdict.state,
    }


def _reference_of(
    context: BuildContext, split: str
) -> tuple[FolderDataset, Labels, ReferenceScores]:
    """Images of a split, the reference's label maps, and its scores."""
    inputs, outputs = context.spec.inputs, context.spec.outputs
    count = len(outputs.classes)
    dataset = open_split(context.request.data, split, axis=inputs.axis)
    predict = onnx_predictor(context.exported.path, outputs, inputs)
    with context.progress.stage(f"FP32 reference on {split}"):
        labels = np.stack(
            [outputs.labels(predict(inputs.prepare(pair.read_image(inputs)))) for pair in dataset]
        )
        names = tuple(metric.name for metric in limited_metrics({}, count))
        truth = true_labels(dataset, inputs, outputs)
        metrics, clusters = MetricSet(names), clusters_of(dataset)
        scores = ReferenceScores(labels, truth, count, metrics, clusters)
    return dataset, labels, scores


def _paired(
    backend: Backend,
    context: BuildContext,
    dataset: FolderDataset,
    expected: Labels,
    reference: ReferenceScores,
) -> PairedSample:
    inputs, outputs = context.spec.inputs, context.spec.outputs
    labels = np.stack(
        [_label(backend, inputs.prepare(pair.read_image(inputs)), outputs) for pair in dataset]
    )
    names = [pair.name for pair in dataset]
    clusters = reference.table.clusters
    return pair_labels(names, labels, expected, reference, range(len(names)), clusters)


def _label(backend: Backend, image: Any, outputs: OutputContract) -> Any:
    return outputs.labels(np.asarray(backend.run(image), np.float32))


def table_lines(record: Mapping[str, Any]) -> list[str]:
    """Markdown: a line for each number of val images, of pairs of a build and a form."""
    columns = ("taken", "break a mean", "break an image", "missed")
    titles = ["network", "val images", "pairs"]
    titles += [f"{name}, {rule}" for rule in RULES for name in columns]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in record["rows"]:
        cells = [record["model"], row["val_images"], row[RULES[0]]["asked"]]
        for rule in RULES:
            counts = row[rule]
            broken = (counts[name] for name in ("broken_mean", "broken_worst"))
            cells += [counts["taken"], *(_share(part, counts["taken"]) for part in broken)]
            cells.append(counts["missed"])
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def _share(part: int, whole: int) -> str:
    return f"{part} ({part / whole:.0%})" if whole else "0"


def parser_of(name: str) -> argparse.ArgumentParser:
    """What every study of forms takes: where to write, and what a `StudyRequest` must have."""
    parser = argparse.ArgumentParser(prog=f"python -m edgeseg.pipeline.studies.{name}")
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--target", action="append", required=True)
    return parser


def main() -> None:
    """Print the table, and write it as JSON."""
    parser = parser_of("limits")
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    given = parser.parse_args()
    request = StudyRequest(given.model, given.data, tuple(given.target), resamples=given.resamples)
    try:
        record = study_limits(request)
    except EdgesegError as error:
        sys.exit(f"Error: {error}")
    write_text(given.output, json.dumps(record, indent=1) + "\n")
    print("\n".join(table_lines(record)))


if __name__ == "__main__":
    main()
