"""A table with a cube on it under the fake robot: the fingers close around it, it goes along, and it falls."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from robot_env.fake import FakeRobot
from robot_env.resets.region import Region
from robot_env.resets.scripted_config import ObjectConfig, ScriptedResetConfig

CUBE_M = 0.04
START = Region(min_m=(0.42, -0.1, 0.15), max_m=(0.58, 0.1, 0.2))
PLACE = Region(min_m=(0.4, -0.1), max_m=(0.6, 0.1))


class Table(FakeRobot):
    """The robot, and a scene in one.

    Attributes:
        cube_m: Where the cube is.
        yaw_rad: How it is turned.
        grip: Whether fingers can hold it.
        jammed_m: Distance at which the fingers are stuck, if they are.
        force_n: Force on the end effector by its position.
        speed_m_s: How fast the arm is measured to be.
        observables: Of the scene.
    """

    def __init__(self) -> None:
        super().__init__(limit=self._touch)
        self.cube_m = np.array([0.45, 0.05, CUBE_M / 2])
        self.yaw_rad = 0.3
        self.grip = True
        self.jammed_m: float | None = None
        self.force_n: Callable[[Any], Any] = lambda position_m: np.zeros(3)
        self.speed_m_s: Callable[[], float] = lambda: 0.0
        self.observables = {"cube_position": 3, "cube_yaw": 2}
        self.grasps = 0
        self._held = False
        self.connect()

    def observe(self) -> Any:
        """With the force, and jammed fingers."""
        state = super().observe()
        width_m = state.gripper_width_m if self.jammed_m is None else self.jammed_m
        wrench = np.append(self.force_n(state.ee_position_m), np.zeros(3))
        velocity_m_s = np.array([self.speed_m_s(), 0.0, 0.0])
        return replace(state, ee_linear_velocity_m_s=velocity_m_s, ee_wrench=wrench, gripper_width_m=width_m)

    def scene(self) -> Any:
        """What a `Scene` has."""
        return Seen(self)

    def _touch(self, command: Any) -> Any:
        around = np.linalg.norm(command.ee_position_m - self.cube_m) < 0.01
        holds = self.grip and command.gripper_width_m < CUBE_M and (self._held or around)
        self.grasps += holds and not self._held
        self._held = bool(holds)
        if not self._held:
            self.cube_m[2] = CUBE_M / 2
            return command
        self.cube_m = command.ee_position_m.copy()
        return replace(command, gripper_width_m=CUBE_M)


class Seen:
    """The scene of a table."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.speed_m_s: Callable[[], float] = lambda: 0.0
        self.observables = table.observables

    def observe(self) -> dict[str, Any]:
        angle = 4.0 * self._table.yaw_rad
        return {
            "cube_position": self._table.cube_m.copy(),
            "cube_yaw": np.array((np.cos(angle), np.sin(angle))),
        }


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture(scope="session")
def make_config() -> Callable[..., ScriptedResetConfig]:
    def make(**changes: Any) -> ScriptedResetConfig:
        return ScriptedResetConfig(
            **{"start": START, "objects": {"cube": ObjectConfig(region=PLACE, max_yaw_rad=0.4)}, **changes}
        )

    return make
