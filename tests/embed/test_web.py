"""The web kit: what it takes and refuses, its packages, and how it is checked."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_bundle import IMAGE, write_small_bundle

from edgeseg.bundle.bundle import list_files, open_bundle
from edgeseg.embed import web as web_module
from edgeseg.embed.npm import Package, find_package, licence_of
from edgeseg.embed.surface import Kit
from edgeseg.embed.web import WebSurface
from edgeseg.embed.writer import write_kit
from edgeseg.errors import TargetError, UsageError
from edgeseg.records import sha256_of_file

LIBRARIES = [
    {
        "isa": isa,
        "system": system,
        "architecture": kind,
        "library": name,
        "weights": "all.weights",
        "flags": [],
    }
    for isa, system, kind, name in (
        ("wasm", "web", "wasm32", "network-wasm.wasm"),
        ("wasm-relaxed", "web", "wasm32", "relaxed.wasm"),
        ("x86-64-v3", "linux", "x86_64", "network.so"),
    )
]


def write_bundle(root: Path, runtime: str, files: dict[str, bytes], **changes: Any) -> Path:
    """A bundle of another runtime, whose artefact is `files`."""
    write_small_bundle(root)
    for path in (root / "artifact").iterdir():
        path.unlink()
    for name, content in files.items():
        (root / "artifact" / name).write_bytes(content)
    path = root / "manifest.json"
    record = json.loads(path.read_text())
    record |= {
        "runtime": runtime,
        "files": [one.model_dump() for one in list_files(root)],
    } | changes
    record["artifact"]["files"] = [f"artifact/{name}" for name in files]
    path.write_text(json.dumps(record))
    return root


def native_bundle(root: Path, libraries: list[dict[str, str]] = LIBRARIES, **changes: Any) -> Path:
    contents = {"libraries": libraries, "crc32": {}}
    names = {one[key] for one in LIBRARIES for key in ("library", "weights")}
    files = {"network.json": json.dumps(contents).encode()}
    return write_bundle(root, "native", files | {name: name.encode() for name in names}, **changes)


def write_page(bundle: Path, folder: Path, **options: Any) -> Path:
    write_kit(Kit(open_bundle(bundle)), WebSurface(), folder, **options)
    return folder


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return write_page(native_bundle(tmp_path / "bundle"), tmp_path / "kit", check=False)


def test_a_kit_holds_what_a_page_needs(page: Path, tmp_path: Path) -> None:
    model = json.loads((page / "edgeseg" / "model" / "model.json").read_text())
    folder = page / "edgeseg" / "model"
    # A digest in the name: what a browser has kept of another kit is never taken for it.
    for old in ("network-wasm.wasm", "relaxed.wasm", "all.weights"):
        stem, ending = old.rsplit(".", 1)
        (path,) = folder.glob(f"{stem}-{hashlib.sha256(old.encode()).hexdigest()[:12]}.{ending}")
        assert path.read_bytes() == old.encode()
    assert model["files"]["plain"]["library"].startswith("network-wasm-")
    assert model["files"]["relaxed"]["library"].startswith("relaxed-")
    named = {*model["files"]["plain"].values(), *model["files"]["relaxed"].values()}
    named.add(model["files"]["contract"])
    assert model["sha256"] == {name: sha256_of_file(folder / name) for name in named}
    identity = open_bundle(tmp_path / "bundle").short_identity
    assert model["identity"] == identity
    assert {path.name for path in folder.iterdir()} == {*named, "model.json"}  # nothing for Linux
    assert (page / "test" / "node_test.js").is_file()
    for path in page.rglob("*"):
        if path.suffix in (".html", ".mjs", ".js", ".md", ".webmanifest", ".css"):
            text = path.read_text()
            for name in ("MODEL", "RUNTIME", "NODE", "CLASSES", "LICENCE", "IDENTITY", "FILES"):
                assert f"@{name}@" not in text, path
    assert "lesion" in (page / "index.html").read_text()
    lines = (page / "README.md").read_text().splitlines()
    assert len(lines) < 60
    assert max(map(len, lines)) <= 100
    assert json.loads((page / "manifest.webmanifest").read_text())["name"].startswith("egeunet")


def test_names_of_a_user_are_text_and_no_markup(tmp_path: Path) -> None:
    bundle = native_bundle(tmp_path / "bundle")
    path = bundle / "manifest.json"
    record = json.loads(path.read_text())
    record["output"]["classes"] = ["skin", "<script>mole</script>"]
    path.write_text(json.dumps(record))
    text = (write_page(bundle, tmp_path / "kit", check=False) / "index.html").read_text()
    assert "&lt;script&gt;mole" in text
    assert "<script>mole" not in text


def test_names_of_a_user_are_no_json_either(tmp_path: Path) -> None:
    bundle = native_bundle(tmp_path / "bundle")
    path = bundle / "manifest.json"
    record = json.loads(path.read_text())
    name = 'A & B "C" <i>'
    record["model"]["name"] = name
    path.write_text(json.dumps(record))
    kit = write_page(bundle, tmp_path / "kit", check=False)
    made = json.loads((kit / "manifest.webmanifest").read_text())
    assert made["name"] == f"{name} segmentation"
    assert made["short_name"] == name
    assert made["icons"]


def test_the_next_step_can_be_pasted(tmp_path: Path) -> None:
    folder = tmp_path / "my kits" / "page"
    command, sentence = WebSurface().next_step(folder).splitlines()
    assert shlex.split(command) == [
        *("python3", "-m", "http.server", "8000", "--directory", str(folder))
    ]
    assert "http://localhost:8000" in sentence


def test_the_service_worker_names_each_file_once_and_knows_a_new_kit(
    page: Path, tmp_path: Path
) -> None:
    def version_of(folder: Path) -> str:
        return (folder / "sw.js").read_text().split('VERSION = "')[1].split('"')[0]

    text = (page / "sw.js").read_text()
    kept = json.loads(text.split("FILES = ")[1].split(";")[0])
    assert all((page / name).is_file() for name in kept)
    assert {"index.html", "app.js", "edgeseg/worker.js", "edgeseg/model/model.json"} <= set(kept)
    # What a browser may not need is kept when it has used it.
    assert not [name for name in kept if name.endswith((".wasm", ".weights", ".bin"))]
    same = write_page(tmp_path / "bundle", tmp_path / "same", check=False)
    assert version_of(same) == version_of(page)
    other = native_bundle(tmp_path / "other")
    changed = next((other / "artifact").glob("*.weights"))
    changed.write_bytes(b"other weights")
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["files"] = [one.model_dump(mode="json") for one in list_files(other)]
    (other / "manifest.json").write_text(json.dumps(manifest))
    assert version_of(write_page(other, tmp_path / "new", check=False)) != version_of(page)


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (write_small_bundle, "there is no OpenVINO for browsers. Build for one: edgeseg build"),
        (lambda root: native_bundle(root, LIBRARIES[2:]), "--target web"),
        (lambda root: native_bundle(root, LIBRARIES[1:]), "no library for WebAssembly"),
        (lambda root: write_bundle(root, "tensorrt", {"x.onnx": b""}), "needs a Jetson"),
    ],
)
def test_what_no_browser_runs_is_refused(
    make: Callable[[Path], Path], advice: str, tmp_path: Path
) -> None:
    bundle = make(tmp_path / "bundle")
    with pytest.raises(TargetError, match=advice):
        write_page(bundle, tmp_path / "kit")
    assert not (tmp_path / "kit").exists()


def test_bands_that_no_browser_decodes_are_refused(tmp_path: Path) -> None:
    bundle = native_bundle(tmp_path / "bundle")
    path = bundle / "manifest.json"
    record = json.loads(path.read_text())
    record["input"] |= {"channels": 2, "color": "grey and alpha"}
    path.write_text(json.dumps(record))
    np.save(bundle / "golden" / "image.npy", IMAGE[..., :2])
    with pytest.raises(TargetError, match="2 channels, and browsers decode red, green and blue"):
        write_page(bundle, tmp_path / "kit")


def make_package(folder: Path, version: str = "1.2.3") -> Package:
    place = folder / "@scope" / "thing"
    place.mkdir(parents=True)
    (place / "package.json").write_text(json.dumps({"version": version, "license": "MIT"}))
    (place / "index.js").write_text("export {};")
    digest = sha256_of_file(place / "index.js")
    return Package("@scope/thing", "1.2.3", {"index.js": digest})


def test_a_package_that_is_there_is_taken(tmp_path: Path) -> None:
    package = make_package(tmp_path)
    folder = find_package(package, tmp_path)
    assert folder == tmp_path / "@scope" / "thing"
    assert licence_of(folder) == "MIT"


def test_another_version_is_refused(tmp_path: Path) -> None:
    package = make_package(tmp_path, "1.2.4")
    with pytest.raises(UsageError, match=r"version 1\.2\.4.*Run: npm install @scope/thing@1\.2\.3"):
        find_package(package, tmp_path)
    with pytest.raises(UsageError, match=r"no package of npm.*--packages, after: npm install"):
        find_package(package, tmp_path / "elsewhere")


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    package = make_package(tmp_path)
    (tmp_path / "@scope" / "thing" / "index.js").write_text("steal();")
    with pytest.raises(TargetError, match=r"index\.js is not the file.*Install that version anew"):
        find_package(package, tmp_path)


def fake_npm(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_without_npm_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGESEG_CACHE_DIR", str(tmp_path / "cache"))
    package = make_package(tmp_path)
    monkeypatch.setattr("edgeseg.embed.npm.shutil.which", lambda _: None)
    with pytest.raises(UsageError, match=r"no npm on the PATH.*node_modules as --packages"):
        find_package(package, None)


def test_without_a_network_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGESEG_CACHE_DIR", str(tmp_path / "cache"))
    fake_npm(tmp_path / "bin", "echo npm error code ENOTFOUND >&2; exit 1", monkeypatch)
    package = make_package(tmp_path)
    with pytest.raises(UsageError, match=r"ENOTFOUND.*Connect to the network, or install"):
        find_package(package, None)
    # Nothing half-fetched is taken for the package later.
    assert not list((tmp_path / "cache").rglob("package.json"))


def test_a_package_is_fetched_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGESEG_CACHE_DIR", str(tmp_path / "cache"))
    package = make_package(tmp_path)
    (tmp_path / "@scope" / "thing").rename(tmp_path / "package")
    archive = tmp_path / "thing.tgz"
    subprocess.run(["tar", "-czf", archive, "-C", tmp_path, "package"], check=True)
    asked = tmp_path / "asked"
    fake_npm(tmp_path / "bin", f'echo "$@" >> {asked}; cp {archive} .', monkeypatch)
    first = find_package(package, None)
    assert (first / "index.js").is_file()
    assert find_package(package, None) == first
    (words,) = asked.read_text().splitlines()
    assert words.startswith("pack @scope/thing@1.2.3 --ignore-scripts")


def answering(answer: Any) -> Callable[..., Any]:
    return lambda *_: answer


GOOD = {
    "flips_per_10k": 0.5,
    "max_abs_diff": 1e-6,
    "milliseconds": 3.0,
    "passed": True,
    "backend": "WebAssembly",
}


def test_the_check_records_what_the_page_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_module, "find_browser", lambda: "/bin/chromium")
    monkeypatch.setattr(web_module, "report_of_page", answering(GOOD))
    kit = write_page(native_bundle(tmp_path / "bundle"), tmp_path / "kit")
    parity = json.loads((kit / "embed.json").read_text())["parity"]
    assert parity == {
        "where": "Chromium, WebAssembly",
        "status": "run",
        "flips_per_10k": 0.5,
        "max_abs_diff": 1e-6,
        "milliseconds": 3.0,
    }


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        ({**GOOD, "passed": False}, "another mask than its bundle.*--no-check writes"),
        ({"error": "no memory"}, "failed in Chromium: no memory. Build the bundle anew"),
    ],
)
def test_a_page_that_gives_another_mask_is_not_written(
    answer: Any, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_module, "find_browser", lambda: "/bin/chromium")
    monkeypatch.setattr(web_module, "report_of_page", answering(answer))
    with pytest.raises(TargetError, match=advice):
        write_page(native_bundle(tmp_path / "bundle"), tmp_path / "kit")
    assert not (tmp_path / "kit").exists()


def test_what_cannot_be_run_here_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = native_bundle(tmp_path / "bundle")
    monkeypatch.setattr(web_module, "find_browser", lambda: None)
    monkeypatch.setattr("edgeseg.embed.web.shutil.which", lambda _: None)
    kit = write_page(bundle, tmp_path / "kit")
    parity = json.loads((kit / "embed.json").read_text())["parity"]
    assert parity["status"] == "not run here"
    assert parity["reason"] == "there is no Chromium on the PATH"
    monkeypatch.setattr(web_module, "find_browser", lambda: "/bin/chromium")
    monkeypatch.setattr(web_module, "report_of_page", answering(None))
    kit = write_page(bundle, tmp_path / "kit", overwrite=True)
    parity = json.loads((kit / "embed.json").read_text())["parity"]
    assert "no answer in 60 s" in parity["reason"]
