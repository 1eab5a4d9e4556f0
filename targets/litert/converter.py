"""The process that converts graphs: it imports TensorFlow once, which takes seconds, and then
forks for each conversion, so that none sees what another left behind.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .conversion import convert_and_tell

# Half a gigabyte is given back when nobody has asked for a conversion for so long.
IDLE_S = 300.0
LOG_FILE = "conversion.txt"
# -P: what lies in the working folder must not be taken for a library.
COMMAND = (sys.executable, "-P", "-m", "edgeseg.targets.litert.converter")
# Forking goes badly with the libraries of other systems: there, each process converts once.
CAN_FORK = sys.platform == "linux"
SETTINGS = {
    # The order of sets decides what is written first: equal graphs give equal bytes.
    "PYTHONHASHSEED": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
    # No folder can be made there, so that Keras writes no settings into the user's home.
    "KERAS_HOME": os.devnull,
}


class Converter:
    """Starts that process when it is first needed, and anew when it has ended.

    It ends with this one, even if this one is killed, and a conversion that is under way with it.

    Args:
        command: Calls `serve`.
    """

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self._command = tuple(command)
        self._forget()
        os.register_at_fork(after_in_child=self._forget)
        atexit.register(self.close)

    def _forget(self) -> None:
        """What another process has started is not ours."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def convert(self, folder: Path, switches: Sequence[str]) -> tuple[int, str]:
        """Run `convert_and_tell` in a folder, with this process's environment.

        Returns:
            Exit status, which is negative for a signal, and what was written to standard error.
        """
        request = {
            "folder": str(folder.absolute()),
            "switches": list(switches),
            "environment": {**os.environ, **SETTINGS},
        }
        with self._lock:
            code = self._ask(json.dumps(request).encode() + b"\n")
        log = folder / LOG_FILE
        return code, log.read_text(errors="replace") if log.exists() else ""

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.close()  # which is the sign to end
        process.wait()
        process.stdout.close()

    def _ask(self, request: bytes) -> int:
        while True:
            process = self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write(request)
                    process.stdin.flush()
                answer = process.stdout.readline()
            except BaseException:
                self.close()
                raise
            if answer:
                return int(answer)
            code = process.wait()
            self.close()
            if code != 0:
                return code
            # It had nothing to do for too long, just before we asked.

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **SETTINGS},
                # An interrupt from the terminal is for us: we close its input.
                start_new_session=True,
            )
        return self._process


CONVERTER = Converter()


def serve() -> None:
    """Answer each line of standard input, a request in JSON, with the exit status, until the input
    ends or is silent for IDLE_S.
    """
    answers = os.dup(1)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)  # what packages print is no answer
    for package in ("onnx2tf", "tensorflow"):
        # Where it does not load, the conversion says so.
        with contextlib.suppress(Exception):
            importlib.import_module(package)
    gc.freeze()  # what is imported stays, and is shared with the forks
    while select.select([0], [], [], IDLE_S)[0]:
        line = sys.stdin.buffer.readline()
        if not line:
            return
        request = json.loads(line)
        code = _convert_in_fork(request) if CAN_FORK else _convert_here(request)
        os.write(answers, b"%d\n" % code)
        if not CAN_FORK:
            return


def _convert_in_fork(request: Mapping[str, Any]) -> int:
    is_over, until_over = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = _convert_here(request)
        finally:
            os._exit(code)
    os.close(until_over)  # the child has it until it ends
    if is_over not in select.select([0, is_over], [], [])[0]:
        # Nobody waits for the answer.
        os.kill(child, signal.SIGKILL)
    os.close(is_over)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _convert_here(request: Mapping[str, Any]) -> int:
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    # TensorFlow leaves files there, for which a fork does not come back.
    temporary = Path("temporary").absolute()
    temporary.mkdir(exist_ok=True)
    os.environ["TMPDIR"] = str(temporary)
    tempfile.tempdir = None  # it is looked up once, in the environment
    log = os.open(LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 2)
    code = convert_and_tell(request["switches"])
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    serve()
