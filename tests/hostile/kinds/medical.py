"""DICOM and NIfTI files, as images, as masks, and as what a segmentation is written for."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
from mutations import WIDE, mutate_bytes

from edgeseg.contract import InputContract, MeanStd
from edgeseg.data.images import read_image
from edgeseg.data.masks import read_mask
from edgeseg.data.medical.nifti import NiftiFile
from edgeseg.data.medical.readers import list_frames
from edgeseg.data.medical.segmentations import Origin, write_segmentation

sys.path.append(str(Path(__file__).resolve().parents[2] / "helpers" / "pictures"))

from lossless_jpeg_files import encode_lossless
from medical_files import dicom_bytes, with_frame, write_nifti

Action = Callable[[], object]
WINDOWS = (None, "file", (40.0, 400.0), (float("nan"), 1.0), ("a", "b"), {"centre": 1}, (1, 0))
ORIGIN = Origin(("background", "lesion"), "net", "net-fp32", "0123456789ab", "0.1")


class Dicoms:
    """Plain and compressed files; bytes changed anywhere, most often in the tags of the picture."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "inputs"
        draw = np.random.default_rng(0)
        grey = draw.integers(0, 4096, (20, 24)).astype(np.uint16)
        small, rgb = grey.astype(np.uint8), draw.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        rle, jpeg_ls = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80"
        window = {"WindowCenter": 900, "WindowWidth": 700}
        self.files = [
            dicom_bytes(grey, BitsStored=12),
            dicom_bytes(grey.astype(np.int16), RescaleSlope=2, RescaleIntercept=-9, **window),
            dicom_bytes(small, PhotometricInterpretation="MONOCHROME1"),
            dicom_bytes(np.stack([small] * 3)),
            dicom_bytes(rgb),
            dicom_bytes(rgb, PhotometricInterpretation="YBR_FULL", PlanarConfiguration=1),
            dicom_bytes(rgb, rle),
            dicom_bytes(small, rle),
            dicom_bytes(grey, jpeg_ls),
            dicom_bytes(np.stack([small] * 2), jpeg_ls),
        ]
        lossless = encode_lossless(grey, 12, 4, restart_rows=5)
        self.files.append(with_frame(self.files[0], "1.2.840.10008.1.2.4.70", lossless))
        self.files.append(self._segmentation())
        self.files += [self._nested(self.files[0], depth) for depth in (3, 400, 20_000)]

    def _segmentation(self) -> bytes:
        """Of three pictures of a series."""
        self.folder.mkdir(parents=True, exist_ok=True)
        draw, paths = np.random.default_rng(1), []
        for number in range(3):
            paths.append(self.folder / f"source{number}.dcm")
            paths[-1].write_bytes(dicom_bytes(np.zeros((20, 24), np.uint8), number=number))
        labels = [draw.integers(0, 2, (20, 24)).astype(np.uint8) for _ in paths]
        write_segmentation(self.folder / "seg.dcm", paths, labels, ORIGIN)
        return (self.folder / "seg.dcm").read_bytes()

    @staticmethod
    def _nested(content: bytes, depth: int) -> bytes:
        """Sequences in sequences, before the pixels."""
        place = content.rindex(b"\xe0\x7f\x10\0")
        start = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"
        return content[:place] + start * depth + content[place:]

    def make(self, random: Random) -> Action:
        content = random.choice(self.files)
        kind = random.randrange(10)
        if kind < 6:
            content = content[:132] + mutate_bytes(content[132:], random)
        elif kind < 9:
            content = self._with_hostile_tag(content, random)
        path = self.folder / f"image{random.choice(('.dcm', '.dcm', '', '.png', '.nii', '.ima'))}"
        path.write_bytes(content)
        inputs = InputContract(16, 24, 8, MeanStd(), window=random.choice(WINDOWS))  # type: ignore[arg-type]
        use = random.randrange(4)

        def act() -> None:
            frames = list_frames(path)
            if use == 0:
                read_mask(frames[-1], random.choice((2, 3, 255)))
            elif use == 1:
                labels = [np.zeros(read_image(one).shape[:2], np.uint8) for one in frames[:9]]
                write_segmentation(self.folder / "seg.dcm", [path], labels, ORIGIN)
            else:
                read_image(frames[-1], inputs)

        return act

    @staticmethod
    def _with_hostile_tag(content: bytes, random: Random) -> bytes:
        """Another value, length or type in the description of the pixels (group 0028)."""
        places = [at for at in range(len(content) - 12) if content[at : at + 2] == b"\x28\0"]
        place = random.choice(places)
        kind = random.randrange(3)
        if kind == 0:
            types = (b"UL", b"SQ", b"PN", b"OB", b"UN", b"DS", b"??", b"\0\0")
            return content[: place + 4] + random.choice(types) + content[place + 6 :]
        start = place + (6 if kind == 1 else 8)
        value = random.choice((*WIDE, random.randbytes(4)))
        size = random.choice((2, 4))
        return content[:start] + value[:size] + content[start + size :]


class Niftis:
    """Volumes, plain and packed; heads that lie."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "inputs"
        self.folder.mkdir(parents=True, exist_ok=True)
        draw = np.random.default_rng(0)
        whole = draw.integers(0, 200, (5, 6, 7))
        kinds = (np.uint8, np.int16, np.float32, np.float64, np.uint16)
        path = self.folder / "sound.nii"
        self.files = [write_nifti(path, whole.astype(kind)).read_bytes() for kind in kinds]

    def make(self, random: Random) -> Action:
        content = random.choice(self.files)
        if random.random() < 0.6:
            place = random.randrange(0, 348, 2)
            value = random.choice((*WIDE, random.randbytes(4), b"\0\0\xc0\x7f"))
            content = content[:place] + value + content[place + 4 :]
        else:
            content = mutate_bytes(content, random)
        if random.random() < 0.4:
            content = gzip.compress(content, 1)
            content = mutate_bytes(content, random) if random.random() < 0.5 else content
        path = self.folder / f"image{random.choice(('.nii', '.nii.gz', '.dcm', ''))}"
        path.write_bytes(content)
        inputs = InputContract(16, 24, 8, MeanStd(), window=random.choice(WINDOWS))  # type: ignore[arg-type]
        axis, use = random.randrange(3), random.randrange(3)

        def act() -> None:
            frames = list_frames(path, axis)
            if use == 0:
                read_mask(frames[-1], random.choice((2, 3, 255)))
            elif use == 1 and len(frames) < 50:
                labels = [np.zeros(read_image(one).shape[:2], np.uint8) for one in frames]
                NiftiFile(path).write_labels(self.folder / "labels.nii.gz", labels, axis)
            else:
                read_image(frames[-1], inputs)

        return act
