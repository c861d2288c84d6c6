"""Deterministic evaluation: the policy, environment and wrappers of acting, without exploration noise."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium
import msgspec

from agent.algorithm import Policy, replan
from agent.fitness import fit_action
from agent.transition import TransitionSpec


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome of evaluation episodes.

    Attributes:
        episodes: Number of episodes.
        successes: How many of them succeeded.
        success_rate: The share.
        success_low: Lower end of its 95 % Wilson interval.
        success_high: Upper end.
        mean_return: Undiscounted.
        mean_length: In steps.
        policy_version: Which weights, in the counting of the learner.
        environment_steps: Of the run, when these weights were taken.
    """

    episodes: int
    successes: int
    success_rate: float
    success_low: float
    success_high: float
    mean_return: float
    mean_length: float
    policy_version: int = 0
    environment_steps: int = 0


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
    **options: Any,
) -> Evaluation:
    """Run `episodes` episodes of one policy; see `evaluate_agents`."""
    return evaluate_agents(env, {"": policy}, spec, episodes=episodes, seed=seed, **options)[""]


def evaluate_agents(
    env: gymnasium.Env[Any, Any],
    policies: Mapping[str, Policy],
    spec: TransitionSpec,
    *,
    episodes: int,
    seed: int,
    after_step: Callable[[int, dict[str, Any]], None] = lambda _episode, _info: None,
    keep_going: Callable[..., None] = lambda *_: None,
    faults: tuple[type[Exception], ...] = (),
    wait_after_fault: Callable[[Exception], None] = lambda _error: None,
) -> dict[str, Evaluation]:
    """Run `episodes` episodes of each policy, episode i from reset seed `seed + i`: every policy meets the same starts.

    With several, `info["agent"]` of a reset says whose turn it is. If one seldom gets it, because another never does
    what it waits for, the evaluation ends after twice as many episodes as are wanted, with as many as there were.

    An episode succeeds if the last step's `info` says so: `true_success` where the environment knows it, or else
    `success`, which a learned reward may say wrongly.

    Args:
        env: The environment that acting uses.
        policies: By the name of the agent; they act deterministically.
        spec: Layout of observations.
        episodes: How many of each.
        seed: Of the first reset.
        after_step: Called after every step with the episode's index and the step's `info`; may record a frame,
            or raise to interrupt.
        keep_going: Called while the environment is reset, where that takes time; may raise to interrupt.
        faults: What the environment raises while the robot cannot be driven but may come back: the episode does not
            count, and is done again.
        wait_after_fault: Called before that; raises to give up.

    Returns:
        By name; without those that had no episode.

    Raises:
        UnfitActionError: A policy gave what no robot can do; it was not done.
        UnfitObservationError: What was seen is not finite.
    """
    alone = {"keep_going": keep_going, "unaided": True}  # A helping hand would be judged, not the policy.
    outcomes: dict[str, list[_Outcome]] = {name: [] for name in policies}
    index, most = 0, episodes * (1 if len(policies) == 1 else 2 * len(policies))
    while index < most and any(len(done) < episodes for done in outcomes.values()):
        total, steps, done = 0.0, 0, False
        try:
            observation, started = env.reset(seed=seed + index, options=alone)
            name = started.get("agent", "") if len(policies) > 1 else next(iter(policies))
            replan(policies[name])
            while not done:
                action = fit_action(policies[name], spec.observation(observation), spec, deterministic=True)
                observation, reward, terminated, truncated, info = env.step(action)
                after_step(index, info)
                total, steps, done = total + float(reward), steps + 1, terminated or truncated
        except faults as error:
            wait_after_fault(error)
            continue
        success = bool(info.get("true_success", info.get("success", False)))
        outcomes[name].append(_Outcome(success, total, steps))
        index += 1
    # Of each its first ones: how many more there were depends on how well the others did.
    return {name: _summarise(done[:episodes]) for name, done in outcomes.items() if done}


class _Outcome(NamedTuple):
    """Of one episode."""

    success: bool
    total: float
    steps: int


def _summarise(outcomes: Sequence[_Outcome]) -> Evaluation:
    episodes, successes = len(outcomes), sum(outcome.success for outcome in outcomes)
    low, high = wilson_interval(successes, episodes)
    return Evaluation(
        episodes=episodes,
        successes=successes,
        success_rate=successes / episodes,
        success_low=low,
        success_high=high,
        mean_return=sum(outcome.total for outcome in outcomes) / episodes,
        mean_length=sum(outcome.steps for outcome in outcomes) / episodes,
    )
