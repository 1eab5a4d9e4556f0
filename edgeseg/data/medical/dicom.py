"""Pictures of DICOM files: single ones, loops and enhanced multi-frame series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...contract import WHITE
from ...errors import DataError
from ..decoding import LARGEST_PIXELS
from .decoders import decode_frame
from .parsing import (
    CONVERT,
    MAGIC,
    MAGIC_PLACE,
    MOST_FRAMES,
    SUFFIXES,
    guarded,
    macro,
    number,
    parse,
    whole,
)
from .patients import SEGMENTATION
from .segmented import SegmentedSlices, slices_of_file
from .windows import FROM_FILE, Window, spread

COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
GREYS = ("MONOCHROME1", "MONOCHROME2")


class DicomFile:
    """One file, read as far as it is asked for.

    Raises:
        DataError: It is damaged, holds no picture, or claims a size that is not read.
        MissingBackendError: pydicom is not installed.
    """

    kind = "dicom"
    title = "frames"
    suffixes = SUFFIXES

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = parse(path)
        with guarded(path):
            self._require_picture()

    @staticmethod
    def matches(head: bytes) -> bool:
        """Whether a file is of this kind by its first bytes; some old ones do not tell."""
        return head[MAGIC_PLACE : MAGIC_PLACE + 4] == MAGIC

    def _require_picture(self) -> None:
        data = self.data
        names = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
        if "Rows" not in data or not any(name in data for name in names):
            raise DataError(
                f"{self.path} holds no picture: it is a report, a plan, a list, a file without "
                "pixels or not DICOM at all. Take it out, or name the files that hold pictures."
            )
        rows, columns = whole(data, "Rows"), whole(data, "Columns")
        if not (0 < rows * columns <= LARGEST_PIXELS and rows > 0):
            raise DataError(
                f"{self.path} has {columns}x{rows} pixels; from 1 to {LARGEST_PIXELS:,} are read. "
                "Reduce it, or cut it into parts."
            )
        self.rows, self.columns = rows, columns
        self.frames = whole(data, "NumberOfFrames", 1)
        if not 1 <= self.frames <= MOST_FRAMES:
            raise DataError(
                f"{self.path} claims {self.frames} frames; from 1 to {MOST_FRAMES:,} are read. "
                "Repair the file, or cut it into parts."
            )
        self._require_frames()
        self.is_segmentation = str(getattr(data, "SOPClassUID", "")) == SEGMENTATION
        allocated = whole(data, "BitsAllocated", 32)
        self.bits = whole(data, "BitsStored", allocated)
        self.is_signed = whole(data, "PixelRepresentation", 0) == 1
        self.photometric = str(getattr(data, "PhotometricInterpretation", "MONOCHROME2")).strip()
        if allocated not in (1, 8, 16, 32, 64) or not 1 <= self.bits <= allocated:
            raise DataError(
                f"{self.path} has {self.bits} of {allocated} bits a value, which is not read. "
                "Save it with 8 or 16 bits."
            )
        top = whole(data, "HighBit", self.bits - 1)
        if top != self.bits - 1:
            raise DataError(
                f"{self.path} keeps its {self.bits} bits up to bit {top} (HighBit), which is not "
                f"read. Save it with HighBit {self.bits - 1}, as DICOM has it since 2008."
            )

    def _require_frames(self) -> None:
        """Refuse plain pixels of more frames than the file claims.

        Raises:
            DataError: There are.
        """
        data = self.data
        is_plain = "PixelData" in data and not data.file_meta.TransferSyntaxUID.is_compressed
        if not is_plain or "422" in str(getattr(data, "PhotometricInterpretation", "")):
            return
        size = self.rows * self.columns
        size *= whole(data, "SamplesPerPixel", 1) * whole(data, "BitsAllocated", 32)
        held = len(data.PixelData) * 8
        if held - self.frames * size >= max(size, 16):  # bits; else it fills up to whole words
            raise DataError(
                f"{self.path} claims {self.frames} frames (NumberOfFrames) and holds the pixels of "
                f"{held // size}. Repair the file."
            )

    def count(self, axis: int) -> int:
        """Number of pictures; frames lie as they are stored, along whatever axis.

        Those of a segmentation are the pictures that it is of: see `values`.
        """
        with guarded(self.path):
            return self._slices().count if self.is_segmentation else self.frames

    def shape(self, axis: int) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, self.columns

    def spacing(self, index: int, axis: int) -> tuple[float, float] | None:
        """Millimetres from row to row and from column to column; None where not told.

        That of a detector (Imager Pixel Spacing) is none: the body lies nearer to the source.
        """
        with guarded(self.path):
            holder = macro(self.data, index, "PixelMeasuresSequence")
            rows, columns = (number(holder, "PixelSpacing", place) for place in (0, 1))
            if rows is None or columns is None or rows <= 0 or columns <= 0:
                return None
            return rows, columns

    def values(self, index: int, axis: int) -> NDArray[Any]:
        """Stored values of a frame, (H, W), as masks have them; of a segmentation, the segments
        of the picture that it is of.

        Raises:
            DataError: The frame is coloured, or is not decoded; a segmentation of shares.
        """
        with guarded(self.path):
            if self.is_segmentation:
                size = self.rows, self.columns
                return self._slices().labels(index, size, self._stored, self.path)
            stored = self._stored(index)
            if stored.ndim != 2:
                raise DataError(
                    f"The mask {self.path} is coloured. Save masks as grey images: 0 and 255, or "
                    "one value a class."
                )
            return stored

    def _slices(self) -> SegmentedSlices:
        state = self.path.stat()
        return slices_of_file(self.path, state.st_mtime_ns, state.st_size)

    def picture(
        self, index: int, axis: int, window: Window | str | None, white: int | None
    ) -> NDArray[Any]:
        """A frame as it is looked at, (H, W) or (H, W, 3), uint8 or uint16.

        Args:
            window: That of the network's spec: one, "file", or None.
            white: That of the network's spec: grey values are then taken as they are.

        Raises:
            DataError: The frame is not decoded, or has no window where one is asked for.
        """
        with guarded(self.path):
            if self.is_segmentation:
                raise DataError(
                    f"{self.path} is a segmentation: it shows what was found in pictures, and is "
                    "none. Take it out, or put it into the folder of the masks."
                )
            if self.photometric not in (*COLORS, *GREYS, "PALETTE COLOR"):
                raise DataError(
                    f"{self.path} has the colours {self.photometric[:20]}, which are not read. "
                    f"{CONVERT}"
                )
            stored = self._stored(index)
            if stored.ndim == 3:
                return spread(stored, *self._range(), self.bits)
            if self.photometric == "PALETTE COLOR":
                return self._with_palette(stored)
            grey = self._grey(stored, index, window, white)
            if self.photometric != "MONOCHROME1":
                return grey
            top = (white or WHITE) if grey.dtype == np.uint16 else 255
            return np.asarray(top - np.minimum(grey, top), grey.dtype)

    def _range(self) -> tuple[int, int]:
        """Least and largest stored value that there can be."""
        if self.is_signed:
            return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1
        return 0, 2**self.bits - 1

    def _grey(
        self, stored: NDArray[Any], index: int, window: Window | str | None, white: int | None
    ) -> NDArray[Any]:
        if missing := int(np.isnan(stored).sum()) if stored.dtype.kind == "f" else 0:
            raise DataError(
                f"{self.path} holds {missing:,} pixels of {stored.size:,} that are NaN: what lies "
                "there is not known. Replace them, such as by the value of air, and save it again."
            )
        values, low, high = self._rescaled(stored, index)
        if isinstance(window, Window):
            return window.apply(values)
        if white is not None and window is None and self.bits > 8:
            raw = np.clip(np.nan_to_num(values), 0, WHITE)
            return np.asarray(np.rint(raw), np.uint16)
        found = self._own_window(index)
        if found is not None:
            shares = found.shares(values)
            return spread(shares, 0, 1, self.bits)
        if "VOILUTSequence" in self.data:
            return self._with_table(values)
        is_scanned = self.is_signed or np.issubdtype(stored.dtype, np.floating)
        if window == FROM_FILE or is_scanned:
            raise DataError(
                f"{self.path} has no window of its own, which tells what is black and what white. "
                "Write [window] with centre and width into the network's spec."
            )
        return spread(values, low, high, self.bits)

    def _own_window(self, index: int) -> Window | None:
        holder = macro(self.data, index, "FrameVOILUTSequence")
        centre, width = number(holder, "WindowCenter"), number(holder, "WindowWidth")
        if centre is None or width is None:
            return None
        function = str(getattr(holder, "VOILUTFunction", None) or "LINEAR").strip()
        try:
            return Window(centre, width, function)
        except ValueError as error:
            raise DataError(
                f"The window of {self.path} makes no sense: {error} Write [window] with centre and "
                "width into the network's spec."
            ) from None

    def _with_table(self, values: NDArray[Any]) -> NDArray[Any]:
        from pydicom.pixels import apply_voi

        bits = int(self.data.VOILUTSequence[0].LUTDescriptor[2])
        return spread(apply_voi(np.rint(values).astype(np.int64), self.data), 0, 2**bits - 1, bits)

    def _rescaled(self, stored: NDArray[Any], index: int) -> tuple[NDArray[Any], float, float]:
        """Values after the file's rescale, and the least and the largest that there can be."""
        low, high = self._range()
        if "ModalityLUTSequence" in self.data:
            from pydicom.pixels import apply_modality_lut

            bits = int(self.data.ModalityLUTSequence[0].LUTDescriptor[2])
            return apply_modality_lut(stored, self.data), 0, 2**bits - 1
        holder = macro(self.data, index, "PixelValueTransformationSequence")
        slope = self._rescale(holder, "RescaleSlope", 1.0)
        intercept = self._rescale(holder, "RescaleIntercept", 0.0)
        if (slope, intercept) == (1, 0):
            return stored, low, high
        ends = low * slope + intercept, high * slope + intercept
        return stored * np.float64(slope) + intercept, min(ends), max(ends)

    def _rescale(self, holder: Any, name: str, default: float) -> float:
        """Slope or intercept.

        Raises:
            DataError: It is none that values can be told by.
        """
        value = getattr(holder, name, None)
        if value is None or value == "":
            return default
        found = number(holder, name)
        if found is None or (found == 0 and name == "RescaleSlope"):
            is_number = isinstance(value, float)  # else it may be any text, and is not quoted
            told = f"{name} {value:g}" if is_number else f"a {name} that is no number"
            raise DataError(
                f"{self.path} has {told}, so that what is stored stands for no values: the slope "
                "is a finite number other than 0, the intercept a finite one. Repair its header, "
                "or save it as PNG."
            )
        return found

    def _with_palette(self, stored: NDArray[Any]) -> NDArray[np.uint8]:
        from pydicom.pixels import apply_color_lut

        colors = apply_color_lut(stored, self.data)[..., :3]
        return np.asarray(colors >> 8 if colors.dtype.itemsize > 1 else colors, np.uint8)

    def _stored(self, index: int) -> NDArray[Any]:
        """Values of a frame as they are stored; colours as RGB."""
        if index >= self.frames:
            raise DataError(
                f"{self.path} has {self.frames} frames, counted from 0; there is no frame {index}. "
                "Name another one."
            )
        size = self.frames, self.rows, self.columns
        stored = decode_frame(self.path, self.data, index, size)
        if stored.shape[:2] != (self.rows, self.columns) or stored.shape[2:] not in ((), (3,)):
            raise DataError(
                f"A frame of {self.path} is {stored.shape} where the file says {self.rows} rows of "
                f"{self.columns}. It is damaged; replace it."
            )
        return stored
