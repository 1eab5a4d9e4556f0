"""A browser without a window is served, listened to, and never left behind."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from web_kits import require_browser

from edgeseg.embed.browser import report_of_page, serving

WAITS = """
import sys, time
from pathlib import Path
from edgeseg.embed.browser import browsing, serving

with serving(Path(sys.argv[2])) as site, browsing(sys.argv[1], site.address) as group:
    while not site.sent:
        time.sleep(0.05)
    print(group, flush=True)
    time.sleep(60)
"""
REPORTS = 'fetch("report", { method: "POST", body: JSON.stringify({ sum: 1 + 1 }) });'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_text('<script type="module" src="page.mjs"></script>')
    (tmp_path / "page.mjs").write_text(REPORTS)
    (tmp_path / "silent.html").write_text("<p>Nothing</p>")
    return tmp_path


def processes_of(group: int) -> list[str]:
    """Command lines of the processes of a group that live."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            state, _, of = (place / "stat").read_text().rsplit(")", 1)[1].split()[:3]
            if int(of) == group and state != "Z":
                found.append((place / "cmdline").read_text())
        except OSError:
            continue
    return found


def test_a_folder_is_served_and_a_report_is_taken(folder: Path) -> None:
    with serving(folder) as site:
        with urllib.request.urlopen(f"{site.address}page.mjs") as answer:
            assert answer.headers["Content-Type"] == "text/javascript"
            assert answer.read() == REPORTS.encode()
        data = json.dumps({"sum": 2}).encode()
        with urllib.request.urlopen(f"{site.address}report", data) as answer:
            assert answer.status == 204
        assert site.reports.get(timeout=5) == {"sum": 2}
        assert site.sent == {"page.mjs": len(REPORTS)}
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{site.address}page.mjs")


def test_a_page_reports_in_a_browser(folder: Path) -> None:
    assert report_of_page(require_browser(), folder, "index.html", 30) == {"sum": 2}


def test_a_silent_page_is_given_up(folder: Path) -> None:
    start = time.monotonic()
    assert report_of_page(require_browser(), folder, "silent.html", 1) is None
    assert time.monotonic() - start < 10


def test_a_killed_command_leaves_no_browser(folder: Path) -> None:
    words = [sys.executable, "-c", WAITS, require_browser(), str(folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        group = int(command.stdout.readline())
        assert any("--type=renderer" in line for line in processes_of(group))
        command.kill()
    end = time.monotonic() + 15
    while processes_of(group) and time.monotonic() < end:
        time.sleep(0.1)
    assert processes_of(group) == []
