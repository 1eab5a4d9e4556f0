"""Distillation of logits."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def logits_divergence(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Kullback-Leibler divergence of the student's from the teacher's answer, mean over pixels.

    With t = teacher / T and s = student / T, per pixel and image:

        one channel:   T^2 (p (log p - log q) + (1 - p) (log(1 - p) - log(1 - q))),
                       p = sigmoid(t), q = sigmoid(s)
        N channels:    T^2 sum_c p_c (log p_c - log q_c),
                       p = softmax(t), q = softmax(s) over the channels

    A sigmoid mask says two probabilities, p and 1 - p; a softmax over its single channel would be
    1 everywhere and teach nothing.

    Args:
        student, teacher: (N, C, H, W), logits. No gradient goes to the teacher.
        temperature: T > 0. Above 1 the teacher's doubts weigh more; T^2 keeps the size of the
            gradient.

    Source: Hinton et al. 2015, arXiv:1503.02531; per pixel as in arXiv:2203.08667.
    """
    student = student.float() / temperature
    teacher = teacher.detach().float() / temperature
    if student.shape[1] == 1:
        found = F.logsigmoid(student), F.logsigmoid(-student)
        wanted = F.logsigmoid(teacher), F.logsigmoid(-teacher)
        per_pixel = sum(
            want.exp() * (want - find) for want, find in zip(wanted, found, strict=True)
        )
        assert isinstance(per_pixel, Tensor)
        return temperature**2 * per_pixel.mean()
    found_classes, wanted_classes = F.log_softmax(student, 1), F.log_softmax(teacher, 1)
    divergence = wanted_classes.exp() * (wanted_classes - found_classes)
    return temperature**2 * divergence.sum(1).mean()
