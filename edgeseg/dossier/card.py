"""The model card: README.md with the front matter that model hubs read.

Each number in it is in performance.json, traceability.json, manifest.json or acceptance.toml.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..bundle.identity import IDENTITY_LENGTH
from ..metrics.clusters import IMAGES
from ..metrics.limits import BROKEN, OPEN, UNCLEAR, MarginVerdict
from ..metrics.table import METRICS, find_metric
from .contents import NO_DEVICE, NOT_STATED, Dossier, letters_of

SPDX = re.compile(r"[A-Za-z0-9.+-]+")  # what the name of a licence looks like
ASK_TASK = "Ask who made the network what it is for before you use it."
ASK_DATA = "Ask who made the network which images it has seen, and whether yours are like them."
ASK_LICENCE = (
    "Ask who made the weights under which licence they may be used and passed on; until you know, "
    "do neither."
)
BUILT = {
    BROKEN: "showed that it breaks a limit on its masks",
    OPEN: "could not tell whether its masks keep the limits",
}
ASK_LIMITS = "Nobody has written down where the network fails; that is not to say that it does not."


def card_text(dossier: Dossier) -> str:
    """The card."""
    parts = [*_front_matter(dossier), "", *_body(dossier)]
    return "\n".join(parts) + "\n"


def _front_matter(dossier: Dossier) -> Iterator[str]:
    """YAML; JSON's strings are strings of it, too."""
    manifest = dossier.bundle.manifest
    licence = dossier.licence
    yield "---"
    yield "library_name: edgeseg"
    yield "pipeline_tag: image-segmentation"
    yield f"license: {licence.lower() if _is_hub_licence(licence) else 'other'}"
    if not _is_hub_licence(licence):
        yield f"license_name: {_quoted(dossier.licence_or_not)}"
    yield "tags:"
    tags = ("medical", manifest.target, manifest.runtime, manifest.precision)
    for tag in dict.fromkeys(tags):
        yield f"- {_quoted(tag)}"
    accuracy = dossier.row.get("accuracy") or {}
    if accuracy:
        yield "model-index:"
        yield f"- name: {_quoted(dossier.bundle.name)}"
        yield "  results:"
        yield "  - task:"
        yield "      type: image-segmentation"
        yield "    dataset:"
        folder = _quoted(dossier.performance["data"].get("folder", "images"))
        yield f"      name: {folder}"
        yield f"      type: {folder}"
        yield "    metrics:"
        for name, value in accuracy.items():
            yield f"    - type: {_quoted(name)}"
            yield f"      value: {value!r}"
    yield "---"


def _quoted(text: str) -> str:
    return json.dumps(text)


def _is_hub_licence(name: str) -> bool:
    """Whether hubs know a licence by its SPDX name in small letters."""
    known = name.lower().startswith(("apache-", "mit", "bsd-", "cc-by", "cc0-"))
    return known and SPDX.fullmatch(name) is not None


def _body(dossier: Dossier) -> Iterator[str]:
    bundle, manifest = dossier.bundle, dossier.bundle.manifest
    yield f"# {_cell(dossier.title)}: {_cell(bundle.name)}"
    yield ""
    yield f"**{NO_DEVICE}**"
    yield ""
    yield f"- **Bundle:** `{bundle.short_identity}`"
    yield f"- **Network:** {manifest.model.parameters:,} parameters; {_cell(manifest.model.source)}"
    digest = manifest.model.weights_sha256[:IDENTITY_LENGTH]
    yield f"- **Weights:** `{digest}`, {dossier.trace['weights']['form']}"
    yield (
        f"- **Made for:** {_cell(manifest.target)}; runtime {_cell(manifest.runtime)}, precision "
        f"{_cell(manifest.precision)}"
    )
    yield (
        f"- **Takes:** pictures of any size, which become {bundle.inputs.height} by "
        f"{bundle.inputs.width} pixels; manifest.json tells each step"
    )
    yield f"- **Gives:** a mask of {_cell(', '.join(manifest.output['classes']))}"
    yield ""
    told = dossier.card.get
    yield from _section("Intended use", told("Task"), ask=ASK_TASK)
    yield from _section("Data", told("Data") or manifest.model.weights_data, ask=ASK_DATA)
    licence = told("Licence", "")
    name = "" if letters_of(dossier.licence) in letters_of(licence) else dossier.licence
    yield from _section("Licence of the weights", licence, name, ask=ASK_LICENCE)
    yield from _heading("How it was compiled", _compiled(dossier))
    yield from _heading("Accuracy as deployed", _accuracy(dossier))
    yield from _heading("Subgroups", _subgroups(dossier.performance["subgroups"]))
    yield from _heading("What it was held against", _verdicts(dossier))
    yield from _heading("Speed", _speed(dossier))
    yield from _section("Limits", told("Limits"), ask=ASK_LIMITS)
    yield from _heading("How to use it", _using())
    yield from _heading("How to check it", _checking())


