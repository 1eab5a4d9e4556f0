"""Lossless JPEG: what was encoded comes back, and what is damaged is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lossless_jpeg_files import encode_lossless
from medical_files import dicom_bytes, with_frame, write_dicom
from numpy.typing import NDArray
from support import needs

from edgeseg.data.images import read_image
from edgeseg.data.medical import lossless_jpeg
from edgeseg.data.medical.lossless_jpeg import decode_lossless
from edgeseg.errors import DataError

pytestmark = needs("pydicom")
LOSSLESS = "1.2.840.10008.1.2.4.70"


def noise(*shape: int, bits: int = 16, seed: int = 0) -> NDArray[np.uint16]:
    """Samples over the whole range, so that differences of all sizes occur."""
    drawn = np.random.default_rng(seed).integers(0, 2**bits, shape)
    drawn[0, 0], drawn[0, 1] = 0, 2**bits - 1
    return drawn.astype(np.uint16)


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("bits", [2, 8, 12, 16])
def test_all_predictors_give_back_what_was_encoded(predictor: int, bits: int) -> None:
    samples = noise(9, 13, bits=bits, seed=predictor)
    assert np.array_equal(decode_lossless(encode_lossless(samples, bits, predictor)), samples)


@pytest.mark.parametrize("is_interleaved", [True, False])
@pytest.mark.parametrize("restart_rows", [0, 1, 4])
def test_colours_and_restarts(restart_rows: int, is_interleaved: bool) -> None:
    samples = noise(11, 7, 3, bits=8)
    for predictor in (1, 4, 7):
        stream = encode_lossless(
            samples, 8, predictor, restart_rows=restart_rows, is_interleaved=is_interleaved
        )
        assert np.array_equal(decode_lossless(stream), samples)


def test_bits_that_were_left_out_are_zero() -> None:
    samples = noise(6, 6, bits=12)
    found = decode_lossless(encode_lossless(samples, 12, shift=3))
    assert np.array_equal(found, samples >> 3 << 3)


def test_long_streams_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lossless_jpeg, "WINDOW", 64)
    for shape in ((20, 17), (8, 9, 3)):
        samples = noise(*shape)
        assert np.array_equal(decode_lossless(encode_lossless(samples, 16, 6)), samples)


@pytest.mark.parametrize("is_signed", [False, True])
def test_a_dicom_file_of_12_bits_holds_what_its_plain_form_does(
    tmp_path: Path, is_signed: bool
) -> None:
    samples = noise(8, 9, bits=12)
    values = (samples << 4).view(np.int16) >> 4 if is_signed else samples
    tags = {"BitsStored": 12, "WindowCenter": 100, "WindowWidth": 900}
    plain = write_dicom(tmp_path / "plain.dcm", values, **tags)
    packed = tmp_path / "packed.dcm"
    packed.write_bytes(with_frame(plain.read_bytes(), LOSSLESS, encode_lossless(samples, 12)))
    assert np.array_equal(read_image(packed), read_image(plain))


def test_a_file_of_another_encoder_is_read() -> None:
    import pydicom

    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    found, plain = (
        read_image(folder / name) for name in ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle.dcm")
    )
    assert np.array_equal(found, plain)


def test_damage_is_refused(tmp_path: Path) -> None:
    """Of bits that flip and streams that end, none raises anything else or gives another size."""
    stream = encode_lossless(noise(12, 12, bits=12), 12, 5)
    random = np.random.default_rng(5)
    refused = 0
    for _ in range(400):
        damaged = bytearray(stream[: random.integers(2, len(stream) + 1)])
        for place in random.integers(0, len(damaged), random.integers(0, 4)):
            damaged[place] = random.integers(0, 256)
        try:
            found = decode_lossless(bytes(damaged))
        except ValueError:
            refused += 1
        else:
            assert found.ndim in (2, 3)
    assert refused > 200
    short = tmp_path / "short.dcm"
    short.write_bytes(with_frame(dicom_bytes(noise(12, 12, bits=12)), LOSSLESS, stream[:-40]))
    with pytest.raises(DataError, match=r"is not decoded \(JPEG Lossless.*gdcmconv --raw"):
        read_image(short)
