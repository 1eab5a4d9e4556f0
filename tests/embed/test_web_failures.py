"""What goes wrong around a page: kits that are replaced, dead workers, damaged files, bad input."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from web_kits import LIMIT_MS, give, give_disc

from edgeseg.embed.browser import serving

expect: Any = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.timeout(180)

LONG_AGO = 1_700_000_000  # files of that age are kept by browsers without being asked for again
Page = Any


def put(kit: Path, folder: Path, time_s: int = LONG_AGO) -> None:
    """Copy a kit to an address."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(kit, folder)
    for path in folder.rglob("*"):
        os.utime(path, (time_s, time_s))


def result_of(page: Page) -> tuple[str, ...]:
    """Kit, and names and sizes of the areas."""
    expect(page.locator("#backend")).to_contain_text("WebAssembly")
    page.evaluate("document.querySelector('#photo').removeAttribute('aria-label')")
    give_disc(page)
    areas = page.locator("#legend li").all_inner_texts()
    return page.inner_text("#identity"), *sorted(" ".join(area.split()) for area in areas)


def result_alone(chromium: Any, kit: Path) -> tuple[str, ...]:
    context = chromium.new_context()
    context.set_default_timeout(LIMIT_MS)
    with serving(kit) as site:
        page = context.new_page()
        page.goto(site.address)
        result = result_of(page)
    context.close()
    return result


@pytest.fixture(scope="module")
def results(chromium: Any, web_kit: Path, other_web_kit: Path) -> list[tuple[str, ...]]:
    found = [result_alone(chromium, kit) for kit in (web_kit, other_web_kit)]
    assert not set(found[0]) & set(found[1])
    return found


