"""IQL: learning from recorded data without ever asking what an action is worth that is not in it.

IQL: Kostrikov et al., arXiv:2110.06169. RIQL's options for data that are partly wrong: Yang et al., arXiv:2310.12955.
The value of a state is an upper expectile of what the recorded actions are worth there, so pieces of different
episodes are joined to a better one than any of them; the policy clones the actions that are better than that. Nothing
changes when the robot begins to act: each batch then holds its own experience, too.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from agent.algorithm import Batch
from agent.config import Config
from agent.networks import CriticEnsemble, mlp
from agent.normalisation import NormalisedVectors, check_normalisation
from agent.sac import count_actions
from agent.tensors import (
    Tensors,
    above,
    below,
    detached,
    load_optimizer_state,
    optimizer_state,
    take_over,
)
from agent.transition import Observation, TransitionSpec

_GREATEST_WEIGHT = 100.0  # Of an action in the policy's loss, as in IQL's code.
_LOG_STD_MIN, _LOG_STD_MAX = -5.0, 2.0  # As in IQL's code.


class IQLConfig(Config):
    """Defaults are IQL's, with a discount for episodes of tens of steps.

    Attributes:
        offline_updates: Gradient steps on recorded data before the first environment step.
        batch_size: Transitions per gradient step.
        utd_ratio: Gradient steps per environment step, where there are any.
        discount: Gamma.
        target_rate: Tau of the moving average of the target critics.
        expectile: Of the worth of recorded actions, which is taken for the value of a state: 0.5 their mean, which
            evaluates who recorded them, near 1 their best. IQL 0.7 for locomotion, 0.9 for mazes.
        temperature: How much better actions count for more in the policy: exp(temperature * advantage), which is 0 for
            plain cloning. An advantage has the size of the rewards. IQL 3, 10 for mazes.
        critics: Size of the ensemble (IQL 2, RIQL 5).
        critic_loss: `mse`, or `huber`, which lets targets that are far off pull no harder than ones at `huber_delta`.
        huber_delta: Error beyond which the loss is linear.
        target_quantile: Of the target critics, 0 to 1, for the worth of an action; None takes the minimum. With many
            critics the minimum is too low wherever data are corrupted (RIQL 0.1 to 0.25).
        state_dependent_std: Whether the spread of the policy depends on the state.
        layer_norm: In all networks.
        hidden_sizes: Of all networks.
        actor_learning_rate: Adam.
        critic_learning_rate: Adam, of critics and value.
        normalise_observations: Whether the mean and the deviation of recorded data are taken out of observations.
        normalise_over: First calls of `learn_offline` that only estimate these.
    """

    offline_updates: int = 10_000
    batch_size: int = 256
    utd_ratio: int = 1
    discount: float = 0.97
    target_rate: float = 0.005
    expectile: float = 0.7
    temperature: float = 3.0
    critics: int = 2
    critic_loss: str = "mse"
    huber_delta: float = 1.0
    target_quantile: float | None = None
    state_dependent_std: bool = False
    layer_norm: bool = False
    hidden_sizes: tuple[int, ...] = (256, 256)
    actor_learning_rate: float = 3e-4
    critic_learning_rate: float = 3e-4
    normalise_observations: bool = False
    normalise_over: int = 100

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.offline_updates < 0:
            raise ValueError(f"offline_updates {self.offline_updates} must not be negative")
        for name in ("batch_size", "utd_ratio", "critics"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")
        for name in ("discount", "target_rate", "actor_learning_rate", "critic_learning_rate"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)} must lie in (0, 1]")
        if not 0 < self.expectile < 1:
            raise ValueError(f"expectile {self.expectile} must lie between 0 and 1, both excluded")
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature {self.temperature} must be a number that is not negative")
        if self.critic_loss not in ("mse", "huber"):
            raise ValueError(f"critic_loss {self.critic_loss!r} must be mse or huber")
        if not 0 < self.huber_delta < math.inf:
            raise ValueError(f"huber_delta {self.huber_delta} must be a positive number")
        if self.target_quantile is not None and not 0 <= self.target_quantile <= 1:
            raise ValueError(f"target_quantile {self.target_quantile} must lie in [0, 1], or be null")
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"hidden_sizes {self.hidden_sizes} must be positive")
        check_normalisation(self.normalise_observations, self.normalise_over, self.offline_updates)


def expectile_loss(error: Tensor, expectile: float) -> Tensor:
    """Mean of |expectile - [error < 0]| * error^2 (IQL, section 4.1); its minimum is at the expectile."""
    weight = torch.where(error < 0, 1.0 - expectile, expectile)
    return (weight * error.square()).mean()


def advantage_weights(advantage: Tensor, temperature: float) -> Tensor:
    """How much each action counts in the policy's loss (IQL, equation 7), shape as given."""
    return (temperature * advantage).exp().clamp(max=_GREATEST_WEIGHT)


