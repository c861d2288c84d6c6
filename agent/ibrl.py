"""IBRL: a clone of the demonstrations beside the policy; what the critics prefer is done (arXiv:2311.02198).

A policy that only *begins* as a clone forgets it as soon as it follows critics that have seen little but success.
This clone stays: it acts, and counts in the targets, until the critics value what the policy does above it. With an
`edit_scale` the policy only edits what the clone does, as in EXPO (arXiv:2507.07986): then critics that overrate what
nobody has tried cannot lead it far away.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agent.algorithm import Batch
from agent.config import InputError
from agent.networks import GaussianActor
from agent.sac import SAC, SACPolicy, make_critic
from agent.sac_config import SACConfig
from agent.tensors import Tensors, above, below, detached, take_over
from agent.transition import Observation, TransitionSpec, count_actions


class IBRLConfig(SACConfig):
    """As SAC's, with a clone of the demonstrations that acts alone until the critics know how good it is.

    Attributes:
        edit_scale: The policy's action is the clone's, changed by up to this in each entry; None lets it be any.
    """

    offline_updates: int = 3000
    actor_delay: int = 1000
    edit_scale: float | None = None

    def __post_init__(self) -> None:
        """Refuse to go without the clone."""
        super().__post_init__()
        if self.edit_scale is not None and not 0.0 < self.edit_scale <= 2.0:
            raise ValueError(f"edit_scale {self.edit_scale} must lie in (0, 2], or be null")
        if self.offline_updates < 1:
            raise ValueError(
                f"offline_updates {self.offline_updates} must be at least 1: the clone is made by them"
            )


class IBRLPolicy(SACPolicy):
    """The actor's side: clone, policy, and the critics that choose between them."""

    def __init__(self, config: Any, spec: TransitionSpec, seed: int) -> None:
        super().__init__(config, spec, seed)
        self.clone = deepcopy(self.actor)
        self._alone = True
        self._edit_scale = config.edit_scale
        self.critic = make_critic(config, self.encoder.size + count_actions(spec))

    @torch.inference_mode()
    def act(self, observation: Observation, deterministic: bool) -> NDArray[np.float32]:
        """What clone or policy would do: the one that the critics value more, on average."""
        features = self.encoder({key: torch.from_numpy(observation[key])[None] for key in self._keys})
        # The clone explores as long as it is alone: then the critics see what is beside its path.
        cloned = self._choose(self.clone, features, deterministic or not self._alone)
        if self._alone:
            return cloned[0].numpy()
        proposed = edited(cloned, self._choose(self.actor, features, deterministic), self._edit_scale)
        actions = torch.cat([cloned, proposed])
        values = self.critic(features.expand(2, -1), actions).mean(0)
        return actions[int(values.argmax())].numpy()

    def _choose(self, net: GaussianActor, features: Tensor, deterministic: bool) -> Tensor:
        mean, log_std = net(features)
        if not deterministic:
            mean = mean + log_std.exp() * torch.randn(self._shape, generator=self._generator)
        return mean.tanh()

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take over the learner's networks."""
        super().load_weights(weights)
        self.clone.load_state_dict(below("clone.", weights))
        self.critic.load_state_dict(below("critic.", weights))
        self._alone = bool(weights["clone_acts_alone"])


