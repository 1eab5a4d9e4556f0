"""Android kits that are written, compiled and run here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from kotlin_compiler import Kotlin
from support import INSTALL_SCRIPT, UNTESTED

from edgeseg.embed.embed import embed_bundle

C_OPTIONS = ("-std=c11", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror")


def android_kit(bundle: Path, folder: Path) -> Path:
    """Write the kit of a bundle, and return its folder."""
    return embed_bundle(bundle, "android", folder).folder


def kit_sources(kit: Path) -> list[Path]:
    """Folders with the Kotlin of an Android kit: its code, its tests, the sample."""
    kinds = ("main", "androidTest", "test")
    found = [kit / "edgeseg" / "src" / kind / "kotlin" for kind in kinds]
    sample = kit / "sample" / "src" / "main" / "kotlin"
    return [folder for folder in (*found, sample) if folder.is_dir()]


def compile_jni(kit: Path, folder: Path) -> None:
    """Put what an emulator would load into the new `folder`: the network's library and JNI's."""
    if shutil.which("gcc") is None:
        UNTESTED.add(f"gcc (run {INSTALL_SCRIPT})")
        pytest.skip("no gcc")
    main = kit / "edgeseg" / "src" / "main"
    shutil.copytree(main / "jniLibs" / "x86_64", folder)
    (assets,) = (main / "assets" / "edgeseg").iterdir()
    command = ["gcc", *C_OPTIONS, "-shared", "-fPIC", *java_includes()]
    library = folder / f"libedgeseg_{assets.name}.so"
    subprocess.run([*command, main / "cpp" / "edgeseg_jni.c", "-o", library, "-ldl"], check=True)


def java_includes() -> list[str]:
    java = shutil.which("javac")
    assert java is not None
    folder = Path(java).resolve().parents[1] / "include"
    return ["-I", str(folder), "-I", str(folder / "linux")]


def run_native(
    kotlin: Kotlin, kit: Path, libraries: Path, main: str, *arguments: str, path: list[Path]
) -> subprocess.CompletedProcess[str]:
    module = kit / "edgeseg"
    return kotlin.run(
        main,
        *arguments,
        path=path,
        properties={
            "assets": f"{module / 'src' / 'main' / 'assets'}:{module / 'golden'}",
            "java.library.path": str(libraries),
        },
        environment={"LD_LIBRARY_PATH": str(libraries)},
    )