def worth(values_EB: Tensor, quantile: float | None) -> Tensor:  # noqa: N803
    """What an ensemble makes of an action, shape (B,): a quantile, interpolated (RIQL), or the minimum (IQL)."""
    return values_EB.min(0).values if quantile is None else values_EB.quantile(quantile, dim=0)


class IQLActor(nn.Module):
    """Gaussian about a squashed mean, itself not squashed, as in IQL's code.

    So recorded actions at exactly -1 or 1 have a likelihood, which after squashing would be infinitely far away.
    """

    def __init__(self, config: IQLConfig, inputs: int, actions: int) -> None:
        super().__init__()
        outputs = 2 * actions if config.state_dependent_std else actions
        self.net = mlp(inputs, outputs, config.hidden_sizes, config.layer_norm)
        self.log_std = None if config.state_dependent_std else nn.Parameter(torch.zeros(actions))

    def forward(self, state_BD: Tensor) -> tuple[Tensor, Tensor]:  # noqa: N803
        """Mean in [-1, 1], and log standard deviation, each of shape (B, A)."""
        if self.log_std is None:
            mean, log_std = self.net(state_BD).chunk(2, -1)
            return mean.tanh(), log_std.clamp(_LOG_STD_MIN, _LOG_STD_MAX)
        mean = self.net(state_BD).tanh()
        return mean, self.log_std.expand_as(mean)

    def log_likelihood(self, state_BD: Tensor, action_BA: Tensor) -> Tensor:  # noqa: N803
        """Log-density of actions, shape (B,)."""
        mean, log_std = self(state_BD)
        normal = (action_BA - mean) / log_std.exp()
        return (-0.5 * normal.square() - log_std - 0.5 * math.log(2.0 * math.pi)).sum(-1)

    def confine(self) -> None:
        """Put a spread that left its limits back on them.

        A limit inside the loss would stop its gradient, and what once was too narrow would stay so.
        """
        if self.log_std is not None:
            with torch.no_grad():
                self.log_std.clamp_(_LOG_STD_MIN, _LOG_STD_MAX)


def _make_actor_side(config: IQLConfig, spec: TransitionSpec) -> tuple[NormalisedVectors, IQLActor]:
    encoder = NormalisedVectors(spec, config.normalise_over if config.normalise_observations else 0, "IQL")
    return encoder, IQLActor(config, encoder.size, count_actions(spec))


class IQLPolicy:
    """Statistics and actor; satisfies `agent.algorithm.Policy`.

    Args:
        config: Parameters.
        spec: Layout of observations and actions.
        seed: Of the noise.
    """

    def __init__(self, config: IQLConfig, spec: TransitionSpec, seed: int) -> None:
        self._keys = spec.observation_keys
        self._generator = torch.Generator().manual_seed(seed)
        self.encoder, self.actor = _make_actor_side(config, spec)

    @torch.inference_mode()
    def act(self, observation: Observation, deterministic: bool) -> NDArray[np.float32]:
        """The mean, or a sample, kept in [-1, 1]."""
        features = self.encoder({key: torch.from_numpy(observation[key])[None] for key in self._keys})
        mean, log_std = self.actor(features)
        if not deterministic:
            mean = mean + log_std.exp() * torch.randn(mean.shape, generator=self._generator)
        return mean.clamp(-1.0, 1.0).numpy()[0]

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take over the learner's statistics and actor."""
        self.encoder.load_learned_state(below("encoder.", weights))
        self.actor.load_state_dict(below("actor.", weights))


