"""TD3+BC: climb the critic, but not away from what was recorded (Fujimoto and Gu, arXiv:2106.06860).

TD3 (arXiv:1802.09477) with one term more in the policy's loss: the squared distance from the recorded action. Nothing
changes when the robot begins to act: each batch then holds its own experience, too, and imitates that as well.
"""

import math
from collections.abc import Mapping
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent.algorithm import Batch
from agent.networks import CriticEnsemble, mlp
from agent.normalisation import NormalisedVectors
from agent.offline import OfflineAlgorithm, OfflineConfig, OfflinePolicy
from agent.tensors import Tensors
from agent.transition import TransitionSpec, count_actions

_CRITICS = 2  # TD3's; their minimum is the target.
_LEAST_SCALE = 1e-6  # Of values, which may all be 0.


class TD3BCConfig(OfflineConfig):
    """Defaults are the paper's, with a discount for episodes of tens of steps.

    Attributes:
        alpha: Weight of the critic's opinion beside imitation: 0 only clones, more trusts the critic more; of values it
            takes the scale out.
        policy_delay: Critic updates per update of the actor and the targets.
        policy_noise: Standard deviation of what is added to the action in the target.
        noise_clip: Its greatest size.
        exploration_noise: Standard deviation of what is added to the action while nothing is evaluated.
        normalise_observations: Part of the method.
    """

    alpha: float = 2.5
    policy_delay: int = 2
    policy_noise: float = 0.2
    noise_clip: float = 0.5
    exploration_noise: float = 0.1
    normalise_observations: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        super().__post_init__()
        if self.policy_delay < 1:
            raise ValueError(f"policy_delay {self.policy_delay} must be at least 1")
        if not 0 <= self.alpha < math.inf:
            raise ValueError(f"alpha {self.alpha} must be a number that is not negative")
        for name in ("policy_noise", "noise_clip", "exploration_noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)} must lie in [0, 1]")


def smoothed(action: Tensor, noise: Tensor, clip: float) -> Tensor:
    """The target's action, moved by noise of at most `clip`, in [-1, 1] (TD3, section 5.3); shape (B, A)."""
    return (action + noise.clamp(-clip, clip)).clamp(-1.0, 1.0)


def policy_loss(value: Tensor, proposed: Tensor, recorded: Tensor, alpha: float) -> Tensor:
    """-lambda Q(s, pi(s)) + (pi(s) - a)^2, lambda = alpha / mean |Q| (TD3+BC, equations 3 and 5).

    As in the paper's code the scale of values is that of the policy's own actions, which are at hand, and distances
    are averaged over the entries of an action.

    Args:
        value: Of the proposed actions, shape (B,).
        proposed: What the policy would do, shape (B, A).
        recorded: What was done, shape (B, A).
        alpha: See `TD3BCConfig`.
    """
    scale = value.detach().abs().mean().clamp_min(_LEAST_SCALE)
    return F.mse_loss(proposed, recorded) - alpha * (value / scale).mean()


class TD3BCActor(nn.Module):
    """Deterministic policy."""

    def __init__(self, config: TD3BCConfig, inputs: int, actions: int) -> None:
        super().__init__()
        self.net = mlp(inputs, actions, config.hidden_sizes, config.layer_norm)

    def forward(self, state_BD: Tensor) -> Tensor:  # noqa: N803
        """Actions in [-1, 1], shape (B, A)."""
        return self.net(state_BD).tanh()


def _make_actor_side(config: TD3BCConfig, spec: TransitionSpec) -> tuple[NormalisedVectors, TD3BCActor]:
    encoder = NormalisedVectors(spec, config.normalise_over if config.normalise_observations else 0, "TD3+BC")
    return encoder, TD3BCActor(config, encoder.size, count_actions(spec))


class TD3BCPolicy(OfflinePolicy):
    """The actor's side.

    Args:
        config: Parameters.
        spec: Layout of observations and actions.
        seed: Of the noise.
    """

    def __init__(self, config: TD3BCConfig, spec: TransitionSpec, seed: int) -> None:
        super().__init__(*_make_actor_side(config, spec), spec, seed)
        self._exploration_noise = config.exploration_noise

    def _choose(self, features: Tensor, deterministic: bool) -> Tensor:
        action: Tensor = self.actor(features)
        return action if deterministic else action + self._exploration_noise * self._noise(action)


