"""Practice without resets: which agents a run has, and the environment that says whose turn it is."""

from collections.abc import Mapping
from typing import Any

import gymnasium

from agent.config import InputError
from journeyman.config import RunConfig
from journeyman.help import make_file_operator
from journeyman.resets import make_rearranging
from journeyman.run_directory import RunDirectory
from journeyman.wiring import load_factory, make_reward
from robot_env.contracts import RewardModel
from robot_env.env import RobotEnv
from robot_env.practice import PracticeEnv, PracticeTask, StayReset, TaskGraph
from robot_env.resets.operator import Operator


def practise(env: RobotEnv, config: RunConfig, run: RunDirectory | None = None) -> gymnasium.Env[Any, Any]:
    """The environment of a run with several tasks, or `env` itself where there is only one.

    Args:
        env: The robot.
        config: Of the run.
        run: Where a question to a person is put down.

    Raises:
        InputError: The graph, or the reward of a task, cannot be used.
    """
    practice = config.practice
    if not practice.tasks:
        return env
    graph = TaskGraph({name: PracticeTask(task.next, task.requires) for name, task in practice.tasks.items()})
    known = _known_rewards(env, config)
    rewards: dict[str, RewardModel] = {}
    truths: dict[str, RewardModel] = {}
    for name, task in practice.tasks.items():
        if task.reward.factory is None:
            if name not in known:
                raise InputError(
                    f"Nothing judges practice.tasks.{name}: give it a reward, such as practice.tasks.{name}.reward."
                )
            rewards[name] = known[name]
            continue
        rewards[name] = make_reward(env, task.reward, f"practice.tasks.{name}.reward")
        if name in known:
            truths[name] = known[name]
    rearrange = None
    if practice.rearrange_after and config.reset.factory is not None:
        operator = make_file_operator(run.path if run else None, config.actor.name)
        rearrange = make_rearranging(env, config.reset.config, operator)
    return PracticeEnv(
        env, rewards, truths, graph, practice.looks, rearrange, max(1, practice.rearrange_after)
    )


def make_stay(env: RobotEnv, config: Mapping[str, Any], operator: Operator) -> StayReset:
    """Factory named by `reset=none`.

    Raises:
        InputError: `config` is not empty.
    """
    if config:
        raise InputError(f"reset.config {dict(config)} means nothing to reset=none: leave it out.")
    return StayReset(env.robot)


def _known_rewards(env: RobotEnv, config: RunConfig) -> dict[str, RewardModel]:
    """What the robot itself knows of the tasks."""
    path = config.practice.factory
    wanted = [
        name
        for name, task in config.practice.tasks.items()
        if task.reward.factory is None or config.robot.provenance == "twin"
    ]
    if path is None:
        return {}
    found: dict[str, RewardModel] = load_factory(path, "practice.factory", env, wanted)(env, wanted)
    return found
