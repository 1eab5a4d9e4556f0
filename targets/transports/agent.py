"""The device's end of an ssh transport: it does what it is told, and cleans up however that ends.

It comes through ssh's standard input and lives in the memory of the device's own Python (3.8 or
newer, nothing else): one process, one private folder. When its input ends, or when nothing has
come for some seconds because the other machine is gone, it kills what it started, removes the
folder and ends.

A request is a line of JSON, then `size` bytes where it has a size; an empty line only says that
the other machine is alive. An answer is the same:

    {"do": "put", "name", "append", "size"} + bytes  -> {}
    {"do": "get", "name", "offset", "limit"}         -> {"total", "size"} + bytes
    {"do": "digest", "name"}                         -> {"sha256"}
    {"do": "remove", "name"}                         -> {}
    {"do": "find", "sha256"}                         -> {"path"}, null where the store lacks it
    {"do": "keep", "name", "sha256"}                 -> {"path"}, null where it is another file
    {"do": "place", "sha256", "name"}                -> {}
    {"do": "forget", "sha256s"}                      -> {}
    {"do": "run", "command", "environment", "timeout_s"} -> {"code", "stdout", "stderr"}
    {"do": "start", "command", "environment"}        -> {"worker", "pid"}
    {"do": "ask", "worker", "line", "timeout_s"}     -> {"line"}, or {"code", "stderr"} if it died
    {"do": "stop", "worker"}                         -> {}

The store is that of `kept_files`, whose text ssh.py sends before this one.

"timed_out" in an answer: the process took too long and was killed. "error" and "errno": the
system refused. Before all, a line with `MAGIC` says that the agent is there, and what is here.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import json
import os
import platform
import queue
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING or __package__:
    from .kept_files import KeptFiles, digest_of

MAGIC = "edgeseg-agent "
PREFIX = "edgeseg-device-"
HELD = ".held"  # ends the name of a folder that its agent has locked
OLD_S = 60  # a younger folder of another name may be about to be locked by who made it
OUTPUT_TAIL = 100_000
LINE_LIMIT = 8_000_000
END_S = 10  # for a process that has closed its output


class Worker:
    """A process that answers lines with lines."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.received = b""
        self.stderr_lines: collections.deque[bytes] = collections.deque(maxlen=40)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.stderr_lines.append(line[-2000:])

    def ask(self, line: str, timeout_s: float) -> dict[str, Any]:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(line.encode() + b"\n")
            stdin.flush()
        except OSError:
            return self._death()
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self.received:
            left = max(deadline - time.monotonic(), 0)
            if not select.select([stdout], [], [], left)[0] or len(self.received) > LINE_LIMIT:
                kill_group(self.process)
                return {"timed_out": True}
            piece = os.read(stdout.fileno(), 1 << 16)
            if not piece:
                return self._death()
            self.received += piece
        answer, _, self.received = self.received.partition(b"\n")
        return {"line": answer.decode(errors="replace")}

    def _death(self) -> dict[str, Any]:
        try:
            code = self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            kill_group(self.process)
            code = self.process.wait()
        time.sleep(0.1)  # for the last words to arrive
        return {"code": code, "stderr": b"".join(self.stderr_lines).decode(errors="replace")}