class TD3BC(OfflineAlgorithm):
    """The learner's side.

    Raises:
        InputError: There are cameras, or actions are not in [-1, 1].
    """

    Config = TD3BCConfig
    NETWORKS = ("actor", "critic", "target_actor", "target_critic")

    def __init__(self, config: TD3BCConfig, spec: TransitionSpec, device: torch.device, seed: int) -> None:
        self.config = config
        self._device = device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder, actor = _make_actor_side(config, spec)
            super().__init__(config, spec, encoder.to(device), actor.to(device))
            inputs = encoder.size + count_actions(spec)
            self.critic = CriticEnsemble(_CRITICS, inputs, config.hidden_sizes, config.layer_norm).to(device)
        self.target_actor = deepcopy(self.actor).requires_grad_(False)
        self.target_critic = deepcopy(self.critic).requires_grad_(False)
        self._optimize("actor", config.actor_learning_rate)
        self._optimize("critic", config.critic_learning_rate)
        self._first = torch.zeros(1, dtype=torch.int64, device=device)
        self._updates = 0
        # On the CPU, so that a checkpoint of one device goes on on another.
        self._generator = torch.Generator().manual_seed(seed + 1)

    @staticmethod
    def make_policy(config: TD3BCConfig, spec: TransitionSpec, seed: int) -> TD3BCPolicy:
        """The actor's side."""
        return TD3BCPolicy(config, spec, seed)

    def state_dict(self) -> Tensors:
        """Also random state, and whose turn it is."""
        turn = {"generator": self._generator.get_state(), "updates": torch.tensor(self._updates)}
        return super().state_dict() | turn

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on exactly where `state_dict` was taken."""
        super().load_state_dict(state)
        self._generator.set_state(state["generator"])
        self._updates = int(state["updates"])

    def _learn(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the critics; every `policy_delay`-th time one of the actor, and the targets follow."""
        state, action = self.encoder(self._observation(batch, "observation")), batch["action"]
        values = self.critic(state, action)
        target = self._target(batch).expand_as(values)
        critic_loss = F.mse_loss(values, target, reduction="none").mean(-1).sum()
        self._step("critic", critic_loss)
        metrics = {"critic_loss": critic_loss.detach(), "value": values.detach().mean()}
        self._updates += 1
        if self._updates % self.config.policy_delay == 0:
            metrics |= self._learn_actor(state, action)
            self._follow()
        return metrics

    @torch.no_grad()
    def _target(self, batch: Batch) -> Tensor:
        """What the critics are to say, shape (B,): the lower of the targets' opinions (TD3, algorithm 1)."""
        next_state = self.encoder(self._observation(batch, "next_observation"))
        noise = self.config.policy_noise * torch.randn(batch["action"].shape, generator=self._generator)
        action = smoothed(self.target_actor(next_state), noise.to(self._device), self.config.noise_clip)
        next_value = self.target_critic(next_state, action).min(0).values
        return batch["reward"] + self._going_on(batch) * next_value

    def _learn_actor(self, state: Tensor, recorded: Tensor) -> dict[str, Tensor]:
        self.critic.requires_grad_(False)
        proposed = self.actor(state)
        value = self.critic(state, proposed, self._first).squeeze(0)
        loss = policy_loss(value, proposed, recorded, self.config.alpha)
        self._step("actor", loss)
        self.critic.requires_grad_(True)
        distance = (proposed.detach() - recorded).abs().mean()
        return {"actor_loss": loss.detach(), "policy_value": value.detach().mean(), "distance": distance}

    @torch.no_grad()
    def _follow(self) -> None:
        for slow, fast in ((self.target_actor, self.actor), (self.target_critic, self.critic)):
            torch._foreach_lerp_(list(slow.parameters()), list(fast.parameters()), self.config.target_rate)
