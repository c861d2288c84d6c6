"""What algorithms share that learn from recorded data, and go on by the very same steps when the robot acts."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agent.algorithm import Batch
from agent.config import Config, InputError
from agent.gradients import descend
from agent.normalisation import NormalisedVectors, check_normalisation
from agent.parallel.share import Share
from agent.tensors import (
    Tensors,
    above,
    as_floats,
    below,
    detached,
    load_optimizer_state,
    optimizer_state,
    take_over,
)
from agent.transition import Observation, TransitionSpec


class OfflineConfig(Config):
    """Parameters of all of them. The discount is one for episodes of tens of steps.

    Attributes:
        offline_updates: Gradient steps on recorded data before the first environment step.
        batch_size: Transitions per gradient step.
        utd_ratio: Gradient steps per environment step, where there are any.
        discount: Gamma.
        target_rate: Tau of the moving average of the targets.
        layer_norm: In all networks.
        hidden_sizes: Of all networks.
        actor_learning_rate: Adam.
        critic_learning_rate: Adam, of everything that is not the actor.
        normalise_observations: Whether the mean and the deviation of recorded data are taken out of observations.
        normalise_over: First calls of `learn_offline` that only estimate these.
    """

    offline_updates: int = 10_000
    batch_size: int = 256
    utd_ratio: int = 1
    discount: float = 0.97
    target_rate: float = 0.005
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
        for name in ("batch_size", "utd_ratio"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")
        for name in ("discount", "target_rate", "actor_learning_rate", "critic_learning_rate"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)} must lie in (0, 1]")
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"hidden_sizes {self.hidden_sizes} must be positive")
        check_normalisation(self.normalise_observations, self.normalise_over, self.offline_updates)

    @property
    def of_recorded_rewards(self) -> tuple[str, ...]:
        """The offline phase learns values."""
        return ("offline_updates=0",) if self.offline_updates else ()


class OfflinePolicy(ABC):
    """Statistics and actor; satisfies `agent.algorithm.Policy`.

    Args:
        encoder: Of observations.
        actor: From features.
        spec: Layout of observations and actions.
        seed: Of the noise.
    """

    def __init__(self, encoder: NormalisedVectors, actor: nn.Module, spec: TransitionSpec, seed: int) -> None:
        self.encoder, self.actor = encoder, actor
        self._keys = spec.observation_keys
        self._generator = torch.Generator().manual_seed(seed)

    @torch.inference_mode()
    def act(self, observation: Observation, deterministic: bool) -> NDArray[np.float32]:
        """What the actor would do, with noise unless `deterministic`, kept in [-1, 1]."""
        features = self.encoder({key: torch.from_numpy(observation[key])[None] for key in self._keys})
        return self._choose(features, deterministic).clamp(-1.0, 1.0).numpy()[0]

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take over the learner's statistics and actor."""
        self.encoder.load_learned_state(below("encoder.", weights))
        self.actor.load_state_dict(below("actor.", weights))

    @abstractmethod
    def _choose(self, features: Tensor, deterministic: bool) -> Tensor:
        """An action, shape (1, A)."""

    def _noise(self, action: Tensor) -> Tensor:
        return torch.randn(action.shape, generator=self._generator)


