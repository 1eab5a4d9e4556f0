"""The folder of a run: what resuming needs, the best weights, the history."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..data.folder import FolderDataset
from ..errors import OutputInUseError, TrainingError, UsageError
from ..models import ModelSpec
from ..records import sha256_of_file
from ..storage.atomic import write_text, writing_file
from .curves import draw_curves

CHECKPOINT_NAME = "last.pt"
WEIGHTS_NAME = "best.safetensors"
HISTORY_NAME = "history.json"
CURVES_NAME = "curves.png"


@dataclass(frozen=True)
class RunFolder:
    """Files of one run, each written atomically."""

    path: Path

    @property
    def checkpoint_path(self) -> Path:
        return self.path / CHECKPOINT_NAME

    @property
    def weights_path(self) -> Path:
        return self.path / WEIGHTS_NAME

    def require_free(self, *, resume: bool) -> None:
        """Refuse to write over a run.

        Raises:
            OutputInUseError: The folder holds one and `resume` is false, or parts of one that
                cannot be resumed.
        """
        names = (CHECKPOINT_NAME, WEIGHTS_NAME, HISTORY_NAME, CURVES_NAME)
        present = [name for name in names if (self.path / name).exists()]
        if present and not resume:
            raise OutputInUseError(
                f"{self.path} already holds {present[0]}. Continue that run with --resume, "
                "or choose another --output."
            )
        # Weights are written after the checkpoint: a killed run has both.
        if WEIGHTS_NAME in present and CHECKPOINT_NAME not in present:
            raise OutputInUseError(
                f"{self.path} holds {WEIGHTS_NAME} but no {CHECKPOINT_NAME}, without which no run "
                "goes on. Move it away, or choose another --output."
            )

    def read_checkpoint(self, identity: dict[str, Any]) -> dict[str, Any] | None:
        """State of the last finished epoch; None before the first.

        Args:
            identity: What makes a run this run: resuming with anything else would mix two
                experiments.

        Raises:
            TrainingError: The checkpoint is damaged or not one.
            UsageError: It belongs to a run with other settings.
        """
        if not self.checkpoint_path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(
                self.checkpoint_path, map_location="cpu", weights_only=True
            )
            theirs = dict(state["identity"])
        except Exception as error:
            raise TrainingError(
                f"Cannot resume from {self.checkpoint_path} ({type(error).__name__}). "
                "It is damaged, or was not written by edgeseg; start a new run in another --output."
            ) from error
        if theirs != identity:
            changed = ", ".join(
                f"{key} {theirs.get(key)} -> {identity.get(key)}"
                for key in {**identity, **theirs}
                if theirs.get(key) != identity.get(key)
            )
            raise UsageError(
                f"The run in {self.path} has other settings ({changed}). Resume it with its "
                "own, or start a new run in another --output."
            )
        return state

    def write_checkpoint(self, identity: dict[str, Any], state: dict[str, Any]) -> None:
        """Write `last.pt`, and the history, which is part of the state, as JSON and PNG too."""
        write_text(self.path / HISTORY_NAME, json.dumps(state["history"], indent=1) + "\n")
        draw_curves(state["history"], self.path / CURVES_NAME)
        with writing_file(self.checkpoint_path) as file:
            torch.save({"identity": identity, **state}, file)


def describe_start(spec: ModelSpec, **checkpoints: Path | None) -> dict[str, Any]:
    """The network of a run and what its weights start from, for the run's identity.

    Args:
        checkpoints: By the name of the part that takes them; None where there is none.
    """
    return {
        "network": spec.import_path,
        "arguments": spec.arguments,
        **{
            f"{name} from": sha256_of_file(path)[:8]
            for name, path in checkpoints.items()
            if path is not None
        },
    }


def describe_images(dataset: FolderDataset) -> str:
    """Number and names of images, in short."""
    names = "\n".join(pair.name for pair in dataset)
    return f"{len(dataset)} ({hashlib.sha256(names.encode()).hexdigest()[:8]})"
