"""The loss of a distilled student: the task's, and what the teacher adds."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..training.batches import Batch
from ..training.losses import Loss
from ..training.objective import Objective
from .adversarial import AdversarialGame
from .blends import blend_unlabelled, cut_unlabelled
from .feature_match import FeatureMatch
from .logits import logits_divergence
from .outputs import main_logits, match_channels, match_size, some_images
from .settings import DistillSettings
from .teacher import TEACHER_LOGITS, KeptAnswers, Teacher, image_name, images_for


class DistillObjective(Objective):
    """Task loss on the labelled images, distillation on all of them.

    Args:
        task_loss: Of the recipe.
        device: Where the student learns; all that is asked in each step is moved there.
        settings: Weights of the terms.
        channels: Of the student's output.
        teachers: Whose mean logits count; asked in each step, unless their answers are kept.
        kept: Their answers; None asks them.
        features: Compares features with those of the first teacher, which must be asked.

    Source: the sum of arXiv:2203.08667.
    """

    def __init__(
        self,
        task_loss: Loss,
        device: torch.device,
        settings: DistillSettings,
        channels: int,
        teachers: Sequence[Teacher],
        *,
        kept: KeptAnswers | None = None,
        features: FeatureMatch | None = None,
    ) -> None:
        if settings.mixup and kept is not None:
            raise ValueError("Blended images have no kept answers.")
        super().__init__(task_loss, device)
        self.settings = settings
        self.channels = channels
        self.teachers = tuple(teachers)
        self.kept = kept
        self.features = features
        self.companions = images_for(teachers) if kept is None else kept.recall
        self.game = (
            AdversarialGame(channels, settings.critic_width, device)
            if settings.adversarial
            else None
        )
        for teacher in teachers if kept is None else ():
            teacher.to(device)
        if features is not None:
            features.to(device)

    def identity(self) -> dict[str, Any]:
        taps: dict[str, Any] = {}
        if self.features is not None:
            taps = {
                "teacher taps": list(self.features.teacher_taps.modules),
                "student taps": list(self.features.student_taps.modules),
            }
        teachers = [teacher.identity() for teacher in self.teachers]
        return {"distillation": self.settings.to_json(), "teachers": teachers, **taps}

    def parameters(self) -> Sequence[nn.Parameter]:
        return () if self.features is None else tuple(self.features.projections.parameters())

    def compute(self, network: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        if self.settings.mixup:
            batch = blend_unlabelled(batch, self.settings.mixup)
        if self.settings.cutmix:
            batch = cut_unlabelled(batch, self.settings.cutmix)
        if self.features is None:
            outputs = network.forward_logits(batch.image)
        else:
            with self.features.student_taps.listening():
                outputs = network.forward_logits(batch.image)
        labelled = len(batch.labels)
        student = main_logits(outputs)
        task = (
            self.task_loss(some_images(outputs, slice(labelled)), batch.labels)
            if labelled
            else student.new_zeros(())
        )
        teacher = self._ask(batch, student)
        terms: dict[str, Tensor] = {}
        normalized = self.settings.normalized
        if self.features is not None:
            vertices, edges = self.features.loss(normalized=normalized)
            found = {"vertices": vertices, "edges": edges}
            terms |= {name: found[name] for name in found if getattr(self.settings, name)}
        if self.game is not None:
            self.game.train_critic(student, teacher)
            terms["adversarial"] = self.game.student_loss(student, normalized)
        if self.settings.logits:
            terms["logits"] = logits_divergence(student, teacher, self.settings.temperature)
        if self.settings.pseudo and labelled < len(batch.image):
            unlabelled = slice(labelled, None)
            masks = _masks_of(teacher[unlabelled])
            terms["pseudo"] = self.task_loss(some_images(outputs, unlabelled), masks)
        total = task
        for name, term in terms.items():
            total = total + getattr(self.settings, name) * term
        return total, {"task": task, **terms}

    def _ask(self, batch: Batch, student: Tensor) -> Tensor:
        """Mean logits of the teachers in the form of the student's."""
        if self.kept is not None:
            return match_size(batch.companions[TEACHER_LOGITS], student)
        listening = (
            contextlib.nullcontext()
            if self.features is None
            else self.features.teacher_taps.listening()
        )
        with listening:
            answers = [
                teacher.logits(batch.companions[image_name(index)])
                for index, teacher in enumerate(self.teachers)
            ]
        matched = [match_size(match_channels(one, self.channels), student) for one in answers]
        return torch.stack(matched).mean(0)

    def state_dict(self) -> dict[str, Any]:
        return {
            "features": None if self.features is None else self.features.projections.state_dict(),
            "game": None if self.game is None else self.game.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.features is not None:
            self.features.projections.load_state_dict(state["features"])
        if self.game is not None:
            self.game.load_state_dict(state["game"])


def _masks_of(logits: Tensor) -> Tensor:
    """Class indices (N, H, W), int64, of logits (N, C, H, W)."""
    return (logits[:, 0] >= 0).long() if logits.shape[1] == 1 else logits.argmax(1)