def _cell(text: str) -> str:
    """Text from elsewhere on one line, which opens no table, link, tag or code."""
    plain = "".join(f"\\{sign}" if sign in "\\`*_[]<>|#" else sign for sign in text)
    return " ".join(plain.split())


def _section(title: str, *texts: str | None, ask: str) -> Iterator[str]:
    """Statements under a heading; where there is none, that, and what to ask for."""
    told = " ".join(_prose(text) for text in texts if text)
    yield from _heading(title, [told or f"{NOT_STATED} {ask}"])


def _prose(text: str) -> str:
    """A statement as a sentence; what could be a tag is none."""
    plain = text.replace("<", "&lt;").strip()
    plain = plain[:1].upper() + plain[1:]
    return plain if plain.endswith((".", "!", "?")) else f"{plain}."


def _heading(title: str, lines: Sequence[str] | Iterator[str]) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    yield from lines
    yield ""


def _compiled(dossier: Dossier) -> Iterator[str]:
    trace = dossier.trace
    rewrites = trace["rewrites"]
    if rewrites:
        worst = max(one["max_abs_diff"] for one in rewrites)
        flips = max(one["flips_per_10k"] for one in rewrites)
        differs = f"a probability differs by {worst:.1e} at most" if worst else "nothing differs"
        yield (
            f"- {len(rewrites)} exact {'rewrite' if len(rewrites) == 1 else 'rewrites'} of the "
            f"graph; on the golden image {differs}, and {flips:.2f} of 10,000 pixels flip."
        )
    else:
        yield f"- Rewrites: {trace['rewrites_note']}"
    record = trace["quantization"]
    if record is None:
        is_quantised = dossier.bundle.manifest.precision == "int8"
        yield f"- {'Quantisation: none was recorded.' if is_quantised else 'Not quantised.'}"
    else:
        yield (
            f"- Quantised by {_cell(record['method'])} with {record['images']} calibration images, "
            "whose digests traceability.json holds."
        )
    check = trace["artifact"]["agreement"]
    if check is not None:
        yield (
            f"- Compared with {_reference(dossier)} on {check['images']} images when it was built: "
            f"{check['flips_per_10k']:.2f} of 10,000 pixels flip."
        )


def _reference(dossier: Dossier) -> str:
    return "ONNX Runtime on the ONNX file" if dossier.is_onnx_file else "PyTorch"


def _accuracy(dossier: Dossier) -> Iterator[str]:
    row, data = dossier.row, dossier.performance["data"]
    if not row.get("accuracy"):
        yield "Not measured: no report of `edgeseg bench` was given."
        return
    independent = data.get("clusters")
    splits = ", ".join(map(_cell, data.get("splits") or ()))
    yield (
        f"On {data['images']} images of {_cell(str(data['folder']))} ({splits}), at the network's "
        "resolution. Changes are those against the FP32 reference on the same images; intervals "
        f"are 95 %, by bootstrap over {independent['kind'] if independent else IMAGES}."
    )
    if independent:
        yield ""
        yield f"{_prose(independent['text'])}"
    yield ""
    yield "| metric | score | change |"
    yield "|---|---|---|"
    for name, score in row["accuracy"].items():
        cells = _title(name), _with_interval(row, "accuracy", name, score), _change(row, name)
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield f"{row['flips_per_10k']:.1f} of 10,000 pixels have another label than the reference's."


