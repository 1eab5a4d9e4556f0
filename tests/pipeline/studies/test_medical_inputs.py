"""What pydicom and nibabel ship is read or refused, and the page says which."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from medical_files import write_dicom, write_nifti
from support import needs

from edgeseg.pipeline.studies.medical_inputs import SHIPPED, main, table_of, try_file

pytestmark = needs("pydicom", "nibabel")
ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "docs" / "results" / "medical_inputs.json"


def test_a_file_is_read_or_refused_with_its_reason(tmp_path: Path) -> None:
    values = np.arange(64, dtype=np.uint8).reshape(8, 8)
    plain = try_file(write_dicom(tmp_path / "a.dcm", values), "made", "a.dcm")
    assert (plain.verdict, plain.form, plain.pictures) == ("read", "Explicit VR Little Endian", 1)
    signed = np.full((4, 4, 3), -5, np.int16)
    scan = try_file(write_nifti(tmp_path / "b.nii", signed), "made", "b.nii")
    assert (scan.verdict, scan.pictures) == ("read with a window", 3)
    several = write_nifti(tmp_path / "c.nii", np.zeros((4, 4, 3, 2), np.int16))
    refused = try_file(several, "made", "c.nii")
    assert refused.verdict == "refused"
    assert refused.reason.startswith("The file is no volume of one number a voxel")
    (tmp_path / "d.txt").write_text("text")
    assert try_file(tmp_path / "d.txt", "made", "d.txt").verdict == "other kind"


def test_the_page_has_the_table_of_the_results() -> None:
    files = json.loads(RESULTS.read_text(encoding="utf-8"))["files"]
    page = (ROOT / "docs" / "medical-images.md").read_text(encoding="utf-8")
    assert table_of(files) in page, "print it: python -m edgeseg.pipeline.studies.medical_inputs"


def test_the_results_are_those_of_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = json.loads(RESULTS.read_text(encoding="utf-8"))
    if known["versions"] != {package: version(package) for package in SHIPPED}:
        pytest.skip("other versions of pydicom and nibabel ship other files")
    made = tmp_path / "made.json"
    monkeypatch.setattr("sys.argv", ["medical_inputs", "--json-file", str(made)])
    main()
    assert json.loads(made.read_text(encoding="utf-8")) == known
    assert capsys.readouterr().out.startswith(table_of(known["files"]))
