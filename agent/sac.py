"""Soft actor-critic with the options of RLPD.

SAC: Haarnoja et al., arXiv:1812.05905. RLPD: Ball et al., arXiv:2302.02948: a large critic ensemble with
LayerNorm, a random subset of it in the target, many critic updates per environment step. The other part of RLPD,
half of each batch from demonstrations, is the sampler's (`agent.replay.MixedSampler`).
"""

import math
import shutil
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from agent.algorithm import Batch
from agent.config import Config, InputError
from agent.networks import CriticEnsemble, GaussianActor, VectorEncoder
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


class SACConfig(Config):
    """Defaults are RLPD's for state observations, with the ensemble and ratio that two CPU cores can carry.

    Attributes:
        batch_size: Transitions per critic update.
        utd_ratio: Critic updates per environment step; the actor is updated once after them.
        discount: Gamma. 0.97 with episodes of tens of steps, as HIL-SERL uses; 0.99 for longer ones.
        target_rate: Tau of the moving average of the target critics.
        critics: Size of the ensemble (RLPD 10, SAC 2).
        target_subset: Members drawn without replacement for each target; their minimum is used.
        actor_objective: Value the actor climbs: `mean` of all critics (RLPD) or their `min` (SAC).
        layer_norm: In critics and actor.
        hidden_sizes: Of critics and actor.
        actor_learning_rate: Adam.
        critic_learning_rate: Adam.
        temperature_learning_rate: Adam, on the logarithm.
        initial_temperature: RLPD 1.0, HIL-SERL 0.01.
        target_entropy_scale: Target entropy is minus this times the number of actions (RLPD 0.5, SAC 1.0).
        entropy_backup: Whether the target contains the entropy term.
        offline_updates: Steps of behaviour cloning of the actor, on demonstrations, before the first environment
            step; 0 begins with a random policy.
        actor_delay: Calls of `update` in which only the critics learn, about an actor that began as a clone.
        compile: Whether to compile the losses with torch.compile: half a minute before the first update, and a C++
            compiler on CPU, for updates that are up to twice as fast where critics are many.
    """

    batch_size: int = 256
    utd_ratio: int = 4
    discount: float = 0.97
    target_rate: float = 0.005
    critics: int = 2
    target_subset: int = 2
    actor_objective: str = "mean"
    layer_norm: bool = True
    hidden_sizes: tuple[int, ...] = (256, 256)
    actor_learning_rate: float = 3e-4
    critic_learning_rate: float = 3e-4
    temperature_learning_rate: float = 3e-4
    initial_temperature: float = 0.1
    target_entropy_scale: float = 0.5
    entropy_backup: bool = False
    offline_updates: int = 0
    actor_delay: int = 0
    compile: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not 1 <= self.target_subset <= self.critics:
            raise ValueError(
                f"target_subset {self.target_subset} must lie between 1 and critics {self.critics}"
            )
        if self.batch_size < 2 or self.utd_ratio < 1:
            raise ValueError(
                f"batch_size {self.batch_size} must be at least 2 and utd_ratio {self.utd_ratio} at least 1"
            )
        if self.actor_delay < 0:
            raise ValueError(f"actor_delay {self.actor_delay} must not be negative")
        if self.offline_updates < 0:
            raise ValueError(f"offline_updates {self.offline_updates} must not be negative")
        positive = (
            "discount",
            "target_rate",
            "initial_temperature",
            "actor_learning_rate",
            "critic_learning_rate",
        )
        for name in (*positive, "temperature_learning_rate"):
            if not 0 < getattr(self, name) <= 10:
                raise ValueError(f"{name} {getattr(self, name)} must be positive and sane")
        if self.discount > 1 or self.target_rate > 1:
            raise ValueError(f"discount {self.discount} and target_rate {self.target_rate} must be at most 1")
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"hidden_sizes {self.hidden_sizes} must be positive")
        if self.actor_objective not in ("mean", "min"):
            raise ValueError(f"actor_objective {self.actor_objective!r} must be mean or min")


