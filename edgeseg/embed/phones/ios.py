"""Kits for iOS: a Swift package over LiteRT or a compiled network."""

from __future__ import annotations

import json
import plistlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ...errors import TargetError
from ..native_contents import NativeVariant
from ..surface import CONTRACT_FILE, SOURCES, Kit, Parity, Surface, copy_sources
from .native_files import NativeFiles, native_files
from .shared import (
    PHONE_REFUSALS,
    boolean,
    copy_into,
    phone_values,
    require_camera,
    short_name,
    write_tensors,
)

MODULE_MAP = "module.modulemap"
IOS, MACOS = "ios", "macos"


class IosSurface(Surface):
    """A Swift package that an app takes up, with tests and a golden picture."""

    name = "ios"
    title = "Swift package"
    runtimes: ClassVar[Mapping[str, str]] = {
        "litert": "LiteRT's CompiledModel on the processor",
        "native": "the network's static library",
    }
    refusals: ClassVar[Mapping[str, str]] = {
        "openvino": "OpenVINO has no library for iOS. Build with --target android.",
        **PHONE_REFUSALS,
    }

    def require(self, kit: Kit) -> None:
        super().require(kit)
        require_camera(self.name, kit)
        if kit.runtime == "native":
            apple_libraries(kit)

    def write(self, kit: Kit, folder: Path) -> None:
        sources, module = SOURCES / self.name, module_name(kit)
        values = {**phone_values(kit), **module_values(kit)}
        code, tests = folder / "Sources" / module, folder / "Tests" / f"{module}Tests"
        copy_sources(sources / kit.runtime, folder, values)
        for part in ("common", kit.runtime):
            copy_sources(sources / "swift" / part, code, values)
            copy_sources(sources / "checks" / part, tests, values)
        (code / "Network.swift").write_text(network_file(kit), encoding="utf-8")
        kit.write_golden(tests / "golden")
        if kit.runtime == "native":
            module_map = folder / MODULE_MAP
            write_framework(kit, folder / f"{values['C_MODULE']}.xcframework", module_map)
            module_map.unlink()
            copy_into(apple_libraries(kit)[0].weights, code / "Resources")
        else:
            for path in kit.artifact_files.values():
                copy_into(path, code / "Resources")
            write_tensors(kit, tests / "golden")
        kit.write_contract(folder / CONTRACT_FILE)

    def check(self, kit: Kit, folder: Path) -> Parity:
        return Parity(self.title, reason="there is no Swift here; it was not compiled either")

    def next_step(self, folder: Path) -> str:
        return f"Add {folder} to an app in Xcode; {folder / 'README.md'} says how to use it."


def module_name(kit: Kit) -> str:
    return f"Edgeseg{short_name(kit).capitalize()}"


def module_values(kit: Kit) -> dict[str, str]:
    """Values of the package's texts."""
    values = {"MODULE": module_name(kit), "C_MODULE": f"C{module_name(kit)}"}
    if kit.runtime != "native":
        return {**values, "MODEL_FILE": next(iter(kit.artifact_files))}
    libraries = apple_libraries(kit)
    has_mac = any(one.system == MACOS for one in libraries)
    return {
        **values,
        **native_files(kit).values,
        "WEIGHTS": libraries[0].weights.name,
        "PLATFORMS": ".iOS(.v15), .macOS(.v12)" if has_mac else ".iOS(.v15)",
        "ALSO_MAC": " and macOS 12" if has_mac else "",
        "SLICES": "phones and ARM64 Macs" if has_mac else "phones",
        "HOW_TO_TEST": (
            "`swift test` on a Mac."
            if has_mac
            else "Xcode: choose a phone, then Product, Test. To test on a Mac, build the bundle "
            "with\n`--option isa=here+ios+macos --option static=true`."
        ),
    }


def apple_libraries(kit: Kit) -> tuple[NativeVariant, ...]:
    """The library for phones, then that for Macs where the bundle has a static one.

    Raises:
        TargetError: There is none for phones.
    """
    files = native_files(kit)
    found = [one for one in files.libraries if one.system == IOS]
    if not found:
        raise TargetError(
            f"{kit.bundle.folder} has no library for iPhones. Build it with --runtime native "
            "--option isa=here+ios."
        )
    return (found[0], *_for_macs(files, found[0].weights))


def _for_macs(files: NativeFiles, weights: Path) -> tuple[NativeVariant, ...]:
    """Static libraries that read the same weights: a package has one file of them."""
    return tuple(
        one
        for one in files.libraries
        if one.system == MACOS
        and one.weights == weights
        and one.library.with_suffix(".a").is_file()
    )


def write_framework(kit: Kit, folder: Path, module_map: Path) -> None:
    """Write static libraries and their header as Xcode takes them, an .xcframework."""
    module = folder.stem
    header = native_files(kit).header
    slices: list[dict[str, Any]] = []
    for one in apple_libraries(kit):
        identifier = f"{one.system}-arm64"
        archive = one.library.with_suffix(".a")
        copy_into(archive, folder / identifier)
        # A folder of its own: Xcode puts the headers of all frameworks into one.
        for path in (header, module_map):
            copy_into(path, folder / identifier / "Headers" / module)
        slices.append(
            {
                "LibraryIdentifier": identifier,
                "LibraryPath": archive.name,
                "HeadersPath": "Headers",
                "SupportedArchitectures": ["arm64"],
                "SupportedPlatform": one.system,
            }
        )
    record = {
        "AvailableLibraries": slices,
        "CFBundlePackageType": "XFWK",
        "XCFrameworkFormatVersion": "1.0",
    }
    (folder / "Info.plist").write_bytes(plistlib.dumps(record))


def network_file(kit: Kit) -> str:
    """Swift's constants of a network."""
    classes = ", ".join(map(quoted, kit.bundle.outputs.classes))
    is_native = kit.runtime == "native"
    file = apple_libraries(kit)[0].weights.name if is_native else next(iter(kit.artifact_files))
    lines = [
        "/// What the network is called and takes.",
        "enum Network {",
        "    /// Among the package's resources.",
        f"    static let file = {quoted(file)}",
        "    /// Names of the labels 0, 1, ...",
        f"    static let classes = [{classes}]",
    ]
    if not is_native:
        lines.append(f"    static let contract = {swift_contract(kit.contract)}")
    return "\n".join([*lines, "}", ""])


def swift_contract(contract: Mapping[str, Any]) -> str:
    """A contract as an expression of Swift, indented for a static property.

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
        "maskChannels": outputs["channels"],
        "maskChannelsLast": boolean(outputs["tensor"]["layout"] == "NHWC"),
        "threshold": repr(float(outputs["threshold"])),
    }
    lines = ",\n".join(f"        {name}: {value}" for name, value in fields.items())
    return f"NetworkContract(\n{lines})"


def _normalization(how: Mapping[str, Any]) -> str:
    if how["kind"] == "min_max":
        return f".minMax(low: {float(how['low'])!r}, high: {float(how['high'])!r})"
    mean, std = (", ".join(repr(float(value)) for value in how[key]) for key in ("mean", "std"))
    return f".meanStd(mean: [{mean}], std: [{std}])"


def quoted(text: str) -> str:
    """A literal of Swift, which writes other signs as they are."""
    return json.dumps(text, ensure_ascii=False)
