"""Features of two networks, brought into one form and compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..contract import InputContract
from ..data.folder import Pair
from ..data.medical.frames import sha256_of_picture
from ..models.weights import load_weights, save_weights
from ..progress import SILENT, Progress
from ..storage.cache import get_or_make
from .graph_flow import graph_flow_loss
from .paraphraser import Paraphraser, train_paraphrasers
from .settings import DistillSettings
from .taps import FeatureTaps, Projections
from .teacher import Teacher

PARAPHRASERS_FILE = "paraphrasers.safetensors"


class FeatureMatch(nn.Module):
    """What compares features: the teacher's Paraphrasers and the student's projections.

    Args:
        teacher_taps, student_taps: The same number of layers.
        paraphrasers: One a layer, trained.
        projections: To as many channels as the Paraphrasers give; learn with the student.
    """

    def __init__(
        self,
        teacher_taps: FeatureTaps,
        student_taps: FeatureTaps,
        paraphrasers: Sequence[Paraphraser],
        projections: Projections,
    ) -> None:
        super().__init__()
        self.teacher_taps = teacher_taps
        self.student_taps = student_taps
        self.paraphrasers = nn.ModuleList(one.encoder for one in paraphrasers)
        self.paraphrasers.requires_grad_(False)
        self.projections = projections

    def loss(self, *, normalized: bool) -> tuple[Tensor, Tensor]:
        """Vertices and edges, of what the taps heard last."""
        with torch.no_grad():
            wanted = [
                paraphraser(features.float())
                for paraphraser, features in zip(
                    self.paraphrasers, self.teacher_taps.take(), strict=True
                )
            ]
        found = self.projections(self.student_taps.take())
        return graph_flow_loss(found, wanted, normalized=normalized)


def match_features(
    teacher: Teacher,
    teacher_taps: FeatureTaps,
    student: nn.Module,
    student_taps: FeatureTaps,
    inputs: InputContract,
    pairs: Sequence[Pair],
    settings: DistillSettings,
    *,
    seed: int,
    device: torch.device,
    use_cache: bool = True,
    progress: Progress = SILENT,
) -> FeatureMatch:
    """Train the Paraphrasers, or take them from the cache, and make fresh projections.

    Args:
        inputs: Of the student.
        pairs: Images that the Paraphrasers learn from; labels are not used.
    """
    channels = teacher_taps.count_channels(teacher.network, teacher.spec.inputs)
    record = {
        "teacher": teacher.cache_identity(),
        "taps": list(teacher_taps.modules),
        "nodes": settings.nodes,
        "steps": settings.paraphraser_steps,
        "images": [sha256_of_picture(pair.image_path) for pair in pairs],
        "seed": seed,
    }

    def features_of(numbers: list[int]) -> list[Tensor]:
        own = teacher.spec.inputs
        prepared = [own.prepare(pairs[number].read_image(own)) for number in numbers]
        with teacher_taps.listening():
            teacher.logits(torch.cat([torch.from_numpy(image) for image in prepared]))
        return teacher_taps.take()

    def make(folder: Path) -> None:
        teacher.to(device)
        trained, _ = train_paraphrasers(
            channels,
            settings.nodes,
            features_of,
            len(pairs),
            steps=settings.paraphraser_steps,
            seed=seed,
            device=device,
            progress=progress,
        )
        save_weights(folder / PARAPHRASERS_FILE, nn.ModuleList(trained))

    folder, _ = get_or_make("paraphrasers", record, make, enabled=use_cache)
    paraphrasers: list[Any] = [Paraphraser(count, settings.nodes) for count in channels]
    load_weights(nn.ModuleList(paraphrasers), folder / PARAPHRASERS_FILE)
    projections = Projections(student_taps.count_channels(student, inputs), settings.nodes)
    return FeatureMatch(teacher_taps, student_taps, paraphrasers, projections)
