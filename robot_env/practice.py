"""Practice without resets: one stream of episodes, each of a task that can be done from where the last one ended.

A robot that puts things back by another task needs nobody to do it (forward and backward agents: Eysenbach et al.,
arXiv:1711.06782; SERL, arXiv:2401.16013); with more than two tasks the graph says which may follow which (Gupta et al.,
arXiv:2104.11203).
"""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from controllers.config import Config, InputError
from robot_env.contracts import (
    KeepGoing,
    Observation,
    ResetPolicy,
    ResetResult,
    RestartedRewardModel,
    RewardModel,
    always,
)
from robot_env.env import RobotEnv
from robot_env.robot import Robot, RobotError

Action = NDArray[np.float32]


class PracticeTask(Config):
    """One task of a graph.

    Attributes:
        next: Tasks that may follow, the preferred one first. One whose success is seen already is passed over.
        requires: Tasks whose success must be seen before this one can begin.
    """

    next: tuple[str, ...]
    requires: tuple[str, ...] = ()


class TaskGraph:
    """Which task comes next, given what is seen.

    Args:
        tasks: By name; practice begins with the first that can be done.

    Raises:
        InputError: A task names one that is none, or nothing may follow it.
    """

    def __init__(self, tasks: Mapping[str, PracticeTask]) -> None:
        if not tasks:
            raise InputError("practice.tasks is empty: name at least one task.")
        for name, task in tasks.items():
            unknown = sorted({*task.next, *task.requires} - set(tasks))
            if unknown or not task.next:
                what = f"names {', '.join(unknown)}, which is no task" if unknown else "has no next"
                raise InputError(f"practice.tasks.{name} {what}; choose from {', '.join(tasks)}.")
        self._tasks = dict(tasks)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the tasks, in order."""
        return tuple(self._tasks)

    def choose(self, before: str | None, achieved: Mapping[str, bool]) -> str | None:
        """The task to do now.

        Args:
            before: The one done last; None at first.
            achieved: Of every task, whether its success is seen.

        Returns:
            None where none can be begun.
        """
        candidates = self.names if before is None else self._tasks[before].next
        for name in candidates:
            ready = all(achieved[other] for other in self._tasks[name].requires)
            if ready and not achieved[name]:
                return name
        return None


class StayReset:
    """Leaves robot and scene as they are. Implements `robot_env.contracts.ResetPolicy`.

    Args:
        robot: Is only looked at.
    """

    def __init__(self, robot: Robot) -> None:
        self._robot = robot

    def reset(self, rng: np.random.Generator, keep_going: KeepGoing = always) -> ResetResult:
        """See that the robot answers.

        Raises:
            RobotUnavailableError: It does not.
        """
        keep_going()
        self._robot.observe()
        return ResetResult(True, stays=True)


class PracticeEnv(gymnasium.Wrapper[Observation, Action, Observation, Action]):
    """Each episode is one of several tasks, the one that the graph chooses for what is seen at its start.

    `info` of a reset: `agent`, the name of the task, whose own agent is to act; `achieved`, what was seen;
    `rearranged`, whether the scene was, because episodes had failed.

    Args:
        env: The robot. Its reward model is replaced at every reset.
        rewards: What judges and pays each task. Each is asked whether its task is done already.
        truths: What knows better than a learned reward, by task; empty where nobody does.
        graph: Of the same tasks.
        looks: How many observations a judgement is made from: more than one for a reward model that wants to see
            success in several frames. The arm rests meanwhile.
        rearrange: Resets in place of the environment's own policy after failures in a row: a scene in which a task
            fails again and again would otherwise stay for ever.
        failures: So many.
    """

    def __init__(
        self,
        env: RobotEnv,
        rewards: Mapping[str, RewardModel],
        truths: Mapping[str, RewardModel],
        graph: TaskGraph,
        looks: int = 1,
        rearrange: ResetPolicy | None = None,
        failures: int = 1,
    ) -> None:
        super().__init__(env)
        self.robot_env = env
        self._rewards = dict(rewards)
        self._truths = dict(truths)
        self._graph = graph
        self._looks = looks
        self._rearrange = rearrange
        self._most_failures = failures
        self._failures = 0
        self._before: str | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; see `RobotEnv`.

        Raises:
            RobotError: No task can be begun from here.
        """
        env, usual = self.robot_env, self.robot_env.reset_policy
        rearranges = self._rearrange is not None and self._failures >= self._most_failures
        if self._rearrange is not None and rearranges:
            env.reset_policy = self._rearrange
        try:
            observation, info = self.env.reset(seed=seed, options=options)
        finally:
            env.reset_policy = usual
        self._failures = 0 if rearranges else self._failures
        achieved, observation = self._look(observation)
        name = self._graph.choose(self._before, achieved)
        if name is None:
            seen = ", ".join(task for task, done in achieved.items() if done) or "nothing"
            raise RobotError(
                f"After {self._before or 'the start'} no task can be begun: {seen} is seen to be done. Change the "
                "scene by hand, or add a task to practice.tasks that leads on from here."
            )
        self._before = name
        env.reward_model, env.truth = self._rewards[name], self._truths.get(name)
        for model in (env.reward_model, env.truth):
            _restart(model)
        return observation, {**info, "agent": name, "achieved": achieved, "rearranged": rearranges}

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Do one control period; see `RobotEnv`."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if terminated or truncated:
            self._failures = 0 if terminated else self._failures + 1
        return observation, float(reward), terminated, truncated, info

    def _look(self, observation: Observation) -> tuple[dict[str, bool], Observation]:
        """Which tasks are seen to be done, and what was seen last."""
        for model in self._rewards.values():
            _restart(model)
        env = self.robot_env
        for look in range(self._looks):
            if look:
                env.rate.wait()
                observation = env.begin()
            achieved = {name: model.reward(observation).success for name, model in self._rewards.items()}
        return achieved, observation


def _restart(model: RewardModel | None) -> None:
    if isinstance(model, RestartedRewardModel):
        model.restart()