def _title(name: str) -> str:
    if name not in METRICS.names():
        return _cell(name)
    metric = find_metric(name)
    return f"{metric.title} ({metric.unit})" if metric.unit else metric.title


def _with_interval(row: Mapping[str, Any], key: str, name: str, value: float) -> str:
    def told(number: float) -> str:
        return find_metric(name).format_score(number) if name in METRICS.names() else repr(number)

    interval = (row.get(f"{key}_ci95") or {}).get(name)
    if interval is None:
        return told(value)
    return f"{told(value)} ({told(interval[0])}..{told(interval[1])})"


def _change(row: Mapping[str, Any], name: str) -> str:
    if name not in METRICS.names():
        return ""
    metric = find_metric(name)
    key = "relative_change" if metric.is_change_relative else "delta"
    value = (row.get(key) or {}).get(name)
    interval = (row.get(f"{key}_ci95") or {}).get(name)
    if value is None:
        return ""
    told = metric.format_change(value)
    if interval is None:
        return told
    return f"{told} ({metric.format_change(interval[0])}..{metric.format_change(interval[1])})"


def _subgroups(subgroups: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not subgroups:
        yield "Not measured."
        return
    yield "Mean Dice of each image, and its change against the FP32 reference."
    for group in subgroups:
        yield ""
        yield f"| {_cell(group['title'])} | images | Dice | change |"
        yield "|---|---|---|---|"
        for part in group["parts"]:
            low, high = part["dice_image_ci95"]
            less, more = part["delta_dice_image_ci95"]
            yield (
                f"| {_cell(part['name'])} | {part['images']} "
                f"| {part['dice_image']:.4f} ({low:.4f}..{high:.4f}) "
                f"| {part['delta_dice_image']:+.4f} ({less:+.4f}..{more:+.4f}) |"
            )


def _verdicts(dossier: Dossier) -> Iterator[str]:
    verdicts = dossier.row.get("margins") or ()
    limits = dossier.bundle.manifest.limits
    told = BUILT.get(limits.state) if limits is not None else None
    if limits is not None and told is not None:
        taken = ", and it was taken by --accept-uncertain" if limits.is_accepted else ""
        yield f"- When it was built, {limits.images} val images {told}{taken}."
    if not verdicts and told is None:
        yield "Nothing."
    for record in verdicts:
        verdict = MarginVerdict.from_json(record)
        subject = "The measurement" if verdict.verdict == UNCLEAR else "It"
        yield f"- {subject} {verdict.text}."


def _speed(dossier: Dossier) -> Iterator[str]:
    row, where = dossier.row, dossier.performance["environment"]
    latency = row.get("latency_ms")
    if not latency:
        yield "Not measured."
        return
    place = _cell(str(row.get("device") or where.get("cpu") or "this machine"))
    yield (
        f"Median {latency['p50']:.2f} ms a picture on {place}, {row['threads']} "
        f"{'thread' if row['threads'] == 1 else 'threads'}, {row['runs']} runs."
    )
    if row.get("speedup") is not None and row.get("speedup_ci95"):
        low, high = row["speedup_ci95"]
        yield (
            f"{row['speedup']:.2f} ({low:.2f}..{high:.2f}) times the speed of "
            f"{_cell(row['baseline']['name'])}."
        )
    waited = row.get("waited_share")
    if waited:
        yield f"It waited {waited:.0%} of the time for its core, which other processes had."


def _using() -> Iterator[str]:
    yield "In this folder, with EdgeSeg, or with Python, NumPy and the runtime alone:"
    yield ""
    yield "```sh"
    yield "edgeseg predict . ../picture.jpg --output ../masks"
    yield "python runner/run.py ../picture.npy --output ../mask.npy"
    yield "```"
    yield ""
    yield (
        "The second runs code of this folder: check the signature first. Write nothing into the "
        "folder, which would no longer be what was signed."
    )


def _checking() -> Iterator[str]:
    yield "```sh"
    yield "edgeseg verify . --key PUBLIC.pem"
    yield "```"
    yield ""
    yield (
        "It checks the signature over every file, and then that a picture gives the mask that it "
        "gave when the bundle was built. `runner/check_signature.py` checks the signature with "
        "Python and `cryptography` alone. Take it, and the public key, from a place that you "
        "trust, and not from here."
    )
