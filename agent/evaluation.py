"""Deterministic evaluation: the policy, environment and wrappers of acting, without exploration noise."""

import math
from collections.abc import Callable
from typing import Any

import gymnasium
import msgspec

from agent.algorithm import Policy
from agent.transition import TransitionSpec


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome of evaluation episodes.

    Attributes:
        policy_version: Which weights.
        environment_steps: Of the run, when these weights were taken.
        episodes: Number of episodes.
        successes: How many of them succeeded.
        success_rate: The share.
        success_low: Lower end of its 95 % Wilson interval.
        success_high: Upper end.
        mean_return: Undiscounted.
        mean_length: In steps.
    """

    policy_version: int
    environment_steps: int
    episodes: int
    successes: int
    success_rate: float
    success_low: float
    success_high: float
    mean_return: float
    mean_length: float


def wilson_interval(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Score interval of a binomial share (Wilson, 1927); 95 % for the default z. No trials: (0, 1)."""
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def evaluate(
    env: gymnasium.Env[Any, Any],
    policy: Policy,
    spec: TransitionSpec,
    *,
    episodes: int,
    seed: int,
    policy_version: int = 0,
    environment_steps: int = 0,
    after_step: Callable[[int, dict[str, Any]], None] = lambda _episode, _info: None,
    keep_going: Callable[[], None] = lambda: None,
    faults: tuple[type[Exception], ...] = (),
    wait_after_fault: Callable[[Exception], None] = lambda _error: None,
) -> Evaluation:
    """Run `episodes` episodes, episode i from reset seed `seed + i`, so that every policy meets the same starts.

    An episode succeeds if the last step's `info` says so: `true_success` where the environment knows it, or else
    `success`, which a learned reward may say wrongly.

    Args:
        env: The environment that acting uses.
        policy: The policy; acts deterministically.
        spec: Layout of observations.
        episodes: How many.
        seed: Of the first reset.
        policy_version: Copied into the result.
        environment_steps: Copied into the result.
        after_step: Called after every step with the episode's index and the step's `info`; may record a frame,
            or raise to interrupt.
        keep_going: Called while the environment is reset, where that takes time; may raise to interrupt.
        faults: What the environment raises while the robot cannot be driven but may come back: the episode does not
            count, and is done again.
        wait_after_fault: Called before that; raises to give up.
    """
    alone = {"keep_going": keep_going, "unaided": True}  # A helping hand would be judged, not the policy.
    successes, returns, lengths, index = 0, 0.0, 0, 0
    while index < episodes:
        total, steps, done = 0.0, 0, False
        try:
            observation, _ = env.reset(seed=seed + index, options=alone)
            while not done:
                action = policy.act(spec.observation(observation), deterministic=True)
                observation, reward, terminated, truncated, info = env.step(action)
                after_step(index, info)
                total, steps, done = total + float(reward), steps + 1, terminated or truncated
        except faults as error:
            wait_after_fault(error)
            continue
        successes += bool(info.get("true_success", info.get("success", False)))
        returns, lengths, index = returns + total, lengths + steps, index + 1
    low, high = wilson_interval(successes, episodes)
    return Evaluation(
        policy_version=policy_version,
        environment_steps=environment_steps,
        episodes=episodes,
        successes=successes,
        success_rate=successes / episodes,
        success_low=low,
        success_high=high,
        mean_return=returns / episodes,
        mean_length=lengths / episodes,
    )