@pytest.mark.parametrize("workers", ["allow", "block"])
def test_a_kit_is_replaced_and_none_is_mixed(
    workers: str,
    chromium: Any,
    web_kit: Path,
    other_web_kit: Path,
    results: list[tuple[str, ...]],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "site"
    put(web_kit, folder)
    context = chromium.new_context(service_workers=workers)
    context.set_default_timeout(LIMIT_MS)
    with serving(folder) as site:
        page = context.new_page()
        page.goto(site.address)
        assert result_of(page) == results[0]
        if workers == "allow":
            expect(page.locator("#offline")).to_be_visible()
        put(other_web_kit, folder, LONG_AGO + 60)
        for _ in range(3):
            page.goto("about:blank")
            page.goto(site.address)
            assert result_of(page) in results
        if workers == "allow":
            expect(page.locator("#message")).to_contain_text("Load the page anew")
            page.reload()
        assert result_of(page) == results[1]
    context.close()


def test_a_worker_that_kept_the_small_files_only_mixes_none(
    chromium: Any,
    web_kit: Path,
    other_web_kit: Path,
    results: list[tuple[str, ...]],
    tmp_path: Path,
) -> None:
    """The tab was closed before the network had come; then the kit was replaced."""
    folder = tmp_path / "site"
    put(web_kit, folder)
    context = chromium.new_context()
    context.set_default_timeout(LIMIT_MS)
    with serving(folder) as site:
        page = context.new_page()
        page.goto(site.address + "README.md")
        page.evaluate(
            """async () => { await navigator.serviceWorker.register("sw.js");
            await navigator.serviceWorker.ready; }"""
        )
        put(other_web_kit, folder, LONG_AGO + 60)
        page.goto(site.address)
        assert result_of(page) == results[1]
    context.close()


def test_a_damaged_file_is_named_and_the_message_stays(
    chromium: Any, web_kit: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "kit"
    shutil.copytree(web_kit, folder)
    (path,) = (folder / "edgeseg" / "model").glob("*.weights")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    context = chromium.new_context(service_workers="block")
    context.set_default_timeout(LIMIT_MS)
    with serving(folder) as site:
        page = context.new_page()
        page.goto(site.address)
        message = page.locator("#message")
        advice = f"model/{path.name} is damaged: copy the kit to the server again"
        expect(message).to_contain_text(advice)
        expect(page.locator("#backend")).to_have_text("Not loaded")
        give(page, "x.png", b"")
        expect(page.locator("#busy")).to_be_hidden()
        expect(message).to_contain_text(advice)
        page.click("#camera")
        expect(page.locator("#camera")).to_have_text("Camera")
        expect(message).to_contain_text(advice)
    context.close()


OPEN = """async (patience) => {
    const library = await import("/edgeseg/edgeseg.js");
    globalThis.workers = [];
    const Real = globalThis.Worker;
    globalThis.Worker = class extends Real {
        constructor(...words) { super(...words); globalThis.workers.push(this); }
    };
    globalThis.network = await library.open(undefined, { patience });
    globalThis.image = () => new ImageData(40, 30);
    globalThis.ask = (source) => globalThis.network.segment(source).then(
        (mask) => `mask ${mask.labels.length}`,
        (error) => [error instanceof library.SegmentationError, error.code, error.message]);
}"""


def open_network(open_page: Callable[..., Page], patience: int = 30_000) -> Page:
    page = open_page("test/index.html")
    expect(page.locator("#state")).to_contain_text("Passed")
    page.evaluate(OPEN, patience)
    assert page.evaluate("ask(image())") == "mask 1200"
    return page


def test_a_dead_worker_is_told_and_replaced(open_page: Callable[..., Page]) -> None:
    page = open_network(open_page, 2000)
    is_own, code, message = page.evaluate(
        """() => { const worker = globalThis.workers[0];
        worker.terminate();  // says nothing, as one that has no memory left
        return ask(image()); }"""
    )
    assert is_own
    assert code == "worker"
    assert "no answer for 2 s" in message
    assert "Try again, or with a smaller picture" in message
    assert page.evaluate("ask(image())") == "mask 1200"
    assert page.evaluate("workers.length") == 2


def test_a_page_that_slept_waits_anew(open_page: Callable[..., Page]) -> None:
    """The worker may have slept, too: only an alarm that comes in time says that it is dead."""
    page = open_network(open_page, 800)
    waited, (_, code, _) = page.evaluate(
        """async () => { workers[0].terminate();
        const pending = ask(image());
        await Promise.resolve();
        let end = performance.now() + 3000;
        while (performance.now() < end);  // neither answers nor alarms come through
        end = performance.now();
        const said = await pending;
        return [performance.now() - end, said]; }"""
    )
    assert code == "worker"
    assert waited > 700


def test_a_closed_network_says_so(open_page: Callable[..., Page]) -> None:
    page = open_network(open_page)
    pending, later = page.evaluate(
        """async () => { const pending = ask(image());
        await Promise.resolve();
        network.close();
        return [await pending, await ask(image())]; }"""
    )
    assert pending == later == [True, "closed", "the network was closed"]


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        ("{data: new Uint8Array(3), width: 5, height: 5, channels: 3}", "has 3 values; 5 × 5"),
        ("{data: new Uint8Array(75), width: 5, height: 5}", "channels is undefined; give a whole"),
        (
            "{data: new Float32Array(75), width: 5, height: 5, channels: 3}",
            "are Float32Array",
        ),
        ("{data: new Uint8Array(0), width: 0, height: 0, channels: 3}", "width is 0; give a whole"),
        ("{data: new Uint8Array(50), width: 5, height: 5, channels: 2}", "2 channels"),
        ("{}", "This is no picture: give a File"),
        ("null", "This is no picture: give a File"),
        ("undefined", "This is no picture: give a File"),
        ("'a.png'", "This is no picture: give a File"),
        ("() => 1", "this is no picture"),
        ("new Image()", "no picture can be read of this element"),
        (
            "document.createElement('canvas', {}) && (() => { const one = "
            "document.createElement('canvas'); one.width = 0; return one; })()",
            "element",
        ),
        ("new Blob(['no'])", "no picture that this browser can decode"),
    ],
)
def test_what_is_no_picture_is_refused(
    source: str, advice: str, open_page: Callable[..., Page]
) -> None:
    page = open_network(open_page)
    is_own, code, message = page.evaluate(f"ask({source})")
    assert is_own
    assert code == "picture"
    assert advice in message
    assert page.evaluate("ask(image())") == "mask 1200"


