"""EXPO: an expressive policy learns by imitation alone, and small edits of what it does learn by value.

Dong et al., arXiv:2507.07986. Values cannot be climbed through the many steps of a flow or diffusion policy without
losing what it knows. So nobody does: the *base* imitates all that was recorded or done; a Gaussian *edit* policy
changes its actions by a little towards what the critics value; and the *on-the-fly* policy does the best of several
base actions and their edits. It acts, is evaluated, and is what targets are made with.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agent.algorithm import Batch, Transitions
from agent.config import InputError
from agent.flow import FlowPolicy
from agent.gradients import WithGradients, descend
from agent.ibrl import edited
from agent.networks import GaussianActor
from agent.sac import SAC, SACPolicy, make_critic
from agent.sac_config import SACConfig
from agent.tensors import Tensors, above, as_floats, below, detached, take_over
from agent.transition import Observation, TransitionSpec, count_actions


class EXPOConfig(SACConfig):
    """As SAC's, of which actor and temperature are the edit policy's; and about base and choice.

    Attributes:
        offline_updates: Steps of imitation of the base on recorded data before the first environment step.
        actor_delay: Calls of `update` in which only base and critics learn, and the base alone acts.
        samples: N: base actions that are drawn at once; each is also proposed edited.
        target_samples: N in the targets. Most of the time of an update goes there: batch_size times this many actions,
            flow_steps each.
        edit_scale: Greatest edit of an entry of an action (EXPO 0.05 for precise tasks, 0.7 for hands).
        flow_steps: Euler steps of the base per action.
        base_hidden_size: Width of the base.
        base_blocks: Its residual blocks.
        base_learning_rate: Adam.
        base_target_rate: Tau of the moving average of the base, which is what acts. EXPO's 0.001 averages a thousand
            steps of imitation, of which a run on a robot has a few thousand, one per step of the robot: what a person
            has just shown would be seen a quarter of an hour later.
    """

    offline_updates: int = 5000
    actor_delay: int = 500
    samples: int = 8
    target_samples: int = 8
    edit_scale: float = 0.3
    flow_steps: int = 10
    base_hidden_size: int = 256
    base_blocks: int = 3
    base_learning_rate: float = 3e-4
    base_target_rate: float = 0.005

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        super().__post_init__()
        for name in ("samples", "target_samples", "flow_steps", "base_hidden_size", "base_blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")
        for name in ("base_learning_rate", "base_target_rate"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)} must lie in (0, 1]")
        if not 0 < self.edit_scale <= 2:
            raise ValueError(f"edit_scale {self.edit_scale} must lie in (0, 2]")
        if self.entropy_backup:
            raise ValueError("entropy_backup must be false: the best of several actions has no known density")
        if self.critic_head == "gaussian":
            raise ValueError(
                "critic_head gaussian does not say how the best of several actions is spread: choose mse or hl_gauss"
            )
        if self.compile:
            raise ValueError("compile must be false: targets draw their actions inside the loss")


def best_of(
    critic: Any,
    features_BD: Tensor,  # noqa: N803
    actions_NBA: Tensor,  # noqa: N803
    members: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Of N actions per state the one whose minimum over critics is greatest.

    Args:
        critic: A `CriticEnsemble`.
        features_BD: Of the states.
        actions_NBA: Proposed in each.
        members: Critics that are asked; None for all.

    Returns:
        The action, shape (B, A), and its value, shape (B,).
    """
    count, rows = actions_NBA.shape[:2]
    values = critic(features_BD.repeat(count, 1), actions_NBA.flatten(0, 1), members).min(0).values
    value, index = values.unflatten(0, (count, rows)).max(0)
    return actions_NBA[index, torch.arange(rows, device=index.device)], value


