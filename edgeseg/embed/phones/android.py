"""Kits for Android: a Gradle module in Kotlin over LiteRT or a compiled network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from xml.sax.saxutils import escape

from ..surface import CONTRACT_FILE, SOURCES, Kit, Parity, Surface, copy_sources
from .android_native import native_values, phone_libraries, write_native
from .shared import (
    PHONE_REFUSALS,
    boolean,
    copy_into,
    phone_values,
    require_camera,
    short_name,
    write_tensors,
)

MODULE = "edgeseg"
# The first version of Android: LiteRT names 12, and has libraries for 64 bits only.
MIN_SDK = {"litert": "31", "native": "24"}


class AndroidSurface(Surface):
    """A Gradle module that an app includes, with tests and a golden picture."""

    name = "android"
    title = "Android module in Kotlin"
    runtimes: ClassVar[Mapping[str, str]] = {
        "litert": "LiteRT's CompiledModel on the processor",
        "native": "the network's library, by way of JNI",
    }
    refusals: ClassVar[Mapping[str, str]] = {
        "openvino": "OpenVINO has no library for Android phones. Build with --target android.",
        **PHONE_REFUSALS,
    }

    def require(self, kit: Kit) -> None:
        super().require(kit)
        require_camera(self.name, kit)
        if kit.runtime == "native":
            phone_libraries(kit, short_name(kit))

    def write(self, kit: Kit, folder: Path) -> None:
        module, sources = folder / MODULE, SOURCES / self.name
        main, values = module / "src" / "main", text_values(kit)
        package = Path(*values["PACKAGE"].split("."))
        copy_sources(sources / "project", folder, values)
        copy_sources(sources / kit.runtime, module, values)
        (module / "README.md").rename(folder / "README.md")
        for part in ("common", kit.runtime):
            copy_sources(sources / "kotlin" / part, main / "kotlin" / package, values)
        for part, kind in (("common", "androidTest"), (kit.runtime, "test")):
            copy_sources(
                sources / "checks" / part, module / "src" / kind / "kotlin" / package, values
            )
        (main / "kotlin" / package / "Network.kt").write_text(
            network_file(kit, values["PACKAGE"]), encoding="utf-8"
        )
        (main / "AndroidManifest.xml").write_text("<manifest />\n", encoding="utf-8")
        assets = main / "assets" / asset_folder(kit)
        kit.write_golden(module / "golden")
        if kit.runtime == "native":
            write_native(kit, short_name(kit), main, assets)
        else:
            for path in kit.artifact_files.values():
                copy_into(path, assets)
            write_tensors(kit, module / "golden")
        kit.write_contract(folder / CONTRACT_FILE)

    def check(self, kit: Kit, folder: Path) -> Parity:
        return Parity(self.title, reason="there is no Android phone and no Gradle here")

    def next_step(self, folder: Path) -> str:
        return f"Copy {folder / MODULE} into your app; {folder / 'README.md'} says how to use it."


def asset_folder(kit: Kit) -> str:
    return f"{MODULE}/{short_name(kit)}"


def text_values(kit: Kit) -> dict[str, str]:
    """Values of the texts of a kit."""
    name = short_name(kit)
    native = native_values(kit, name) if kit.runtime == "native" else {}
    return {
        **phone_values(kit),
        "NAME": name,
        "PACKAGE": f"{MODULE}.{name}",
        "MIN_SDK": MIN_SDK[kit.runtime],
        "MODEL_XML": escape(kit.bundle.manifest.model.name, {'"': "&quot;"}),
        **native,
    }


def network_file(kit: Kit, package: str) -> str:
    """Kotlin's constants of a network."""
    classes = ", ".join(map(quoted, kit.bundle.outputs.classes))
    if kit.runtime == "native":
        return (
            f"package {package}\n\n"
            "/** Where the network's weights lie among the app's assets. */\n"
            f"internal const val ASSETS = {quoted(asset_folder(kit))}\n\n"
            "/** Names of the labels 0, 1, ... */\n"
            f"internal val CLASSES = listOf({classes})\n"
        )
    asset = f"{asset_folder(kit)}/{next(iter(kit.artifact_files))}"
    return (
        f"package {package}\n\n"
        "/** The network's file among the app's assets. */\n"
        f"internal const val MODEL_ASSET = {quoted(asset)}\n\n"
        "/** What the network takes and gives. */\n"
        f"internal val NETWORK = {kotlin_contract(kit.contract)}\n"
    )


def kotlin_contract(contract: Mapping[str, Any]) -> str:
    """A contract as an expression of Kotlin.

    Args:
        contract: As `Kit.contract` gives it.
    """
    inputs, outputs = contract["input"], contract["output"]
    fields = {
        "channels": inputs["channels"],
        "height": inputs["height"],
        "width": inputs["width"],
        "channelsLast": boolean(inputs["tensor"]["layout"] == "NHWC"),
        "normalization": _normalization(inputs["normalization"]),
        "white": inputs.get("white", 65535),
        "maskChannels": outputs["channels"],
        "maskChannelsLast": boolean(outputs["tensor"]["layout"] == "NHWC"),
        "threshold": f"{float(outputs['threshold'])!r}f",
        "classes": f"listOf({', '.join(map(quoted, outputs['classes']))})",
    }
    lines = "".join(f"    {name} = {value},\n" for name, value in fields.items())
    return f"NetworkContract(\n{lines})"


def _normalization(how: Mapping[str, Any]) -> str:
    if how["kind"] == "min_max":
        return f"Normalization.MinMax(low = {float(how['low'])!r}, high = {float(how['high'])!r})"
    mean, std = (", ".join(f"{float(value)!r}f" for value in how[key]) for key in ("mean", "std"))
    return f"Normalization.MeanStd(floatArrayOf({mean}), floatArrayOf({std}))"


def quoted(text: str) -> str:
    """A literal of Kotlin."""
    return json.dumps(text).replace("$", "\\$")
