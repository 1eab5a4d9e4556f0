"""What network.json in a bundle of the runtime native says, read as if somebody had changed it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BundleError
from ..storage.reading import read_json
from .surface import Kit

CONTENTS = "network.json"
PREFIX = "edgeseg"  # of names in C, in bundles that name none


@dataclass(frozen=True)
class NativeVariant:
    """The network for one kind of machine.

    Attributes:
        isa: Its instruction set, as `edgeseg build --option isa=` names it.
        system: "linux", which is Android too, "web", "ios", "macos", ...
        architecture: "aarch64", "x86_64", "wasm32".
        flags: What the processor needs, as /proc/cpuinfo names it.
        library: The shared or static library.
        weights: The file that it reads.
    """

    isa: str
    system: str
    architecture: str
    flags: tuple[str, ...]
    library: Path
    weights: Path


@dataclass(frozen=True)
class NativeContents:
    """Attributes:
    prefix: Of the names in C.
    variants: The best of a machine first.
    """

    prefix: str
    variants: tuple[NativeVariant, ...]


def native_contents(kit: Kit) -> NativeContents:
    """Read which library is for which machine.

    Raises:
        BundleError: The file is missing or damaged, or names what is none of the artefact's files.
    """
    path = kit.artifact_files.get(CONTENTS)
    try:
        record = read_json(path) if path is not None else {}
        prefix = record.get("prefix", PREFIX)
        found = NativeContents(prefix, tuple(_variant(kit, one) for one in record["libraries"]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _damaged(kit, f"{type(error).__name__}: {error}") from error
    if not isinstance(prefix, str) or not re.fullmatch(r"[A-Za-z_]\w{0,40}", prefix, re.ASCII):
        raise _damaged(kit, f"the prefix {prefix!r:.60}")
    return found


def _variant(kit: Kit, record: Mapping[str, Any]) -> NativeVariant:
    words = (record["isa"], record["system"], record["architecture"], *record["flags"])
    for word in words:
        if not isinstance(word, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", word):
            raise _damaged(kit, f"{word!r:.60}")
    for name in (record["library"], record["weights"]):
        if name not in kit.artifact_files:
            raise _damaged(kit, f"{name!r:.60} is no file of the artefact")
    isa, system, architecture, *flags = words
    library, weights = (kit.artifact_files[record[key]] for key in ("library", "weights"))
    return NativeVariant(isa, system, architecture, tuple(flags), library, weights)


def _damaged(kit: Kit, what: str) -> BundleError:
    return BundleError(
        f"{CONTENTS} of {kit.bundle.folder} is damaged or was changed ({what}). Do not use the "
        "bundle; copy it again, or build it anew."
    )