class Agent:
    """Serves requests from file descriptor 0.

    Args:
        answers: File descriptor for answers.
        silence_s: After so many seconds without a byte the other machine is gone.
    """

    def __init__(self, answers: int, silence_s: float) -> None:
        self.answers = answers
        self.silence_s = silence_s
        self.lock = threading.RLock()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.workers: list[Worker] = []
        self.requests: queue.Queue[tuple[dict[str, Any], bytes]] = queue.Queue()
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.hold = hold_folder(folder)
        self.folder = folder.rename(folder.with_name(folder.name + HELD))
        self.kept = KeptFiles(self.folder)

    def serve(self) -> NoReturn:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, lambda *_: self.end())
        self.reply(self.describe(), prefix="\n" + MAGIC)
        threading.Thread(target=self.receive, daemon=True).start()
        while True:
            request, content = self.requests.get()
            payload = b""
            try:
                answer = getattr(self, "do_" + request.pop("do"))(content=content, **request)
                if isinstance(answer, tuple):
                    answer, payload = answer
            except OSError as error:
                answer = {"error": str(error), "errno": error.errno}
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}", "errno": None}
            self.reply(answer, payload)

    def describe(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "pid": os.getpid(),
            "free_bytes": shutil.disk_usage(self.folder).free,
            "python": sys.executable,
            "python_version": platform.python_version(),
            "machine": platform.machine(),
            "cores": len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1,
        }

    def receive(self) -> None:
        """Hand requests on, in a thread of its own; when they stop coming, end everything."""
        received = b""
        try:
            while select.select([0], [], [], self.silence_s)[0]:
                piece = os.read(0, 1 << 20)
                if not piece:
                    break
                received = self.take_requests(received + piece)
        finally:
            self.end()

    def take_requests(self, received: bytes) -> bytes:
        """Queue every whole request; returns what is left."""
        while b"\n" in received:
            line, _, rest = received.partition(b"\n")
            request = json.loads(line) if line else {}
            size = request.pop("size", 0)
            if len(rest) < size:
                break
            received = rest[size:]
            if request:
                self.requests.put((request, rest[:size]))
        return received

    def reply(self, answer: dict[str, Any], payload: bytes = b"", prefix: str = "") -> None:
        if payload:
            answer["size"] = len(payload)
        left = memoryview((prefix + json.dumps(answer) + "\n").encode() + payload)
        try:
            while left:
                left = left[os.write(self.answers, left) :]
        except OSError:
            self.end()

    def end(self) -> NoReturn:
        with self.lock:
            for process in self.processes:
                kill_group(process)
            # What was killed may still be closing its files, and the main thread writing one.
            for _ in range(100):
                shutil.rmtree(self.folder, ignore_errors=True)
                if not self.folder.exists():
                    break
                time.sleep(0.05)
            os._exit(0)

    def path(self, name: str) -> Path:
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or not pure.parts:
            raise PermissionError(f"{name} lies outside the folder")
        return self.folder / pure

    def start(self, command: list[str], environment: dict[str, str], **pipes: int) -> Any:
        with self.lock:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, **environment},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # A process group of its own, so that all of it can be killed.
                start_new_session=True,
                **pipes,  # type: ignore[call-overload]
            )
            self.processes.append(process)
        return process

    def do_put(self, content: bytes, name: str, append: bool) -> dict[str, Any]:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab" if append else "wb") as file:
            file.write(content)
        return {}

    def do_get(
        self, content: bytes, name: str, offset: int, limit: int
    ) -> tuple[dict[str, Any], bytes]:
        with self.path(name).open("rb") as file:
            total = os.fstat(file.fileno()).st_size
            file.seek(offset)
            return {"total": total}, file.read(limit)

    def do_digest(self, content: bytes, name: str) -> dict[str, Any]:
        return {"sha256": digest_of(self.path(name))}

    def do_find(self, content: bytes, sha256: str) -> dict[str, Any]:
        return {"path": self.kept.find(sha256)}

    def do_keep(self, content: bytes, name: str, sha256: str) -> dict[str, Any]:
        return {"path": self.kept.keep(self.path(name), sha256)}

    def do_place(self, content: bytes, sha256: str, name: str) -> dict[str, Any]:
        self.kept.place(sha256, self.path(name))
        return {}

    def do_forget(self, content: bytes, sha256s: list[str]) -> dict[str, Any]:
        self.kept.forget(sha256s)
        return {}

    def do_remove(self, content: bytes, name: str) -> dict[str, Any]:
        path = self.path(name)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        return {}

    def do_run(
        self, content: bytes, command: list[str], environment: dict[str, str], timeout_s: float
    ) -> dict[str, Any]:
        process = self.start(command, environment, stdin=subprocess.DEVNULL)
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return {"timed_out": True}
        finally:
            kill_group(process)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_S)
            self.processes.remove(process)
        texts = [text.decode(errors="replace")[-OUTPUT_TAIL:] for text in (stdout, stderr)]
        return {"code": process.returncode, "stdout": texts[0], "stderr": texts[1]}

    def do_start(
        self, content: bytes, command: list[str], environment: dict[str, str]
    ) -> dict[str, Any]:
        process = self.start(command, environment, stdin=subprocess.PIPE)
        self.workers.append(Worker(process))
        return {"worker": len(self.workers) - 1, "pid": process.pid}

    def do_ask(self, content: bytes, worker: int, line: str, timeout_s: float) -> dict[str, Any]:
        return self.workers[worker].ask(line, timeout_s)

    def do_stop(self, content: bytes, worker: int) -> dict[str, Any]:
        process = self.workers[worker].process
        kill_group(process)
        process.wait()
        if process in self.processes:
            self.processes.remove(process)
        return {}


def kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)


def hold_folder(folder: Path) -> int | None:
    """Lock a folder for as long as this process lives; None where somebody else has locked it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def remove_stale_folders() -> None:
    """Delete what agents left that were killed themselves, as when memory ran out."""
    for path in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        with contextlib.suppress(OSError):
            state = path.lstat()
            is_young = not path.name.endswith(HELD) and time.time() - state.st_mtime < OLD_S
            if state.st_uid != os.getuid() or is_young:
                continue
            hold = hold_folder(path)
            if hold is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(hold)


def main() -> None:
    # What prints by accident must not stand between the answers.
    answers = os.dup(1)
    os.dup2(2, 1)
    try:
        remove_stale_folders()
        agent = Agent(answers, float(sys.argv[1]))
    except OSError as error:
        refusal = {"error": str(error), "errno": error.errno}
        os.write(answers, f"\n{MAGIC}{json.dumps(refusal)}\n".encode())
        return
    agent.serve()


if __name__ == "__main__":
    main()
