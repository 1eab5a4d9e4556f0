"""What the Android module of a compiled network holds beside the Kotlin that all modules share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...errors import TargetError
from ..native_contents import NativeVariant
from ..surface import Kit
from .native_files import NativeFiles, native_files

# What a processor needs, by flags of /proc/cpuinfo, as edgeseg_jni.c asks the system.
NEEDS = {frozenset({"asimd"}): "0", frozenset({"asimd", "asimddp"}): "PRODUCTS_OF_BYTES"}
# All that a processor of such a phone or emulator is sure to have.
X86_FLAGS = frozenset({"sse4_2", "ssse3", "popcnt", "cx16"})


@dataclass(frozen=True)
class PhoneLibrary:
    """A library as Android packs it.

    Attributes:
        abi: What Android calls the machine.
        name: Of the file: Android takes only those that begin with "lib".
        needs: Of the processor, in C.
        source: Where it comes from.
    """

    abi: str
    name: str
    needs: str
    source: NativeVariant

    @property
    def entry(self) -> str:
        """Of the table in C."""
        return f'    {{"{self.name}", "{self.source.weights.name}", {self.needs}}},'


def phone_libraries(kit: Kit, short_name: str) -> tuple[PhoneLibrary, ...]:
    """Libraries for phones and, where the bundle has it, for emulators.

    Those of a machine are side by side, the best first.

    Raises:
        TargetError: There is none for phones.
    """
    # Bundles of INT8 once named the better library for phones second.
    found = tuple(
        sorted(
            _phone_libraries(native_files(kit), short_name),
            key=lambda one: (one.abi, -len(one.source.flags)),
        )
    )
    if not any(one.abi == "arm64-v8a" for one in found):
        raise TargetError(
            f"{kit.bundle.folder} has no library for phones. Build it with --target android, or "
            "with --option isa=here+aarch64."
        )
    return found


def _phone_libraries(files: NativeFiles, short_name: str) -> Iterator[PhoneLibrary]:
    for one in files.libraries:
        if one.system != "linux":
            continue
        name = f"libedgeseg_{short_name}_{one.isa.replace('-', '_')}.so"
        needs = NEEDS.get(frozenset(one.flags))
        if one.architecture == "aarch64" and needs is not None:
            yield PhoneLibrary("arm64-v8a", name, needs, one)
        elif one.architecture == "x86_64" and X86_FLAGS.issuperset(one.flags):
            yield PhoneLibrary("x86_64", name, "0", one)


def native_values(kit: Kit, short_name: str) -> dict[str, str]:
    """Values of the module's texts."""
    libraries = phone_libraries(kit, short_name)
    abis = dict.fromkeys(one.abi for one in libraries)
    tables = {
        abi: "\n".join(one.entry for one in libraries if one.abi == abi)
        for abi in ("arm64-v8a", "x86_64")
    }
    return {
        **native_files(kit).values,
        "JAVA_PACKAGE": f"edgeseg_{short_name}",
        "ABIS": " and ".join(abis),
        "ABI_LIST": ", ".join(f'"{abi}"' for abi in abis),
        "ARM64_LIBRARIES": tables["arm64-v8a"],
        "X86_64_LIBRARIES": tables["x86_64"],
    }


def write_native(kit: Kit, short_name: str, main: Path, assets: Path) -> None:
    """Write libraries, weights and the header into the module's folder `main`."""
    for one in phone_libraries(kit, short_name):
        place = main / "jniLibs" / one.abi / one.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(one.source.library, place)
        assets.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(one.source.weights, assets / one.source.weights.name)
    header = native_files(kit).header
    shutil.copyfile(header, main / "cpp" / header.name)
