"""How the command line shows long work: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, cast

from edgeseg.progress import Progress, Stage

if TYPE_CHECKING:
    from rich.console import Console

HEARTBEAT_S = 30.0
BAR_WIDTH = 20  # characters
TITLE_WIDTH = 44  # characters, so that a bar with its times fits into 80 columns
REFRESH_HZ = 8


def make_progress(console: Console) -> Progress:
    """Bars where the console is a terminal that can move its cursor, else plain lines."""
    is_terminal = console.file.isatty() and not console.is_dumb_terminal
    console.file = cast("IO[str]", _Forgiving(console.file))
    return BarProgress(console) if is_terminal else LineProgress(console)


def finished_line(title: str, seconds: float, note: str = "") -> str:
    """What remains of a finished stage: "export to ONNX  4.1 s"."""
    return f"{title}  {format_seconds(seconds)}{f', {note}' if note else ''}"


def format_seconds(seconds: float) -> str:
    """4.1 s, 2 min 05 s, 1 h 02 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class _Forgiving(io.TextIOBase):
    """A stream that drops what cannot be written: work must not fail because nobody reads on."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self.stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        return self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.stream.flush()


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@dataclass(eq=False)
class _LineStage:
    """A stage that is told in words.

    Attributes:
        total: Steps; None where their number is unknown.
        done: Finished steps.
    """

    title: str
    total: float | None
    started: float
    done: float = 0.0
    text: str = ""

    def advance(self, steps: float = 1) -> None:
        self.done += steps

    def note(self, text: str) -> None:
        self.text = text

    def state(self) -> str:
        """Such as "calibrate, 12 of 64"; a search may go on beyond its time."""
        if not self.total or self.done > self.total:
            return self.title
        return f"{self.title}, {self.done:.0f} of {self.total:.0f}"


@dataclass
class LineProgress:
    """One line for each finished stage, and a sign of life while a long one goes on.

    Stages within a stage leave no line; the sign of life names them.

    Args:
        clock: Seconds.
        heartbeat_s: Between two signs of life.
    """

    console: Console
    clock: Callable[[], float] = time.monotonic
    heartbeat_s: float = HEARTBEAT_S
    _stages: list[_LineStage] = field(default_factory=list)

    @contextlib.contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[Stage]:
        stage = _LineStage(title, total, self.clock())
        self._stages.append(stage)
        is_outermost = len(self._stages) == 1
        try:
            with self._heartbeat() if is_outermost else contextlib.nullcontext():
                yield stage
        finally:
            self._stages.remove(stage)
        if is_outermost:
            seconds = self.clock() - stage.started
            _print(self.console, finished_line(title, seconds, stage.text))

    @contextlib.contextmanager
    def _heartbeat(self) -> Iterator[None]:
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(self.heartbeat_s):
                stages = tuple(self._stages)
                if stages:
                    seconds = self.clock() - stages[0].started
                    states = ": ".join(stage.state() for stage in stages)
                    _print(self.console, f"{states} ... {format_seconds(seconds)}")

        thread = threading.Thread(target=beat, name="edgeseg-progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


class _BarStage:
    def __init__(self, bars: Any, task: Any) -> None:
        self.bars = bars
        self.task = task
        self.text = ""

    def advance(self, steps: float = 1) -> None:
        self.bars.advance(self.task, steps)

    def note(self, text: str) -> None:
        self.text = text
        self.bars.update(self.task, note=text)


class BarProgress:
    """A bar for each stage that goes on, stages within a stage below it, indented.

    A finished outermost stage leaves the line of `finished_line`, one within another none.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars: Any = None
        self._depth = 0

    @contextlib.contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[Stage]:
        is_outermost = self._depth == 0
        if is_outermost:
            self._bars = make_bars(self.console)
            self._bars.start()
        bars = self._bars
        task = bars.add_task("  " * self._depth + title, total=total, note="")
        stage = _BarStage(bars, task)
        self._depth += 1
        started = time.monotonic()
        try:
            yield stage
        finally:
            self._depth -= 1
            bars.remove_task(task)
            if is_outermost:
                bars.stop()
        if is_outermost:
            line = finished_line(title, time.monotonic() - started, stage.text)
            _print(self.console, line)


def make_bars(console: Console) -> Any:
    """Rich's bars: title and note, bar, share, time since the start, time left."""
    from rich import progress
    from rich.table import Column
    from rich.text import Text

    class Title(progress.ProgressColumn):
        def render(self, task: progress.Task) -> Text:
            note = task.fields["note"]
            return Text(f"{task.description}: {note}" if note else task.description)

    class Share(progress.ProgressColumn):
        def render(self, task: progress.Task) -> Text:
            return Text(f"{task.percentage:3.0f} %" if task.total else "")

    class Times(progress.ProgressColumn):
        max_refresh = 0.5  # seconds: an estimate that jumps cannot be read

        def render(self, task: progress.Task) -> Text:
            left = task.time_remaining
            rest = f", {format_seconds(left)} left" if task.total and left is not None else ""
            return Text(f"{format_seconds(task.elapsed or 0.0)}{rest}")

    title = Column(no_wrap=True, overflow="ellipsis", max_width=TITLE_WIDTH)
    return progress.Progress(
        progress.SpinnerColumn(),
        Title(table_column=title),
        progress.BarColumn(BAR_WIDTH),
        Share(),
        Times(table_column=Column(no_wrap=True)),
        console=console,
        refresh_per_second=REFRESH_HZ,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