class EXPOPolicy(SACPolicy):
    """The actor's side: base, edit policy, and the critics that choose; satisfies `agent.algorithm.Policy`."""

    def __init__(self, config: EXPOConfig, spec: TransitionSpec, seed: int) -> None:
        super().__init__(config, spec, seed)
        self._config = config
        self._alone = True
        self.base, self.actor = make_proposers(config, self.encoder.size, self._shape[1])
        self.critic = make_critic(config, self.encoder.size + self._shape[1])
        self._constant_noise = self._draw(config.samples)

    @torch.inference_mode()
    def act(self, observation: Observation, deterministic: bool) -> NDArray[np.float32]:
        """What the base does while it is alone, then the on-the-fly policy.

        Where `deterministic`, base actions flow from the same noise every time, and edits are not random. One noise
        for a whole episode also keeps to one of several ways, which new noise at every step might mix. Of the base
        alone it is then the action most like others, as those that fell between two ways are not.
        """
        features = self.encoder({key: torch.from_numpy(observation[key])[None] for key in self._keys})
        count = 1 if self._alone and not deterministic else self._config.samples
        noise = self._constant_noise[:count] if deterministic else self._draw(count)
        repeated = features.expand(count, -1)
        base = self.base.sample(repeated, noise, self._config.flow_steps)
        if self._alone:
            return base[_densest(base)].numpy()
        mean, log_std = self.actor(torch.cat([repeated, base], -1))
        if not deterministic:
            mean = mean + log_std.exp() * self._draw(count)
        proposed = torch.cat([base, edited(base, mean.tanh(), self._config.edit_scale)])
        action, _ = best_of(self.critic, features, proposed[:, None], self._members(deterministic))
        return action[0].numpy()

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take over the learner's networks."""
        super().load_weights(weights)
        self.base.load_state_dict(below("base.", weights))
        self.critic.load_state_dict(below("critic.", weights))
        self._alone = bool(weights["base_acts_alone"])

    def _members(self, deterministic: bool) -> Tensor | None:
        if deterministic:
            return None
        drawn = torch.randperm(self._config.critics, generator=self._generator)
        return drawn[: self._config.target_subset]

    def _draw(self, rows: int) -> Tensor:
        return torch.randn(rows, self._shape[1], generator=self._generator)


