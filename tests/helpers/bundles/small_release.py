"""A real release of a small bundle with a short measurement, made once for all tests of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_reports import bench_shortly
from sharing import make_once
from signed_folder import make_keys

from edgeseg.dossier.keys import public_path
from edgeseg.pipeline.release import ReleaseRequest, release_bundle


@dataclass(frozen=True)
class SmallRelease:
    """Attributes:
    folder: Of the release of the INT8 bundle. Copy it to change it.
    told: `Released.to_json` of it.
    bench: Report on both small bundles.
    keys: Private and public.
    """

    folder: Path
    told: Mapping[str, Any]
    bench: Path
    keys: tuple[Path, Path]

    @property
    def identity(self) -> str:
        return str(self.told["bundle_sha256"])


def small_release_of(bundles: Mapping[str, Path], shared: Path) -> SmallRelease:
    """The release.

    Args:
        bundles: The small ones by precision.
        shared: Folder of all workers.
    """

    def make(folder: Path) -> None:
        folder.mkdir()
        keys = make_keys(folder)
        bench = bench_shortly(bundles, folder)
        made = release_bundle(ReleaseRequest(bundles["int8"], keys[0], folder / "release", bench))
        (folder / "told.json").write_text(json.dumps(made.to_json()))

    folder = make_once(shared, "small-release", make)
    private = folder / "key.pem"
    return SmallRelease(
        folder=folder / "release",
        told=json.loads((folder / "told.json").read_text()),
        bench=folder / "bench.json",
        keys=(private, public_path(private)),
    )
