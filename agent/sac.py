"""Soft actor-critic with the options of RLPD.

SAC: Haarnoja et al., arXiv:1812.05905. RLPD: Ball et al., arXiv:2302.02948: a large critic ensemble with
LayerNorm, a random subset of it in the target, many critic updates per environment step. The other part of RLPD,
half of each batch from demonstrations, is the sampler's (`agent.replay.MixedSampler`). Where a twin tells what no robot
can measure, the critics see that, too, and the actor does not: Pinto et al., arXiv:1710.06542.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agent.algorithm import Batch, Transitions
from agent.config import InputError
from agent.critic_heads import Target, make_head
from agent.gradients import Gradients, WithGradients, compiled, descend, follow
from agent.networks import CriticEnsemble, GaussianActor, VectorEncoder, refuse_privileged
from agent.parallel.share import WHOLE, Share
from agent.reading import WEIGHT
from agent.reward_unit import RewardUnit
from agent.sac_config import SACConfig
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
from agent.transition import PRIVILEGED, Observation, TransitionSpec, count_actions


class SACPolicy:
    """Encoder and Gaussian actor; satisfies `agent.algorithm.Policy`.

    Args:
        config: Has the actor's `hidden_sizes` and `layer_norm`, and what `make_encoder` wants.
        spec: Layout of observations and actions.
        seed: Of the noise.
    """

    def __init__(self, config: Any, spec: TransitionSpec, seed: int) -> None:
        spec = spec.seen()
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
    """The learner's side; satisfies `Algorithm`, `TellsErrors` and `SplitsBatches` of `agent.algorithm`.

    Attributes:
        PRIVILEGED_CRITIC: Whether critics see what is privileged; else layouts with such a thing are refused.
    """

    Config = SACConfig
    Policy = SACPolicy
    PRIVILEGED_CRITIC: ClassVar[bool] = True
    takes_discount = True

    def __init__(self, config: SACConfig, spec: TransitionSpec, device: torch.device, seed: int) -> None:
        self._refuse_layout(spec)
        self.config = config
        self.batch_size, self.utd_ratio = config.batch_size, config.utd_ratio
        self.offline_updates = config.offline_updates
        self._keys = spec.observation_keys
        self._device = device
        self._actions = count_actions(spec)
        # Initial weights come from torch's global generator; fork it so that making an algorithm has no side effect.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = self.Policy.make_encoder(config, spec.seen()).to(device)
            actor = (self.encoder.size, self._actions, config.hidden_sizes, config.layer_norm)
            self.actor = GaussianActor(*actor).to(device)
            inputs = self.encoder.size + _privileged_size(spec) + self._actions
            self.critic = make_critic(config, inputs).to(device)
            self.target_critic = make_critic(config, inputs).to(device)
        self.target_critic.requires_grad_(False)
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
        self._share = WHOLE
        self._calls = 0
        self._errors: list[Tensor] = []
        self.reward_unit = RewardUnit(config.reward_unit)
        self._widens = self.critic.readout.widens
        # On the CPU, so that a checkpoint of one device goes on on another.
        self._generator = torch.Generator().manual_seed(seed + 1)
        of_critic = WithGradients(self._critic_loss, [*self.critic.parameters(), *learning])
        of_actor = WithGradients(self._actor_loss, self.actor.parameters())
        self._critic_gradients = compiled(of_critic, device) if config.compile else of_critic
        self._actor_gradients = compiled(of_actor, device) if config.compile else of_actor

    @classmethod
    def make_policy(cls, config: SACConfig, spec: TransitionSpec, seed: int) -> SACPolicy:
        """The actor's side."""
        cls._refuse_layout(spec)
        return cls.Policy(config, spec, seed)

    @staticmethod
    def needs_whole_batches(config: SACConfig) -> str | None:
        """See `SplitsBatches`."""
        if config.compile:
            return (
                "algorithm.config.compile must be false, as it is not known to leave gradients to be averaged"
            )
        if config.critic_head != "mse":
            return f"algorithm.config.critic_head={config.critic_head} follows whole batches; choose mse"
        if config.reward_unit is None:
            return "algorithm.config.reward_unit=null follows whole batches; give a number"
        return None

    def learn_from(self, share: Share) -> None:
        """See `SplitsBatches`."""
        self._share, self.batch_size = share, share.rows

    def optimizers(self) -> Iterable[torch.optim.Optimizer]:
        """See `SplitsBatches`."""
        return self._optimizers.values()

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
        return as_floats(metrics)

    def learn_offline(self, batch: Batch) -> dict[str, float]:
        """One step of behaviour cloning of encoder and actor; touches nothing of critics and temperature.

        The encoder is the critics' to train, but they have nothing to learn from yet, and an actor that imitated on
        random features would lose what it learned as soon as they changed.
        """
        features = self.encoder(self._observation(batch, "observation"))
        # The spread of a Gaussian whose entropy is the one that the temperature aims at.
        log_std = -self.config.target_entropy_scale - 0.5 * math.log(2.0 * math.pi * math.e)
        loss = self.actor.imitation_loss(features, batch["action"], log_std)
        descend(self._optimizers["imitation"], loss)
        return {"imitation_loss": float(loss.detach())}

    def update_critic(self, transitions: Transitions) -> dict[str, Tensor]:
        """One step of encoder, critics and their targets; touches nothing of the actor."""
        # What a head needs for a drawn return stands behind what the actor needs.
        noise = self._noise(transitions.action.shape[0], int(self.critic.readout.draws))
        members = torch.randperm(self.config.critics, generator=self._generator)
        subset = members[: self.config.target_subset].to(self._device)
        loss, (value, errors), gradients = self._critic_gradients(transitions, noise, subset)
        if transitions.weight is not None:
            self._errors.append(errors)
        follow(self._optimizers["critic"], gradients)
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.target_critic.parameters()), list(self.critic.parameters()), self.config.target_rate
            )
        return {"critic_loss": loss, "value": value * self.reward_unit.value}

    def take_errors(self) -> Tensor | None:
        """See `TellsErrors`: distances from the target, averaged over the members."""
        errors, self._errors = self._errors, []
        return torch.cat(errors) if errors else None

    def update_actor(self, observation: Tensors) -> dict[str, Tensor]:
        """One step of actor and temperature; touches nothing of critics and encoder."""
        with torch.no_grad():
            features = self._features(observation)
        return self._climb(*self._actor_gradients(features, self._noise(features.shape[0])))

    def _climb(self, loss: Tensor, log_density: Tensor, gradients: Gradients) -> dict[str, Tensor]:
        """One step of actor and temperature, by what `_actor_gradients` returns."""
        follow(self._optimizers["actor"], gradients)
        entropy = -log_density.mean()
        target_entropy = -self.config.target_entropy_scale * self._actions
        # The gradient of temperature * (entropy - target) with respect to log-temperature, up to a positive
        # factor (SAC, eq. 18): linear in the logarithm, so that steps do not shrink with the temperature.
        follow(self._optimizers["temperature"], (entropy - target_entropy,))
        return {
            "actor_loss": loss,
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
        if self.config.reward_unit != 1.0:
            state["reward_unit"] = self.reward_unit.state()
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
        if "reward_unit" in state:
            self.reward_unit.load(state["reward_unit"])
        for name, optimizer in self._optimizers.items():
            load_optimizer_state(optimizer, below(f"optimizer.{name}.", state))

    def begin_from(self, state: Mapping[str, Tensor]) -> None:
        """Take over actor and encoder, and critics and temperature if there are any, of another run's `state_dict`.

        Raises:
            InputError: A network is of another architecture, or the actor is no policy by itself.
        """
        if below("clone.", state):
            raise InputError(
                "The checkpoint is of ibrl, whose actor may only edit what a clone does and is then no policy by "
                "itself: go on with algorithm=ibrl."
            )
        self._take_over(state)

    def _take_over(self, state: Mapping[str, Tensor]) -> None:
        """See `begin_from`."""
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
        self._rescale(self.reward_unit.take_over(state.get("reward_unit", torch.tensor(1.0))))

    def _transitions(self, batch: Batch) -> Transitions:
        """A batch, as losses take it: rewards and returns in the reward's unit, after this has followed them."""
        self._follow(batch["reward"])
        unit = self.reward_unit.value
        mc_return = batch.get("mc_return")
        return Transitions(
            self._observation(batch, "observation"),
            batch["action"],
            batch["reward"] / unit,
            self._observation(batch, "next_observation"),
            # A time-out bootstraps, a termination does not: `truncated` plays no part here.
            1.0 - batch["terminated"].float(),
            None if mc_return is None else mc_return / unit,
            batch.get(WEIGHT),
            batch.get("discount"),
        )

    def _follow(self, reward: Tensor) -> None:
        """Let the reward's unit and the range of values follow what was seen. Here, since losses may be compiled."""
        if self.reward_unit.follows:
            self._rescale(self.reward_unit.follow(reward))
        while self._widens and self.critic.readout.is_outgrown():
            for critic in (self.critic, self.target_critic):
                critic.readout.widen(critic.head)

    @torch.no_grad()
    def _rescale(self, factor: float) -> None:
        """Say the same in another unit: all values and the temperature, which is compared with them."""
        if factor != 1.0:
            for critic in (self.critic, self.target_critic):
                critic.readout.rescale(critic.head, factor)
            self.log_temperature.add_(math.log(factor))

    def _observation(self, batch: Batch, prefix: str) -> Tensors:
        """Observations of a batch by key, as they are learned from."""
        return {key: batch[f"{prefix}.{key}"] for key in self._keys}

    def _features(self, observation: Tensors) -> Tensor:
        """What critics see: what the actor sees, and behind it what is privileged; shape (B, D)."""
        features: Tensor = self.encoder(observation)
        if PRIVILEGED not in observation:
            return features
        return torch.cat([features, observation[PRIVILEGED].flatten(1)], -1)

    @classmethod
    def _refuse_layout(cls, spec: TransitionSpec) -> None:
        if not cls.PRIVILEGED_CRITIC:
            refuse_privileged(spec)

    def _critic_loss(
        self, transitions: Transitions, noise: Tensor, subset: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Bellman error as the critics' head measures it, summed over members (so that each learns as if alone).

        Beside it for people the mean value, and for each transition how far values are from the target, shape (B,).
        """
        with torch.no_grad():
            target = self._target(transitions, noise, subset)
        readout = self.critic.readout
        outputs = self.critic.raw(self._features(transitions.observation), transitions.action)
        losses = readout.losses(outputs, target)
        if transitions.weight is not None:
            losses = losses * transitions.weight
        seen = readout.values(outputs).detach()
        return losses.mean(-1).sum(), (seen.mean(), (seen - target.value).abs().mean(0))

    def _target(self, transitions: Transitions, noise: Tensor, subset: Tensor) -> Target:
        """What the critics are to say, from reward and the target critics."""
        features = self._features(transitions.next_observation)
        discount = self.config.discount if transitions.discount is None else transitions.discount
        goes_on = discount * transitions.not_terminated
        if not self.critic.readout.draws:
            return Target(transitions.reward + goes_on * self._next_value(features, noise, subset))
        mean, deviation = self._next_return(features, noise[:, :-1], subset)
        drawn = mean + deviation * noise[:, -1].clamp(-3.0, 3.0)  # At most as far as DSAC-T's code draws.
        return Target(transitions.reward + goes_on * mean, transitions.reward + goes_on * drawn)

    def _sample(self, features: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """What the policy does for standard normal noise, shape (B, A), and the log-density, shape (B,)."""
        return self.actor.sample(features[:, : self.encoder.size], noise)

    def _next_value(self, features: Tensor, noise: Tensor, subset: Tensor) -> Tensor:
        """What the policy makes of the next observations, by the target critics, shape (B,)."""
        action, log_density = self._sample(features, noise)
        value = self.target_critic(features, action, subset).min(0).values
        if self.config.entropy_backup:
            value = value - self.log_temperature.exp() * log_density
        return value

    def _next_return(self, features: Tensor, noise: Tensor, subset: Tensor) -> tuple[Tensor, Tensor]:
        """As `_next_value`, of critics that know how returns are spread: mean and deviation, each of shape (B,)."""
        action, log_density = self._sample(features, noise)
        mean, deviation = self._lowest_return(features, action, subset)
        if self.config.entropy_backup:
            mean = mean - self.log_temperature.exp() * log_density
        return mean, deviation

    def _lowest_return(self, features: Tensor, action: Tensor, subset: Tensor) -> tuple[Tensor, Tensor]:
        """The least mean of the target critics, and the deviation of the same one, each of shape (B,)."""
        readout = self.target_critic.readout
        outputs = self.target_critic.raw(features, action, subset)
        mean, member = readout.values(outputs).min(0)
        return mean, readout.deviations(outputs).gather(0, member[None])[0]

    def _actor_loss(self, features: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """SAC eq. 9; returns the loss and the log-density of the sampled actions, shape (B,)."""
        action, log_density = self._sample(features, noise)
        values = self.critic(features, action)
        value = values.mean(0) if self.config.actor_objective == "mean" else values.min(0).values
        loss = (self.log_temperature.detach().exp() * log_density - value).mean()
        return loss, log_density.detach()

    def _noise(self, rows: int, more: int = 0) -> Tensor:
        # Drawn outside the compiled losses: the same numbers with and without compilation, and in checkpoints.
        whole = torch.randn(rows * self._share.of, self._actions + more, generator=self._generator)
        return self._share.own(whole).to(self._device)


def make_critic(config: Any, inputs: int) -> CriticEnsemble:
    """Critics as an SACConfig wants them."""
    return CriticEnsemble(config.critics, inputs, config.hidden_sizes, config.layer_norm, make_head(config))


def _privileged_size(spec: TransitionSpec) -> int:
    """Entries that critics see and the actor does not."""
    return math.prod(spec.dtype[f"observation.{PRIVILEGED}"].shape) if spec.is_privileged else 0


def _adam(parameters: Any, learning_rate: float) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, lr=learning_rate, fused=True)
