"""An algorithm and an ordinary gymnasium environment in one process: what several benches run. No bench itself.

No transport, no run directory: for environments that are not robots. `train` is the plainest loop there is, one step
and then what it owes.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch

from agent.algorithm import Batch, LearnsOffline, NeedsReturns, TellsErrors, replan
from agent.hindsight import GoalPart, Goals
from agent.processor import use_processor
from agent.reading import Reader, read_steps
from agent.replay import MixedSampler, ReplayBuffer
from agent.sampling import SamplingConfig, draw_as
from agent.transition import Provenance, Records, TransitionSpec


class Point(NamedTuple):
    """One evaluation.

    Attributes:
        step: Environment steps before it.
        returns: Of each episode.
        successes: Whether each episode had `info["success"]` (or `is_success`) at some step.
    """

    step: int
    returns: list[float]
    successes: list[bool]


def make_env(env_id: str, **keywords: Any) -> gymnasium.Env:
    """The task with actions in [-1, 1]."""
    env = gymnasium.make(env_id, **keywords)
    return gymnasium.wrappers.RescaleAction(env, np.float32(-1), np.float32(1))


def goals_of(env: gymnasium.Env) -> Goals:
    """The goals of a gymnasium `GoalEnv`, such as those of gymnasium-robotics, for `agent.hindsight`."""
    task: Any = env.unwrapped

    def pay(achieved: Any, desired: Any) -> tuple[Any, Any]:
        rewards = np.asarray(task.compute_reward(achieved, desired, {}), np.float32)
        # Of one goal at a time: not every environment tells the terminations of many.
        ends = [bool(task.compute_terminated(*both, {})) for both in zip(achieved, desired, strict=True)]
        return rewards, np.array(ends, bool)

    return Goals(GoalPart("achieved_goal"), GoalPart("desired_goal"), pay)


def evaluate(
    env: gymnasium.Env,
    spec: TransitionSpec,
    policy: Any,
    episodes: int,
    step: int = 0,
    first_seed: int = 10_000,
) -> Point:
    """Deterministic episodes from fixed starts: resets with seeds from `first_seed` on."""
    point = Point(step, [], [])
    for episode in range(episodes):
        raw, done, total, success = env.reset(seed=first_seed + episode)[0], False, 0.0, False
        replan(policy)
        while not done:
            raw, reward, terminated, truncated, info = env.step(policy.act(spec.observation(raw), True))
            total, done = total + float(reward), terminated or truncated
            success |= bool(info.get("success", info.get("is_success", False)))
        point.returns.append(total)
        point.successes.append(success)
    return point


def rollouts(
    env: gymnasium.Env, spec: TransitionSpec, act: Callable[[Any], Any], seed: int, provenance: Provenance
) -> Iterator[Records]:
    """What a policy does, episode after episode without end; each item is one transition, shape (1,).

    Args:
        env: With actions in [-1, 1].
        spec: Of it.
        act: From a raw observation to an action.
        seed: Of the first reset.
        provenance: Of the transitions.
    """
    raw, episode, count = env.reset(seed=seed)[0], 0, 0
    while True:
        action = np.clip(np.asarray(act(raw), np.float32), -1, 1)
        following, reward, terminated, truncated, _ = env.step(action)
        yield spec.record(
            observation=spec.observation(raw),
            action=action,
            reward=float(reward),
            next_observation=spec.observation(following),
            terminated=terminated,
            truncated=truncated,
            provenance=provenance,
            episode=episode,
            step=count,
        )
        raw, count = following, count + 1
        if terminated or truncated:
            raw, episode, count = env.reset()[0], episode + 1, 0


def train(
    algorithm: Any,
    policy: Any,
    env: gymnasium.Env,
    spec: TransitionSpec,
    *,
    seed: int,
    steps: int,
    start_steps: int,
    evaluate_every: int,
    evaluate_with: Callable[[int], Point],
    data: Records | None = None,
    data_ratio: float = 0.5,
    random_steps: int = 0,
    enough: Callable[[list[Point]], bool] = lambda _points: False,
    read: Reader = read_steps,
    sampling: SamplingConfig | None = None,
) -> list[Point]:
    """The offline phase if the algorithm has one, then one block of updates per environment step.

    Args:
        algorithm: Learns.
        policy: Its actor's side.
        env: To act in, with actions in [-1, 1].
        spec: Of it.
        seed: Of the replay's draws and of the first reset.
        steps: Of the environment; 0 for the offline phase alone.
        start_steps: Before the first update.
        evaluate_every: Environment steps between two evaluations; there is one at 0 after an offline phase.
        evaluate_with: Evaluates `policy` at a step.
        data: Recorded data.
        data_ratio: Their share in each batch.
        random_steps: First steps that are uniformly random.
        enough: Asked after every evaluation whether to end before `steps`.
        read: What becomes of the transitions that are drawn, such as `HindsightReader(goals_of(env), 4)`, or those of
            `agent.sequences`.
        sampling: Which are drawn; None for each alike.
    """
    use_processor(threads=1)
    cpu = torch.device("cpu")
    gamma = algorithm.returns_discount if isinstance(algorithm, NeedsReturns) else None
    recorded = np.zeros(0, spec.dtype) if data is None else data
    kept = (None, gamma, read is not read_steps)
    replay = ReplayBuffer(spec, max(1, steps), seed, *kept)
    shown = ReplayBuffer(spec, max(1, len(recorded)), seed + 1, *kept)
    shown.append(recorded)
    read = draw_as(sampling or SamplingConfig(), replay, shown, recorded, read, steps)
    sampler = MixedSampler(spec, replay, shown, data_ratio, cpu, read)
    points = []
    if isinstance(algorithm, LearnsOffline) and algorithm.offline_updates:
        for _ in range(algorithm.offline_updates):
            batch = sampler.sample_demonstrations(algorithm.batch_size)
            algorithm.learn_offline(batch)
            _tell_errors(algorithm, sampler, batch)
        policy.load_weights(algorithm.policy_weights())
        points.append(evaluate_with(0))
    rng = np.random.default_rng(seed)

    def act(raw: Any) -> Any:
        if sampler.environment_steps < random_steps:
            return rng.uniform(-1, 1, spec.action_space.shape)
        return policy.act(spec.observation(raw), False)

    experience = rollouts(env, spec, act, seed, Provenance.TWIN)
    for step in range(1, steps + 1):
        policy.load_weights(algorithm.policy_weights())
        newest = next(experience)
        sampler.append(newest)
        if newest["terminated"][0] or newest["truncated"][0]:
            replan(policy)
        if step > start_steps:
            batch = sampler.sample(algorithm.utd_ratio, algorithm.batch_size)
            algorithm.update(batch)
            _tell_errors(algorithm, sampler, batch)
        if step % evaluate_every == 0:
            policy.load_weights(algorithm.policy_weights())
            points.append(evaluate_with(step))
            replan(policy)
            if enough(points):
                break
    return points


def _tell_errors(algorithm: Any, sampler: MixedSampler, batch: Batch) -> None:
    """As a learner does, see `Learner`."""
    if isinstance(algorithm, TellsErrors) and (errors := algorithm.take_errors()) is not None:
        sampler.learn(batch, errors)
