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
from collections.abc import Iterator
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
MOST_REPORT_BYTES = 2**20


def find_browser() -> str | None:
    """Path of a Chromium, where one is installed."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def browser_switches() -> tuple[str, ...]:
    """What Chromium is started with; its sandbox does not work for root."""
    return (*SWITCHES, "--no-sandbox") if os.geteuid() == 0 else SWITCHES


class _Handler(SimpleHTTPRequestHandler):
    """Serves a folder, and takes what a page posts to `report`."""

    extensions_map: ClassVar[dict[str, str]] = {  # type: ignore[misc]
        **SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".webmanifest": "application/manifest+json",
    }

    def __init__(self, *words: Any, reports: queue.Queue[Any], **options: Any) -> None:
        self.reports = reports
        super().__init__(*words, **options)

    def do_POST(self) -> None:
        length = min(int(self.headers.get("Content-Length") or 0), MOST_REPORT_BYTES)
        content = self.rfile.read(length)
        self.send_response(204)
        self.end_headers()
        with contextlib.suppress(ValueError):
            self.reports.put(json.loads(content))

    def log_message(self, *words: Any) -> None:
        """Nothing: the output is the command's."""


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[str, queue.Queue[Any]]]:
    """Serve a folder to this machine only; yields its address and what pages report."""
    reports: queue.Queue[Any] = queue.Queue()
    handler = partial(_Handler, directory=str(folder), reports=reports)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", reports
        finally:
            server.shutdown()
            thread.join()


def report_of_page(browser: str, folder: Path, page: str, limit_s: float) -> Any | None:
    """Open a page of a folder and wait for what it reports.

    Args:
        page: Its path in the folder, with a query.

    Returns:
        What it has posted to `report`, or None where nothing came in time or the browser ended.
    """
    with serving(folder) as (address, reports), temporary_folder("browser") as profile:
        words = [browser, *browser_switches(), f"--user-data-dir={profile}", address + page]
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return reports.get(timeout=limit_s)
        except queue.Empty:
            return None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
