"""The page in Chromium: masks, odd pictures, offline, accessibility, camera, memory."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from web_kits import (
    AXE,
    CLASSES,
    LIMIT_MS,
    draw_discs,
    give,
    give_disc,
    png_of,
    require_package,
)

from edgeseg.bundle.bundle import open_bundle
from edgeseg.embed.browser import serving

expect: Any = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.timeout(120)

MOST_MB_MORE = 12
Page = Any


def diagnostics_of(page: Page) -> dict[str, Any]:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#diagnostics")
    expect(page.locator("#diagnostics")).to_have_text("Copied")
    record: dict[str, Any] = json.loads(page.evaluate("navigator.clipboard.readText()"))
    return record


def wanted_labels(web_bundle: Path, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What Python makes of a picture with the bundle's exported network."""
    import onnxruntime

    opened = open_bundle(web_bundle)
    session = onnxruntime.InferenceSession(str(web_bundle / "source" / "model.onnx"))
    (name,) = (one.name for one in session.get_inputs())
    mask = session.run(None, {name: opened.inputs.prepare(image)})[0]
    return opened.outputs.restore(mask, image.shape[0], image.shape[1])


def test_the_golden_image(open_page: Callable[..., Page]) -> None:
    page = open_page("test/index.html")
    expect(page.locator("#state")).to_have_text("Passed: this device gives the golden mask.")
    assert "0.00" in page.inner_text("#results")