class Transitions(NamedTuple):
    """A batch as losses take it: observations as they are learned from, everything else of shape (B, ...).

    Attributes:
        observation: By key.
        action: Shape (B, A).
        reward: Shape (B,).
        next_observation: By key.
        not_terminated: 1 where the return goes on, shape (B,).
        mc_return: Discounted return to go, shape (B,), for an algorithm that asked for it (`NeedsReturns`).
        discount: What the next value counts for, shape (B,), if the next observations are several steps later.
    """

    observation: Tensors
    action: Tensor
    reward: Tensor
    next_observation: Tensors
    not_terminated: Tensor
    mc_return: Tensor | None = None
    discount: Tensor | None = None

    def rows(self, rows: slice) -> "Transitions":
        """Some of them."""

        def of(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: values[rows] for key, values in value.items()}
            return None if value is None else value[rows]

        return Transitions(*map(of, self))


def count_actions(spec: TransitionSpec) -> int:
    """A, if a tanh-squashed policy can fill the action space."""
    if not (np.all(spec.action_space.low == -1) and np.all(spec.action_space.high == 1)):
        raise InputError(
            f"Action space {spec.action_space} must be Box(-1, 1): use gymnasium's RescaleAction."
        )
    return int(spec.action_space.shape[0])


class SACPolicy:
    """Encoder and Gaussian actor; satisfies `agent.algorithm.Policy`.

    Args:
        config: Has the actor's `hidden_sizes` and `layer_norm`, and what `make_encoder` wants.
        spec: Layout of observations and actions.
        seed: Of the noise.
    """

    def __init__(self, config: Any, spec: TransitionSpec, seed: int) -> None:
        self._keys = spec.observation_keys
        actions = count_actions(spec)
        self._generator = torch.Generator().manual_seed(seed)
        self._shape = (1, actions)
        self.encoder = self.make_encoder(config, spec)
        self.actor = GaussianActor(self.encoder.size, actions, config.hidden_sizes, config.layer_norm)

    @staticmethod
    def make_encoder(config: Any, spec: TransitionSpec) -> Any:
        """From observations to features. The learner makes its own by this, too."""
        return VectorEncoder(spec)

    @torch.inference_mode()
    def act(self, observation: Observation, deterministic: bool) -> NDArray[np.float32]:
        """The squashed mean, or a sample."""
        features = self.encoder({key: torch.from_numpy(observation[key])[None] for key in self._keys})
        mean, log_std = self.actor(features)
        if not deterministic:
            mean = mean + log_std.exp() * torch.randn(self._shape, generator=self._generator)
        return mean.tanh().numpy()[0]

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take over the learner's encoder and actor."""
        self.encoder.load_learned_state(below("encoder.", weights))
        self.actor.load_state_dict(below("actor.", weights))


