"""Trains and is killed by SIGKILL at a chosen moment: run as a program by `test_loop.py`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch

from edgeseg.data.folder import FolderDataset, open_folder
from edgeseg.models import find_model
from edgeseg.training.loop import Trainer, TrainingResult
from edgeseg.training.recipes import Recipe

RECIPE = Recipe(
    "test", epochs=3, batch_size=2, learning_rate=2e-3, schedule="one_cycle", rotation="quarter"
)
SPEC = find_model("egeunet").at_size(32, 32)


def make_trainer(output: Path, recipe: Recipe = RECIPE, *, seed: int = 42) -> Trainer:
    torch.manual_seed(seed)
    network = SPEC.make_network()
    return Trainer(network, SPEC.inputs, SPEC.outputs, recipe, output, accelerator="cpu")


def train(data: Path, output: Path, recipe: Recipe = RECIPE, **options: Any) -> TrainingResult:
    images: FolderDataset = open_folder(data)
    return make_trainer(output, recipe).run(images, images, **options)


def kill_this_process(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class KillInStep:
    """Progress of which the second step of the second epoch never returns."""

    def __init__(self) -> None:
        self.steps = 0

    @contextlib.contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[KillInStep]:
        self.steps = 0
        self.is_second = title.startswith("epoch 2/")
        yield self

    def advance(self, steps: float = 1) -> None:
        self.steps += 1
        if self.is_second and self.steps == 2:
            kill_this_process()

    def note(self, text: str) -> None:
        pass


def kill_in_second_save() -> None:
    """Be killed when half of the second checkpoint is written."""
    save = torch.save
    calls = []

    def half_a_save(value: Any, file: IO[bytes]) -> None:
        calls.append(value)
        if len(calls) == 2:
            file.write(b"half of a checkpoint")
            file.flush()
            kill_this_process()
        save(value, file)

    torch.save = half_a_save


def main() -> None:
    moment, data, output = sys.argv[1:]
    options: dict[str, Any] = {}
    if moment == "step":
        options["progress"] = KillInStep()
    else:
        kill_in_second_save()
    train(Path(data), Path(output), **options)


if __name__ == "__main__":
    main()
