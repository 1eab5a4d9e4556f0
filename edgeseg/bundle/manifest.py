"""The schema of a bundle's manifest.json."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION = 3
MANIFEST_NAME = "manifest.json"

# A manifest that came with its bundle cannot allow a check more than this: NaN, or anything at all.
MOST_ABS_DIFF = 1.0
MOST_FLIPS_PER_10K = 100.0

NAMES_OF_IMAGES = ("name", "worst_image")

LimitState = Literal["holds", "broken", "open"]
Role = Literal["artifact", "golden", "runner", "source"]


class Record(BaseModel):
    """Base: unknown fields are errors, so that a mistyped or foreign manifest is noticed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FileRecord(Record):
    """One file of the bundle.

    `role` tells what a device needs: "artifact" and "runner" to run, "golden" to verify;
    "source" (float weights and graph, quantisation plan) is evidence: what benchmarks compare with
    and what the artefact was made from.
    """

    path: str
    role: Role
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)


class ModelRecord(Record):
    """Which network it is (`spec`: as `edgeseg.models.ModelSpec` writes it), and whose weights."""

    name: str
    parameters: int
    source: str
    spec: dict[str, Any]
    weights_sha256: str
    weights_data: str | None
    weights_licence: str | None


class ArtifactRecord(Record):
    """What the backend loads: paths relative to the bundle, and the settings to load it with."""

    format: str
    files: tuple[str, ...] = Field(min_length=1)
    settings: dict[str, Any]


class GoldenRecord(Record):
    """An image, the mask that the artefact gave for it when it was built, and how far another
    machine may be from it, at most as far as any build allows. `image` is (H, W, C) uint8 or
    uint16, `mask` (1, C, h, w) float16 probabilities.
    """

    image: str
    mask: str
    max_abs_diff: float = Field(ge=0, le=MOST_ABS_DIFF)
    max_flips_per_10k: float = Field(ge=0, le=MOST_FLIPS_PER_10K)


class NamelessRecord(Record):
    """A record that names no image: the name of a file may be that of a patient.

    Names in older manifests are not read.
    """

    @model_validator(mode="before")
    @classmethod
    def _without_names(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: part for key, part in value.items() if key not in NAMES_OF_IMAGES}


class AgreementRecord(NamelessRecord):
    """See `edgeseg.metrics.agreement.Agreement`."""

    images: int
    max_abs_diff: float
    mean_abs_diff: float
    flips_per_10k: float


class CalibrationImageRecord(NamelessRecord):
    sha256: str


class QuantizationManifest(Record):
    """See `edgeseg.records.QuantizationRecord`.

    `compared` holds pixels of 10,000 that flip by each way to quantise that was built before one
    was taken, on the images of `checks`; empty where a method was named or was searched.
    """

    method: str
    settings: dict[str, Any]
    images: tuple[CalibrationImageRecord, ...]
    layers: dict[str, int]
    compared: dict[str, float] = {}


class MarginRecord(Record):
    """See `edgeseg.metrics.limits.MarginVerdict`. `image` is told by its checksum: the name of a
    file may be that of a patient."""

    metric: str
    allowed: float
    change: float
    interval: tuple[float, float]
    verdict: Literal["keeps", "loses", "cannot tell"]
    images: int
    images_needed: int | None
    unit: str = "images"
    part: str = ""
    image: str = ""


class LimitsRecord(Record):
    """Whether masks keep the limits on what they may lose against the FP32 reference.

    `state` is "holds", "broken", or "open" where the images cannot tell; `verdicts` has each limit
    with its interval. `images` of the val split were looked at, of which `labelled` have a true
    mask. `is_accepted` says that the user took what was open (`--accept-uncertain`).
    """

    state: LimitState
    images: int
    labelled: int
    is_accepted: bool
    verdicts: tuple[MarginRecord, ...]


class TrialRecord(Record):
    """One candidate.

    `stage` says what it tried: "float", "rewrites", "precision", "variant", "int8" or "region";
    `region` names the convolutions whose precision it changed. `speedup` with its interval is over
    the candidate `against` ("plain": the plain export), `speedup_over_plain` the product of those
    that lead there; None where it was not timed. Flips are per 10,000 pixels, `changes` is what
    it changed of the FP32 reference's scores, by metric and in its terms (empty without labels;
    see `edgeseg.metrics.metric.Metric`), both on the images of the search.
    `verdict` is "leads" when it became the one to beat, "slower" or "refused", and `reason` says
    why it was refused. `layers`: see `edgeseg.records.QuantizationRecord`. `limits` says what is
    known of its masks: "holds", "broken" or "open", on all images; empty where it did not come to
    that, and in older bundles.
    """

    name: str
    stage: str
    region: str
    candidate: dict[str, Any]
    verdict: str
    reason: str
    against: str
    speedup: float | None
    speedup_ci95: tuple[float, float] | None
    speedup_over_plain: float | None
    flips_per_10k: float | None
    changes: dict[str, float]
    artifact_bytes: int | None
    peak_rss_bytes: int | None
    layers: dict[str, int]
    limits: str = ""


