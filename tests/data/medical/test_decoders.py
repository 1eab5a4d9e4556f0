"""Compressed frames without a decoder: what is named, and what pip then installs reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from medical_files import dicom_bytes, with_frame

from edgeseg.data.images import read_image
from edgeseg.data.medical import decoders
from edgeseg.errors import DataError

PIXELS = np.arange(64, dtype=np.uint8).reshape(8, 8)
UIDS = "1.2.840.10008.1.2.4."


def shipped(name: str) -> Path:
    return Path(pydicom.__file__).parent / "data" / "test_files" / name


def compressed_as(folder: Path, uid: str) -> Path:
    """A file that claims a compression; its frame is none."""
    path = folder / "compressed.dcm"
    path.write_bytes(with_frame(dicom_bytes(PIXELS), uid, b"\xff\xd8" + bytes(62)))
    return path


@pytest.mark.parametrize(
    ("ending", "name", "package"),
    [
        ("50", "JPEG Baseline", "pillow"),
        ("80", "JPEG-LS Lossless", "'edgeseg.dicom.'"),
        ("81", "JPEG-LS Lossy", "'edgeseg.dicom.'"),
        ("90", "JPEG 2000", "'edgeseg.dicom.'"),
        ("91", "JPEG 2000", "'edgeseg.dicom.'"),
        ("201", "High-Throughput JPEG 2000", "'edgeseg.dicom.'"),
        ("203", "High-Throughput JPEG 2000", "'edgeseg.dicom.'"),
    ],
)
def test_a_missing_decoder_is_named_with_what_brings_it(
    ending: str, name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoders, "_plugin_of", lambda syntax: None)
    path = compressed_as(tmp_path, UIDS + ending)
    expected = rf"compressed as {name}.*Install one with pip install {package}\. Else: Convert"
    with pytest.raises(DataError, match=expected) as refused:
        read_image(path)
    assert "libjpeg" not in str(refused.value)


@pytest.mark.parametrize(
    ("ending", "name"), [("102", "MPEG-4"), ("107", "HEVC"), ("92", "JPEG 2000 Part 2")]
)
def test_what_nothing_decodes_is_named(ending: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"{name}.*no decoder is installed. Convert it to plain"):
        read_image(compressed_as(tmp_path, UIDS + ending))


def test_each_package_is_one_that_pydicom_knows_for_the_compression() -> None:
    plugins = {"pillow": {"pillow"}, decoders.EXTRA: {"pylibjpeg", "pyjpegls"}}
    for syntax, package in decoders.PACKAGES.items():
        decoder = pydicom.pixels.get_decoder(pydicom.uid.UID(syntax))
        missing = [text.split()[0] for text in decoder.missing_dependencies]
        assert plugins[package] & {*decoder.available_plugins, *missing}, syntax


def test_12_bit_jpeg_is_refused_with_its_bits() -> None:
    with pytest.raises(DataError, match=r"JPEG Extended.*12 bits.*gdcmconv --raw or dcmdjpeg"):
        read_image(shipped("JPGExtended.dcm"))
