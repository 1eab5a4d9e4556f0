"""Whether what a network answers for real images can be what its spec says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..metrics.agreement import Predictor

if TYPE_CHECKING:
    from torch import nn

    from ..models.logits import LogitsNetwork

SAME = 1e-5  # of a probability: threads of one operator may add in another order
OUTSIDE = 1e-3  # of a probability, for rounding and resizing
NEAR_END = 0.05  # of 0 and 1: where probabilities of a trained network lie
LOGIT = 'Write returns = "logits" in the spec, or add the sigmoid or softmax to forward.'
PROBABILITY = 'Write returns = "probabilities" in the spec.'


def require_sound_answers(
    network: nn.Module,
    name: str,
    predict: Predictor,
    inputs: Sequence[NDArray[np.float32]],
    answers: Sequence[NDArray[np.float32]],
) -> None:
    """Refuse a network that is random, or whose answers are no probabilities.

    Values that are not finite are left to whoever compares the answers.

    Args:
        network: It gives the probabilities, in eval mode.
        name: Of the network, for messages.
        predict: Runs it.
        inputs: Prepared images.
        answers: Its probabilities for them, (1, C, H, W) each.

    Raises:
        UsageError: It answers one image in two ways; or gives probabilities outside 0..1; or is
            said to give logits, and these are probabilities already.
    """
    from ..models.logits import LogitsNetwork

    if not require_sound_values(name, predict, inputs, answers):
        return
    if isinstance(network, LogitsNetwork) and _are_probabilities(network, inputs):
        raise UsageError(
            f"What {name} returns for real images are probabilities already, and returns = "
            f'"logits" adds a sigmoid or softmax to them. {PROBABILITY}'
        )


def require_sound_values(
    name: str,
    predict: Predictor,
    inputs: Sequence[NDArray[np.float32]],
    answers: Sequence[NDArray[np.float32]],
) -> bool:
    """The part of `require_sound_answers` that looks at values alone.

    Returns:
        Whether there was something to look at.
    """
    if not inputs or not all(np.isfinite(answer).all() for answer in answers):
        return False
    difference = float(np.abs(predict(inputs[0]) - answers[0]).max())
    if difference > SAME:
        raise UsageError(
            f"The network {name} is random in eval mode: two answers to the same image differ by "
            f"{difference:.2g}. Give F.dropout training=self.training, or take out what draws "
            "random numbers in forward."
        )
    least = min(float(answer.min()) for answer in answers)
    most = max(float(answer.max()) for answer in answers)
    if least < -OUTSIDE or most > 1 + OUTSIDE:
        raise UsageError(
            f"The network {name} returns values from {least:.3g} to {most:.3g} for real images: "
            f"these are no probabilities. {LOGIT}"
        )
    return True


def _are_probabilities(network: LogitsNetwork, inputs: Sequence[NDArray[np.float32]]) -> bool:
    """Whether all that is called logits lies in 0..1 as probabilities do.

    Channels add up to one, or a single channel reaches from near 0 to near 1: logits of such a
    mask would call every pixel foreground.
    """
    import torch

    with torch.inference_mode():
        logits = [network.forward_logits(torch.tensor(image)).numpy() for image in inputs]
    least = min(float(one.min()) for one in logits)
    most = max(float(one.max()) for one in logits)
    if least < 0 or most > 1:
        return False
    if logits[0].shape[1] == 1:
        return least < NEAR_END and most > 1 - NEAR_END
    return all(float(np.abs(one.sum(1) - 1).max()) < OUTSIDE for one in logits)