class _Strange(http.server.SimpleHTTPRequestHandler):
    """A server that knows no JavaScript, or one that is slow with it."""

    types: ClassVar[str] = "application/octet-stream"
    gate: ClassVar[threading.Event | None] = None

    def guess_type(self, path: Any) -> str:
        known = super().guess_type(path)
        return self.types if str(path).endswith(".js") and self.types else known

    def do_GET(self) -> None:
        if self.gate is not None and self.path.endswith("app.js"):
            self.gate.wait(20)
        super().do_GET()

    def log_message(self, *words: Any) -> None:
        """Nothing: the output is the test's."""


@pytest.fixture
def strange(web_kit: Path) -> Iterator[Callable[[type[_Strange]], str]]:
    servers = []

    def serve(kind: type[_Strange]) -> str:
        handler = partial(kind, directory=str(web_kit))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("path", "place"), [("", "#message"), ("test/index.html", "#state")])
def test_modules_of_another_type_are_told(
    path: str, place: str, chromium: Any, strange: Callable[[type[_Strange]], str]
) -> None:
    page = chromium.new_page()
    page.goto(strange(_Strange) + path)
    expect(page.locator(place)).to_contain_text("sends .js as text/javascript")
    page.close()


def test_a_picture_that_is_chosen_early_is_taken(
    chromium: Any, strange: Callable[[type[_Strange]], str]
) -> None:
    class Slow(_Strange):
        types = ""
        gate = threading.Event()

    context = chromium.new_context(service_workers="block")
    context.set_default_timeout(LIMIT_MS)
    page = context.new_page()
    page.goto(strange(Slow), wait_until="commit")
    page.wait_for_selector("#file", state="attached")
    give(page, "x.png", b"none")
    Slow.gate.set()
    expect(page.locator("#message")).to_contain_text("“x.png” is no picture")
    context.close()


def test_the_golden_page_from_the_disk_says_what_to_do(chromium: Any, web_kit: Path) -> None:
    page = chromium.new_page()
    page.goto((web_kit / "test" / "index.html").as_uri())
    expect(page.locator("#state")).to_contain_text("must be served. Run: python3 -m http.server")
    page.close()


def test_modules_have_names_that_any_server_knows(web_kit: Path) -> None:
    assert list(web_kit.rglob("*.mjs")) == []
    for name in ("edgeseg", "test"):
        record = json.loads((web_kit / name / "package.json").read_text())
        assert record["type"] == "module"


def test_the_example_is_there_without_a_network_where_it_was_kept(
    chromium: Any, web_kit: Path
) -> None:
    context = chromium.new_context()
    context.set_default_timeout(LIMIT_MS)
    with serving(web_kit) as site:
        page = context.new_page()
        page.goto(site.address)
        expect(page.locator("#offline")).to_be_visible()
        context.set_offline(True)
        expect(page.locator("#example")).to_be_hidden()
        context.set_offline(False)
        page.click("#example")
        expect(page.locator("#result")).to_be_visible()
    context.set_offline(True)
    page.reload()  # the server is gone
    page.click("#example")
    expect(page.locator("#result")).to_be_visible()
    context.close()


def test_of_many_classes_the_found_ones_are_listed(
    chromium: Any, web_kit: Path, tmp_path: Path
) -> None:
    """The network of three classes, said to have 255: a page does not look behind it."""
    folder = tmp_path / "kit"
    shutil.copytree(web_kit, folder)
    path = folder / "edgeseg" / "worker.js"
    text = path.read_text()
    asked = "areasOf(labels, contract.output.classes)"
    assert asked in text
    more = "[...contract.output.classes, ...Array(252).fill('a name that is rather long')]"
    path.write_text(text.replace(asked, f"areasOf(labels, {more})"))
    context = chromium.new_context(service_workers="block", viewport={"width": 320, "height": 600})
    context.set_default_timeout(LIMIT_MS)
    with serving(folder) as site:
        page = context.new_page()
        page.goto(site.address)
        give_disc(page)
        lines = page.locator("#legend li").all_inner_texts()
        assert [line.split()[0] for line in lines] == ["disc", "centre"]
        sizes = [int(line.split()[1].replace(",", "")) for line in lines]
        assert sizes == sorted(sizes, reverse=True)
        assert "rather long" not in page.inner_text("#spoken")
    context.close()
