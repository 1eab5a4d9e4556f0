"""What computes a network in a browser, and the files that this takes."""

from __future__ import annotations

import abc
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .native_contents import native_contents
from .npm import Package, find_package, licence_of
from .surface import Kit

SYSTEM = "web"
RELAXED = "wasm-relaxed"
PLAIN = "wasm"
LICENCES = "LICENCES.txt"

LITERT_UTILS = Package(
    "@litertjs/wasm-utils",
    "2.5.3",
    {"dist/index.js": "e0e20bc28ab001ac732cf40d15b6eebd24fb0deaeb95eeba5100f51eebf015f2"},
)
LITERT = Package(
    "@litertjs/core",
    "2.5.3",
    {
        "dist/index.js": "e7daccc3a31eef890848a737ccb863ded5f046a6b40c3fdc0556495adeb5d9b3",
        "wasm/litert_wasm_compat_internal.js": (
            "4d8f894b7883654fd6e8439730aa41e79ceaab7d19184fc4f1f0b0f1a2a2c8a5"
        ),
        "wasm/litert_wasm_compat_internal.wasm": (
            "5255c8ad06eabdbd2522cdebf6b22fc10faf74625c23a49b9e072570cd1fa41c"
        ),
    },
)
ONNXRUNTIME = Package(
    "onnxruntime-web",
    "1.30.0",
    {
        "dist/ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
        "dist/ort-wasm-simd-threaded.mjs": (
            "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b"
        ),
        "dist/ort-wasm-simd-threaded.wasm": (
            "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
        ),
    },
)


class WebRuntime(abc.ABC):
    """Writes the network and what runs it into the folder that pages take over."""

    @abc.abstractmethod
    def write(self, kit: Kit, library: Path) -> dict[str, Any]:
        """Write into `library`, whose folder `model` is there.

        Returns:
            What the engine loads: names in `model`, as model.json says them.

        Raises:
            UsageError, TargetError: See `find_package`.
        """


class Native(WebRuntime):
    """The network's own libraries: a browser loads that with relaxed SIMD where it has it."""

    def write(self, kit: Kit, library: Path) -> dict[str, Any]:
        files = native_files(kit)
        for name in {name for one in files.values() for name in one.values()}:
            shutil.copyfile(kit.artifact_files[name], library / "model" / name)
        names = {RELAXED: "relaxed", PLAIN: "plain"}
        return {names[isa]: one for isa, one in files.items()}


class LiteRt(WebRuntime):
    """LiteRT.js without relaxed SIMD: that with it takes 2.5 times as long in Chromium 156."""

    def write(self, kit: Kit, library: Path) -> dict[str, Any]:
        runtime = library / "runtime"
        (runtime / "wasm").mkdir(parents=True)
        folder = find_package(LITERT, kit.packages)
        utils = find_package(LITERT_UTILS, kit.packages)
        for name in LITERT.files:
            if name.startswith("wasm/"):
                shutil.copyfile(folder / name, runtime / name)
        # Workers know no import map: the other package is named by its place.
        text = (folder / "dist/index.js").read_text(encoding="utf-8")
        text = text.replace(f'"{LITERT_UTILS.name}"', '"./wasm-utils.js"')
        (runtime / "litert.js").write_text(_without_map(text), encoding="utf-8")
        text = (utils / "dist/index.js").read_text(encoding="utf-8")
        (runtime / "wasm-utils.js").write_text(_without_map(text), encoding="utf-8")
        _write_licences(
            runtime,
            {LITERT: folder, LITERT_UTILS: utils},
            "litert.js and wasm-utils.js are their dist/index.js, with the place of the other "
            "file and without the line that names a source map.",
        )
        return _copy_artifact(kit, library)


class OnnxRuntimeWeb(WebRuntime):
    """ONNX Runtime Web, the form for the processor only."""

    def write(self, kit: Kit, library: Path) -> dict[str, Any]:
        runtime = library / "runtime"
        runtime.mkdir()
        folder = find_package(ONNXRUNTIME, kit.packages)
        for name in ONNXRUNTIME.files:
            place = runtime / Path(name).name.replace(".mjs", ".js")
            if place.suffix == ".wasm":
                shutil.copyfile(folder / name, place)
            else:
                text = (folder / name).read_text(encoding="utf-8")
                place.write_text(_without_map(text), encoding="utf-8")
        _write_licences(
            runtime,
            {ONNXRUNTIME: folder},
            "The files are those of its folder dist, .mjs as .js, without the line that names a "
            "source map.",
        )
        return _copy_artifact(kit, library)


RUNTIMES: Mapping[str, WebRuntime] = {
    "native": Native(),
    "litert": LiteRt(),
    "onnxruntime": OnnxRuntimeWeb(),
}


def native_files(kit: Kit) -> dict[str, dict[str, str]]:
    """Library and weights for each instruction set of WebAssembly; empty without a plain one."""
    found = {
        one.isa: {"library": one.library.name, "weights": one.weights.name}
        for one in native_contents(kit).variants
        if one.system == SYSTEM and one.isa in (PLAIN, RELAXED)
    }
    return found if PLAIN in found else {}


def _copy_artifact(kit: Kit, library: Path) -> dict[str, Any]:
    files = kit.artifact_files
    for name, path in files.items():
        shutil.copyfile(path, library / "model" / name)
    return {"plain": next(iter(files))}


def _without_map(text: str) -> str:
    """Browsers ask for a source map when their tools are open, and none is there."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("//# sourceMappingURL="))


def _write_licences(runtime: Path, folders: Mapping[Package, Path], changes: str) -> None:
    """Say whose the files are; the packages carry no text of a licence themselves."""
    lines = [f"{package}: {licence_of(folder)}" for package, folder in folders.items()]
    for package, folder in folders.items():
        for path in sorted((*folder.glob("LICEN[CS]E*"), *folder.glob("NOTICE*"))):
            if path.is_file() and not path.is_symlink():
                shutil.copyfile(path, runtime / f"{Path(package.name).name}-{path.name}")
    lines += [changes, "The texts of licences are at https://spdx.org/licenses/."]
    (runtime / LICENCES).write_text("\n".join(lines) + "\n", encoding="utf-8")
