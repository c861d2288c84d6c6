"""A task, a scene and an environment around the fake robot."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from robot_env.contracts import ResetResult, Reward
from robot_env.env import RobotEnv
from robot_env.fake import FakeRobot
from robot_env.task import Task

TASK: dict[str, Any] = {
    "name": "fake",
    "scene": "none",
    "control_rate_hz": 10,
    "episode_length_s": 1.0,
    "action": {"translation_m": 0.03},
    "workspace": {"min_m": [0.2, -0.4, 0.0], "max_m": [0.8, 0.4, 0.6]},
    "observation": [{"name": "ee_position", "scale": 0.5}, {"name": "joint_position"}, {"name": "button"}],
}


class FakeScene:
    """One button that a test presses."""

    def __init__(self) -> None:
        self.button = 0.0
        self.observables = {"button": 1}

    def observe(self) -> dict[str, Any]:
        return {"button": np.array([self.button])}


class ButtonReward:
    """Success when the button is pressed."""

    def reward(self, observation: Any) -> Reward:
        pressed = bool(observation["state"][-1] == 1.0)
        return Reward(0.0 if pressed else -1.0, pressed, {"button": float(pressed)})


class CountedReset:
    """Fails the first `failures` times; remembers what it drew."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.draws: list[float] = []

    def reset(self, rng: np.random.Generator, keep_going: Callable[[], None]) -> ResetResult:
        self.draws.append(float(rng.random()))
        if len(self.draws) <= self.failures:
            return ResetResult(False, "the cube fell off the table")
        return ResetResult(True)


class PutBack:
    """Puts the robot back where it stood at the first reset."""

    def __init__(self, robot: FakeRobot) -> None:
        self._robot = robot
        self._start: Any = None

    def reset(self, rng: np.random.Generator, keep_going: Callable[[], None]) -> ResetResult:
        self._start = self._start or self._robot.observe()
        self._robot.place(self._start.ee_position_m, self._start.ee_quaternion_xyzw)
        return ResetResult(True)


class FakeCamera:
    """A grey frame; writes down in `calls` when it is read."""

    def __init__(self, height: int, width: int, calls: list[str]) -> None:
        self._shape = (height, width, 3)
        self._calls = calls

    def read(self) -> Any:
        self._calls.append("camera")
        return np.full(self._shape, 128, np.uint8)


@pytest.fixture(scope="session")
def make_task() -> Callable[..., Task]:
    return lambda **changes: msgspec.convert({**TASK, **changes}, Task, strict=False)


@pytest.fixture(scope="session")
def make_env(make_task: Callable[..., Task]) -> Callable[..., RobotEnv]:
    def make(robot: FakeRobot | None = None, resets: Any = None, **changes: Any) -> RobotEnv:
        robot, task = robot or FakeRobot(), make_task(**changes)
        cameras = {name: FakeCamera(c.height, c.width, robot.calls) for name, c in task.cameras.items()}
        return RobotEnv(robot, task, FakeScene(), ButtonReward(), resets or PutBack(robot), cameras)

    return make


@pytest.fixture(scope="session")
def make_reset() -> Callable[[int], CountedReset]:
    return CountedReset
