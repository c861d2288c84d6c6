"""What a robot's world does next, learned from recorded data: an ensemble that judges policies before they act.

Members differ by their beginnings and by the data that each sees (Chua et al., arXiv:1805.12114), so where they
disagree nobody has been. Shape suffixes: B batch, E ensemble member, D features, A action.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent.config import Config
from agent.gradients import descend
from agent.networks import EnsembleLinear

_LEAST_DEVIATION = 1e-6


class DynamicsConfig(Config):
    """How the ensemble is made.

    Attributes:
        members: Networks.
        hidden_sizes: Of each.
        learning_rate: Adam.
        updates: Gradient steps.
        batch_size: Transitions per step and member.
        held_out: Share of the transitions that tells how good the ensemble is, and is not learned from.
    """

    members: int = 5
    hidden_sizes: tuple[int, ...] = (128, 128)
    learning_rate: float = 1e-3
    updates: int = 2000
    batch_size: int = 256
    held_out: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in ("members", "updates", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")
        if not 0 < self.learning_rate <= 1:
            raise ValueError(f"learning_rate {self.learning_rate} must lie in (0, 1]")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out {self.held_out} must lie between 0 and 1, both excluded")


class Steps(NamedTuple):
    """Recorded steps, all vector observations side by side.

    Attributes:
        state: Shape (N, D).
        action: Shape (N, A).
        reward: Shape (N,).
        next_state: Shape (N, D).
        terminated: Shape (N,), 0 or 1.
    """

    state: Tensor
    action: Tensor
    reward: Tensor
    next_state: Tensor
    terminated: Tensor

    def rows(self, rows: Tensor) -> "Steps":
        """Some of them."""
        return Steps(*(values[rows] for values in self))


class Following(NamedTuple):
    """What the ensemble expects of a step.

    Attributes:
        state: Shape (E, B, D).
        reward: Shape (E, B).
        terminates: Probability, shape (E, B).
    """

    state: Tensor
    reward: Tensor
    terminates: Tensor


class Dynamics(nn.Module):
    """Change of the state, reward and end of the episode after an action.

    Args:
        config: Sizes.
        steps: What it is to be fitted to. Their spread scales inputs and outputs, and neither states nor rewards beyond
            are expected.
    """

    def __init__(self, config: DynamicsConfig, steps: Steps) -> None:
        super().__init__()
        self.members = config.members
        inputs = torch.cat([steps.state, steps.action], -1)
        changes = torch.cat([steps.next_state - steps.state, steps.reward[:, None]], -1)
        self._in_mean, self._in_scale = inputs.mean(0), _scale(inputs)
        self._out_mean, self._out_scale = changes.mean(0), _scale(changes)
        self._low, self._high = steps.next_state.amin(0), steps.next_state.amax(0)
        self._least, self._most = steps.reward.aminmax()
        sizes = [inputs.shape[1], *config.hidden_sizes, changes.shape[1] + 1]
        self.layers = nn.ModuleList(EnsembleLinear(config.members, i, o) for i, o in pairwise(sizes))

    def forward(self, state: Tensor, action: Tensor) -> Following:
        """Expectations, for states of shape (B, D) and actions of shape (B, A)."""
        change, logit = self._outputs(state.expand(self.members, -1, -1), action.expand(self.members, -1, -1))
        change = change * self._out_scale + self._out_mean
        # A rollout that leaves all that was ever seen would feed the networks what they know nothing of.
        following = (state + change[..., :-1]).clamp(self._low, self._high)
        # Nor may a policy be worth what nobody ever earned, because a network says anything where nobody was.
        reward = change[..., -1].clamp(self._least, self._most)
        return Following(following, reward, logit.sigmoid())

    def loss(self, state: Tensor, action: Tensor, target: Steps) -> Tensor:
        """Squared error of what is scaled and cross-entropy of the end, summed over members.

        Args:
            state: Shape (E, B, D).
            action: Shape (E, B, A).
            target: The steps themselves, each of shape (E, B, ...).
        """
        change, logit = self._outputs(state, action)
        seen = torch.cat([target.next_state - target.state, target.reward[..., None]], -1)
        error = (change - (seen - self._out_mean) / self._out_scale).square().mean((-1, -2))
        end = F.binary_cross_entropy_with_logits(logit, target.terminated, reduction="none").mean(-1)
        return (error + end).sum()

    def _outputs(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        x = (torch.cat([state, action], -1) - self._in_mean) / self._in_scale
        for index, layer in enumerate(self.layers):
            x = layer(F.silu(x) if index else x)
        return x[..., :-1], x[..., -1]


def fit_dynamics(config: DynamicsConfig, steps: Steps, seed: int) -> tuple[Dynamics, float]:
    """An ensemble, and the share of how states change that it explains in steps it has not seen (1 is all).

    Args:
        config: How.
        steps: Recorded.
        seed: Of weights, of what is held out, and of each member's draws.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(steps.reward), generator=generator)
    held = max(1, round(config.held_out * len(order)))
    unseen, seen = steps.rows(order[:held]), steps.rows(order[held:])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        dynamics = Dynamics(config, seen)
    optimizer = torch.optim.Adam(dynamics.parameters(), config.learning_rate, fused=True)
    count = len(seen.reward)
    own = torch.randint(0, count, (config.members, count), generator=generator)  # Each member's bootstrap.
    for _ in range(config.updates):
        drawn = torch.randint(0, count, (config.members, config.batch_size), generator=generator)
        batch = seen.rows(own.gather(1, drawn))
        descend(optimizer, dynamics.loss(batch.state, batch.action, batch))
    return dynamics, _explained(dynamics, unseen)


@torch.no_grad()
def _explained(dynamics: Dynamics, steps: Steps) -> float:
    """1 - mean squared error / variance of the changes, over entries that change at all."""
    change = steps.next_state - steps.state
    error = (dynamics(steps.state, steps.action).state.mean(0) - steps.next_state).square().mean(0)
    variance = change.var(0, correction=0)
    moving = variance > _LEAST_DEVIATION**2
    if not moving.any():
        return 1.0
    return float((1.0 - error[moving] / variance[moving]).mean())


def _scale(values: Tensor) -> Tensor:
    """Deviation of each entry; 1 for one that never changes."""
    deviation = values.std(0, correction=0)
    return torch.where(deviation > _LEAST_DEVIATION, deviation, 1.0)
