"""What one step of a run minimises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .batches import Batch
from .losses import Loss
from .samples import Companions


class Objective:
    """The task loss on labelled images; others add to it.

    Args:
        task_loss: As `make_loss` gives it.
        device: Where the network learns.

    Attributes:
        companions: Makes the planes that the objective needs beside each image; None for none.
    """

    companions: Companions | None = None

    def __init__(self, task_loss: Loss, device: torch.device) -> None:
        self.task_loss = task_loss
        self.device = device

    def identity(self) -> dict[str, Any]:
        """What it adds to the settings that make a run this run; JSON."""
        return {}

    def parameters(self) -> Sequence[nn.Parameter]:
        """What learns with the network, and is thrown away at the end."""
        return ()

    def compute(self, network: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a step, and its terms by name where there are several.

        Args:
            network: Offers `forward_logits(image)`.
        """
        return self.task_loss(network.forward_logits(batch.image), batch.labels), {}

    def state_dict(self) -> dict[str, Any]:
        """All that resuming needs."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


MakeObjective = Callable[[Loss, torch.device], Objective]
