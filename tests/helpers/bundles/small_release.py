"""A real release of a small bundle with a short measurement, made once for all tests of a run.

The fixtures are a plugin of conftest.py, which every test loads: what they need is imported late.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sharing import make_once


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

    from bench_reports import bench_shortly
    from signed_folder import make_keys

    from edgeseg.dossier.keys import public_path
    from edgeseg.pipeline.release import ReleaseRequest, release_bundle

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


def read_record(folder: Path, name: str) -> Any:
    """A JSON file of a release."""
    return json.loads((folder / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def small_release(small_bundles: dict[str, Path], shared_folder: Path) -> SmallRelease:
    """The release itself: do not change it."""
    return small_release_of(small_bundles, shared_folder)


@pytest.fixture
def release_keys(small_release: SmallRelease) -> tuple[Path, Path]:
    """Its private and its public key."""
    return small_release.keys


@pytest.fixture
def release_copy(small_release: SmallRelease, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(small_release.folder, tmp_path / "release"))
