"""network.json of a bundle that somebody changed: nothing outside the bundle is read or written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_bundle import write_small_bundle

from edgeseg.bundle.bundle import list_files, open_bundle
from edgeseg.embed.native_contents import native_contents
from edgeseg.embed.surface import Kit
from edgeseg.errors import BundleError

GOOD = {
    "isa": "x86-64-v3",
    "system": "linux",
    "architecture": "x86_64",
    "flags": ["avx2", "sse4_2"],
    "library": "network-x86-64-v3.so",
    "weights": "network.weights",
}


def kit_of(folder: Path, contents: Any) -> Kit:
    """A kit of a small bundle with that network.json."""
    bundle = write_small_bundle(folder / "bundle")
    for name in ("network-x86-64-v3.so", "network.weights"):
        (bundle / "artifact" / name).write_bytes(b"x")
    (bundle / "artifact" / "network.json").write_text(json.dumps(contents))
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    names = sorted(f"artifact/{one.name}" for one in (bundle / "artifact").iterdir())
    manifest["artifact"]["files"] = names
    manifest["files"] = [one.model_dump() for one in list_files(bundle)]
    path.write_text(json.dumps(manifest))
    return Kit(open_bundle(bundle))


def test_sound_contents_are_read(tmp_path: Path) -> None:
    found = native_contents(kit_of(tmp_path, {"prefix": "lesion", "libraries": [GOOD]}))
    assert found.prefix == "lesion"
    assert found.variants[0].flags == ("avx2", "sse4_2")


@pytest.mark.parametrize(
    "contents",
    [
        {},
        [],
        {"libraries": [{}]},
        {"libraries": [{**GOOD, "isa": "x/../../../tmp/evil"}]},
        {"libraries": [{**GOOD, "weights": "/etc/hostname"}]},
        {"libraries": [{**GOOD, "library": "../source/model.onnx"}]},
        {"libraries": [{**GOOD, "flags": ['avx2")) system("x']}]},
        {"libraries": [{**GOOD, "flags": [3]}]},
        {"libraries": [GOOD], "prefix": "a; int main"},
        {"libraries": [GOOD], "prefix": 3},
    ],
)
def test_others_are_refused(tmp_path: Path, contents: Any) -> None:
    with pytest.raises(BundleError, match=r"damaged or was changed.*Do not use the bundle"):
        native_contents(kit_of(tmp_path, contents))
