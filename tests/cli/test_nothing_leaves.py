"""No command, and no runner of a bundle, looks up a host or writes where the user does not expect.

Each process that Python starts here notes what it does, by a hook of Python's own that packages
cannot go around; what native code does is seen in the home folder, which stays empty.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import draw_pair, needs

pytestmark = [needs("torch", "onnx", "onnxscript", "onnxruntime"), pytest.mark.slow]

HOOK = """
import os, sys

log, *allowed = os.environ["TRACED"].split(os.pathsep)
allowed = tuple(allowed)


def is_allowed(path):
    if isinstance(path, int):
        return True
    path = os.path.abspath(os.fsdecode(path)) + os.sep
    return path.startswith((*allowed, "/dev/", "/proc/"))


def note(text):
    number = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(number, (text + "\\n").encode())
    os.close(number)


def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        note(f"{event} {arguments[0]}")
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        note(f"{event} {arguments[1]}")
    elif event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        if not is_allowed(arguments[0]) and arguments[0] != log:
            note(f"open {arguments[0]}")
    elif event in ("os.mkdir", "os.remove", "os.rmdir"):
        if not is_allowed(arguments[0]) and arguments[-1] in (-1, None):
            note(f"{event} {arguments[0]}")
    elif event == "os.rename" and not (is_allowed(arguments[0]) and is_allowed(arguments[1])):
        note(f"os.rename {arguments[1]}")


sys.addaudithook(watch)
"""


class Traced:
    """Runs commands in `work`, which may write into `output`, a cache and a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.log, self.home, self.temporary = folder / "log", folder / "home", folder / "temporary"
        self.work, self.output, self.cache = folder / "work", folder / "output", folder / "cache"
        hook = folder / "hook"
        for place in (self.home, self.temporary, self.work, self.output, self.cache, hook):
            place.mkdir()
        (hook / "sitecustomize.py").write_text(HOOK)
        allowed = [f"{place}{os.sep}" for place in (self.output, self.cache, self.temporary)]
        inherited = ("PATH", "LD_LIBRARY_PATH", "OMP_NUM_THREADS")
        self._environment = {
            **{name: os.environ[name] for name in inherited if name in os.environ},
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "EDGESEG_CACHE_DIR": str(self.cache),
            "PYTHONPATH": str(hook),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TRACED": os.pathsep.join([str(self.log), *allowed]),
        }

    def run(self, *words: object) -> None:
        command = [sys.executable, *map(str, words)]
        done = subprocess.run(
            command,
            env=self._environment,
            cwd=self.work,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def noted(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def leftovers(self) -> list[str]:
        """What is in the home folder, among the temporary files and where the user stood."""
        places = self.home, self.temporary, self.work
        return [str(path) for place in places for path in place.rglob("*")]


@pytest.fixture
def traced(tmp_path: Path) -> Traced:
    return Traced(tmp_path)


def test_the_hook_notes_what_it_should(traced: Traced) -> None:
    code = """
import pathlib, socket
try:
    socket.getaddrinfo("tracking.invalid", 80)
except OSError:
    pass
(pathlib.Path.home() / "identifier").write_text("1")
"""
    traced.run("-c", code)
    identifier = traced.home / "identifier"
    assert traced.noted() == ["socket.getaddrinfo tracking.invalid", f"open {identifier}"]
    assert traced.leftovers() == [str(identifier)]


@pytest.mark.parametrize(
    ("target", "precision"),
    [
        pytest.param("intel", "int8", marks=needs("openvino", "nncf")),
        pytest.param("android", "fp32", marks=needs("onnx2tf", "ai_edge_litert")),
        ("onnxruntime", "int8"),
        pytest.param("native", "fp32", marks=needs("ziglang")),
    ],
)
def test_nothing_leaves(traced: Traced, target: str, precision: str) -> None:
    from PIL import Image

    bundle, image = traced.output / "bundle", traced.output / "image.png"
    Image.fromarray(draw_pair((40, 56), seed=0)[0]).save(image)
    edgeseg = ("-m", "edgeseg")
    wanted = ("--target", target, "-p", precision, "-o", bundle, "--calibration-images", "8")
    traced.run(*edgeseg, "build", "--model", "ulite", *wanted)
    traced.run(bundle / "runner" / "run.py", "--verify")
    traced.run(bundle / "runner" / "device_bench.py", "--runs", "2")
    traced.run(*edgeseg, "verify", bundle)
    traced.run(*edgeseg, "predict", bundle, image, "-o", traced.output / "masks")
    little = ("--runs", "3", "--images", "2")
    traced.run(*edgeseg, "bench", bundle, *little, "--json", traced.output / "bench.json")
    traced.run(*edgeseg, "doctor")
    assert traced.noted() == []
    assert traced.leftovers() == []
