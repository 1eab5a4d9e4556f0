"""What teachers answer: computed in each step, or once for all images and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ..contract import InputContract
from ..data.folder import FolderDataset, Pair
from ..data.medical.frames import sha256_of_picture
from ..data.medical.readers import is_medical
from ..errors import UsageError
from ..models import TrainedModel
from ..progress import SILENT, Progress
from ..storage.cache import get_or_make
from ..training.samples import Companions
from .outputs import main_logits, match_channels

LOGITS_FILE = "logits.npy"
TEACHER_LOGITS = "teacher_logits"
BATCH_SIZE = 8
HALF_LIMIT = 60000.0  # below float16's largest


class Teacher:
    """A trained network that learns no more.

    Args:
        model: The network and its checkpoint.
        note: Told what was dropped or renamed of the checkpoint, where anything was.

    Raises:
        UsageError: The network gives no logits.
        WeightsError: The checkpoint does not fit.
    """

    def __init__(
        self, model: TrainedModel, note: Callable[[str], None] = lambda words: None
    ) -> None:
        self.model = model
        self.spec = model.spec
        self.device = torch.device("cpu")
        network = model.load_network(note).requires_grad_(False)
        if not hasattr(network, "forward_logits"):
            raise UsageError(
                f"The teacher {self.spec.name} has no forward_logits(image), which teaching "
                'needs. Let its forward return logits and say returns = "logits" in --teacher-spec.'
            )
        self.network: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def identity(self) -> dict[str, Any]:
        """What decides the teacher's predictions, see `TrainedModel.identity`."""
        return self.model.identity()

    def cache_identity(self) -> dict[str, Any]:
        """See `TrainedModel.cache_identity`."""
        return self.model.cache_identity()

    def to(self, device: torch.device | str) -> None:
        """Answer there from now on."""
        self.device = torch.device(device)
        self.network.to(device)

    def logits(self, image: Tensor) -> Tensor:
        """(N, C, h, w) of prepared images (N, 3, h, w)."""
        with torch.no_grad():
            image = image.to(self.device).contiguous(memory_format=torch.channels_last)
            forward: Callable[[Tensor], Any] = self.network.forward_logits  # type: ignore[assignment]
            return main_logits(forward(image)).float()

    def mean_logits(self, image: Tensor, views: int) -> Tensor:
        """Mean over flipped and turned views of the images, each turned back."""
        turns = (0, 1, 2, 3) if views == 8 else (0, 2) if views == 4 else (0,)
        flips = (False,) if views == 1 else (False, True)
        answers = []
        for quarter in turns:
            for flip in flips:
                view = torch.rot90(image.flip(3) if flip else image, quarter, (2, 3))
                answer = torch.rot90(self.logits(view), -quarter, (2, 3))
                answers.append(answer.flip(3) if flip else answer)
        return torch.stack(answers).mean(0)


def image_name(index: int) -> str:
    """Name of the companion that holds the image for the teacher of that number."""
    return f"teacher_image_{index}"


def images_for(teachers: Sequence[Teacher]) -> Companions:
    """Companions: each image as each teacher wants it, under its own contract."""

    def prepare(pair: Pair, pixels: NDArray[Any]) -> Mapping[str, NDArray[np.float32]]:
        prepared = {}
        for index, teacher in enumerate(teachers):
            own = teacher.spec.inputs
            is_shared = pixels.shape[2] == own.channels and not is_medical(pair.image_path)
            image = pixels if is_shared else pair.read_image(own)
            prepared[image_name(index)] = own.prepare(image)[0]
        return prepared

    return prepare


class KeptAnswers:
    """Mean logits of one or more teachers on all images of a run, in the cache.

    A flip or a quarter turn of the image is answered by that of the kept logits: the student is
    asked to give the same answer wherever the image points, and the teacher runs once an image.
    At other angles parts of the turned image lie outside the kept logits: these need a teacher
    that runs in each step.

    Args:
        teachers: Asked where the cache knows no answer.
        images: Everything that will be drawn.
        inputs, channels: Of the student; the logits are kept in its form, in half precision.
        views: See `DistillSettings`.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        images: Sequence[Pair],
        inputs: InputContract,
        channels: int,
        *,
        views: int = 1,
        device: torch.device | str = "cpu",
        use_cache: bool = True,
        progress: Progress = SILENT,
    ) -> None:
        record = {
            "teachers": [teacher.cache_identity() for teacher in teachers],
            "images": [sha256_of_picture(pair.image_path) for pair in images],
            "size": [inputs.height, inputs.width],
            "channels": channels,
            "views": views,
        }
        shape = (len(images), channels, inputs.height, inputs.width)

        def answer(pairs: Sequence[Pair], teacher: Teacher) -> Tensor:
            own = teacher.spec.inputs
            prepared = [own.prepare(pair.read_image(own)) for pair in pairs]
            batch = torch.from_numpy(np.concatenate(prepared))
            logits = match_channels(teacher.mean_logits(batch, views), channels)
            return F.interpolate(logits, size=shape[2:], mode="bilinear", align_corners=False)

        def make(folder: Path) -> None:
            open_memmap: Any = np.lib.format.open_memmap
            kept = open_memmap(folder / LOGITS_FILE, mode="w+", dtype=np.float16, shape=shape)
            for teacher in teachers:
                teacher.to(device)
            with progress.stage("ask the teachers", total=len(images)) as stage:
                for start in range(0, len(images), BATCH_SIZE):
                    some = images[start : start + BATCH_SIZE]
                    answers = torch.stack([answer(some, teacher) for teacher in teachers])
                    limited = answers.mean(0).clamp(-HALF_LIMIT, HALF_LIMIT)
                    kept[start : start + len(some)] = limited.cpu().numpy().astype(np.float16)
                    stage.advance(len(some))
            kept.flush()

        folder, self.was_kept = get_or_make("teacher", record, make, enabled=use_cache)
        self.logits = np.load(folder / LOGITS_FILE, mmap_mode="r")
        self.rows = {pair.image_path: row for row, pair in enumerate(images)}

    def recall(self, pair: Pair, pixels: NDArray[Any]) -> Mapping[str, NDArray[np.float32]]:
        """Companion: the kept logits of an image, (C, h, w)."""
        return {TEACHER_LOGITS: np.asarray(self.logits[self.rows[pair.image_path]], np.float32)}


def all_pairs(*datasets: FolderDataset | None) -> list[Pair]:
    """Pairs of data sets one after another."""
    return [pair for dataset in datasets if dataset is not None for pair in dataset]