class EXPO(SAC):
    """The learner's side; satisfies `Algorithm`, `LearnsOffline` and `BeginsFrom` of `agent.algorithm`.

    Attributes:
        base: Imitates; targets are made with it.
        target_base: Its moving average, which acts.
        actor: Edit policy, from features and base action side by side.

    Raises:
        InputError: There are cameras: the base would not follow an encoder that the critics go on training.
    """

    Config = EXPOConfig
    PRIVILEGED_CRITIC = False
    Policy = EXPOPolicy
    config: EXPOConfig

    def __init__(self, config: EXPOConfig, spec: TransitionSpec, device: torch.device, seed: int) -> None:
        if spec.image_keys:
            raise InputError(
                f"EXPO learns from vectors, but the task has cameras {list(spec.image_keys)}: use algorithm=drq, or "
                "leave the cameras out."
            )
        super().__init__(config, spec, device, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 2)  # Not SAC's, or base and critics would begin alike.
            base, actor = make_proposers(config, self.encoder.size, count_actions(spec))
        self.base, self.actor = base.to(device), actor.to(device)
        self.target_base = deepcopy(self.base).requires_grad_(False)
        self._imitated = 0
        rates = {"actor": config.actor_learning_rate, "imitation": config.base_learning_rate}
        for (name, rate), network in zip(rates.items(), (self.actor, self.base), strict=True):
            self._optimizers[name] = torch.optim.Adam(network.parameters(), rate, fused=True)
        self._edit_gradients = WithGradients(self.edit_loss, self.actor.parameters())

    def update(self, batch: Batch) -> dict[str, float]:
        """`utd_ratio` critic updates, then one each of base and edit policy, on the last slice."""
        transitions = self._transitions(batch)
        metrics: dict[str, Tensor] = {}
        for k in range(self.utd_ratio):
            newest = transitions.rows(slice(k * self.batch_size, (k + 1) * self.batch_size))
            metrics |= self.update_critic(newest)
        metrics |= self.update_base(newest)
        self._calls += 1
        if self._calls > self.config.actor_delay:
            metrics |= self.update_edit(newest)
        return as_floats(metrics)

    def learn_offline(self, batch: Batch) -> dict[str, float]:
        """One step of imitation of the base; touches nothing else."""
        return as_floats(self.update_base(self._transitions(batch)))

    def update_base(self, transitions: Transitions) -> dict[str, Tensor]:
        """One step of imitation of whatever was done, and of the moving average."""
        features, action = self.encoder(transitions.observation), transitions.action
        t = torch.rand(len(action), generator=self._generator).to(self._device)
        loss = self.base.loss(features, action, self._noise(len(action)), t)
        descend(self._optimizers["imitation"], loss)
        self._imitated += 1
        # In the beginning the mean of all steps so far: a moving average would long be that of random weights.
        rate = max(self.config.base_target_rate, 1.0 / self._imitated)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.target_base.parameters()), list(self.base.parameters()), rate)
        return {"imitation_loss": loss.detach()}

    def update_edit(self, transitions: Transitions) -> dict[str, Tensor]:
        """One step of edit policy and temperature; touches nothing of critics and base.

        The entropy is that of the edit before its scale, as the log-density in the loss is. Scaled it is lower by the
        constant A log(edit_scale), which has no gradient, but would put the target entropy out of reach where the
        scale is small.
        """
        with torch.no_grad():
            features = self.encoder(transitions.observation)
        return self._climb(*self._edit_gradients(features, transitions.action))

    def edit_loss(self, features: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """SAC's, of edits of recorded actions (as in EXPO's code, which spares sampling the base).

        Args:
            features: Shape (B, D).
            action: What was done, shape (B, A).

        Returns:
            The loss, and the log-density of edits before their scale, shape (B,), without gradient.
        """
        edit, log_density = self.actor.sample(torch.cat([features, action], -1), self._noise(len(action)))
        values = self.critic(features, edited(action, edit, self.config.edit_scale))
        value = values.mean(0) if self.config.actor_objective == "mean" else values.min(0).values
        loss = (self.log_temperature.detach().exp() * log_density - value).mean()
        return loss, log_density.detach()

    def policy_weights(self) -> Tensors:
        """What acts: the base's moving average, edit policy and target critics, on the CPU."""
        chooser = above("critic.", self.target_critic.state_dict())
        alone = torch.tensor(self._calls <= self.config.actor_delay)
        acting = detached(above("base.", self.target_base.state_dict()) | chooser)
        return super().policy_weights() | acting | {"base_acts_alone": alone}

    def state_dict(self) -> Tensors:
        """As SAC's, and the base."""
        bases = above("base.", self.base.state_dict()) | above("target_base.", self.target_base.state_dict())
        return super().state_dict() | detached(bases) | {"imitated": torch.tensor(self._imitated)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on exactly where `state_dict` was taken."""
        super().load_state_dict(state)
        self.base.load_state_dict(below("base.", state))
        self.target_base.load_state_dict(below("target_base.", state))
        self._imitated = int(state["imitated"])

    def begin_from(self, state: Mapping[str, Tensor]) -> None:
        """Take over base, edit policy, critics and temperature of another run of EXPO.

        Also whether its critics knew enough to choose: then the base does not act alone again.

        Raises:
            InputError: It is not one of EXPO, or a network is of another architecture.
        """
        for name in ("base", "target_base"):
            take_over(getattr(self, name), name, state)
        super().begin_from(state)
        self._calls, self._imitated = int(state["calls"]), int(state["imitated"])

    def _next_value(self, features: Tensor, noise: Tensor, subset: Tensor) -> Tensor:
        """Of what the on-the-fly policy does, by the target critics, shape (B,). Draws noise of its own: it needs more.

        The base here is not the average, as in EXPO's code.
        """
        rows, samples = len(features), self.config.target_samples
        repeated, drawn = features.repeat(samples, 1), self._noise(2 * samples * rows)
        base = self.base.sample(repeated, drawn[: samples * rows], self.config.flow_steps)
        edit, _ = self.actor.sample(torch.cat([repeated, base], -1), drawn[samples * rows :])
        proposed = torch.cat([base, edited(base, edit, self.config.edit_scale)])
        return best_of(self.target_critic, features, proposed.unflatten(0, (2 * samples, rows)), subset)[1]


def _densest(actions_NA: Tensor) -> int:  # noqa: N803
    """Which has half of the others within the least distance. Not the least mean one: that is in the middle."""
    return int(torch.cdist(actions_NA, actions_NA).median(1).values.argmin())


def make_proposers(config: EXPOConfig, features: int, actions: int) -> tuple[FlowPolicy, GaussianActor]:
    """Base, and edit policy, whose mean is to change nothing until it has learned."""
    base = FlowPolicy(features, actions, config.base_hidden_size, config.base_blocks)
    actor = GaussianActor(features + actions, actions, config.hidden_sizes, config.layer_norm)
    for parameter in actor.mean.parameters():
        nn.init.zeros_(parameter)
    return base, actor