class IQL:
    """The learner's side; satisfies `Algorithm`, `LearnsOffline` and `BeginsFrom` of `agent.algorithm`.

    Raises:
        InputError: There are cameras, or actions are not in [-1, 1].
    """

    Config = IQLConfig

    def __init__(self, config: IQLConfig, spec: TransitionSpec, device: torch.device, seed: int) -> None:
        self.config = config
        self.batch_size, self.utd_ratio = config.batch_size, config.utd_ratio
        self.offline_updates = config.offline_updates
        self._keys = spec.observation_keys
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder, actor = _make_actor_side(config, spec)
            self.encoder, self.actor = encoder.to(device), actor.to(device)
            inputs, sizes = encoder.size + count_actions(spec), (config.hidden_sizes, config.layer_norm)
            self.value = mlp(encoder.size, 1, *sizes).to(device)
            self.critic = CriticEnsemble(config.critics, inputs, *sizes).to(device)
            self.target_critic = CriticEnsemble(config.critics, inputs, *sizes).to(device)
        self.target_critic.requires_grad_(False).load_state_dict(self.critic.state_dict())
        rates = {"value": config.critic_learning_rate, "critic": config.critic_learning_rate}
        self._optimizers = {
            name: torch.optim.Adam(getattr(self, name).parameters(), rate, fused=True)
            for name, rate in (rates | {"actor": config.actor_learning_rate}).items()
        }

    @staticmethod
    def make_policy(config: IQLConfig, spec: TransitionSpec, seed: int) -> IQLPolicy:
        """The actor's side."""
        return IQLPolicy(config, spec, seed)

    def update(self, batch: Batch) -> dict[str, float]:
        """`utd_ratio` steps as those before the first environment step, each on its own slice."""
        metrics: dict[str, Tensor] = {}
        for k in range(self.utd_ratio):
            rows = slice(k * self.batch_size, (k + 1) * self.batch_size)
            metrics = self._learn({name: values[rows] for name, values in batch.items()})
        return {name: float(value) for name, value in metrics.items()}

    def learn_offline(self, batch: Batch) -> dict[str, float]:
        """One gradient step of value, actor and critics; the first calls may only estimate statistics instead."""
        if self.encoder.is_estimating:
            self.encoder.estimate(self._observation(batch, "observation"))
            return {}
        return {name: float(value) for name, value in self._learn(batch).items()}

    def policy_weights(self) -> Tensors:
        """Statistics and actor, on the CPU."""
        statistics = above("encoder.", self.encoder.learned_state())
        return detached(above("actor.", self.actor.state_dict()) | statistics)

    def state_dict(self) -> Tensors:
        """Networks, targets, statistics and optimisers, flat; nothing random happens after the start."""
        state = self.policy_weights()
        for name in ("value", "critic", "target_critic"):
            state |= above(f"{name}.", getattr(self, name).state_dict())
        for name, optimizer in self._optimizers.items():
            state |= above(f"optimizer.{name}.", optimizer_state(optimizer))
        return detached(state)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on exactly where `state_dict` was taken."""
        self.encoder.load_learned_state(below("encoder.", state))
        for name in ("actor", "value", "critic", "target_critic"):
            getattr(self, name).load_state_dict(below(f"{name}.", state))
        for name, optimizer in self._optimizers.items():
            load_optimizer_state(optimizer, below(f"optimizer.{name}.", state))

    def begin_from(self, state: Mapping[str, Tensor]) -> None:
        """Take over the networks and statistics of another run of IQL.

        Raises:
            InputError: They are of another architecture.
        """
        self.encoder.take_over(below("encoder.", state))
        for name in ("actor", "value", "critic", "target_critic"):
            take_over(getattr(self, name), name, state)

    def _learn(self, batch: Batch) -> dict[str, Tensor]:
        """One step of each network, in the order of IQL's code."""
        state, action = self.encoder(self._observation(batch, "observation")), batch["action"]
        worths = worth(self.target_critic(state, action), self.config.target_quantile)
        value_loss = expectile_loss(worths - self._value_of(state), self.config.expectile)  # Equation 5.
        self._step("value", value_loss)
        with torch.no_grad():
            value = self._value_of(state)
            next_value = self._value_of(self.encoder(self._observation(batch, "next_observation")))
            # A time-out bootstraps, a termination does not: `truncated` plays no part here.
            going_on = self.config.discount * (1.0 - batch["terminated"].float())
            target = batch["reward"] + going_on * next_value
            weights = advantage_weights(worths - value, self.config.temperature)
        actor_loss = -(weights * self.actor.log_likelihood(state, action)).mean()
        self._step("actor", actor_loss)
        self.actor.confine()
        critic_loss = self.critic_loss(self.critic(state, action), target)
        self._step("critic", critic_loss)
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.target_critic.parameters()), list(self.critic.parameters()), self.config.target_rate
            )
        return {
            "critic_loss": critic_loss.detach(),
            "value_loss": value_loss.detach(),
            "actor_loss": actor_loss.detach(),
            "value": value.mean(),
            "weight": weights.mean(),
        }

    def critic_loss(self, values_EB: Tensor, target_B: Tensor) -> Tensor:  # noqa: N803
        """Distance from r + gamma V(s'), IQL's equation 6, summed over members, so that each learns as if alone."""
        target = target_B.expand_as(values_EB)
        if self.config.critic_loss == "mse":
            losses = F.mse_loss(values_EB, target, reduction="none")
        else:  # RIQL's Huber loss is divided by delta: e^2 / (2 delta) up to delta, then |e| - delta / 2.
            losses = F.smooth_l1_loss(values_EB, target, reduction="none", beta=self.config.huber_delta)
        return losses.mean(-1).sum()

    def _observation(self, batch: Batch, prefix: str) -> Tensors:
        return {key: batch[f"{prefix}.{key}"] for key in self._keys}

    def _value_of(self, state: Tensor) -> Tensor:
        return self.value(state).squeeze(-1)

    def _step(self, name: str, loss: Tensor) -> None:
        optimizer = self._optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
