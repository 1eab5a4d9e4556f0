"""Adversarial distillation: a critic learns to tell the student's from the teacher's masks.

Source: arXiv:2203.08667 on raw logits. The critic is that of SAGAN, Zhang et al. 2019,
arXiv:1805.08318: spectral normalisation and self-attention; the game is WGAN-GP, Gulrajani et
al. 2017, arXiv:1704.00028.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

LEAK = 0.1
PENALTY = 10.0
LEARNING_RATE = 4e-4
BETAS = (0.0, 0.9)
STAGES = 4
ATTENDING = 2  # of the last stages


class SelfAttention(nn.Module):
    """y = x + g * attention(x) over the pixels of a map; g starts at 0.

    Keys and queries have an eighth of the channels, at least one.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(channels // 8, 1)
        self.query = spectral_norm(nn.Conv2d(channels, inner, 1))
        self.key = spectral_norm(nn.Conv2d(channels, inner, 1))
        self.value = spectral_norm(nn.Conv2d(channels, channels, 1))
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        # Written out: the gradient penalty needs second derivatives, which fused attention lacks.
        weights = torch.softmax(query.transpose(1, 2) @ key, dim=-1)
        attended: Tensor = (value @ weights.transpose(1, 2)).view_as(x)
        return torch.addcmul(x, self.gain, attended)


class Critic(nn.Module):
    """Scores logits (N, C, H, W), H and W at least 16: high for the teacher's. Returns (N,).

    Four 4x4 convolutions of stride 2 with LeakyReLU, self-attention after the last two, and a
    3x3 convolution to one score, averaged over the places.

    Args:
        channels: C.
        width: Channels of the first stage; each has twice those of the one before.
    """

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        taken = channels
        for stage in range(STAGES):
            given = width * 2**stage
            layers.append(spectral_norm(nn.Conv2d(taken, given, 4, stride=2, padding=1)))
            layers.append(nn.LeakyReLU(LEAK))
            if stage >= STAGES - ATTENDING:
                layers.append(SelfAttention(given))
            taken = given
        layers.append(nn.Conv2d(taken, 1, 3, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, logits: Tensor) -> Tensor:
        scores: Tensor = self.layers(logits).mean((1, 2, 3))
        return scores


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """Mean of (|gradient of the critic| - 1)^2 at random points between real and fake."""
    share = torch.rand(len(real), 1, 1, 1, device=real.device)
    between = (share * real + (1 - share) * fake).detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    lengths = torch.linalg.vector_norm(slope.flatten(1), dim=1)
    penalty: Tensor = (lengths - 1).square().mean()
    return penalty


class AdversarialGame:
    """The critic and its optimiser.

    Args:
        channels: Of the logits.
        width: Of the critic.
    """

    def __init__(self, channels: int, width: int, device: torch.device | str = "cpu") -> None:
        self.critic = Critic(channels, width).to(device)
        self.optimizer = torch.optim.Adam(self.critic.parameters(), LEARNING_RATE, betas=BETAS)

    def train_critic(self, student: Tensor, teacher: Tensor) -> Tensor:
        """One step of the critic: minimise D(student) - D(teacher) + 10 penalty.

        Returns:
            That loss; neither network gets a gradient.
        """
        fake, real = student.detach().float(), teacher.detach().float()
        self.critic.requires_grad_(True)
        with torch.enable_grad():
            distance = self.critic(fake).mean() - self.critic(real).mean()
            loss = distance + PENALTY * gradient_penalty(self.critic, real, fake)
            self.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
        self.optimizer.step()
        result: Tensor = loss.detach()
        return result

    def student_loss(self, student: Tensor, normalized: bool = False) -> Tensor:
        """-D(student), mean over the batch; the critic gets no gradient.

        Args:
            student: Logits (N, C, H, W).
            normalized: Ours, -D(student) / sqrt(C H W). D estimates a distance between whole maps
                in their Euclidean length, which grows with the root of their size, while the other
                terms are means over pixels; this is the distance in the root mean square. As
                published, 0.1 D teaches EGE-UNet at 128x128 to please the critic and to ignore the
                masks.
        """
        self.critic.requires_grad_(False)
        scores: Tensor = self.critic(student.float())
        return -scores.mean() / (student[0].numel() ** 0.5 if normalized else 1.0)

    def state_dict(self) -> dict[str, Any]:
        return {"critic": self.critic.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.critic.load_state_dict(state["critic"])
        self.optimizer.load_state_dict(state["optimizer"])