class IBRL(SAC):
    """The learner's side; satisfies `Algorithm`, `LearnsOffline` and `BeginsFrom` of `agent.algorithm`.

    Raises:
        InputError: There are cameras: the clone would not follow an encoder that the critics go on training.
    """

    Config = IBRLConfig
    PRIVILEGED_CRITIC = False
    Policy = IBRLPolicy
    config: IBRLConfig

    def __init__(self, config: IBRLConfig, spec: TransitionSpec, device: torch.device, seed: int) -> None:
        if spec.image_keys:
            raise InputError(
                f"IBRL learns from vectors, but the task has cameras {list(spec.image_keys)}: use algorithm=drq, or "
                "leave the cameras out."
            )
        super().__init__(config, spec, device, seed)
        self.clone = deepcopy(self.actor).requires_grad_(False)

    def learn_offline(self, batch: Batch) -> dict[str, float]:
        """See `SAC.learn_offline`; the clone is the policy as it is after the last call."""
        metrics = super().learn_offline(batch)
        self.clone.load_state_dict(self.actor.state_dict())
        return metrics

    def update(self, batch: Batch) -> dict[str, float]:
        """See `SAC.update`; a policy that edits begins by changing nothing."""
        if self._calls == 0 and self.config.edit_scale is not None:
            for parameter in self.actor.mean.parameters():
                nn.init.zeros_(parameter)
        return super().update(batch)

    def policy_weights(self) -> Tensors:
        """Clone, policy and critics, on the CPU."""
        chooser = above("clone.", self.clone.state_dict()) | above("critic.", self.critic.state_dict())
        alone = torch.tensor(self._calls <= self.config.actor_delay)
        return super().policy_weights() | detached(chooser) | {"clone_acts_alone": alone}

    def state_dict(self) -> Tensors:
        """As SAC's, the clone, and by how much the policy edits what it does (0: it does not edit)."""
        scale = {"edit_scale": torch.tensor(self.config.edit_scale or 0.0)}
        return super().state_dict() | detached(above("clone.", self.clone.state_dict())) | scale

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on exactly where `state_dict` was taken."""
        super().load_state_dict(state)
        self.clone.load_state_dict(below("clone.", state))

    def begin_from(self, state: Mapping[str, Tensor]) -> None:
        """As `SAC.begin_from`; the clone is that of the other run, or else its policy.

        Of a run of IBRL also whether its critics knew enough to choose: then the clone does not act alone again.

        Raises:
            InputError: A network is of another architecture, or only one of the two policies edits.
        """
        goes_on = bool(below("clone.", state))
        take_over(self.clone, "clone" if goes_on else "actor", state)
        self._refuse_other_meaning(state)
        self._take_over(state)
        if goes_on:
            self._calls = int(state["calls"])

    def _refuse_other_meaning(self, state: Mapping[str, Tensor]) -> None:
        """What the policy of a checkpoint says must be what is made of it here: an action, or an edit.

        Checkpoints of other algorithms, whose policy only becomes the clone, say nothing of that, nor do older ones.

        Raises:
            InputError: It is not.
        """
        here, there = self.config.edit_scale, float(state.get("edit_scale", self.config.edit_scale or 0.0))
        if bool(here) == bool(there):
            return
        theirs, ours = (f"{scale:g}" if scale else "null" for scale in (there, here))
        what = "changes what the clone does" if there else "says the whole action"
        raise InputError(
            f"The checkpoint is of ibrl with edit_scale {theirs} and this run has {ours}: a policy that {what} cannot "
            "go on as the other kind; give both an edit_scale, or neither."
        )

    def _sample(self, features: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        action, log_density = super()._sample(features, noise)
        return edited(self.clone(features)[0].tanh(), action, self.config.edit_scale), log_density

    def _next_value(self, features: Tensor, noise: Tensor, subset: Tensor) -> Tensor:
        """The better of what policy and clone would do, by the target critics (IBRL, equation 3)."""
        cloned = self.clone(features)[0].tanh()
        value = self.target_critic(features, cloned, subset).min(0).values
        return torch.maximum(super()._next_value(features, noise, subset), value)

    def _next_return(self, features: Tensor, noise: Tensor, subset: Tensor) -> tuple[Tensor, Tensor]:
        """The same, with the deviation of the better one's return."""
        proposed = super()._next_return(features, noise, subset)
        cloned = self._lowest_return(features, self.clone(features)[0].tanh(), subset)
        better = proposed[0] >= cloned[0]
        return torch.where(better, proposed[0], cloned[0]), torch.where(better, proposed[1], cloned[1])


def edited(cloned: Tensor, action: Tensor, scale: float | None) -> Tensor:
    """What a policy does that says `action`: that, or the clone's action changed by up to `scale`; shape (B, A)."""
    return action if scale is None else (cloned + scale * action).clamp(-1.0, 1.0)