class OfflineAlgorithm(ABC):
    """The learner's side; satisfies `Algorithm`, `LearnsOffline` and `BeginsFrom` of `agent.algorithm`.

    A subclass makes its networks as attributes, and names them.

    Args:
        config: Parameters.
        spec: Layout of observations and actions.
        encoder: Of observations, on the device.
        actor: From features, on the device.

    Attributes:
        NETWORKS: Names of all networks and their targets, the actor among them.
        encoder: Statistics of the observations.
        actor: What the policy does.
    """

    NETWORKS: ClassVar[tuple[str, ...]]
    takes_discount = True

    def __init__(
        self, config: OfflineConfig, spec: TransitionSpec, encoder: NormalisedVectors, actor: Any
    ) -> None:
        self.batch_size, self.utd_ratio = config.batch_size, config.utd_ratio
        self.offline_updates = config.offline_updates
        self._discount = config.discount
        self.encoder, self.actor = encoder, actor
        self._keys = spec.observation_keys
        self._optimizers: dict[str, torch.optim.Optimizer] = {}

    def update(self, batch: Batch) -> dict[str, float]:
        """`utd_ratio` steps as those before the first environment step, each on its own slice."""
        metrics: dict[str, Tensor] = {}
        for k in range(self.utd_ratio):
            rows = slice(k * self.batch_size, (k + 1) * self.batch_size)
            metrics |= self._learn({name: values[rows] for name, values in batch.items()})
        return as_floats(metrics)

    def learn_offline(self, batch: Batch) -> dict[str, float]:
        """One gradient step of every network; the first calls may only estimate statistics instead."""
        if self.encoder.is_estimating:
            self.encoder.estimate(self._observation(batch, "observation"))
            return {}
        return as_floats(self._learn(batch))

    def learn_from(self, share: Share) -> None:
        """See `agent.algorithm.SplitsBatches`; a subclass that draws random numbers does more."""
        self.batch_size = share.rows

    def optimizers(self) -> Iterable[torch.optim.Optimizer]:
        """See `agent.algorithm.SplitsBatches`."""
        return self._optimizers.values()

    def policy_weights(self) -> Tensors:
        """Statistics and actor, on the CPU."""
        statistics = above("encoder.", self.encoder.learned_state())
        return detached(above("actor.", self.actor.state_dict()) | statistics)

    def state_dict(self) -> Tensors:
        """Networks, targets, statistics and optimisers, flat."""
        state = above("encoder.", self.encoder.learned_state())
        for name in self.NETWORKS:
            state |= above(f"{name}.", getattr(self, name).state_dict())
        for name, optimizer in self._optimizers.items():
            state |= above(f"optimizer.{name}.", optimizer_state(optimizer))
        return detached(state)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on exactly where `state_dict` was taken."""
        self.encoder.load_learned_state(below("encoder.", state))
        for name in self.NETWORKS:
            getattr(self, name).load_state_dict(below(f"{name}.", state))
        for name, optimizer in self._optimizers.items():
            load_optimizer_state(optimizer, below(f"optimizer.{name}.", state))

    def begin_from(self, state: Mapping[str, Tensor]) -> None:
        """Take over the networks and statistics of another run of the same algorithm.

        Raises:
            InputError: They are of another architecture, or that run had only estimated its statistics.
        """
        statistics = below("encoder.", state)
        if statistics and not below("optimizer.", state):
            raise InputError(
                "The checkpoint is of a run that was stopped while it still estimated what observations are like "
                f"(after {int(statistics['batches'])} batches), and had learned nothing: go on with that run first, or "
                "name another."
            )
        self.encoder.take_over(statistics)
        for name in self.NETWORKS:
            take_over(getattr(self, name), name, state)

    @abstractmethod
    def _learn(self, batch: Batch) -> dict[str, Tensor]:
        """One gradient step; returns metrics for people."""

    def _optimize(self, name: str, learning_rate: float) -> None:
        """Give a network its optimiser."""
        self._optimizers[name] = torch.optim.Adam(getattr(self, name).parameters(), learning_rate, fused=True)

    def _observation(self, batch: Batch, prefix: str) -> Tensors:
        return {key: batch[f"{prefix}.{key}"] for key in self._keys}

    def _going_on(self, batch: Batch) -> Tensor | float:
        """What the value of the next observation counts for, shape (B,)."""
        # A time-out bootstraps, a termination does not: `truncated` plays no part here.
        return batch.get("discount", self._discount) * (1.0 - batch["terminated"].float())

    def _step(self, name: str, loss: Tensor) -> None:
        descend(self._optimizers[name], loss)