class SAC:
    """The learner's side; satisfies `agent.algorithm.Algorithm`."""

    Config = SACConfig
    Policy = SACPolicy
    takes_discount = True

    def __init__(self, config: SACConfig, spec: TransitionSpec, device: torch.device, seed: int) -> None:
        self.config = config
        self.batch_size, self.utd_ratio = config.batch_size, config.utd_ratio
        self.offline_updates = config.offline_updates
        self._keys = spec.observation_keys
        self._device = device
        self._actions = count_actions(spec)
        # Initial weights come from torch's global generator; fork it so that making an algorithm has no side effect.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = self.Policy.make_encoder(config, spec).to(device)
            features = self.encoder.size
            self.actor = GaussianActor(features, self._actions, config.hidden_sizes, config.layer_norm).to(
                device
            )
            critic = (config.critics, features + self._actions, config.hidden_sizes, config.layer_norm)
            self.critic = CriticEnsemble(*critic).to(device)
            self.target_critic = CriticEnsemble(*critic).to(device).requires_grad_(False)
        self.target_critic.load_state_dict(self.critic.state_dict())
        self.log_temperature = nn.Parameter(
            torch.tensor(np.log(config.initial_temperature), device=device).float()
        )
        learning = [p for p in self.encoder.parameters() if p.requires_grad]
        # One optimiser per network: with a shared one, Adam's momentum would move the actor in critic-only updates.
        self._optimizers = {
            "actor": _adam(self.actor.parameters(), config.actor_learning_rate),
            "critic": _adam([*self.critic.parameters(), *learning], config.critic_learning_rate),
            "temperature": _adam([self.log_temperature], config.temperature_learning_rate),
            "imitation": _adam([*self.actor.parameters(), *learning], config.actor_learning_rate),
        }
        self._calls = 0
        # On the CPU, so that a checkpoint of one device goes on on another.
        self._generator = torch.Generator().manual_seed(seed + 1)
        self._critic_loss = _compiled(self._critic_loss_eager, config.compile, device)
        self._actor_loss = _compiled(self._actor_loss_eager, config.compile, device)

    @classmethod
    def make_policy(cls, config: SACConfig, spec: TransitionSpec, seed: int) -> SACPolicy:
        """The actor's side."""
        return cls.Policy(config, spec, seed)

    def update(self, batch: Batch) -> dict[str, float]:
        """`utd_ratio` critic updates, then one of actor and temperature (RLPD, algorithm 1)."""
        transitions = self._transitions(batch)
        metrics: dict[str, Tensor] = {}
        for k in range(self.utd_ratio):
            newest = transitions.rows(slice(k * self.batch_size, (k + 1) * self.batch_size))
            metrics |= self.update_critic(newest)
        self._calls += 1
        if self._calls > self.config.actor_delay:
            metrics |= self.update_actor(newest.observation)
        return {name: float(value) for name, value in metrics.items()}

    def learn_offline(self, batch: Batch) -> dict[str, float]:
        """One step of behaviour cloning of encoder and actor; touches nothing of critics and temperature.

        The encoder is the critics' to train, but they have nothing to learn from yet, and an actor that imitated on
        random features would lose what it learned as soon as they changed.
        """
        features = self.encoder(self._observation(batch, "observation"))
        # The spread of a Gaussian whose entropy is the one that the temperature aims at.
        log_std = -self.config.target_entropy_scale - 0.5 * math.log(2.0 * math.pi * math.e)
        loss = self.actor.imitation_loss(features, batch["action"], log_std)
        self._step("imitation", loss)
        return {"imitation_loss": float(loss.detach())}

    def update_critic(self, transitions: Transitions) -> dict[str, Tensor]:
        """One step of encoder, critics and their targets; touches nothing of the actor."""
        noise = self._noise(transitions.action.shape[0])
        members = torch.randperm(self.config.critics, generator=self._generator)
        subset = members[: self.config.target_subset].to(self._device)
        loss, value = self._critic_loss(transitions, noise, subset)
        self._step("critic", loss)
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.target_critic.parameters()), list(self.critic.parameters()), self.config.target_rate
            )
        return {"critic_loss": loss.detach(), "value": value}

    def update_actor(self, observation: Tensors) -> dict[str, Tensor]:
        """One step of actor and temperature; touches nothing of critics and encoder."""
        with torch.no_grad():
            features = self.encoder(observation)
        return self._climb(lambda: self._actor_loss(features, self._noise(features.shape[0])))

    def _climb(self, objective: Callable[[], tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """One step of actor and temperature on a loss and the log-density of what was sampled for it, shape (B,)."""
        self.critic.requires_grad_(False)
        loss, log_density = objective()
        self._step("actor", loss)
        self.critic.requires_grad_(True)
        entropy = -log_density.mean()
        target_entropy = -self.config.target_entropy_scale * self._actions
        # The gradient of temperature * (entropy - target) with respect to log-temperature, up to a positive
        # factor (SAC, eq. 18): linear in the logarithm, so that steps do not shrink with the temperature.
        self._step("temperature", self.log_temperature * (entropy - target_entropy))
        return {
            "actor_loss": loss.detach(),
            "entropy": entropy,
            "temperature": self.log_temperature.detach().exp(),
        }

    def policy_weights(self) -> Tensors:
        """Encoder and actor network, without what is frozen, on the CPU."""
        return detached(
            above("actor.", self.actor.state_dict()) | above("encoder.", self.encoder.learned_state())
        )

    def state_dict(self) -> Tensors:
        """Networks, targets, temperature, optimisers and random state, flat."""
        state: Tensors = {
            "log_temperature": self.log_temperature.detach(),
            "generator": self._generator.get_state(),
            "calls": torch.tensor(self._calls),
        }
        for name in ("actor", "critic", "target_critic"):
            state |= above(f"{name}.", getattr(self, name).state_dict())
        state |= above("encoder.", self.encoder.learned_state())
        for name, optimizer in self._optimizers.items():
            state |= above(f"optimizer.{name}.", optimizer_state(optimizer))
        return detached(state)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on exactly where `state_dict` was taken."""
        for name in ("actor", "critic", "target_critic"):
            getattr(self, name).load_state_dict(below(f"{name}.", state))
        self.encoder.load_learned_state(below("encoder.", state))
        with torch.no_grad():
            self.log_temperature.copy_(state["log_temperature"])
        self._generator.set_state(state["generator"])
        self._calls = int(state.get("calls", 0))  # Older checkpoints have none, and no delay either.
        for name, optimizer in self._optimizers.items():
            load_optimizer_state(optimizer, below(f"optimizer.{name}.", state))

    def begin_from(self, state: Mapping[str, Tensor]) -> None:
        """Take over actor and encoder, and critics and temperature if there are any, of another run's `state_dict`.

        Raises:
            InputError: A network is of another architecture.
        """
        take_over(self.actor, "actor", state)
        self.encoder.load_learned_state(below("encoder.", state))
        if not below("critic.", state):
            return  # Of a clone, which has none.
        take_over(self.critic, "critic", state)
        averaged = "target_critic" if below("target_critic.", state) else "critic"
        take_over(self.target_critic, averaged, state)
        if "log_temperature" in state:
            with torch.no_grad():
                self.log_temperature.copy_(state["log_temperature"])

    def _transitions(self, batch: Batch) -> Transitions:
        """A batch, as losses take it."""
        return Transitions(
            self._observation(batch, "observation"),
            batch["action"],
            batch["reward"],
            self._observation(batch, "next_observation"),
            # A time-out bootstraps, a termination does not: `truncated` plays no part here.
            1.0 - batch["terminated"].float(),
            batch.get("mc_return"),
            batch.get("discount"),
        )

    def _observation(self, batch: Batch, prefix: str) -> Tensors:
        """Observations of a batch by key, as they are learned from."""
        return {key: batch[f"{prefix}.{key}"] for key in self._keys}

    def _critic_loss_eager(
        self, transitions: Transitions, noise: Tensor, subset: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean squared Bellman error, summed over members (so that each learns as if alone), and mean value."""
        with torch.no_grad():
            next_value = self._next_value(self.encoder(transitions.next_observation), noise, subset)
            discount = self.config.discount if transitions.discount is None else transitions.discount
            target = transitions.reward + discount * transitions.not_terminated * next_value
        values = self.critic(self.encoder(transitions.observation), transitions.action)
        return F.mse_loss(values, target.expand_as(values), reduction="none").mean(
            -1
        ).sum(), values.detach().mean()

    def _sample(self, features: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """What the policy does for standard normal noise, shape (B, A), and the log-density, shape (B,)."""
        return self.actor.sample(features, noise)

    def _next_value(self, features: Tensor, noise: Tensor, subset: Tensor) -> Tensor:
        """What the policy makes of the next observations, by the target critics, shape (B,)."""
        action, log_density = self._sample(features, noise)
        value = self.target_critic(features, action, subset).min(0).values
        if self.config.entropy_backup:
            value = value - self.log_temperature.exp() * log_density
        return value

    def _actor_loss_eager(self, features: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """SAC eq. 9; returns the loss and the log-density of the sampled actions, shape (B,)."""
        action, log_density = self._sample(features, noise)
        values = self.critic(features, action)
        value = values.mean(0) if self.config.actor_objective == "mean" else values.min(0).values
        loss = (self.log_temperature.detach().exp() * log_density - value).mean()
        return loss, log_density.detach()

    def _noise(self, rows: int) -> Tensor:
        # Drawn outside the compiled losses: the same numbers with and without compilation, and in checkpoints.
        return torch.randn(rows, self._actions, generator=self._generator).to(self._device)

    def _step(self, name: str, loss: Tensor) -> None:
        optimizer = self._optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def _adam(parameters: Any, learning_rate: float) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, lr=learning_rate, fused=True)


def _compiled(function: Callable[..., Any], wanted: bool, device: torch.device) -> Callable[..., Any]:
    if not wanted:
        return function
    if device.type == "cpu" and not any(shutil.which(compiler) for compiler in ("g++", "clang++")):
        raise InputError(
            "algorithm.config.compile is true, but torch.compile finds no C++ compiler: install one (sudo apt-get "
            "install g++; journeyman doctor says what else is missing), or set algorithm.config.compile=false."
        )
    return torch.compile(function)
