"""What pictures a browser decodes, and how those are told that it cannot take."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from vectors import CONTRACTS, FOLDER, check_mask, contract_record, probabilities_of, vectors_of
from web_kits import draw_discs, give, give_disc

expect: Any = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.timeout(120)

DECODED_LEVELS = 2  # of 255: decoders of JPEG may differ by so much
MOST_MS_FROZEN = 1000
Page = Any


@pytest.mark.parametrize("contract", CONTRACTS)
def test_the_vectors_as_files(contract: str, open_page: Callable[..., Page]) -> None:
    """What a browser decodes: turned, grey, transparent, of 16 bits, CMYK, large, one pixel."""
    page = open_page("test/index.html")
    program = """async ([bytes, record, probabilities]) => {
        const { Contract } = await import("/edgeseg/contract.js");
        const picture = await import("/edgeseg/picture.js");
        const load = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
        const save = (array) => { let text = "";
            new Uint8Array(array.buffer).forEach((byte) => (text += String.fromCharCode(byte)));
            return btoa(text); };
        const contract = new Contract(record);
        const decoded = await picture.decode(new Blob([load(bytes)]));
        const { width, height } = decoded;
        const tensor = await picture.prepare(contract, decoded);
        const values = new Float32Array(load(probabilities).buffer);
        const labels = contract.restore(values, width, height);
        return [width, height, save(tensor), save(labels)]; }"""
    text = {path.stem: path for path in (FOLDER / "images").iterdir()}
    values = base64.b64encode(probabilities_of(contract).tobytes()).decode()
    record = contract_record(contract)
    for vector in vectors_of(contract):
        if vector.pixels.itemsize == 2 and record["input"].get("white"):
            continue  # refused: see below
        content = base64.b64encode(text[vector.name].read_bytes()).decode()
        given = [content, record, values]
        width, height, tensor, labels = page.evaluate(program, given)
        assert (height, width) == vector.pixels.shape[:2], vector.name
        mask = np.frombuffer(base64.b64decode(labels), np.uint8).reshape(height, width)
        check_mask(vector, mask)
        made = np.frombuffer(base64.b64decode(tensor), "<f4").reshape(vector.tensor.shape)
        spread = float(np.ptp(vector.tensor)) or 1.0
        levels = float(np.ptp(vector.pixels)) / (257 if vector.pixels.itemsize == 2 else 1) or 1.0
        worst = float(np.abs(made - vector.tensor).max()) * levels / spread
        assert worst <= DECODED_LEVELS, f"{vector.name} differs by {worst} levels"


def test_sixteen_bits_of_an_own_white_are_refused(open_page: Callable[..., Page]) -> None:
    """A browser keeps the upper eight bits, which are nearly nothing where white is 4095."""
    page = open_page("test/index.html")
    program = """async ([text, record]) => {
        const { Contract } = await import("/edgeseg/contract.js");
        const picture = await import("/edgeseg/picture.js");
        const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
        const decoded = await picture.decode(new Blob([bytes]));
        return picture.prepare(new Contract(record), decoded).catch((error) => error.message); }"""
    content = base64.b64encode((FOLDER / "images" / "deep.png").read_bytes()).decode()
    said = page.evaluate(program, [content, contract_record("grey")])
    assert "16 bits" in said
    assert "Save it with 8 bits, with 4095 as 255" in said


def test_a_colour_profile_is_not_applied(open_page: Callable[..., Page]) -> None:
    """As in training: the file's own values count. This profile exchanges red and blue."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for old, new in ((b"rXYZ", b"xXYZ"), (b"bXYZ", b"rXYZ"), (b"xXYZ", b"bXYZ")):
        profile = profile.replace(old, new)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 90, 30)).save(buffer, "PNG", icc_profile=profile)
    page = open_page("test/index.html")
    program = """async ([text, record, isPlain]) => {
        const { Contract } = await import("/edgeseg/contract.js");
        const picture = await import("/edgeseg/picture.js");
        const file = new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]);
        const source = isPlain ? await createImageBitmap(file) : file;
        const decoded = await picture.decode(source);
        const tensor = await picture.prepare(new Contract(record), decoded);
        const size = tensor.length / 3;
        return [tensor[0], tensor[size], tensor[2 * size]]; }"""
    record = contract_record("normed")
    record["input"]["normalization"] = {"kind": "mean_std", "mean": [0] * 3, "std": [1 / 255] * 3}
    content = base64.b64encode(buffer.getvalue()).decode()
    assert page.evaluate(program, [content, record, False]) == pytest.approx([200, 90, 30])
    # Decoded in the usual way it would be another colour: the profile is there.
    assert page.evaluate(program, [content, record, True])[0] != pytest.approx(200, abs=20)


def test_a_broken_file_is_told_and_the_page_goes_on(open_page: Callable[..., Page]) -> None:
    page = open_page()
    give(page, "notes.png", b"no picture at all")
    message = page.locator("#message")
    expect(message).to_contain_text("“notes.png” is no picture that this browser can decode.")
    expect(message).to_contain_text("Choose a JPEG, PNG or WebP file.")
    image, _ = draw_discs(300, 400)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG")
    give(page, "cut.jpg", b"\xff\xd8\xff\xe0" + buffer.getvalue()[40:60], "image/jpeg")
    expect(message).to_contain_text("“cut.jpg” is no picture")
    give_disc(page)
    expect(message).to_be_hidden()


def test_a_huge_picture_is_refused_and_a_large_one_freezes_nothing(
    open_page: Callable[..., Page],
) -> None:
    page = open_page()
    buffer = io.BytesIO()
    Image.new("1", (12_000, 9_000)).save(buffer, "PNG")
    give(page, "huge.png", buffer.getvalue())
    message = page.locator("#message")
    expect(message).to_contain_text("12000 × 9000 pixels, 108 million; at most 67 million")
    expect(message).to_contain_text("Make it smaller")
    page.evaluate(
        """() => { globalThis.longest = 0; let last = performance.now();
        setInterval(() => { const now = performance.now();
            globalThis.longest = Math.max(globalThis.longest, now - last); last = now; }, 20); }"""
    )
    image = Image.fromarray(draw_discs(60, 80)[0]).resize((6000, 4500), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    give(page, "large.jpg", buffer.getvalue(), "image/jpeg")
    label = "large.jpg, 6000 by 4500 pixels"
    expect(page.locator("#photo")).to_have_attribute("aria-label", label)
    assert page.eval_on_selector("#fill", "canvas => canvas.width * canvas.height") <= 2**22 * 1.01
    assert page.evaluate("globalThis.longest") < MOST_MS_FROZEN
