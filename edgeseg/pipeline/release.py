"""A bundle with its documents, signed as one thing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeseg.benchmarks.margins import verdicts_of
from edgeseg.benchmarks.pages.evidence import evidence_of, rows_of, without_pictures
from edgeseg.benchmarks.pages.page import report_page
from edgeseg.benchmarks.report import Report
from edgeseg.quantize import METHODS
from edgeseg.targets import find_runtime

from ..bundle import signature
from ..bundle.bundle import SOURCE_ONNX, Bundle, open_bundle, require_free_output
from ..bundle.manifest import MANIFEST_NAME, FileRecord
from ..bundle.release_record import RELEASE_NAME, ReleaseRecord
from ..dossier.acceptance import acceptance_text
from ..dossier.bom import bom_text
from ..dossier.card import card_text
from ..dossier.contents import Dossier, is_onnx_bundle
from ..dossier.keys import SigningKey, read_signing_key
from ..dossier.metadata import metadata_texts
from ..dossier.packages import Soup, list_soup, soup_text
from ..dossier.signing import sign_folder
from ..dossier.trace import trace_of
from ..errors import BundleError, EdgesegError, UnknownNameError, UsageError, reason_of
from ..lazy import is_installed, require_installed
from ..metrics.limits import KEEPS, MarginVerdict
from ..progress import SILENT, Progress
from ..records import VERSION, sha256_of_file
from ..reference.rewrite_parity import PACKAGES, measure_rewrites
from ..storage.atomic import writing_folder
from .releasing.measurement import read_measurement
from .releasing.statements import read_statements
from .verify import verify_bundle

CHECKER = "runner/check_signature.py"
STAGING = ".release"
EXPORT = ("python", "onnx", "onnx_ir", "onnxscript", "onnxruntime")
PERFORMANCE, TRACE = "performance.json", "traceability.json"
NOTHING_MEASURED: dict[str, Any] = {
    **{name: {} for name in ("environment", "protocol", "data")},
    **{name: [] for name in ("reference", "baselines", "rows", "subgroups")},
}


@dataclass(frozen=True)
class ReleaseRequest:
    """What to release.

    Attributes:
        bundle: Folder of the bundle.
        key: File of the private key.
        output: Folder of the release.
        bench: Report of `edgeseg bench` in which the bundle was measured; None takes what
            `edgeseg bench --record` wrote into the bundle, if anything.
        card: Markdown that describes the weights, as "**Task:** ..." and so on; None takes the card
            of shipped weights.
        max_change: How much of each metric the bundle may lose against the FP32 reference, by
            name; a bundle that does not keep one is not signed.
        password: Of the key; None takes `EDGESEG_KEY_PASSWORD`.
        check: Replay the golden image before, and compare what the rewrites change.
        overwrite: Replace the release that `output` holds.
    """

    bundle: Path
    key: Path
    output: Path
    bench: Path | None = None
    card: Path | None = None
    max_change: Mapping[str, float] = field(default_factory=dict)
    password: str | None = field(default=None, repr=False)
    check: bool = True
    overwrite: bool = False


@dataclass(frozen=True)
class Released:
    """Attributes:
    folder: Of the release.
    name: Of the bundle.
    bundle_sha256: Its identity.
    files: How many were signed.
    key: Fingerprint of the key.
    verdicts: On each metric that was judged.
    unstated: What nobody has stated of the weights, such as "Licence"; the card says so.
    names_images: The manifest, of an older version, names calibration images.
    """

    folder: Path
    name: str
    bundle_sha256: str
    files: int
    key: str
    verdicts: tuple[MarginVerdict, ...]
    unstated: tuple[str, ...] = ()
    names_images: bool = False

    def to_json(self) -> dict[str, Any]:
        verdicts = [one.to_json() for one in self.verdicts]
        return {**vars(self), "folder": str(self.folder), "verdicts": verdicts}


def release_bundle(request: ReleaseRequest, progress: Progress = SILENT) -> Released:
    """Write the bundle with its documents, and sign all of it.

    Raises:
        UsageError: The key, the report or the card cannot be used.
        BundleError: The bundle was changed, or does not keep a limit that was asked for.
        OutputInUseError: `output` holds something else, or a release without `overwrite`.
        MissingBackendError: The extra `release` is not installed.
    """
    require_free_output(
        request.output, overwrite=request.overwrite, what="release", mark=RELEASE_NAME
    )
    _require_outside(request)
    key = read_signing_key(request.key, request.password)
    require_installed(["model_signing", "cyclonedx"], purpose="A release")
    bundle = open_bundle(request.bundle)
    bundle.check_files()
    report = read_measurement(request.bench, bundle, request.max_change)
    dossier = _gather(request, bundle, report, progress)
    verdicts = verdicts_of(dossier.row)
    _require_kept(bundle, verdicts, request.max_change)
    texts = _texts(dossier, request.max_change)
    if report is not None:
        texts["report.html"] = report_page([without_pictures(report)], [])
    with progress.stage("sign"), writing_folder(request.output, replace=request.overwrite) as made:
        files = _write(dossier, texts, key, made)
    return Released(
        folder=request.output,
        name=bundle.name,
        bundle_sha256=bundle.identity,
        files=files,
        key=key.fingerprint,
        verdicts=tuple(verdicts),
        unstated=dossier.unstated,
        names_images=bundle.names_images,
    )


def _require_outside(request: ReleaseRequest) -> None:
    bundle, output = request.bundle.resolve(), request.output.resolve()
    if bundle in output.parents:
        raise UsageError(
            f"--output {request.output} lies in the bundle, which may hold nothing else. Choose a "
            "folder beside it."
        )


def _require_kept(
    bundle: Bundle, verdicts: list[MarginVerdict], asked: Mapping[str, float]
) -> None:
    broken = [one for one in verdicts if one.metric in asked and one.verdict != KEEPS]
    if broken:
        raise BundleError(
            f"{bundle.name} was not signed: it {'; it '.join(one.text for one in broken)}. Measure "
            "on more images, allow more with --max-change, or build it in another precision."
        )


def _gather(
    request: ReleaseRequest, bundle: Bundle, report: Report | None, progress: Progress
) -> Dossier:
    """All that the documents are written from."""
    golden = None
    rewrites: list[dict[str, Any]] = []
    note = "not compared, as --no-check was given."
    if request.check:
        with progress.stage("replay the golden image"):
            _, agreement, computed_by = verify_bundle(request.bundle)
        golden = agreement, computed_by
        with progress.stage("compare the rewrites"):
            rewrites, note = _rewrites(bundle)
    evidence, measured_with = NOTHING_MEASURED, {}
    if report is not None:
        rows, _ = rows_of(report, bundle.identity, bundle.name)
        evidence = evidence_of(report, rows)
        if not rows[0].get("device"):
            measured_with = report.environment.get("versions", {})
    created = datetime.now(UTC).isoformat(timespec="seconds")
    card = read_statements(request.card, bundle)
    performance = {
        "schema_version": 1,
        "edgeseg_version": VERSION,
        "bundle": bundle.name,
        "bundle_sha256": bundle.identity,
        **evidence,
    }
    results = [{"environment": evidence["environment"], **row} for row in evidence["rows"]]
    earlier = bundle.manifest.measurements
    results += earlier if request.bench else earlier[:-1]
    trace = trace_of(bundle, created, rewrites, note, golden, results, card)
    soup = tuple(_soup(bundle, measured_with))
    return Dossier(bundle, created, performance, trace, soup, card)


def _rewrites(bundle: Bundle) -> tuple[list[dict[str, Any]], str]:
    """What each rewrite changes on the golden image, and how that was found, or why not."""
    applied = bundle.manifest.lowering
    path = bundle.folder / SOURCE_ONNX
    if not any(applied.values()):
        return [], "none was applied."
    missing = [name for name in PACKAGES if not is_installed(name)]
    if missing or not path.is_file():
        what = f"{missing[0]} is not installed" if missing else f"the bundle has no {SOURCE_ONNX}"
        return [], f"not compared, as {what}."
    image, _ = bundle.golden_pair()
    try:
        found = measure_rewrites(
            path, applied, bundle.inputs.prepare(image), bundle.inputs, bundle.outputs
        )
    except UnknownNameError as error:
        return [], f"not compared: {error}"
    except EdgesegError:
        raise
    except Exception as error:  # what lies in a graph makes packages fail in many ways
        raise BundleError(
            f"{path} cannot be rewritten again ({type(error).__name__}: {reason_of(error)}). Build "
            "the bundle anew."
        ) from error
    note = "applied one after another, and compared with the exported graph by ONNX Runtime on the "
    return [one.to_json() for one in found], f"{note}golden image."


def _soup(bundle: Bundle, measured_with: Mapping[str, str]) -> list[Soup]:
    manifest = bundle.manifest
    runtime = find_runtime(manifest.runtime)
    method = manifest.quantization.method if manifest.quantization else ""
    quantizer = METHODS.find(method).packages if method in METHODS.names() else ()
    on_device = ("python", "numpy", *runtime.run_packages)
    network = () if is_onnx_bundle(bundle) else ("torch",)
    tools = (*runtime.build_packages, *runtime.build_tools, *quantizer)
    host = (*EXPORT, *network, *tools, "numpy", "pillow")
    return list_soup(on_device, host, manifest.toolchain, measured_with)


def _texts(dossier: Dossier, asked: Mapping[str, float]) -> dict[str, str]:
    """The documents by their paths."""
    verdicts = dossier.row.get("margins") or ()
    return {
        "README.md": card_text(dossier),
        "bom.cdx.json": bom_text(dossier),
        "soup.csv": soup_text(dossier.soup),
        "acceptance.toml": acceptance_text(dossier.bundle, verdicts, asked),
        PERFORMANCE: _json_text(dossier.performance),
        TRACE: _json_text(dossier.trace),
        **metadata_texts(dossier),
    }


def _json_text(record: Any) -> str:
    return json.dumps(record, indent=2) + "\n"


def _write(dossier: Dossier, texts: Mapping[str, str], key: SigningKey, folder: Path) -> int:
    """Fill the folder of a release; returns how many files were signed."""
    bundle = dossier.bundle
    # What is signed bears the name of its folder, which is another while it is being written.
    name = re.sub(r"[^\w.-]+", "-", bundle.name).strip(".") or "bundle"
    staging = folder / STAGING / name
    staging.mkdir(parents=True)
    for path in (MANIFEST_NAME, *(file.path for file in bundle.manifest.files)):
        (staging / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.folder / path, staging / path)
    for path, text in texts.items():
        (staging / path).parent.mkdir(parents=True, exist_ok=True)
        (staging / path).write_text(text, encoding="utf-8")
    (staging / CHECKER).parent.mkdir(exist_ok=True)
    shutil.copyfile(Path(signature.__file__), staging / CHECKER)
    record = ReleaseRecord(
        edgeseg_version=VERSION,
        created=dossier.created,
        bundle_sha256=bundle.identity,
        files=tuple(_file_record(staging, path) for path in sorted((*texts, CHECKER))),
    )
    text = _json_text(record.model_dump(mode="json"))
    (staging / RELEASE_NAME).write_text(text, encoding="utf-8")
    open_bundle(staging).check_files()
    sign_folder(staging, key)
    count = sum(path.is_file() for path in staging.rglob("*")) - 1
    for entry in list(staging.iterdir()):
        entry.rename(folder / entry.name)
    shutil.rmtree(folder / STAGING)
    return count


def _file_record(folder: Path, path: str) -> FileRecord:
    place = folder / path
    return FileRecord(
        path=path,
        role="runner" if path == CHECKER else "source",
        sha256=sha256_of_file(place),
        size_bytes=place.stat().st_size,
    )
