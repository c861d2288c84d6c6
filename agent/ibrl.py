"""IBRL: a clone of the demonstrations beside the policy; what the critics prefer is done (arXiv:2311.02198).

A policy that only *begins* as a clone forgets it as soon as it follows critics that have seen little but success.
This clone stays: it acts, and counts in the targets, until the critics value what the policy does above it.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agent.algorithm import Batch
from agent.config import InputError
from agent.networks import CriticEnsemble
from agent.sac import SAC, SACConfig, SACPolicy, count_actions
from agent.tensors import Tensors, above, below, detached
from agent.transition import Observation, TransitionSpec


class IBRLConfig(SACConfig):
    """As SAC's, with a clone of the demonstrations that acts alone until the critics know how good it is."""

    warm_start_updates: int = 3000
    actor_delay: int = 1000

    def __post_init__(self) -> None:
        """Refuse to go without the clone."""
        super().__post_init__()
        if self.warm_start_updates < 1:
            raise ValueError(
                f"warm_start_updates {self.warm_start_updates} must be at least 1: the clone is made by them"
            )


class IBRLPolicy(SACPolicy):
    """The actor's side: clone, policy, and the critics that choose between them."""

    def __init__(self, config: Any, spec: TransitionSpec, seed: int) -> None:
        super().__init__(config, spec, seed)
        self.clone = deepcopy(self.actor)
        self._alone = True
        inputs = self.encoder.size + count_actions(spec)
        self.critic = CriticEnsemble(config.critics, inputs, config.hidden_sizes, config.layer_norm)

    @torch.inference_mode()
    def act(self, observation: Observation, deterministic: bool) -> NDArray[np.float32]:
        """What clone or policy would do: the one that the critics value more, on average."""
        features = self.encoder({key: torch.from_numpy(observation[key])[None] for key in self._keys})
        nets = (self.clone,) if self._alone else (self.clone, self.actor)
        raw = []
        for net in nets:
            mean, log_std = net(features)
            # The clone explores as long as it is alone: then the critics see what is beside its path.
            explores = not deterministic and net is nets[-1]
            noise = torch.randn(self._shape, generator=self._generator) if explores else 0.0
            raw.append(mean + log_std.exp() * noise)
        actions = torch.cat(raw).tanh()
        if self._alone:
            return actions[0].numpy()
        values = self.critic(features.expand(2, -1), actions).mean(0)
        return actions[int(values.argmax())].numpy()

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take over the learner's networks."""
        super().load_weights(weights)
        self.clone.load_state_dict(below("clone.", weights))
        self.critic.load_state_dict(below("critic.", weights))
        self._alone = bool(weights["clone_acts_alone"])


class IBRL(SAC):
    """The learner's side; satisfies `agent.algorithm.Algorithm` and `agent.algorithm.WarmStarts`.

    Raises:
        InputError: There are cameras: the clone would not follow an encoder that the critics go on training.
    """

    Config = IBRLConfig
    Policy = IBRLPolicy

    def __init__(self, config: IBRLConfig, spec: TransitionSpec, device: torch.device, seed: int) -> None:
        if spec.image_keys:
            raise InputError(
                f"IBRL learns from vectors, but the task has cameras {list(spec.image_keys)}: use algorithm=drq, or "
                "leave the cameras out."
            )
        super().__init__(config, spec, device, seed)
        self.clone = deepcopy(self.actor).requires_grad_(False)

    def imitate(self, batch: Batch) -> dict[str, float]:
        """See `SAC.imitate`; the clone is the policy as it is after the last call."""
        metrics = super().imitate(batch)
        self.clone.load_state_dict(self.actor.state_dict())
        return metrics

    def policy_weights(self) -> Tensors:
        """Clone, policy and critics, on the CPU."""
        chooser = above("clone.", self.clone.state_dict()) | above("critic.", self.critic.state_dict())
        alone = torch.tensor(self._calls <= self.config.actor_delay)
        return super().policy_weights() | detached(chooser) | {"clone_acts_alone": alone}

    def state_dict(self) -> Tensors:
        """As SAC's, and the clone."""
        return super().state_dict() | detached(above("clone.", self.clone.state_dict()))

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on exactly where `state_dict` was taken."""
        super().load_state_dict(state)
        self.clone.load_state_dict(below("clone.", state))

    def _next_value(self, features: Tensor, noise: Tensor, subset: Tensor) -> Tensor:
        """The better of what policy and clone would do, by the target critics (IBRL, equation 3)."""
        cloned = self.clone(features)[0].tanh()
        value = self.target_critic(features, cloned, subset).min(0).values
        return torch.maximum(super()._next_value(features, noise, subset), value)
