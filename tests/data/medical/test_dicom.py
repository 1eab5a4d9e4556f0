"""DICOM files as pictures and as masks."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from medical_files import dicom_bytes, write_dicom
from PIL import Image
from support import needs

from edgeseg.contract import InputContract, MeanStd
from edgeseg.data.images import read_image
from edgeseg.data.masks import read_mask
from edgeseg.data.medical.readers import describe_left_out, is_shown, list_frames, spacing_of
from edgeseg.errors import DataError

pytestmark = needs("pydicom")
GREY = InputContract(16, 16, 8, MeanStd((0.0,), (1.0,)), channels=1)
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def shipped(name: str) -> Path:
    """A file that pydicom ships."""
    import pydicom

    return Path(pydicom.__file__).parent / "data" / "test_files" / name


def test_twelve_bits_become_sixteen_as_those_of_a_tiff(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, BitsStored=12)
    wanted = (RAMP.astype(np.uint32) * 65535 + 2047) // 4095
    assert np.array_equal(read_image(path, 1)[..., 0], wanted)
    assert read_image(path).shape == (64, 64, 3)


def test_eight_and_sixteen_bits_stay_what_they_are(tmp_path: Path) -> None:
    for kind in (np.uint8, np.uint16):
        values = RAMP.astype(kind)
        path = write_dicom(tmp_path / f"{values.dtype}.dcm", values)
        assert np.array_equal(read_image(path, 1)[..., 0], values)
        assert read_image(path, 1).dtype == kind


@pytest.mark.parametrize("bits", [12, 16])
def test_a_window_gives_the_same_input_as_the_windowed_png(tmp_path: Path, bits: int) -> None:
    values = (RAMP.astype(np.int32) * (1 if bits == 12 else 15) - 900).astype(np.int16)
    path = write_dicom(tmp_path / "a.dcm", values, RescaleSlope=2, RescaleIntercept=-100)
    low, high = 40 - 400 / 2, 40 + 400 / 2
    hounsfield = values.astype(np.float64) * 2 - 100
    picture = np.rint(np.clip((hounsfield - low) / (high - low), 0, 1) * 65535)
    png = tmp_path / "a.png"
    Image.fromarray(picture.astype(np.uint16)).save(png)
    windowed = replace(GREY, window=(40, 400))
    assert np.array_equal(read_image(path, windowed), read_image(png, GREY))
    assert np.array_equal(
        windowed.prepare(read_image(path, windowed)), GREY.prepare(read_image(png, GREY))
    )


def test_the_own_window_is_that_of_pydicom(tmp_path: Path) -> None:
    from pydicom import dcmread
    from pydicom.pixels import apply_windowing

    for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        path = write_dicom(
            tmp_path / f"{function}.dcm",
            RAMP,
            BitsStored=12,
            WindowCenter=[1_800, 5],
            WindowWidth=[900, 5],
            VOILUTFunction=function,
            RescaleSlope=1,
            RescaleIntercept=0,
        )
        wanted = np.rint(apply_windowing(RAMP, dcmread(path)) / 4095 * 65535)
        found = read_image(path, replace(GREY, window="file"))[..., 0]
        assert np.abs(found - wanted).max() <= 1
        assert np.ptp(found) == 65535 if function != "SIGMOID" else np.ptp(found) > 60_000


def test_white_of_the_spec_takes_values_as_they_are(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, BitsStored=12, WindowCenter=10, WindowWidth=5)
    assert np.array_equal(read_image(path, replace(GREY, white=4095))[..., 0], RAMP)


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    path = write_dicom(
        tmp_path / "a.dcm", RAMP.astype(np.uint8), PhotometricInterpretation="MONOCHROME1"
    )
    assert np.array_equal(read_image(path, 1)[..., 0], 255 - RAMP.astype(np.uint8))


def test_colours_are_rgb_however_they_are_stored(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (16, 12, 3), dtype=np.uint8)
    plain = write_dicom(tmp_path / "a.dcm", rgb)
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1)).reshape(16, 12, 3)
    apart = write_dicom(tmp_path / "b.dcm", planes, PlanarConfiguration=1)
    assert np.array_equal(read_image(plain), rgb)
    assert np.array_equal(read_image(apart), rgb)
    # Red, as it stands in the upper left of the test picture that others ship.
    for name in ("SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_rle.dcm"):
        pixels = read_image(shipped(name)).astype(int)
        assert np.abs(pixels[5, 5] - (255, 0, 0)).max() <= 2, name


def test_compressed_files_hold_what_plain_ones_do() -> None:
    plain = read_image(shipped("MR_small.dcm"))
    for name in ("MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"):
        assert np.array_equal(read_image(shipped(name)), plain), name


def test_each_frame_is_a_picture(tmp_path: Path) -> None:
    frames = np.arange(3 * 8 * 8, dtype=np.uint8).reshape(3, 8, 8)
    path = write_dicom(tmp_path / "loop", frames)
    names = list_frames(path)
    assert [name.name for name in names] == ["loop#0", "loop#1", "loop#2"]
    for frame, name in zip(frames, names, strict=True):
        assert np.array_equal(read_image(name, 1)[..., 0], frame)
    with pytest.raises(DataError, match=r"holds 3 frames.*loop#0 for the first; edgeseg predict"):
        read_image(path)
    with pytest.raises(DataError, match=r"there is no frame 3\. Name another"):
        read_image(path.with_name("loop#3"))


def test_spacing_is_known_where_it_is_that_of_the_patient(tmp_path: Path) -> None:
    values = RAMP.astype(np.uint8)
    assert spacing_of(write_dicom(tmp_path / "a.dcm", values)) == (0.5, 0.25)
    detector = write_dicom(
        tmp_path / "b.dcm", values, PixelSpacing=None, ImagerPixelSpacing=[0.1, 0.1]
    )
    assert spacing_of(detector) is None


def test_a_mask_holds_stored_values(tmp_path: Path) -> None:
    labels = (RAMP % 3).astype(np.uint8)
    path = write_dicom(tmp_path / "a.dcm", labels, WindowCenter=1, WindowWidth=2, RescaleSlope=9)
    assert np.array_equal(read_mask(path, 3), labels)
    with pytest.raises(DataError, match=r"coloured. Save masks as grey"):
        read_mask(write_dicom(tmp_path / "b.dcm", np.zeros((4, 4, 3), np.uint8)), 2)


def test_what_has_no_window_is_refused(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP.astype(np.int16))
    with pytest.raises(DataError, match=r"no window of its own.*Write \[window\]"):
        read_image(path)
    plain = write_dicom(tmp_path / "b.dcm", RAMP)
    with pytest.raises(DataError, match=r"no window of its own.*Write \[window\]"):
        read_image(plain, replace(GREY, window="file"))
    narrow = write_dicom(tmp_path / "c.dcm", RAMP, WindowCenter=3, WindowWidth=0)
    with pytest.raises(DataError, match=r"makes no sense.*Write \[window\]"):
        read_image(narrow)


HOSTILE = {
    "size": ({"Rows": 60_000, "Columns": 60_000}, "60000x60000 pixels.*Reduce it"),
    "none": ({"Rows": 0}, "64x0 pixels.*Reduce it"),
    "frames": ({"NumberOfFrames": 2_000_000_000}, "2000000000 frames.*Repair the file"),
    "short": ({"Rows": 640}, r"Cannot read the DICOM file .* \(ValueError\).*replace it"),
    "bits": ({"BitsAllocated": 24, "BitsStored": 24}, "24 of 24 bits.*Save it with 8 or 16"),
    "colours": ({"PhotometricInterpretation": "HSV"}, "colours HSV.*gdcmconv --raw"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(tmp_path: Path, name: str) -> None:
    tags, message = HOSTILE[name]
    path = write_dicom(tmp_path / "a.dcm", RAMP, **tags)
    with pytest.raises(DataError, match=message):
        read_image(path)


def test_a_frame_that_unpacks_to_more_than_it_says_is_refused(tmp_path: Path) -> None:
    from pydicom.uid import JPEGLSLossless, RLELossless

    for syntax in (JPEGLSLossless, RLELossless):
        large = dicom_bytes(RAMP.astype(np.uint8), syntax)
        rows = b"\x28\0\x10\0US\x02\0"
        assert large.count(rows + b"\x40\0") == 1
        path = tmp_path / f"{syntax}.dcm"
        path.write_bytes(large.replace(rows + b"\x40\0", rows + b"\x04\0"))
        with pytest.raises(DataError, match=r"unpacks to another size.*replace it"):
            read_image(path)


def test_a_message_never_quotes_the_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = dicom_bytes(RAMP.astype(np.uint8), PatientBirthDate="19410203")
    draw = np.random.default_rng(0)
    told = []
    for number in range(40):
        damaged = bytearray(content)
        for place in draw.integers(132, 900, 4):
            damaged[place] = draw.integers(0, 256)
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(bytes(damaged))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # pydicom's quote the file, too
                read_image(path)
        except DataError as error:
            told.append(str(error))
    assert told
    shown = "".join([*told, *capfd.readouterr()])
    assert not any(word in shown for word in ("Zebulon", "Quirrel", "PID-", "1941", "Wobble"))


def test_reports_lists_and_segmentations_are_no_pictures(tmp_path: Path) -> None:
    assert is_shown(shipped("CT_small.dcm"))
    for name in ("reportsi.dcm", "rtplan.dcm", "dicomdirtests/DICOMDIR", "test-SR.dcm"):
        assert not is_shown(shipped(name)), name
    picture = write_dicom(tmp_path / "a.dcm", RAMP.astype(np.uint8))
    assert is_shown(picture)
    segmentation = "1.2.840.10008.5.1.4.1.1.66.4"
    made = write_dicom(tmp_path / "b.dcm", RAMP.astype(np.uint8), SOPClassUID=segmentation)
    assert not is_shown(made)
    for length in (140, 400, 700):  # what is cut short is not passed over
        (tmp_path / "c.dcm").write_bytes(picture.read_bytes()[:length])
        assert is_shown(tmp_path / "c.dcm")


def test_files_without_header_are_read_by_their_ending_and_others_are_told(tmp_path: Path) -> None:
    from pydicom import dcmread

    data = dcmread(write_dicom(tmp_path / "a.dcm", RAMP.astype(np.uint8)))
    bare = tmp_path / "bare.dcm"
    del data.file_meta
    data.preamble = None
    data.save_as(bare, implicit_vr=False, little_endian=True)
    assert np.array_equal(read_image(bare, 1)[..., 0], RAMP.astype(np.uint8))
    wrong = tmp_path / "picture.png"
    wrong.write_bytes((tmp_path / "a.dcm").read_bytes())
    assert np.array_equal(read_image(wrong, 1)[..., 0], RAMP.astype(np.uint8))
    text = tmp_path / "notes.dcm"
    text.write_text("no DICOM at all")
    with pytest.raises(DataError, match=r"no picture|Cannot read"):
        read_image(text)
    with pytest.raises(DataError, match=r"deflated as a whole.*gdcmconv --raw"):
        read_image(shipped("image_dfl.dcm"))
    with pytest.raises(DataError, match=r"holds no picture: it is a report.*Take it out"):
        read_image(shipped("rtplan.dcm"))


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("RescaleSlope", "0", "RescaleSlope 0,"),
        ("RescaleSlope", "nan", "RescaleSlope nan,"),
        ("RescaleSlope", "inf", "RescaleSlope inf,"),
        ("RescaleIntercept", "nan", "RescaleIntercept nan,"),
        ("RescaleIntercept", "-inf", "RescaleIntercept -inf,"),
        ("RescaleSlope", "Zebul", "a RescaleSlope that is no number,"),
    ],
)
def test_a_rescale_that_makes_no_values_is_refused(
    tmp_path: Path, name: str, value: str, told: str
) -> None:
    tags = {"RescaleSlope": 1, "RescaleIntercept": 0, name: 7777}
    path = write_dicom(tmp_path / "a.dcm", RAMP, **tags)
    content = path.read_bytes()
    assert content.count(b"7777.0") == 1
    path.write_bytes(content.replace(b"7777.0", value.ljust(6).encode()))
    for inputs in (replace(GREY, window=(40, 400)), replace(GREY, white=4095), 1):
        with pytest.raises(DataError, match=rf"a\.dcm has {told} so that .*Repair its header"):
            read_image(path, inputs)


def test_files_without_pixels_and_deflated_ones_are_left_out_and_told_by_their_reason(
    tmp_path: Path,
) -> None:
    from pydicom import dcmread

    picture = write_dicom(tmp_path / "a.dcm", RAMP.astype(np.uint8))
    data = dcmread(picture)
    del data.PixelData
    data.save_as(tmp_path / "bare.dcm")
    deflated = tmp_path / "deflated.dcm"
    deflated.write_bytes(shipped("image_dfl.dcm").read_bytes())
    report = tmp_path / "report.dcm"
    report.write_bytes(shipped("reportsi.dcm").read_bytes())
    files = [picture, tmp_path / "bare.dcm", deflated, report]
    assert [is_shown(file) for file in files] == [True, False, False, False]
    assert describe_left_out(tmp_path, files) == [
        f"2 DICOM files in {tmp_path} are no pictures, but reports, lists, segmentations or files "
        "without pixels, and left out: bare.dcm, report.dcm",
        f"1 DICOM file in {tmp_path} is deflated as a whole, which is not read, and left out "
        "(gdcmconv --raw converts it): deflated.dcm",
    ]
    with pytest.raises(DataError, match=r"bare\.dcm holds no picture: .*without pixels.*Take it"):
        read_image(files[1])
    cut = picture.read_bytes()
    # What is cut short behind the tag of its kind is not passed over.
    for length in range(400, len(cut) - RAMP.size, 7):
        (tmp_path / "cut.dcm").write_bytes(cut[:length])
        assert is_shown(tmp_path / "cut.dcm"), length


def test_bits_that_lie_elsewhere_and_frames_that_are_not_told_are_refused(tmp_path: Path) -> None:
    from pydicom import dcmread

    shifted = write_dicom(tmp_path / "a.dcm", RAMP << 4, BitsStored=12)
    data = dcmread(shifted)
    data.HighBit = 15
    data.save_as(shifted)
    with pytest.raises(DataError, match=r"keeps its 12 bits up to bit 15 \(HighBit\).*HighBit 11"):
        read_image(shifted)
    frames = write_dicom(tmp_path / "b.dcm", np.stack([RAMP] * 4), BitsStored=12, NumberOfFrames=2)
    with pytest.raises(DataError, match=r"claims 2 frames \(NumberOfFrames\).*pixels of 4"):
        list_frames(frames)
    odd = write_dicom(tmp_path / "c.dcm", np.zeros((3, 3), np.uint8))
    data = dcmread(odd)
    data.PixelData = data.PixelData + b"\0"  # to whole words
    data.save_as(odd)
    assert read_image(odd, 1).shape == (3, 3, 1)
