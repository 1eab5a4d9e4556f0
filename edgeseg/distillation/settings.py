"""Settings of a distillation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..errors import UnknownNameError, UsageError

TERMS = ("vertices", "edges", "adversarial", "logits", "pseudo")
VIEWS = (1, 2, 4, 8)
MIXES = ("mixup", "cutmix")  # chances of unlabelled images to be mixed


@dataclass(frozen=True)
class DistillSettings:
    """Weights of the terms beside the task loss, and what belongs to them.

    The whole loss is  task + vertices L_V + edges L_E + adversarial L_A + logits L_K + pseudo L_P.
    A term of weight 0 is left out.

    Attributes:
        vertices, edges: Of the graph-flow loss.
        adversarial: Of the critic's score of the student's logits.
        logits: Of the divergence of the student's logits from the teacher's.
        pseudo: Of the task loss on unlabelled images with the teacher's mask as truth (Lee 2013,
            "Pseudo-Label"), which the paper does not have: it reaches side outputs too.
        normalized: Graphs of unit patches, means in place of sums, and the critic's score by the
            root of the size of the logits.
        temperature: Of the logits' divergence.
        nodes: Channels after Paraphraser and projection, the nodes of a salience graph.
        paraphraser_steps: Batches that the Paraphrasers learn from.
        critic_width: Channels of the critic's first stage.
        views: Teacher's answers averaged for each image: 1 as it is, 2 with its mirror image, 4
            with all flips, 8 with quarter turns too. More than 1 needs cached answers.
        mixup: Chance of an unlabelled image to be blended with another one (Zhang et al. 2018);
            the teacher answers for the blend (Beyer et al. 2022, arXiv:2106.05237), so that its
            answers cannot be kept.
        cutmix: Chance of an unlabelled image to get a box of another one pasted in (French et al.
            2020, arXiv:1906.01916), and the same box of what the teacher answers for that one; a
            teacher whose answers are not kept is asked about the pasted image.
    """

    vertices: float = 0.0
    edges: float = 0.0
    adversarial: float = 0.0
    logits: float = 0.0
    pseudo: float = 0.0
    normalized: bool = False
    temperature: float = 1.0
    nodes: int = 24
    paraphraser_steps: int = 300
    critic_width: int = 64
    views: int = 1
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name in TERMS:
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(
                    f"The weight {name} is {getattr(self, name)}. It is a number from 0 on."
                )
        if not 0 < self.temperature < math.inf:
            raise UsageError(f"--temperature is {self.temperature}; it must be above zero.")
        for name in MIXES:
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"--{name} is {getattr(self, name)}; it is a chance, 0..1.")
        if self.mixup and self.views > 1:
            raise UsageError(
                f"--views {self.views} averages answers that are kept, and blended images have "
                "none. Leave --views or --mixup out."
            )
        for name in ("nodes", "paraphraser_steps", "critic_width"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be above zero.")
        if self.views not in VIEWS:
            raise UsageError(f"--views is {self.views}; choose 1, 2, 4 or 8.")

    @property
    def needs_features(self) -> bool:
        """Whether the teacher's features are compared, not only its answers."""
        return self.vertices > 0 or self.edges > 0

    @property
    def needs_teacher(self) -> bool:
        return any(getattr(self, name) > 0 for name in TERMS)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def changed(self, settings: Mapping[str, Any]) -> DistillSettings:
        """Copy with the settings that are not None replaced.

        Raises:
            UnknownNameError: No such setting.
        """
        known = [field.name for field in fields(self)]
        for name in settings:
            if name not in known:
                raise UnknownNameError("distillation setting", name, known)
        return replace(
            self, **{name: value for name, value in settings.items() if value is not None}
        )


# graphflow has the paper's weights (its text says 1e-9 for the edges, its formula 1e-8), nodes and
# temperature. graphflow-normalized weighs terms that do not depend on the networks' scale, so
# lightly that they do not take the place of the labels (see docs/distillation.md).
METHODS: dict[str, DistillSettings] = {
    "graphflow": DistillSettings(vertices=1e-5, edges=1e-8, adversarial=0.1, logits=1.0),
    "graphflow-normalized": DistillSettings(
        vertices=0.1, edges=0.1, adversarial=0.01, logits=1.0, normalized=True
    ),
    "logits": DistillSettings(logits=1.0),
    "pseudo-labels": DistillSettings(logits=1.0, pseudo=1.0),
    "none": DistillSettings(),
}


def find_method(name: str) -> DistillSettings:
    """Settings of a method.

    Raises:
        UnknownNameError: No such method.
    """
    if name not in METHODS:
        raise UnknownNameError("distillation method", name, METHODS)
    return METHODS[name]
