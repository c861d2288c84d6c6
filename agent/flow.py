"""A policy of any shape, by conditional flow matching. Shape suffixes: B batch, D features, A action.

Lipman et al., arXiv:2210.02747, with the straight path from noise to action (Liu et al., arXiv:2209.03003). Unlike a
regression, which answers two ways round an obstacle with their middle, it draws one of them.

Flow, not DDPM as in EXPO's code, because a robot waits for every step of sampling: straight paths take ten Euler steps
or fewer for what a diffusion takes tens for, and there is no schedule of noise to choose.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LOWEST, _HIGHEST = 0.25, 16.0  # Periods over t in [0, 1]: from a monotonic function to a few per Euler step.


class FourierTime(nn.Module):
    """Sines and cosines of the time, so that a small network can tell its beginning from its end.

    Args:
        size: Entries of the embedding; even.
    """

    frequencies: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        exponents = torch.linspace(math.log(_LOWEST), math.log(_HIGHEST), size // 2)
        self.register_buffer("frequencies", 2.0 * math.pi * exponents.exp(), persistent=False)

    def forward(self, t_B: Tensor) -> Tensor:  # noqa: N803
        """Shape (B,) -> (B, size)."""
        phase = t_B[:, None] * self.frequencies
        return torch.cat([phase.sin(), phase.cos()], -1)


class ResidualBlock(nn.Module):
    """x + f(LayerNorm(x)), with one hidden layer in f."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            nn.LayerNorm(size), nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, size), unchanged."""
        return x + self.change(x)


class FlowPolicy(nn.Module):
    """Actions as standard normal noise that flows along a learned velocity field.

    Args:
        inputs: D.
        actions: A.
        hidden_size: Width of the residual network.
        blocks: Its residual blocks.
        time_size: Entries of the embedding of the time; even.
    """

    def __init__(
        self, inputs: int, actions: int, hidden_size: int = 256, blocks: int = 3, time_size: int = 64
    ) -> None:
        super().__init__()
        self.time = FourierTime(time_size)
        self.net = nn.Sequential(
            nn.Linear(inputs + actions + time_size, hidden_size),
            *(ResidualBlock(hidden_size) for _ in range(blocks)),
            nn.LayerNorm(hidden_size),
            nn.ReLU(),
            nn.Linear(hidden_size, actions),
        )

    def velocity(self, features_BD: Tensor, point_BA: Tensor, t_B: Tensor) -> Tensor:  # noqa: N803
        """Where a point on the way from noise (t = 0) to action (t = 1) moves, per unit of t, shape (B, A)."""
        velocity: Tensor = self.net(torch.cat([features_BD, point_BA, self.time(t_B)], -1))
        return velocity

    def loss(self, features_BD: Tensor, action_BA: Tensor, noise_BA: Tensor, t_B: Tensor) -> Tensor:  # noqa: N803
        """Mean squared error of the velocity on straight paths (arXiv:2210.02747, equation 14, sigma_min = 0).

        Args:
            features_BD: What the action is an answer to.
            action_BA: In [-1, 1].
            noise_BA: Standard normal.
            t_B: Uniform in [0, 1].
        """
        t_B1 = t_B[:, None]  # noqa: N806
        point = (1.0 - t_B1) * noise_BA + t_B1 * action_BA
        return F.mse_loss(self.velocity(features_BD, point, t_B), action_BA - noise_BA)

    def sample(self, features_BD: Tensor, noise_BA: Tensor, steps: int = 10) -> Tensor:  # noqa: N803
        """Actions in [-1, 1], shape (B, A), by Euler steps of equal size from standard normal noise."""
        point = noise_BA
        for step in range(steps):
            t = torch.full(point.shape[:1], step / steps, device=point.device, dtype=point.dtype)
            point = point + self.velocity(features_BD, point, t) / steps
        return point.clamp(-1.0, 1.0)
