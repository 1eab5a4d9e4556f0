"""A release holds the bundle and its documents, all signed, or is not there."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from card_numbers import unknown_numbers
from signed_folder import make_keys
from small_release import SmallRelease, read_record
from support import needs

import edgeseg
from edgeseg.bundle.bundle import open_bundle
from edgeseg.dossier.keys import PASSWORD
from edgeseg.errors import BundleError, EdgesegError, OutputInUseError, UsageError
from edgeseg.pipeline import release as release_module
from edgeseg.pipeline.release import ReleaseRequest, release_bundle
from edgeseg.pipeline.verify import verify_bundle, verify_signature

pytestmark = needs(
    "torch", "onnx", "onnx_ir", "onnxruntime", "cryptography", "model_signing", "cyclonedx"
)

RunCli = Callable[..., Any]
JSON_FILES = ("performance.json", "traceability.json", "manifest.json")
DOCUMENTS = {
    "README.md",
    "acceptance.toml",
    "bom.cdx.json",
    "configs/inference.json",
    "configs/metadata.json",
    "configs/metadata.schema.json",
    "model.sig",
    "performance.json",
    "release.json",
    "report.html",
    "runner/check_signature.py",
    "soup.csv",
    "traceability.json",
}


def test_it_is_the_bundle_and_its_documents(
    small_release: SmallRelease, small_bundles: dict[str, Path]
) -> None:
    def files(folder: Path) -> dict[str, bytes]:
        paths = (path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}

    ours, theirs = files(small_release.folder), files(small_bundles["int8"])
    assert ours.keys() == theirs.keys() | DOCUMENTS
    assert {name: ours[name] for name in theirs} == theirs
    assert small_release.told["files"] == len(ours) - 1
    assert {path.name for path in small_release.folder.parent.iterdir()} == {
        "bench.json",
        "key.pem",
        "key.pub.pem",
        "release",
        "told.json",
    }


def test_it_is_verified_and_used_as_a_bundle(
    small_release: SmallRelease, release_keys: tuple[Path, Path]
) -> None:
    check = verify_signature(small_release.folder, release_keys[1])
    assert (check.files, check.key) == (small_release.told["files"], small_release.told["key"])
    bundle, agreement, _ = verify_bundle(small_release.folder, release_keys[1])
    assert agreement.flips_per_10k == 0
    assert bundle.identity == small_release.identity
    assert edgeseg.load(small_release.folder).verify(release_keys[1]) == agreement


def test_each_row_of_a_benchmark_tells_the_identity(
    small_release: SmallRelease, small_bundles: dict[str, Path]
) -> None:
    rows = json.loads(small_release.bench.read_text())["rows"]
    told = {row["bundle_sha256"] for row in rows if not row["is_baseline"]}
    assert told == {open_bundle(folder).identity for folder in small_bundles.values()}
    assert len(told) == 2
    assert {row["bundle_sha256"] for row in rows if row["is_baseline"]} == {None}


def test_the_runner_and_the_small_verifier_work_in_it(
    release_copy: Path, small_release: SmallRelease, release_keys: tuple[Path, Path]
) -> None:
    for words in (["run.py", "--verify"], ["check_signature.py", release_copy, release_keys[1]]):
        command = [sys.executable, "-B", release_copy / "runner" / words[0], *words[1:]]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("ok: ")
        if words[0] == "run.py":
            assert done.stdout.endswith(f"; bundle {small_release.identity[:12]}\n")
    verify_signature(release_copy, release_keys[1])  # running it left no file behind


def test_nothing_is_parsed_or_run_before_the_signature_holds(
    release_copy: Path, release_keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("the bundle was opened")

    monkeypatch.setattr("edgeseg.pipeline.verify.open_bundle", refuse)
    (release_copy / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match=r"manifest\.json was changed after it was signed"):
        verify_bundle(release_copy, release_keys[1])


def test_a_limit_that_is_not_kept_is_not_signed(
    small_bundles: dict[str, Path],
    small_release: SmallRelease,
    release_keys: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    request = ReleaseRequest(
        small_bundles["int8"],
        release_keys[0],
        tmp_path / "release",
        small_release.bench,
        max_change={"dice_pooled": 0.0},
        check=False,
    )
    with pytest.raises(BundleError, match=r"was not signed: it .*pooled Dice.*more images"):
        release_bundle(request)
    assert list(tmp_path.iterdir()) == []
    allowed = dataclasses.replace(request, max_change={"dice_pooled": 0.9})
    assert release_bundle(allowed).verdicts[0].verdict == "keeps"
    limits = tomllib.loads((tmp_path / "release" / "acceptance.toml").read_text())
    required = {one["name"]: (one["required"], one["allowed_loss"]) for one in limits["metric"]}
    assert required["dice_pooled"] == (True, 0.9)


def test_without_a_measurement_it_says_so(
    small_bundles: dict[str, Path], release_keys: tuple[Path, Path], tmp_path: Path
) -> None:
    request = ReleaseRequest(
        small_bundles["fp32"], release_keys[0], tmp_path / "release", check=False
    )
    with pytest.raises(UsageError, match=r"--max-change needs a measurement.*with --bench"):
        release_bundle(dataclasses.replace(request, max_change={"dice_pooled": 0.1}))
    made = release_bundle(request)
    card = (made.folder / "README.md").read_text()
    assert "Not measured: no report of `edgeseg bench` was given." in card
    assert unknown_numbers(card, [read_record(made.folder, name) for name in JSON_FILES]) == []
    assert not (made.folder / "report.html").exists()
    assert read_record(made.folder, "traceability.json")["golden"]["replayed"] is None
    verify_bundle(made.folder, release_keys[1])


def test_a_measurement_that_the_bundle_holds_is_taken(
    small_bundles: dict[str, Path],
    small_release: SmallRelease,
    release_keys: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    folder = Path(shutil.copytree(small_bundles["int8"], tmp_path / "bundle"))
    report = json.loads(small_release.bench.read_text())
    row = next(row for row in report["rows"] if row["precision"] == "int8")
    kept = {name: value for name, value in row.items() if name != "per_image"}
    record = {**kept, "environment": report["environment"], "data": report["data"]}
    open_bundle(folder).with_measurements([record])
    made = release_bundle(
        ReleaseRequest(folder, release_keys[0], tmp_path / "release", check=False)
    )
    measured = read_record(made.folder, "performance.json")
    assert measured["rows"][0]["accuracy"] == row["accuracy"]
    assert measured["subgroups"] == []
    assert made.bundle_sha256 == open_bundle(small_bundles["int8"]).identity


def test_a_card_of_your_own(
    small_bundles: dict[str, Path], release_keys: tuple[Path, Path], tmp_path: Path
) -> None:
    card = tmp_path / "card.md"
    card.write_text(
        "# Ours\n\n- **Task:** shows moles <b>to\n  nurses</b>.\n\n**Limits.** Two sites.\n"
    )
    request = ReleaseRequest(
        small_bundles["fp32"], release_keys[0], tmp_path / "release", card=card, check=False
    )
    body = (release_bundle(request).folder / "README.md").read_text()
    assert "Shows moles &lt;b>to nurses&lt;/b>.\n" in body
    assert "Two sites." in body
    assert "ISIC 2018" not in body
    again = dataclasses.replace(request, overwrite=True)
    card.write_text("**Licence.** MIT.\n\n**Task:** shows moles.\n")
    with pytest.raises(UsageError, match=r"is MIT, and the bundle that it is CC.*Correct the card"):
        release_bundle(again)
    card.write_text("nothing of the kind")
    with pytest.raises(UsageError, match=r"states nothing\. Write lines such as"):
        release_bundle(again)
    card.write_text("**Task:** one.\n**Task:** another.\n")
    with pytest.raises(UsageError, match=r"it states Task twice.*states each thing once"):
        release_bundle(again)
    for place in ("gone.md", "."):
        with pytest.raises(UsageError, match=r"cannot be read.*Name a file of Markdown"):
            release_bundle(dataclasses.replace(again, card=tmp_path / place))


def test_what_makes_no_release(
    small_bundles: dict[str, Path],
    small_release: SmallRelease,
    release_keys: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    bundle = Path(shutil.copytree(small_bundles["fp32"], tmp_path / "bundle"))
    sound = ReleaseRequest(bundle, release_keys[0], tmp_path / "release", check=False)
    other = tmp_path / "other.json"
    report = json.loads(small_release.bench.read_text())
    report["rows"] = [row for row in report["rows"] if row["precision"] == "int8"]
    other.write_text(json.dumps(report))
    (tmp_path / "text.json").write_text("[]")
    impossible = json.loads(small_release.bench.read_text())
    for row in impossible["rows"]:
        row["flips_per_10k"] = -1.0
    (tmp_path / "impossible.json").write_text(json.dumps(impossible))
    (tmp_path / "busy").mkdir()
    (tmp_path / "busy" / "file").write_text("")
    cases: list[tuple[dict[str, Any], type[EdgesegError], str]] = [
        ({"bench": other}, UsageError, r"measures no bundle .*Measure this bundle"),
        ({"bench": tmp_path / "gone"}, UsageError, r"No report at .*--json-file"),
        ({"bench": tmp_path / "text.json"}, UsageError, r"no report of a benchmark"),
        (
            {"bench": tmp_path / "impossible.json"},
            UsageError,
            r"flips_per_10k is -1\.0, and it lies",
        ),
        ({"output": tmp_path / "busy"}, OutputInUseError, r"Choose another --output"),
        ({"output": bundle / "release"}, UsageError, r"lies in the bundle.*beside it"),
        ({"key": release_keys[1]}, UsageError, r"is a public key"),
        ({"bundle": tmp_path / "gone"}, BundleError, r"edgeseg build"),
    ]
    for changes, kind, words in cases:
        with pytest.raises(kind, match=words):
            release_bundle(dataclasses.replace(sound, **changes))
    (bundle / "runner" / "run.py").write_text("raise SystemExit\n")
    with pytest.raises(BundleError, match=r"run\.py was changed after the bundle was built"):
        release_bundle(sound)
    assert not (tmp_path / "release").exists()


def test_nothing_half_written_stays(
    small_bundles: dict[str, Path],
    release_keys: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*arguments: object) -> None:
        raise KeyboardInterrupt

    request = ReleaseRequest(
        small_bundles["fp32"], release_keys[0], tmp_path / "release", check=False
    )
    monkeypatch.setattr(release_module, "sign_folder", fail)
    with pytest.raises(KeyboardInterrupt):
        release_bundle(request)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    first = release_bundle(request)
    with pytest.raises(OutputInUseError, match="Replace it with --overwrite"):
        release_bundle(request)
    monkeypatch.setattr(release_module, "sign_folder", fail)
    with pytest.raises(KeyboardInterrupt):
        release_bundle(dataclasses.replace(request, overwrite=True))
    verify_signature(first.folder, release_keys[1])  # the old one is as it was
    assert [path.name for path in tmp_path.iterdir()] == ["release"]


def test_a_release_of_a_release(small_release: SmallRelease, tmp_path: Path) -> None:
    """Signed anew by someone else: of the old one, only the bundle is taken."""
    private, public = make_keys(tmp_path)
    again = release_bundle(
        ReleaseRequest(small_release.folder, private, tmp_path / "again", check=False)
    )
    assert again.bundle_sha256 == small_release.identity
    verify_signature(again.folder, public)
    assert not (again.folder / "report.html").exists()


def test_the_command(
    small_bundles: dict[str, Path],
    small_release: SmallRelease,
    tmp_path: Path,
    run_cli: RunCli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    private, output = tmp_path / "key.pem", tmp_path / "release"
    monkeypatch.setenv(PASSWORD, "secret")
    done = run_cli("release", "--new-key", private)
    assert (done.returncode, done.stderr) == (0, "")
    assert "key.pub.pem: public key, for edgeseg verify." in done.stdout
    words = [
        "release",
        small_bundles["int8"],
        "--bench",
        small_release.bench,
        "-o",
        output,
        "--no-check",
    ]
    done = run_cli(*words, "--key", private, "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert "secret" not in done.stdout + done.stderr
    public = tmp_path / "key.pub.pem"
    done = run_cli("verify", output, "--key", public, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["signature"] == {"files": record["files"], "key": record["key"]}
    assert told["bundle_sha256"] == record["bundle_sha256"]
    done = run_cli("verify", output)
    assert "--key PUBLIC.pem checks the signature" in done.stderr
    assert f"; bundle {record['bundle_sha256'][:12]}" in done.stdout
    monkeypatch.delenv(PASSWORD)
    done = run_cli(*words, "--key", private, "--overwrite")
    assert done.returncode == 2
    assert f"Set its password in the environment as {PASSWORD}" in done.stderr
    done = run_cli("release", small_bundles["int8"])
    assert done.returncode == 2
    assert "edgeseg release BUNDLE --key KEY -o FOLDER" in done.stderr
    (output / "soup.csv").write_text("")
    done = run_cli("verify", output, "--key", public)
    assert done.returncode == 1
    assert "soup.csv was changed after it was signed. Do not use this folder" in done.stderr
    done = run_cli("verify", output, "--key", private)
    assert done.returncode == 2
    assert "The key is a private one" in done.stderr


def test_an_older_bundle_that_names_images_is_told_of(
    small_bundles: dict[str, Path], release_keys: tuple[Path, Path], tmp_path: Path, run_cli: RunCli
) -> None:
    bundle = Path(shutil.copytree(small_bundles["fp32"], tmp_path / "bundle"))
    record = read_record(bundle, "manifest.json")
    record["checks"]["onnx"]["worst_image"] = "anna"
    (bundle / "manifest.json").write_text(json.dumps(record))
    exposed = Path(shutil.copyfile(release_keys[0], tmp_path / "exposed.pem"))
    exposed.chmod(0o644)
    done = run_cli("release", bundle, "--key", exposed, "--no-check", "-o", tmp_path / "release")
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stderr.split())
    assert "names images, which may be names of patients. Build the bundle anew" in told
    assert f"others can read it. Keep it to yourself: chmod 600 {exposed}" in told
    sound = ["release", small_bundles["fp32"], "--key", release_keys[0], "--no-check"]
    done = run_cli(*sound, "-o", tmp_path / "again")
    assert "patients" not in done.stderr
    assert "chmod" not in done.stderr


def test_python_takes_what_the_request_has(
    small_bundles: dict[str, Path], release_keys: tuple[Path, Path], tmp_path: Path
) -> None:
    bundle = edgeseg.load(small_bundles["fp32"])
    released = bundle.release(tmp_path / "release", release_keys[0], check=False)
    assert released.name == bundle.name
    assert released.verify(release_keys[1]).flips_per_10k == 0
    with pytest.raises(TypeError, match="chek"):
        bundle.release(tmp_path / "again", release_keys[0], chek=False)
