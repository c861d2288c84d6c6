"""What a policy is worth that has not acted yet, by recorded data: the gate before it drives a robot.

As in Uni-O4 (Lei et al., arXiv:2311.03351) a policy is rolled out in learned dynamics from states of the data, and
judged by a value function that was fitted to the data. Uni-O4 averages the values along the way; here they are the
rewards that the dynamics expect until the last step, and the value there (model-based value expansion,
arXiv:1803.00101): episodes of robots end with success, and after that a value means nothing.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agent.algorithm import Batch, Policy
from agent.config import Config, InputError
from agent.dynamics import DynamicsConfig, Following, Steps, fit_dynamics
from agent.iql import IQL, IQLConfig, worth
from agent.replay import MixedSampler, ReplayBuffer
from agent.transition import Records, TransitionSpec

_NORMALISE_OVER = 50
_LEAST_TRANSITIONS = 200
_RESAMPLES = 2000


class EvaluatorConfig(Config):
    """How policies are judged.

    Attributes:
        steps: Of a rollout. More rest more on the dynamics, fewer on the values; where values explode, fewer.
        starts_per_member: States of the data that rollouts in a member of the ensemble begin in.
        discount: Gamma.
        value_updates: Gradient steps of the value function (IQL's).
        expectile: Of IQL: 0.5 values who recorded the data, more the best that was recorded.
        dynamics: Of the ensemble.
    """

    steps: int = 10
    starts_per_member: int = 60
    discount: float = 0.97
    value_updates: int = 3000
    expectile: float = 0.7
    dynamics: DynamicsConfig = DynamicsConfig()

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in ("steps", "starts_per_member", "value_updates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")
        if not 0 < self.discount <= 1:
            raise ValueError(f"discount {self.discount} must lie in (0, 1]")
        if not 0 < self.expectile < 1:
            raise ValueError(f"expectile {self.expectile} must lie between 0 and 1, both excluded")


class Difference(NamedTuple):
    """By how much one policy is worth more than another, over the same starts.

    Attributes:
        mean: Of the starts.
        low: Of its 95 % interval.
        high: Of its 95 % interval.
    """

    mean: float
    low: float
    high: float


def difference(first: NDArray[np.float64], second: NDArray[np.float64], seed: int = 0) -> Difference:
    """Of what two policies are worth over the same starts, each of shape (E, N), a row for each member of the ensemble.

    The interval is a bootstrap's over members, and starts within them: what the members make of the same data differs
    more than what a policy does from one start and another.
    """
    differs, rng = first - second, np.random.default_rng(seed)
    members, starts = differs.shape
    means = np.empty(_RESAMPLES)
    for index in range(_RESAMPLES):
        rows = rng.integers(0, members, (members, 1))
        means[index] = differs[rows, rng.integers(0, starts, (members, starts))].mean()
    low, high = np.quantile(means, (0.025, 0.975))
    return Difference(float(differs.mean()), float(low), float(high))


class Evaluator:
    """Dynamics and values fitted to recorded data, by which any policy of the same spaces can be judged.

    Args:
        config: How.
        spec: Layout of observations and actions.
        records: Recorded transitions, shape (N,).
        seed: Of everything random.

    Attributes:
        explained: Share of how states change that the dynamics explain in steps they have not seen; 1 is all.

    Raises:
        InputError: There are cameras, too few transitions, or some without a reward.
    """

    def __init__(self, config: EvaluatorConfig, spec: TransitionSpec, records: Records, seed: int) -> None:
        if spec.image_keys:
            raise InputError(
                f"What a policy is worth cannot be told from recorded data with cameras {list(spec.image_keys)}, for "
                "images are not predicted: evaluate it on the twin."
            )
        if len(records) < _LEAST_TRANSITIONS:
            raise InputError(
                f"{len(records)} recorded transitions are too few to judge a policy by; give at least "
                f"{_LEAST_TRANSITIONS}."
            )
        missing = np.count_nonzero(~np.isfinite(records["reward"]))
        if missing:
            raise InputError(
                f"{missing} of {len(records)} recorded transitions have no reward, so what a policy is worth cannot be "
                "told from them: evaluate it on the twin, or give data with rewards."
            )
        self._config, self._spec = config, spec
        self._sizes = [int(np.prod(spec.dtype[f"observation.{key}"].shape)) for key in spec.observation_keys]
        steps = self._steps(records)
        self._dynamics, self.explained = fit_dynamics(config.dynamics, steps, seed)
        self._values = _fit_values(config, spec, records, seed)
        generator = torch.Generator().manual_seed(seed)
        self._member = torch.arange(config.dynamics.members).repeat_interleave(config.starts_per_member)
        drawn = torch.randint(0, len(records), self._member.shape, generator=generator)
        self._starts = steps.state[drawn]

    def values(self, policy: Policy) -> NDArray[np.float64]:
        """Expected discounted return of a deterministic policy, shape (E, starts per member).

        A member of the ensemble goes on the whole of a rollout, so that its errors add up as they would.
        """
        state, alive = self._starts, torch.ones(len(self._starts))
        total = torch.zeros(len(self._starts))
        for step in range(self._config.steps):
            following = self._follow(state, self._act(policy, state))
            total += self._config.discount**step * alive * following.reward
            alive = alive * (1.0 - following.terminates)
            state = following.state
        last = self._last_value(state, self._act(policy, state))
        total += self._config.discount**self._config.steps * alive * last
        return total.double().numpy().reshape(self._config.dynamics.members, -1)

    @torch.no_grad()
    def _follow(self, state: Tensor, action: Tensor) -> Following:
        rows = torch.arange(len(state))
        return Following(*(values[self._member, rows] for values in self._dynamics(state, action)))

    @torch.no_grad()
    def _last_value(self, state: Tensor, action: Tensor) -> Tensor:
        features = self._values.encoder(self._observation(state))
        return worth(self._values.target_critic(features, action), None)

    def _act(self, policy: Policy, state: Tensor) -> Tensor:
        """What the policy does in each state, shape (B, A). One by one: that is all that a policy offers."""
        actions = [
            policy.act({key: value.numpy()[0] for key, value in self._observation(row[None]).items()}, True)
            for row in state
        ]
        return torch.from_numpy(np.stack(actions))

    def _observation(self, state: Tensor) -> dict[str, Tensor]:
        """All entries of a state back by key, as `VectorEncoder` lays them side by side."""
        parts = state.split(self._sizes, -1)
        return {
            key: part.reshape(len(state), *self._spec.dtype[f"observation.{key}"].shape)
            for key, part in zip(self._spec.observation_keys, parts, strict=True)
        }

    def _steps(self, records: Records) -> Steps:
        def flat(prefix: str) -> Tensor:
            parts = [
                records[f"{prefix}.{key}"].reshape(len(records), -1) for key in self._spec.observation_keys
            ]
            return torch.from_numpy(np.concatenate(parts, -1))

        action, reward = (torch.from_numpy(records[name].copy()) for name in ("action", "reward"))
        terminated = torch.from_numpy(records["terminated"].astype(np.float32))
        return Steps(flat("observation"), action, reward, flat("next_observation"), terminated)


def _fit_values(config: EvaluatorConfig, spec: TransitionSpec, records: Records, seed: int) -> IQL:
    """IQL's action values, of who recorded the data or the best of them."""
    parameters = IQLConfig(
        offline_updates=config.value_updates + _NORMALISE_OVER,
        discount=config.discount,
        expectile=config.expectile,
        layer_norm=True,
        normalise_observations=True,
        normalise_over=_NORMALISE_OVER,
    )
    cpu = torch.device("cpu")
    iql = IQL(parameters, spec, cpu, seed)
    replay = ReplayBuffer(spec, len(records), seed)
    replay.append(records)
    sampler = MixedSampler(spec, ReplayBuffer(spec, 1, seed), replay, 1.0, cpu)
    for _ in range(parameters.offline_updates):
        batch: Batch = sampler.sample_demonstrations(parameters.batch_size)
        iql.learn_offline(batch)
    return iql
