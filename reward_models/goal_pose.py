"""Success as nearness of the end effector to a known pose: the reward of SERL's peg and circuit-board insertion."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from controllers.config import Config, InputError
from controllers.rotations import error, normalize
from robot_env.contracts import Observation, Reward
from robot_env.task import Task


class GoalPoseConfig(Config):
    """The pose and how near is near enough, in each axis of the base frame.

    The tolerances' defaults are SERL's (arXiv 2401.16013).

    Attributes:
        goal_position_m: A fixed goal, or the name of a part of the `state` vector that holds it.
        goal_quaternion_xyzw: Wanted orientation; any if not given.
        position_tolerance_m: Along x, y, z.
        rotation_tolerance_rad: Entries of the rotation vector from the measured orientation to the goal's.
    """

    goal_position_m: tuple[float, float, float] | str
    goal_quaternion_xyzw: tuple[float, float, float, float] | None = None
    position_tolerance_m: tuple[float, float, float] = (0.01, 0.01, 0.01)
    rotation_tolerance_rad: tuple[float, float, float] = (0.2, 0.2, 0.2)

    def __post_init__(self) -> None:
        """Refuse a goal that is none or cannot be reached."""
        numbers = () if isinstance(self.goal_position_m, str) else self.goal_position_m
        if not np.isfinite([*numbers, *(self.goal_quaternion_xyzw or ())]).all():
            raise ValueError("goal_position_m and goal_quaternion_xyzw must be finite")
        if self.goal_quaternion_xyzw is not None and not any(self.goal_quaternion_xyzw):
            raise ValueError("goal_quaternion_xyzw must not be zero")
        if not all(tolerance > 0.0 for tolerance in self.position_tolerance_m + self.rotation_tolerance_rad):
            raise ValueError("position_tolerance_m and rotation_tolerance_rad must be positive")


class GoalPoseReward:
    """Pays the task's `reward.success` at the goal pose and `reward.step` elsewhere.

    Args:
        task: Its observation must hold `ee_position`, and `ee_quaternion` where an orientation is wanted.
        state_names: Names of the entries of the `state` vector, as `RobotEnv.state_names`.
        config: The goal.

    Raises:
        InputError: A part of the `state` vector that is needed is missing, or the task wants a dense reward.
    """

    def __init__(self, task: Task, state_names: Sequence[str], config: GoalPoseConfig) -> None:
        if task.reward.kind != "sparse":
            raise InputError(
                f"Task {task.name!r} has reward.kind {task.reward.kind!r}, but a goal pose only pays sparsely: choose "
                "'sparse'."
            )
        self._reward = task.reward
        self._config = config
        self._position = _Part(task, state_names, "ee_position", 3)
        goal = config.goal_position_m
        self._goal = _Part(task, state_names, goal, 3) if isinstance(goal, str) else np.array(goal)
        self._orientation: _Part | None = None
        if config.goal_quaternion_xyzw is not None:
            self._orientation = _Part(task, state_names, "ee_quaternion", 4)
            self._goal_quaternion = normalize(np.array(config.goal_quaternion_xyzw))

    def reward(self, observation: Observation) -> Reward:
        """Judge by the newest measurement. The terms are what is left to go per axis, in m and rad."""
        state = observation["state"]
        goal_m = self._goal.read(state) if isinstance(self._goal, _Part) else self._goal
        errors = dict(zip(("x_m", "y_m", "z_m"), (goal_m - self._position.read(state)).tolist(), strict=True))
        tolerances = [*self._config.position_tolerance_m]
        if self._orientation is not None:
            measured = self._orientation.read(state)
            turn = error(self._goal_quaternion, measured).tolist()
            errors |= zip(("x_rad", "y_rad", "z_rad"), turn, strict=True)
            tolerances += self._config.rotation_tolerance_rad
        # A NaN compares false: a doubtful measurement is no success.
        success = all(
            abs(distance) <= tolerance
            for distance, tolerance in zip(errors.values(), tolerances, strict=True)
        )
        return Reward(self._reward.success if success else self._reward.step, success, errors)


class _Part:
    """A named part of the `state` vector, in its own unit again."""

    def __init__(self, task: Task, state_names: Sequence[str], name: str, size: int) -> None:
        scales = {part.name: part.scale for part in task.observation}
        names = [f"{name}.{index}" for index in range(size)]
        if name not in scales or not set(names) <= set(state_names):
            raise InputError(
                f"The goal-pose reward of task {task.name!r} needs {name!r} with {size} entries in the observation, "
                f"which has {', '.join(scales)}: add it there."
            )
        self._scale = scales[name]
        self._indices = [list(state_names).index(entry) for entry in names]

    def read(self, state: NDArray[np.float32]) -> NDArray[np.float64]:
        return state[self._indices].astype(np.float64) * self._scale