def test_the_golden_image_without_a_browser(web_kit: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    words = [node, web_kit / "test" / "node_test.js"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["passed"]
    assert record["flips_per_10k"] == 0


def test_a_picture_becomes_pythons_mask(web_bundle: Path, open_page: Callable[..., Page]) -> None:
    """Three classes of a network of the user's own, saved as a grey PNG of the labels."""
    page = open_page()
    image = give_disc(page, 133, 200)
    wanted = wanted_labels(web_bundle, image)
    with page.expect_download() as download:
        page.click("#save")
    assert download.value.suggested_filename == "disc-mask.png"
    made = np.asarray(Image.open(download.value.path()))
    assert made.shape == wanted.shape
    assert set(np.unique(wanted)) == {0, 1, 2}
    assert 10_000 * (made != wanted).mean() <= 1
    lines = page.locator("#legend li").all_inner_texts()
    assert [line.split()[0] for line in lines] == list(CLASSES[1:])
    for index, line in enumerate(lines, 1):
        count = int((made == index).sum())
        assert f"{count:,} px" in line
        percent = 100 * count / made.size
        assert f"{percent:.{2 if percent < 10 else 1}f} %" in line
    said = page.inner_text("#spoken")
    assert "disc: " in said
    assert "percent" in said


def test_the_mask_lies_on_the_picture_at_its_size(open_page: Callable[..., Page]) -> None:
    page = open_page()
    give_disc(page, 90, 120)
    read = """(name) => { const canvas = document.querySelector(name);
        const { data } = canvas.getContext("2d").getImageData(0, 0, 120, 90);
        const at = (x, y) => [...data.slice(4 * (120 * y + x), 4 * (120 * y + x) + 4)];
        return [canvas.width, canvas.height, at(60, 45), at(2, 2), at(60, 15)]; }"""
    width, height, centre, corner, disc = page.evaluate(read, "#fill")
    assert (width, height) == (120, 90)
    assert corner[3] == 0
    assert centre[3] == disc[3] == 255
    assert centre != disc
    *_, middle, _, _ = page.evaluate(read, "#outline")
    assert middle[3] == 0
    page.fill("#opacity", "20")
    assert page.eval_on_selector("#fill", "canvas => canvas.style.opacity") == "0.2"
    page.uncheck("#outlined")
    expect(page.locator("#outline")).to_be_hidden()


def test_it_works_without_a_network_after_the_first_load(chromium: Any, web_kit: Path) -> None:
    context = chromium.new_context()
    context.set_default_timeout(LIMIT_MS)
    with serving(web_kit) as site:
        page = context.new_page()
        page.goto(site.address)
        expect(page.locator("#offline")).to_be_visible()
    page.reload()  # the server is gone
    expect(page.locator("#backend")).to_contain_text("WebAssembly")
    give_disc(page)
    context.close()


def test_a_new_kit_takes_the_place_of_the_old(chromium: Any, web_kit: Path, tmp_path: Path) -> None:
    folder = tmp_path / "kit"
    shutil.copytree(web_kit, folder)
    context = chromium.new_context()
    context.set_default_timeout(LIMIT_MS)
    with serving(folder) as site:
        page = context.new_page()
        page.goto(site.address)
        expect(page.locator("#offline")).to_be_visible()
        for name, old, new in (
            ("index.html", "See where it is", "See it anew"),
            ("sw.js", 'VERSION = "', 'VERSION = "2'),
        ):
            text = (folder / name).read_text()
            assert old in text
            (folder / name).write_text(text.replace(old, new))
        page.reload()
        expect(page.locator("#message")).to_contain_text("Load the page anew")
        page.reload()
        expect(page.locator(".lead")).to_contain_text("See it anew")
        assert len(page.evaluate("caches.keys()")) == 1
    context.close()


@pytest.mark.parametrize("size", [(390, 844), (1280, 800)])
def test_the_whole_picture_is_seen_and_nothing_is_scrolled(
    size: tuple[int, int], open_page: Callable[..., Page]
) -> None:
    page = open_page(viewport={"width": size[0], "height": size[1]})
    for height, width in ((300, 60), (60, 300)):
        give_disc(page, height, width)
        stage = page.locator("#stage").bounding_box()
        for name in ("#photo", "#fill", "#outline"):
            assert page.locator(name).bounding_box() == stage
        for axis, side in zip(("Width", "Height"), size, strict=True):
            assert page.evaluate(f"document.documentElement.scroll{axis}") <= side


def test_a_narrow_window_needs_no_scrolling_to_the_side(open_page: Callable[..., Page]) -> None:
    page = open_page(viewport={"width": 320, "height": 568})
    give_disc(page)
    expect(page.locator("#offline")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 320


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(scheme: str, open_page: Callable[..., Page]) -> None:
    program = (require_package(AXE) / "axe.min.js").read_text(encoding="utf-8")
    page = open_page(color_scheme=scheme)
    states: list[Callable[[], Any]] = [
        lambda: expect(page.locator("#backend")).to_contain_text("WebAssembly"),
        lambda: give(page, "x.png", b"none"),
        lambda: expect(page.locator("#message")).to_be_visible(),
        lambda: give_disc(page),
    ]
    page.evaluate(program)
    for reach in states:
        reach()
        found = page.evaluate("axe.run()")
        serious = [
            (one["id"], [node["html"] for node in one["nodes"]])
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        assert serious == []
        assert found["passes"]


def test_all_can_be_done_with_the_keyboard(open_page: Callable[..., Page]) -> None:
    page = open_page()
    expect(page.locator("#backend")).to_contain_text("WebAssembly")
    focused = "document.activeElement.id"
    order = []
    for _ in range(4):
        page.keyboard.press("Tab")
        order.append(page.evaluate(focused))
    assert order == ["example", "file", "camera", "diagnostics"]
    outline = page.eval_on_selector("#diagnostics", "one => getComputedStyle(one).outlineStyle")
    assert outline == "solid"
    page.focus("#example")
    page.keyboard.press("Enter")
    expect(page.locator("#result")).to_be_visible()
    assert page.evaluate(focused) == "file"  # the button is gone
    page.focus("#camera")
    order = []
    for _ in range(4):
        page.keyboard.press("Tab")
        order.append(page.evaluate(focused))
    assert order == ["save", "opacity", "outlined", "diagnostics"]
    page.focus("#opacity")
    page.keyboard.press("ArrowLeft")
    assert page.eval_on_selector("#fill", "canvas => canvas.style.opacity") == "0.4"


def test_pictures_are_pasted_and_dropped(open_page: Callable[..., Page]) -> None:
    page = open_page()
    program = """([kind, name, text]) => {
        const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
        const data = new DataTransfer();
        data.items.add(new File([bytes], name, { type: "image/png" }));
        const event = kind === "paste"
            ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
            : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
        document.querySelector("#stage").dispatchEvent(event); }"""
    for kind, size in (("paste", (50, 70)), ("drop", (70, 50))):
        text = base64.b64encode(png_of(draw_discs(*size)[0])).decode()
        page.evaluate(program, [kind, f"{kind}.png", text])
        label = f"{kind}.png, {size[1]} by {size[0]} pixels"
        expect(page.locator("#photo")).to_have_attribute("aria-label", label)


def test_the_camera_gives_live_masks(open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.click("#camera")
    expect(page.locator("#live")).to_contain_text("frames a second")
    expect(page.locator("#camera")).to_have_text("Stop")
    page.wait_for_timeout(1500)
    page.click("#camera")
    expect(page.locator("#camera")).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#spoken")).to_contain_text("milliseconds")
    record = diagnostics_of(page)
    assert record["camera_frames"] > 5
    assert record["last"]["width"] == 640


def test_a_camera_that_was_stopped_can_start_again(open_page: Callable[..., Page]) -> None:
    page = open_page()
    expect(page.locator("#backend")).to_contain_text("WebAssembly")
    for _ in range(2):
        page.click("#camera")
        expect(page.locator("#camera")).to_have_text("Stop")
        page.click("#camera")  # at once: the camera may not be open yet
        expect(page.locator("#camera")).to_have_text("Camera")
    page.click("#camera")
    expect(page.locator("#live")).to_contain_text("frames a second")
    give_disc(page)  # a picture ends it
    expect(page.locator("#camera")).to_have_text("Camera")
    expect(page.locator("#live")).to_be_hidden()


def test_diagnostics_hold_what_helps_and_no_picture(
    web_bundle: Path, open_page: Callable[..., Page]
) -> None:
    page = open_page()
    give_disc(page)
    record = diagnostics_of(page)
    identity = open_bundle(web_bundle).short_identity
    assert record["kit"]["identity"] == page.inner_text("#identity") == identity
    assert set(record["last"]["times_ms"]) == {"decode", "prepare", "infer", "restore"}
    assert record["first_mask_ms"] > 0
    assert "disc.png" not in json.dumps(record)


def test_masks_need_no_more_memory_with_time(chromium: Any, open_page: Callable[..., Page]) -> None:
    """The least of some moments is compared: garbage comes and goes."""
    page = open_page("test/index.html")
    expect(page.locator("#state")).to_contain_text("Passed")
    program = """async (count) => {
        const { open } = await import("/edgeseg/edgeseg.js");
        globalThis.network ??= await open();
        const image = new ImageData(160, 120);
        image.data.forEach((_, i) => (image.data[i] = i % 4 === 3 ? 255 : (i * 7) % 256));
        for (let i = 0; i < count; i++) {
            const bitmap = await createImageBitmap(image);
            await globalThis.network.segment(bitmap);
        } }"""
    session = chromium.new_browser_cdp_session()
    page_session = page.context.new_cdp_session(page)

    def megabytes_after(count: int) -> float:
        page.evaluate(program, count)
        page_session.send("HeapProfiler.collectGarbage")
        processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
        return sum(private_megabytes(one["id"]) for one in processes if one["type"] == "renderer")

    moments = [megabytes_after(40) for _ in range(20)]
    assert min(moments[15:]) - min(moments[5:10]) < MOST_MB_MORE, moments


def private_megabytes(process: int) -> float:
    """Memory that a process has written to; none where it has ended."""
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    (line,) = (line for line in text.splitlines() if line.startswith("Private_Dirty"))
    return int(line.split()[1]) / 1024


@pytest.mark.parametrize(
    "name",
    ["network", "contract"],
)
def test_a_file_that_is_missing_on_the_server_is_named(
    name: str, chromium: Any, web_kit: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "kit"
    shutil.copytree(web_kit, folder)
    missing = [
        path
        for path in (folder / "edgeseg" / "model").glob(f"{name}-*")
        if path.suffix in (".weights", ".json")
    ]
    assert len(missing) == 1
    missing[0].unlink()
    context = chromium.new_context(service_workers="block")
    context.set_default_timeout(LIMIT_MS)
    with serving(folder) as site:
        page = context.new_page()
        page.goto(site.address)
        expect(page.locator("#message")).to_contain_text(
            f"The network cannot be opened: model/{missing[0].name} could not be loaded (404)"
        )
        expect(page.locator("#backend")).to_have_text("Not loaded")
    context.close()


def test_the_policy_allows_no_code_from_elsewhere(web_kit: Path) -> None:
    for name in ("index.html", "test/index.html"):
        text = (web_kit / name).read_text()
        assert "default-src 'none'" in text
        assert "'unsafe-eval'" not in text
        assert "unsafe-inline" not in text
        for inline in ("<style", " style=", "onclick=", "onload="):
            assert inline not in text
        sources = re.findall(r"<script[^>]*>", text)
        assert sources
        assert all(" src=" in source for source in sources)


def test_a_page_from_the_disk_says_what_to_do(chromium: Any, web_kit: Path) -> None:
    page = chromium.new_page()
    page.goto((web_kit / "index.html").as_uri())
    expect(page.locator("#message")).to_contain_text("must be served. Run: python3 -m http.server")
    page.close()
