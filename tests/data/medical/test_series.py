"""NIfTI volumes of DICOM series: each voxel lies where its pixel lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from medical_files import PATIENT, write_dicom
from numpy.typing import NDArray
from support import needs

from edgeseg.data.medical.outputs import plan_masks
from edgeseg.data.medical.segmentations import Origin
from edgeseg.data.medical.series import grid_of
from edgeseg.errors import DataError

pytestmark = needs("pydicom", "highdicom", "nibabel")
ORIGIN = Origin(("background", "a", "b"), "net", "net-fp32", "0123abcd", "0.1")
ROWS, COLUMNS = 5, 7


def turned(seed: int) -> NDArray[np.float64]:
    """Directions of columns, rows and slices, (3, 3), of a plane that lies anyhow."""
    found, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return found if np.linalg.det(found) > 0 else -found


def write_series(
    folder: Path,
    directions: NDArray[np.float64],
    places: list[float],
    tilt: float = 0.0,
    first: int = 1,
) -> tuple[list[Path], list[NDArray[np.float64]]]:
    """A picture for each place along the normal, and its origin (left, back, head)."""
    paths, origins = [], []
    for number, place in enumerate(places):
        origin = np.array([3.0, -8.0, 20.0]) + place * directions[:, 2]
        origin += tilt * place * directions[:, 1]
        path = write_dicom(
            folder / f"n{number}.dcm",
            np.zeros((ROWS, COLUMNS), np.uint8),
            number=first + number,
            ImageOrientationPatient=[f"{one:.10g}" for one in directions[:, :2].T.ravel()],
            ImagePositionPatient=[f"{one:.10g}" for one in origin],
        )
        paths.append(path)
        origins.append(origin)
    return paths, origins


def labels_of(paths: list[Path]) -> list[NDArray[np.uint8]]:
    draw = np.random.default_rng(2)
    return [draw.integers(0, 3, (ROWS, COLUMNS)).astype(np.uint8) for _ in paths]


def write_masks(folder: Path, paths: list[Path], masks: list[NDArray[np.uint8]]) -> Any:
    import nibabel

    (plan,) = plan_masks(paths, "nifti", 2)
    plan.write(folder, masks, ORIGIN)
    return nibabel.load(folder / plan.name)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("tilt", [0.0, 0.3])
def test_each_label_lies_where_its_pixel_does(tmp_path: Path, seed: int, tilt: float) -> None:
    directions = np.eye(3) if seed == 0 else turned(seed)
    paths, origins = write_series(tmp_path, directions, [5.0, 0.0, 2.5, 7.5], tilt)
    masks = labels_of(paths)
    found = write_masks(tmp_path, paths, masks)
    values, to_voxel = np.asarray(found.dataobj), np.linalg.inv(found.affine)
    assert values.shape == (COLUMNS, ROWS, 4)
    for origin, mask in zip(origins, masks, strict=True):
        for row in range(ROWS):
            for column in range(COLUMNS):
                # Rows are 0.5 mm apart, columns 0.25.
                place = origin + directions[:, 0] * 0.25 * column + directions[:, 1] * 0.5 * row
                right_front_up = [-place[0], -place[1], place[2], 1]
                voxel = to_voxel @ right_front_up
                assert np.abs(voxel - np.rint(voxel)).max() < 1e-3
                assert values[tuple(np.rint(voxel[:3]).astype(int))] == mask[row, column]
    codes = int(found.header["sform_code"]), int(found.header["qform_code"])
    assert codes == (1, 1 if tilt == 0 else 0)
    assert found.header.get_xyzt_units()[0] == "mm"
    content = (tmp_path / "n0.nii.gz").read_bytes() + found.to_bytes()
    for value in PATIENT.values():
        assert len(value) < 4 or value.encode() not in content


def test_one_picture_is_as_thick_as_it_says(tmp_path: Path) -> None:
    paths, _ = write_series(tmp_path, np.eye(3), [0.0])
    found = write_masks(tmp_path, paths, labels_of(paths))
    assert found.header.get_zooms() == (0.25, 0.5, 5)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (
            [0.0, 2.5, 7.5],
            r"several distances, such as 2\.5 mm from .*n0\.dcm to n1\.dcm and 5 mm from .*n1\.dcm "
            r"to n2\.dcm \(one is missing",
        ),
        ([0.0, 2.5, 2.5, 5.0], r"n1\.dcm and .*n2\.dcm lie at one place .*Patient 3\\-8\\22\.5\)"),
        ([1.0, 1.0], r"n0\.dcm and .*n1\.dcm lie at one place .*Patient 3\\-8\\21\)"),
    ],
)
def test_slices_that_are_no_grid_are_refused(
    tmp_path: Path, places: list[float], message: str
) -> None:
    paths, _ = write_series(tmp_path, np.eye(3), places)
    with pytest.raises(DataError, match=rf"{message}.*--format png"):
        plan_masks(paths, "nifti", 2)
    if "at one place" in message:  # nor is there a segmentation of them
        with pytest.raises(DataError, match=message):
            plan_masks(paths, "dicom-seg", 2)
    else:
        assert len(plan_masks(paths, "dicom-seg", 2)) == 1


def test_several_directions_and_scales_are_refused(tmp_path: Path) -> None:
    first, _ = write_series(tmp_path / "a", np.eye(3), [0.0, 5.0])
    other, _ = write_series(tmp_path / "b", turned(1), [10.0], first=3)
    with pytest.raises(DataError, match=r"lie in several directions.*--format png"):
        grid_of([*first, *other])
    wide = write_dicom(
        tmp_path / "c.dcm",
        np.zeros((ROWS, COLUMNS), np.uint8),
        number=4,
        PixelSpacing=[1, 1],
        ImagePositionPatient=[3, -8, 30],
    )
    with pytest.raises(DataError, match=r"lie at several scales.*--format png"):
        grid_of([*first, wide])
    flat = write_dicom(
        tmp_path / "d.dcm",
        np.zeros((ROWS, COLUMNS), np.uint8),
        ImageOrientationPatient=[1, 0, 0, 1, 0, 0],
    )
    with pytest.raises(DataError, match=r"makes no sense. Repair the file"):
        grid_of([flat])
