"""A hand: a device that says what a test tells it, and a state to drive from."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from controllers.state import RobotState
from robot_env.devices.driving import DriveConfig, ReadingTeleoperator
from robot_env.task import ActionConfig

ZERO = np.zeros(3)


class FakeDevice:
    """Says what a test put into `says`."""

    name = "the fake"
    hint = "wake it up"
    problem = ""
    help = {"1": "toggle gripper"}

    def __init__(self) -> None:
        self.says: Any = None
        self.events: list[Any] = []
        self.calls: list[str] = []

    def open(self) -> None:
        self.calls.append("open")

    def read(self) -> Any:
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def get_events(self) -> tuple[Any, ...]:
        events, self.events = tuple(self.events), []
        return events

    def close(self) -> None:
        self.calls.append("close")


class Stopwatch:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.now_s = 10.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def stopwatch() -> Stopwatch:
    return Stopwatch()


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice()


@pytest.fixture(scope="session")
def make_state() -> Callable[..., RobotState]:
    def make(position: Any = (0.5, 0.1, 0.3), quaternion: Any = (1.0, 0.0, 0.0, 0.0)) -> RobotState:
        pose = np.array(position, np.float64), np.array(quaternion, np.float64)
        return RobotState(0.0, np.zeros(7), np.zeros(7), np.zeros(7), *pose, ZERO, ZERO, np.zeros(6), 0.05)

    return make


@pytest.fixture
def make_driver(device: FakeDevice, stopwatch: Stopwatch) -> Callable[..., ReadingTeleoperator]:
    def make(action: Any = None, **config: Any) -> ReadingTeleoperator:
        chosen = {"translation_m": 0.03, "rotation_rad": 0.2, **(action or {})}
        return ReadingTeleoperator(
            device, DriveConfig(**config), msgspec.convert(chosen, ActionConfig), stopwatch
        )

    return make
