"""Times a network in the process that has it open.

Needs numpy and Python 3.8 and nothing else: a copy lies beside `device_worker.py` on devices, and
beside `toolkit_worker.py` in other environments.
"""

from __future__ import annotations

import abc
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

if TYPE_CHECKING or __package__:
    from . import cpu, memory, messages, protocol
else:
    import cpu
    import memory
    import messages
    import protocol


class TimedWorker(protocol.Worker):
    """A worker that runs its network in the present process.

    Attributes:
        images: Prepared images to time in turn, (N, 1, 3, H, W).
        run: Runs the network on one prepared image, (1, 3, H, W).
    """

    images: Any = None
    run: Callable[[Any], Any]
    _next_image = 0

    @abc.abstractmethod
    def import_runtime(self) -> None:
        """Import all modules that opening the network needs, which is neither timed nor counted."""

    @abc.abstractmethod
    def open_network(self) -> Callable[[Any], Any]:
        """Open the network; returns what runs it on one prepared image."""

    def load(self, images: str | None = None) -> messages.Loaded:
        self.import_runtime()
        if images is not None:
            self.images = np.load(images, allow_pickle=False)
        memory.reset_peak_rss()
        bare = memory.rss_bytes()
        started = time.perf_counter()
        self.run = self.open_network()
        return messages.Loaded((time.perf_counter() - started) * 1e3, bare)

    def first(self) -> messages.FirstInference:
        started = time.perf_counter()
        self.run(self.images[0])
        return messages.FirstInference((time.perf_counter() - started) * 1e3)

    def time(self, count: int) -> messages.Latencies:
        run = self.run
        run(self.images[0])
        latencies = []
        before = cpu.waited_ms()
        for _ in range(count):
            image = self.images[self._next_image]
            self._next_image = (self._next_image + 1) % len(self.images)
            started = time.perf_counter_ns()
            run(image)
            latencies.append((time.perf_counter_ns() - started) / 1e6)
        after = cpu.waited_ms()
        waited = None if before is None or after is None else after - before
        return messages.Latencies(latencies, waited)

    def phases_of(
        self,
        pictures: Iterable[Any],
        repeats: int,
        prepare: Callable[[Any], Any],
        restore: Callable[[Any, int, int], Any],
    ) -> messages.Phases:
        """Time predictions of decoded pictures (H, W, C), part by part.

        Args:
            repeats: Counted predictions of each, after one that is not.
            prepare: From a picture to the network's input.
            restore: From the network's output to the mask of a height and width.
        """
        phases = messages.Phases([], [], [])
        lists: Any = (phases.preprocess_ms, phases.inference_ms, phases.postprocess_ms)
        for picture in pictures:
            for number in range(repeats + 1):
                times = [time.perf_counter_ns()]
                prepared = prepare(picture)
                times.append(time.perf_counter_ns())
                output = self.run(prepared)
                times.append(time.perf_counter_ns())
                restore(output, picture.shape[0], picture.shape[1])
                times.append(time.perf_counter_ns())
                if number:
                    for index, values in enumerate(lists):
                        values.append((times[index + 1] - times[index]) / 1e6)
        return phases

    def sustain(
        self, request: messages.Sustain, on_step: Callable[[], None] = protocol.do_nothing
    ) -> messages.SustainedRun:
        windows = []
        begun = time.perf_counter()
        while time.perf_counter() - begun < request.seconds:
            start, used = time.perf_counter(), time.process_time()
            latencies = []
            while time.perf_counter() - start < request.window_s:
                image = self.images[self._next_image]
                self._next_image = (self._next_image + 1) % len(self.images)
                started = time.perf_counter_ns()
                self.run(image)
                latencies.append((time.perf_counter_ns() - started) / 1e6)
            took = time.perf_counter() - start
            share = (time.process_time() - used) / took / request.threads
            windows.append(
                (start - begun, float(np.median(latencies)), share, len(latencies), cpu.clock_mhz())
            )
            on_step()
        starts, medians, shares, counts, clocks = zip(*windows)  # noqa: B905 (Python 3.8)
        known = [] if None in clocks else list(clocks)
        return messages.SustainedRun(list(starts), list(medians), list(shares), list(counts), known)

    def memory(self) -> messages.MemoryUse:
        return messages.MemoryUse(memory.peak_rss_bytes())
