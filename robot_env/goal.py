"""What of a task's observation is a goal: what is achieved, what is desired, and what it pays when they agree."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from robot_env.contracts import Observation
from robot_env.objects import object_of
from robot_env.task import GoalConfig, Task


class TaskGoal:
    """Finds the goal in the `state` vector, and judges by that alone.

    Attributes:
        achieved: Entries of `state` that say what is achieved.
        desired: Entries that say what is to be achieved; as many, in the same units.

    Args:
        task: Names them.
        config: Of the task.
        state_names: Of the entries of `state`.

    Raises:
        InputError: They are not observed, or cannot be compared, or the goal is observed twice.
    """

    def __init__(self, task: Task, config: GoalConfig, state_names: Sequence[str]) -> None:
        self._config, self._reward = config, task.reward
        self.achieved, self.desired = (
            _entries(task, name, state_names) for name in (config.achieved, config.desired)
        )
        scales = {part.name: part.scale for part in task.observation}
        self._scale = scales[config.achieved]
        sizes = [part.stop - part.start for part in (self.achieved, self.desired)]
        if scales[config.desired] != self._scale or sizes[0] != sizes[1]:
            raise InputError(
                f"goal.achieved {config.achieved!r} of task {task.name!r} has {sizes[0]} entries of scale "
                f"{self._scale:g}, goal.desired {config.desired!r} {sizes[1]} of scale {scales[config.desired]:g}: "
                "give them the same scale, or choose two that can be compared."
            )
        about = object_of(config.desired)
        telling = [name for name in scales if name != config.desired and object_of(name) == about is not None]
        if telling:
            raise InputError(
                f"Task {task.name!r} observes {', '.join(telling)}, from which goal.desired {config.desired!r} can be "
                "told: leave it out of task.observation, for a goal that is replaced must be replaced everywhere."
            )

    def reached(self, achieved: NDArray[Any], desired: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether goals, as `state` has them, are within the tolerance of each other; (..., G) -> (...)."""
        distance = np.linalg.norm(achieved.astype(np.float64) - desired, axis=-1) * self._scale
        within: NDArray[np.bool_] = distance < self._config.tolerance
        return within

    def is_reached(self, observation: Observation) -> bool:
        """Whether what is achieved is what is desired."""
        state = observation["state"]
        return bool(self.reached(state[self.achieved], state[self.desired]))

    def pay(
        self, achieved: NDArray[Any], desired: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The sparse reward of the task for steps that led to `achieved`, and which of them ended an episode, (N,)."""
        reached = self.reached(achieved, desired)
        return np.where(reached, self._reward.success, self._reward.step).astype(np.float32), reached


def _entries(task: Task, name: str, state_names: Sequence[str]) -> slice:
    """Where an observable is in `state`."""
    found = [i for i, entry in enumerate(state_names) if entry == name or entry.startswith(f"{name}.")]
    if not found:
        raise InputError(
            f"The goal of task {task.name!r} is about {name!r}, which it does not observe; choose from "
            f"{', '.join(part.name for part in task.observation)}, or add it to task.observation."
        )
    return slice(found[0], found[-1] + 1)
