"""NIfTI volumes, cut into slices, and label volumes in the same place and form.

A slice lies as a doctor looks at it, and as DICOM stores axial ones: axially, rows go to the back
and columns to the patient's left; along axis 1, rows go to the feet and columns to the left;
along axis 0, rows go to the feet and columns to the back.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import math
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...contract import WHITE
from ...errors import DataError
from ...lazy import require
from ...storage.atomic import write_bytes
from ..decoding import LARGEST_PIXELS
from .parsing import guarded
from .windows import FROM_FILE, Window, whole_numbers

SUFFIXES = (".nii.gz", ".nii")
GZIP = b"\x1f\x8b"
HEADER_BYTES = 544  # of NIfTI-2, with the flags of its extensions
LARGEST_EXTENSION = 16 * 2**20  # bytes
LARGEST_VOLUME = 2**31  # bytes
# Text of a header that people or programs write names into.
PAIRS = (b"ni1\0", b"ni2\0")  # the header of a pair of .hdr and .img
ANALYZE = (b"\x5c\1\0\0", b"\0\0\1\x5c")  # the older kind of pair begins with its length
UNKNOWN, TORN = "unknown", "torn"  # orientations
MOST_APART = 0.05  # of the smallest size of a voxel, for a mask that lies where its image does
FREE_TEXT = ("descrip", "aux_file", "intent_name", "db_name", "data_type")


class NiftiFile:
    """One volume.

    Raises:
        DataError: It is damaged, has more than three dimensions, is too large, or holds NaN.
        MissingBackendError: nibabel is not installed.
    """

    kind = "nifti"
    title = "slices"
    suffixes = SUFFIXES

    def __init__(self, path: Path) -> None:
        require("nibabel", purpose=f"Reading the NIfTI file {path}")
        self.path = path
        with guarded(path, "NIfTI file"):
            state = path.stat()
            self._image, self._turn, self._volume = _opened(path, state.st_mtime_ns, state.st_size)

    @staticmethod
    def matches(head: bytes) -> bool:
        """Whether a file is of this kind by its first bytes, packed or not."""
        if head.startswith(GZIP):
            with contextlib.suppress(zlib.error):
                head = zlib.decompressobj(31).decompress(head, HEADER_BYTES)
        is_pair = head[344:348] in PAIRS or head[4:8] in PAIRS
        is_old_pair = len(head) == 348 and head[:4] in ANALYZE
        return is_pair or is_old_pair or head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0"

    def count(self, axis: int) -> int:
        """Number of slices along an axis of the upright volume (right, front, up)."""
        return int(self._volume.shape[axis])

    def shape(self, axis: int) -> tuple[int, int]:
        """Rows and columns of a slice."""
        columns, rows = (size for at, size in enumerate(self._volume.shape) if at != axis)
        return rows, columns

    def spacing(self, index: int, axis: int) -> tuple[float, float] | None:
        """Millimetres from row to row and from column to column; None where not told."""
        sizes = self.voxel_sizes()
        columns, rows = (size for at, size in enumerate(sizes) if at != axis)
        return (rows, columns) if min(rows, columns) > 0 else None

    def voxel_sizes(self) -> tuple[float, float, float]:
        """Millimetres along the axes of the upright volume; 0 where not told."""
        own = np.sqrt((np.asarray(self._image.affine)[:3, :3] ** 2).sum(0)) * self._unit()
        sizes = [0.0, 0.0, 0.0]
        for size, (axis, _) in zip(own, self._turn, strict=True):
            sizes[int(axis)] = float(size) if np.isfinite(size) else 0.0
        return sizes[0], sizes[1], sizes[2]

    def _unit(self) -> float:
        """Millimetres of one unit of the affine."""
        units = {"meter": 1_000.0, "micron": 0.001}
        return units.get(self._image.header.get_xyzt_units()[0], 1.0)

    def values(self, index: int, axis: int) -> NDArray[Any]:
        """Values of a slice of labels, (H, W), whole numbers.

        Raises:
            DataError: They are none.
        """
        with guarded(self.path, "NIfTI file"):
            values = whole_numbers(self._slice(index, axis))
            if values is None:
                raise DataError(
                    f"The mask {self.path} holds values that are no whole numbers. Save the "
                    "label of each voxel, one value a class."
                )
            return values

    def picture(
        self, index: int, axis: int, window: Window | str | None, white: int | None
    ) -> NDArray[Any]:
        """A slice as grey, (H, W), uint8 or uint16.

        Args:
            window: That of the network's spec: one, "file" (the header's cal_min and cal_max), or
                None, for whole numbers that are grey already.
            white: That of the network's spec, which changes nothing here.

        Raises:
            DataError: No window makes grey of its values.
        """
        with guarded(self.path, "NIfTI file"):
            values = self._slice(index, axis)
            if window == FROM_FILE:
                window = self._own_window()
            if isinstance(window, Window):
                return window.apply(values)
            grey = whole_numbers(values)
            if grey is None or grey.min() < 0 or grey.max() > WHITE:
                raise DataError(
                    f"{self.path} holds values that are no grey of 8 or 16 bits, such as those of "
                    "a scanner. Write [window] with centre and width into the network's spec."
                )
            return grey.astype(np.uint8 if grey.dtype == np.uint8 else np.uint16)

    def _own_window(self) -> Window:
        low, high = (float(self._image.header[name]) for name in ("cal_min", "cal_max"))
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise DataError(
                f"{self.path} has no window of its own (cal_min and cal_max). Write [window] with "
                "centre and width into the network's spec."
            )
        return Window((low + high) / 2, high - low)

    def _slice(self, index: int, axis: int) -> NDArray[Any]:
        count = self.count(axis)
        if index >= count:
            raise DataError(
                f"{self.path} has {count} slices along axis {axis}, counted from 0; there is no "
                f"slice {index}. Name another one."
            )
        values = np.ascontiguousarray(np.take(self._volume, index, axis)[::-1, ::-1].T)
        # The header of an image that was read has forgotten them.
        slope, intercept = self._image.dataobj.slope, self._image.dataobj.inter
        if (slope, intercept) == (1, 0):
            return values
        return values * np.float64(slope) + np.float64(intercept)

    def corners(self) -> NDArray[np.float64]:
        """Where the corners of the upright volume lie, (8, 3), in millimetres."""
        from nibabel.affines import apply_affine
        from nibabel.orientations import inv_ornt_aff

        shape = (*self._image.shape, 1, 1)[:3]
        upright = np.asarray(self._image.affine) @ inv_ornt_aff(self._turn, shape)
        ends = [(0, size - 1) for size in self._volume.shape]
        return np.asarray(apply_affine(upright, list(itertools.product(*ends)))) * self._unit()

    def write_labels(self, path: Path, slices: list[NDArray[np.uint8]], axis: int) -> None:
        """Write labels in the orientation, with the affine and the header of this volume.

        The compressed file is the same each time. Extensions and free text of the header, which may
        name a patient, are left out.

        Args:
            path: Ends in .nii or .nii.gz.
            slices: Of the upright volume along `axis`, all of them, (H, W) uint8.
        """
        from nibabel.orientations import apply_orientation, ornt_transform

        volume = np.stack([labels.T[::-1, ::-1] for labels in slices], axis)
        upright = np.array([[0, 1], [1, 1], [2, 1]])
        own = apply_orientation(volume, ornt_transform(upright, self._turn))
        header = self._image.header.copy()
        header.extensions.clear()
        for name in FREE_TEXT:
            if name in header:
                header[name] = b""
        header["cal_min"] = header["cal_max"] = 0
        header.set_data_dtype(np.uint8)
        header.set_slope_inter(1, 0)
        own = own.reshape(self._image.shape)
        image = type(self._image)(np.ascontiguousarray(own), self._image.affine, header)
        content = image.to_bytes()
        is_packed = path.name.lower().endswith(".gz")
        write_bytes(path, gzip.compress(content, 6, mtime=0) if is_packed else content)


@lru_cache(maxsize=2)
def _opened(path: Path, _changed_ns: int, _size: int) -> tuple[Any, Any, NDArray[Any]]:
    """The image, the orientation of its axes, and its stored values, upright; kept for slices."""
    import nibabel
    from nibabel.orientations import apply_orientation, io_orientation

    content = _unpacked(path)
    kind = nibabel.Nifti2Image if content[4:7] == b"n+2" else nibabel.Nifti1Image
    image = kind.from_bytes(content)
    stored = np.asarray(image.dataobj.get_unscaled())
    # Trailing axes of one entry, and those that flat pictures lack.
    while stored.ndim > 3 and stored.shape[-1] == 1:
        stored = stored[..., 0]
    if stored.ndim > 3 or stored.ndim < 2 or stored.dtype.kind not in "iuf":
        raise DataError(
            f"{path} is no volume of one number a voxel: its shape is {image.shape}, of "
            f"{stored.dtype} values. Save each channel or time as a file of its own."
        )
    stored = stored.reshape((*stored.shape, 1)[:3])
    if missing := int(np.isnan(stored).sum()) if stored.dtype.kind == "f" else 0:
        raise DataError(
            f"{path} holds {missing:,} voxels of {stored.size:,} that are NaN: what lies there is "
            "not known. Replace them, such as by the value of air, and save it again."
        )
    if not np.isfinite(image.affine).all():
        form = "sform" if image.header["sform_code"] > 0 else "qform"
        raise DataError(
            f"The affine of {path} ({form}) holds NaN or infinity, so that it lies nowhere. Repair "
            "its header."
        )
    turn = io_orientation(image.affine)
    if not np.isfinite(turn).all():
        raise DataError(
            f"The affine of {path} does not tell where its axes point. Repair its header."
        )
    return image, turn, apply_orientation(stored, turn)


def _unpacked(path: Path) -> bytes:
    """The file's content, unpacked no further than its own header says.

    Raises:
        DataError: It says too much, or less than there is to read.
    """
    with path.open("rb") as raw:
        is_packed = raw.read(2) == GZIP
    with gzip.open(path) if is_packed else path.open("rb") as file:
        head = file.read(HEADER_BYTES)
        length = _claimed_length(_header_of(head, path), path)
        content = head + file.read(max(length - len(head), 0))
        file.read(HEADER_BYTES)  # at the end, gzip compares its checksum
    if len(content) < length:
        raise DataError(
            f"Cannot read the NIfTI file {path}: it unpacks to {len(content):,} bytes, and its "
            f"header claims {length:,}. It is cut short, or its header is wrong; replace it."
        )
    return content


def _header_of(head: bytes, path: Path) -> Any:
    """The header of a file of one part, which makes sense."""
    import nibabel

    is_second = head[4:7] == b"n+2"
    if not is_second and head[344:347] != b"n+1":
        raise DataError(
            f"{path} is no NIfTI file of one part. Save pairs of .hdr and .img, and other kinds, "
            f"as .nii or .nii.gz, such as by: nib-convert {path.stem}.hdr {path.stem}.nii.gz "
            "(nibabel has it)."
        )
    kind = nibabel.Nifti2Header if is_second else nibabel.Nifti1Header
    header = kind(head[:540] if is_second else head[:348], check=False)
    _require_sense(header, path)
    return header


def _claimed_length(header: Any, path: Path) -> int:
    """Bytes up to the end of the values."""
    shape, start = header.get_data_shape(), float(header["vox_offset"])
    values = math.prod(int(size) for size in shape)
    if values > LARGEST_PIXELS:
        raise DataError(
            f"{path} has the shape {tuple(map(int, shape))}; volumes of at most "
            f"{LARGEST_PIXELS:,} voxels are read. Reduce it, or cut it into parts."
        )
    if not 0 <= start <= LARGEST_EXTENSION:
        raise DataError(
            f"The values of {path} begin {start:.0f} bytes after its head, which is too far. "
            "Remove its extensions."
        )
    length: int = int(start) + values * header.get_data_dtype().itemsize
    if length > LARGEST_VOLUME:
        raise DataError(
            f"{path} unpacks to {length:,} bytes; at most {LARGEST_VOLUME:,} are read. Save it "
            "with 16 bits a voxel, or cut it into parts."
        )
    return length


def _require_sense(header: Any, path: Path) -> None:
    """Refuse sizes that hold nothing, and a header that contradicts itself.

    Raises:
        DataError: It does.
    """
    count, *sizes = (int(size) for size in header["dim"])
    is_known = 1 <= count <= 7
    if not is_known or min(sizes[:count]) < 1:
        told = f"the sizes {sizes[:count]}" if is_known else "no number of dimensions from 1 to 7"
        raise DataError(
            f"The header of {path} tells {told} (dim), and a volume has 1 voxel or more along each "
            "axis. Repair its header, or save the volume again."
        )
    if any(math.isinf(header[name]) for name in ("scl_slope", "scl_inter")):
        raise DataError(
            f"The header of {path} scales by infinity (scl_slope, scl_inter). Repair its header."
        )
    bits, stated = header.get_data_dtype().itemsize * 8, int(header["bitpix"])
    if bits != stated:
        raise DataError(
            f"The header of {path} contradicts itself: a voxel of {header.get_data_dtype()} "
            f"(datatype) has {bits} bits, and bitpix is {stated}. Repair its header, or save the "
            "volume again."
        )


def require_same_place(image: Path, mask: Path) -> None:
    """Refuse a mask of the same shape that does not lie where its image does.

    However both are stored, they are compared upright.

    Raises:
        DataError: It does not, or a file is damaged.
    """
    first, second = NiftiFile(image), NiftiFile(mask)
    apart = float(np.linalg.norm(first.corners() - second.corners(), axis=1).max())
    if not apart <= MOST_APART * min(first.voxel_sizes()):
        raise DataError(
            f"The mask {mask} does not lie where its image {image} does: by their affines, a "
            f"corner is {apart:.3g} mm off. Resample the mask onto its image; where its voxels are "
            "the image's, save it with the image's affine."
        )


def describe_orientations(files: Sequence[Path]) -> list[str]:
    """What to tell of volumes whose headers leave open where they lie; no full stops.

    Files that are damaged are passed over: what is wrong is told where they are used.
    """
    found: dict[str, list[Path]] = {UNKNOWN: [], TORN: [], "": []}
    for file in files:
        with contextlib.suppress(DataError), guarded(file, "NIfTI file"):
            state = file.stat()
            found[_orientation_of(file, state.st_mtime_ns, state.st_size)].append(file)
    texts = []
    if unknown := found[UNKNOWN]:
        texts.append(
            f"{_counted(unknown)} no orientation (sform_code and qform_code are 0): the axes are "
            "taken as left, front and up, as nibabel takes them. Check that masks and pictures lie "
            "right"
        )
    if torn := found[TORN]:
        texts.append(
            f"{_counted(torn)} two affines that disagree: the sform is used, the qform is not, as "
            "nibabel has it. Check which of them is right"
        )
    return texts


def _counted(files: Sequence[Path]) -> str:
    if len(files) == 1:
        return f"1 NIfTI volume, {files[0].name}, has"
    return f"{len(files)} NIfTI volumes, such as {files[0].name}, have"


@lru_cache(maxsize=10_000)
def _orientation_of(path: Path, _changed_ns: int, _size: int) -> str:
    """`UNKNOWN`, `TORN`, or empty where all is well, by the header alone."""
    with path.open("rb") as raw:
        is_packed = raw.read(2) == GZIP
    with gzip.open(path) if is_packed else path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    header = _header_of(head, path)
    _claimed_length(header, path)
    if header["sform_code"] <= 0 and header["qform_code"] <= 0:
        return UNKNOWN
    if header["sform_code"] <= 0 or header["qform_code"] <= 0:
        return ""
    shape = (*header.get_data_shape(), 1, 1)[:3]
    ends = np.array([(*one, 1) for one in itertools.product(*((0, size - 1) for size in shape))])
    difference = (header.get_sform() - header.get_qform()) @ ends.T
    apart = float(np.linalg.norm(difference[:3], axis=0).max())
    sizes = np.sqrt((header.get_sform()[:3, :3] ** 2).sum(0))
    return "" if apart <= MOST_APART * sizes.min() else TORN