class FinalRecord(Record):
    """A row of the last run, in which all took turns; the first row led before it."""

    name: str
    candidate: dict[str, Any]
    speedup_over_plain: float
    speedup_over_plain_ci95: tuple[float, float]
    speedup_over_first: float
    speedup_over_first_ci95: tuple[float, float]


class ConstraintsRecord(Record):
    """See `edgeseg.tuning.constraints.Constraints`."""

    max_change: dict[str, float]
    min_agreement: float | None
    accept_uncertain: bool = False


class TuningRecord(Record):
    """How `--precision auto` chose.

    `identity` is the network and the target that it holds for, `machine` what measured it, and
    `measured_on` the address of that where it was a device; `search_seconds` are then its own,
    `constraints` what was allowed, `images` how many there were, `plain` the size and memory of the
    plain export. The scores are those of the candidate on all images, and `violation` is what it
    breaks where nothing kept the limits on size and memory. `limits` judges its masks; None in
    older bundles.
    """

    candidate: dict[str, Any]
    identity: dict[str, Any]
    machine: dict[str, Any]
    constraints: ConstraintsRecord
    images: dict[str, Any]
    plain: dict[str, int]
    flips_per_10k: float
    changes: dict[str, float]
    violation: str
    trials: tuple[TrialRecord, ...]
    final: tuple[FinalRecord, ...]
    skipped: int
    search_seconds: float
    measured_on: str = ""
    limits: LimitsRecord | None = None


class RuntimeRecord(Record):
    """A runtime in the race of `--runtime auto`.

    `speedup` is how many times faster the bundle's runtime is, with the interval of that, in one
    interleaved run of what each runtime's own tuning chose (`artifact`, in words); None where
    `refusal` says why the runtime did not take part.
    """

    runtime: str
    artifact: str
    speedup: float | None
    speedup_ci95: tuple[float, float] | None
    refusal: str


class Manifest(Record):
    """All that is said of a bundle.

    Attributes:
        lowering: How often each rewrite changed the ONNX graph before it was compiled.
        identity_covers: What the bundle's identity is a hash of, see `edgeseg.bundle.identity`:
            "files" in older bundles.
        name: For people: MODEL-TARGET-PRECISION, with the runtime where it is not the device's own.
        target: The device that it is for, as the user named it.
        runtime: Name of the runtime that loads the artefact.
        options: Of the runtime, beside the precision.
        precision: As it was asked for: "auto" where tuning chose.
        race: The runtimes that were compared, the bundle's own first; empty where one was named.
        tuning: How it chose; None where a precision was named.
        limits: Whether the masks keep the limits; None for a named precision that was compared
            with PyTorch probability by probability, and in older bundles.
        contract: `input` and `output` in words, a sentence or two a step; empty in older bundles.
        checked_by: What computed the artefact for its check and its golden mask: the target's
            own runtime, or what stood in for it.
        checks: How the exported graph ("onnx") and the artefact ("artifact") agree with the
            FP32 reference on images that calibration did not see.
        measurements: Rows of `edgeseg bench --record`, newest last.
    """

    schema_version: Literal[3] = 3
    edgeseg_version: str
    created: str
    model: ModelRecord
    name: str
    target: str
    runtime: str
    precision: str
    input: dict[str, Any]
    output: dict[str, Any]
    contract: dict[str, tuple[str, ...]] = {}
    artifact: ArtifactRecord
    golden: GoldenRecord
    lowering: dict[str, int]
    quantization: QuantizationManifest | None
    options: dict[str, Any]
    tuning: TuningRecord | None = None
    limits: LimitsRecord | None = None
    race: tuple[RuntimeRecord, ...] = ()
    checked_by: str
    checks: dict[str, AgreementRecord]
    toolchain: dict[str, str]
    files: tuple[FileRecord, ...]
    measurements: tuple[dict[str, Any], ...] = ()
    identity_covers: Literal["files", "manifest"] = "files"
