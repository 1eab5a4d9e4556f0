"""A page in a browser without a window: served from this machine, closed when it has answered."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from ..storage.temporary import temporary_folder

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# No window, no graphics card, and nothing that asks the network or leaves a process behind.
SWITCHES = (
    *("--headless", "--disable-gpu", "--no-first-run", "--disable-quic", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-breakpad"),
    *("--disable-crash-reporter", "--disable-extensions", "--disable-default-apps"),
)
# Chromium reads commands from 3 and answers to 4.
COMMANDS_FROM_STDIN = 'exec "$@" --remote-debugging-pipe 3<&0 4>/dev/null'
MOST_REPORT_BYTES = 2**20


def find_browser() -> str | None:
    """Path of a Chromium, where one is installed."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def browser_switches() -> tuple[str, ...]:
    """What Chromium is started with; its sandbox does not work for root."""
    return (*SWITCHES, "--no-sandbox") if os.geteuid() == 0 else SWITCHES


@dataclass
class Site:
    """A folder that is served.

    Attributes:
        address: Ends with a slash.
        reports: What pages have posted to `report`, from JSON.
        sent: Bytes of files that were sent, by their paths from the folder on.
    """

    address: str
    reports: queue.Queue[Any] = field(default_factory=queue.Queue)
    sent: Counter[str] = field(default_factory=Counter)


class _Handler(SimpleHTTPRequestHandler):
    """Serves a folder, and takes what a page posts to `report`."""

    extensions_map: ClassVar[dict[str, str]] = {  # type: ignore[misc]
        **SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".webmanifest": "application/manifest+json",
    }

    def __init__(self, *words: Any, site: Site, **options: Any) -> None:
        self.site = site
        super().__init__(*words, **options)

    def do_POST(self) -> None:
        length = min(int(self.headers.get("Content-Length") or 0), MOST_REPORT_BYTES)
        content = self.rfile.read(length)
        self.send_response(204)
        self.end_headers()
        with contextlib.suppress(ValueError):
            self.site.reports.put(json.loads(content))

    def copyfile(self, source: Any, outputfile: Any) -> None:
        content = source.read()
        self.site.sent[self.path.split("?")[0].lstrip("/")] += len(content)
        with contextlib.suppress(ConnectionError):  # the browser was closed
            outputfile.write(content)

    def log_message(self, *words: Any) -> None:
        """Nothing: the output is the command's."""


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Site]:
    """Serve a folder to this machine only."""
    site = Site("")
    handler = partial(_Handler, directory=str(folder), site=site)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        site.address = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def browsing(browser: str, address: str, *switches: str) -> Iterator[int]:
    """Open an address without a window; yields the browser's process group, which is ended.

    Should this process be killed, the browser ends by itself: it reads commands from a pipe, of
    which there are none, and ends with it.
    """
    with temporary_folder("browser") as profile:
        words = [browser, *browser_switches(), *switches, f"--user-data-dir={profile}", address]
        process = subprocess.Popen(
            ["/bin/sh", "-c", COMMANDS_FROM_STDIN, "sh", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield process.pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdin is not None:
                process.stdin.close()


def report_of_page(browser: str, folder: Path, page: str, limit_s: float) -> Any | None:
    """Open a page of a folder and wait for what it reports.

    Args:
        page: Its path in the folder, with a query.

    Returns:
        What it has posted to `report`, or None where nothing came in time.
    """
    with serving(folder) as site, browsing(browser, site.address + page):
        try:
            return site.reports.get(timeout=limit_s)
        except queue.Empty:
            return None
