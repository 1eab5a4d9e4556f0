"""The C++ program beside Python."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_bundle import write_small_bundle
from support import INSTALL_SCRIPT

from edgeseg.bundle.bundle import open_bundle
from edgeseg.data.folder import open_sample
from edgeseg.errors import UsageError
from edgeseg.pipeline.studies.cpp_program import ProgramResult, compare_program


@pytest.mark.slow
def test_the_masks_are_pythons(small_bundles: dict[str, Path]) -> None:
    if shutil.which("cmake") is None:
        pytest.skip(f"no cmake; run {INSTALL_SCRIPT}")
    result = compare_program(open_bundle(small_bundles["fp32"]), open_sample().first(2))
    assert result.images == 2
    assert result.pixels > 100_000
    assert result.flips == 0
    assert result.build_s > 0


def test_a_result_reads_well() -> None:
    told = str(ProgramResult("net", 3.21, 2, 20_000, 3, 2.5))
    assert told == (
        "net: built in 3.2 s; 3 of 20,000 pixels of 2 pictures flip, 1.50 of 10,000 "
        "(worst picture 2.5)"
    )


def test_a_network_of_other_pictures_is_refused(tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path / "bundle")
    path = folder / "manifest.json"
    text = path.read_text().replace('"color": "RGB"', '"color": "grey", "channels": 1')
    path.write_text(text)
    with pytest.raises(UsageError, match=r"takes 1 channels, and the sample is RGB\. Name a"):
        compare_program(open_bundle(folder), [])
