"""The web: a page, and the module of JavaScript that another page takes over."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, ClassVar

from ..bundle.identity import IDENTITY_LENGTH
from ..errors import TargetError
from ..records import sha256_of_file
from .browser import find_browser, report_of_page
from .surface import CONTRACT_FILE, SOURCES, Kit, Parity, Surface, copy_sources, fill
from .web_runtimes import RUNTIMES, native_files

SOURCE = SOURCES / "web"
LIBRARY = "edgeseg"  # the folder that other pages take over
MODEL = "model"
NODE_TEST = "node_test.js"
SERVICE_WORKER = "sw.js"
CHECK_LIMIT_S = 60.0
# What a page may load once: a service worker keeps what was used of these, and all else at once.
LARGE = (".wasm", ".tflite", ".onnx", ".weights")
NOT_KEPT = ("golden", "test", "README.md")
BUILD_NATIVE = "edgeseg build --target web ..."


class WebSurface(Surface):
    """A page that runs in any browser of today, and works without a network once it was opened."""

    name = "web"
    title = "a web page"
    runtimes: ClassVar[Mapping[str, str]] = {
        "native": "the network itself in WebAssembly",
        "litert": "LiteRT.js",
        "onnxruntime": "ONNX Runtime Web",
    }
    refusals: ClassVar[Mapping[str, str]] = {
        "openvino": f"there is no OpenVINO for browsers. Build for one: {BUILD_NATIVE}",
        "tensorrt": f"it needs a Jetson. Build for a browser: {BUILD_NATIVE}",
        "tensorrt-rtx": f"it needs a graphics card. Build for a browser: {BUILD_NATIVE}",
    }

    def require(self, kit: Kit) -> None:
        super().require(kit)
        channels = kit.bundle.inputs.channels
        if channels not in (1, 3):
            raise TargetError(
                f"{kit.bundle.folder} takes pictures of {channels} channels, and browsers decode "
                "red, green and blue. Build a network of 1 or 3 channels, or embed it with --cpp."
            )
        if kit.runtime == "native" and not native_files(kit):
            raise TargetError(
                f"{kit.bundle.folder} holds no library for WebAssembly. Build one that does: "
                f"{BUILD_NATIVE}"
            )

    def write(self, kit: Kit, folder: Path) -> None:
        runtime = RUNTIMES[kit.runtime]
        library = folder / LIBRARY
        model = library / MODEL
        model.mkdir(parents=True)
        files = runtime.write(kit, library)
        for path in (SOURCE / "engines" / kit.runtime).iterdir():
            place = folder / "test" if path.name == NODE_TEST else library
            place.mkdir(exist_ok=True)
            shutil.copyfile(path, place / path.name)
        copy_sources(SOURCE / "library", library)
        kit.write_contract(model / CONTRACT_FILE)
        record = describe(kit, {**files, "contract": CONTRACT_FILE}, _name_by_digest(model))
        (model / "model.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        kit.write_golden(folder / "golden")
        copy_sources(SOURCE / "test", folder / "test")
        for place in (library, folder / "test"):  # node takes .js for modules then
            shutil.copyfile(SOURCE / "package.json", place / "package.json")
        values = {
            "MODEL": escape(record["name"]),
            "RUNTIME": self.runtimes[kit.runtime],
            "NODE": _node_words(kit.runtime),
            "CLASSES": escape(", ".join(kit.bundle.outputs.classes[1:])),
            "LICENCE": escape(record["weights_licence"]),
            "IDENTITY": record["identity"],
        }
        copy_sources(SOURCE / "page", folder, values)
        _write_manifest(folder / "manifest.webmanifest", record["name"])
        _write_service_worker(folder)

    def check(self, kit: Kit, folder: Path) -> Parity:
        """Run the golden image in Chromium, or in node where there is none.

        Raises:
            TargetError: The page failed, or gives another mask.
        """
        browser = find_browser()
        if browser is not None:
            result = report_of_page(browser, folder, "test/index.html?report", CHECK_LIMIT_S)
            if result is None:
                return Parity(browser, reason=f"the page gave no answer in {CHECK_LIMIT_S:.0f} s")
            return _parity(kit, result, "Chromium")
        node = shutil.which("node")
        if node is None or kit.runtime != "native":
            return Parity(self.title, reason="there is no Chromium on the PATH")
        run = subprocess.run(
            [node, str(folder / "test" / NODE_TEST)],
            capture_output=True,
            text=True,
            timeout=CHECK_LIMIT_S,
            check=False,
        )
        lines = run.stdout.splitlines()
        failed = {"error": (run.stderr.strip().splitlines() or ["node failed"])[-1]}
        return _parity(kit, json.loads(lines[-1]) if lines else failed, "node")

    def next_step(self, folder: Path) -> str:
        return (
            f"python3 -m http.server 8000 --directory {shlex.quote(str(folder))}\n"
            "serves it on this machine; then open http://localhost:8000 in a browser."
        )


def describe(
    kit: Kit, files: Mapping[str, Any], names: Mapping[str, tuple[str, str]]
) -> dict[str, Any]:
    """What the page says of its network, and which files its engine loads.

    Args:
        files: Names as the artefact has them.
        names: For each of these, its name in the kit and its SHA-256.
    """
    manifest = kit.bundle.manifest
    return {
        "name": manifest.model.name,
        "runtime": manifest.runtime,
        "precision": manifest.precision,
        "identity": kit.bundle.short_identity,
        "weights_licence": manifest.model.weights_licence or "not stated",
        "input_shape": kit.contract["input"]["tensor"]["shape"],
        "files": _renamed(files, names),
        "sha256": dict(names.values()),
    }


def _renamed(files: Mapping[str, Any], names: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    return {
        key: names[one][0] if isinstance(one, str) else _renamed(one, names)
        for key, one in files.items()
    }


def _name_by_digest(model: Path) -> dict[str, tuple[str, str]]:
    """Put a file's digest into its name: no browser takes another kit's, kept from before, for it.

    Returns:
        The new name and the SHA-256 by the old names.
    """
    names = {}
    for path in sorted(model.iterdir()):
        digest = sha256_of_file(path)
        name = f"{path.stem}-{digest[:IDENTITY_LENGTH]}{path.suffix}"
        path.rename(path.with_name(name))
        names[path.name] = name, digest
    return names


def _write_manifest(path: Path, name: str) -> None:
    """Name the app; what is text in a page is none in JSON."""
    record = json.loads((SOURCE / "page" / path.name).read_text(encoding="utf-8"))
    record |= {"name": f"{name} segmentation", "short_name": name}
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _node_words(runtime: str) -> str:
    if runtime != "native":
        return ""
    return "`node test/node_test.js` does the same without a browser."


def _write_service_worker(folder: Path) -> None:
    """Name the files and what they hold, so that another kit replaces this one in browsers."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = [path.relative_to(folder).as_posix() for path in paths]
    digest = hashlib.sha256()
    for name, path in zip(names, paths, strict=True):
        digest.update(f"{name} {sha256_of_file(path)}\n".encode())
    kept = [
        name
        for name, path in zip(names, paths, strict=True)
        if name.split("/")[0] not in NOT_KEPT
        and name != SERVICE_WORKER
        and not name.endswith(LARGE)
        and "/runtime/wasm/" not in f"/{name}"
    ]
    path = folder / SERVICE_WORKER
    values = {
        "VERSION": digest.hexdigest()[:16],
        "FILES": json.dumps(kept, indent=2),
    }
    path.write_text(fill(path.read_text(encoding="utf-8"), values), encoding="utf-8")


def _parity(kit: Kit, result: Any, where: str) -> Parity:
    if not isinstance(result, dict) or "error" in result:
        reason = result["error"] if isinstance(result, dict) else result
        raise TargetError(
            f"The page of {kit.bundle.folder} failed in {where}: {reason}. Build the bundle anew; "
            "--no-check writes the page in spite of it."
        )
    parity = Parity(
        f"{where}, {result['backend']}",
        float(result["flips_per_10k"]),
        float(result["max_abs_diff"]),
        float(result["milliseconds"]),
    )
    if not result["passed"]:
        raise TargetError(
            f"The page of {kit.bundle.folder} gives another mask than its bundle: {parity}, and "
            f"a probability differs by {parity.max_abs_diff:.2g}. Build the bundle anew for this "
            "runtime, or choose another with --runtime; --no-check writes the page in spite of it."
        )
    return parity
