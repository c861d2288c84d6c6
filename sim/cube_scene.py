"""A scene with one cube, which the gripper grasps from above."""

from collections.abc import Mapping
from math import atan2, cos, sin

import numpy as np
from numpy.typing import NDArray

from controllers.config import Config
from robot_env.task import Task
from sim.scene import TwinScene
from sim.twin import MAX_GRIPPER_WIDTH_M, Twin
from sim.twin_robot import TwinRobot

Array = NDArray[np.float64]

OPEN, CLOSED = 1.0, -1.0
CUBE_SIZE_M = 0.04
REST_HEIGHT_M = CUBE_SIZE_M / 2
# Between the finger pads: the tool centre point lies within the cube.
_GRASP_DISTANCE_M = 0.025


class CubeScene(TwinScene):
    """A body, joint and geom named `cube` somewhere; the gripper keeps pointing down.

    Attributes:
        cube_m: Where the cube is now, shape (3,).
    """

    def __init__(self, twin: Twin, robot: TwinRobot, task: Task, config: Config) -> None:
        super().__init__(twin, robot, task, config)
        data, model = twin.data, twin.model
        self._tool = data.site("tool_centre_point").xpos
        self.cube_m = data.body("cube").xpos
        self._cube_rotation = data.body("cube").xmat
        self._cube_wxyz = data.body("cube").xquat
        self._cube_velocity = data.joint("cube").qvel
        self._cube_geom = model.geom("cube").id
        self._pads = (model.geom("left_pad").id, model.geom("right_pad").id)

    @property
    def observables(self) -> Mapping[str, int]:
        """The cube's pose; its yaw as cosine and sine of four times it, as quarter turns look the same."""
        return {"cube_position": 3, "cube_from_ee": 3, "cube_yaw": 2}

    def observe(self) -> Mapping[str, Array]:
        """The cube's pose in the base frame, and its position seen from the tool centre point."""
        cube_m = self._noisy(self.cube_m)
        yaw = 4.0 * atan2(self._cube_rotation[3], self._cube_rotation[0])
        return {
            "cube_position": cube_m,
            "cube_from_ee": cube_m - self._tool,
            "cube_yaw": np.array((cos(yaw), sin(yaw))),
        }

    def poses(self) -> Mapping[str, tuple[Array, Array]]:
        """The cube."""
        return {"cube": (self._noisy(self.cube_m), self._cube_wxyz[[1, 2, 3, 0]])}

    def is_grasped(self) -> bool:
        """Whether the cube is between the finger pads and both touch it."""
        return self.distance_m() <= _GRASP_DISTANCE_M and self._touching().issuperset(self._pads)

    def distance_m(self) -> float:
        """From the tool centre point to the centre of the cube."""
        return float(np.linalg.norm(self.cube_m - self._tool))

    def speed_m_s(self) -> float:
        """Of the cube."""
        return float(np.linalg.norm(self._cube_velocity[:3]))

    def _touching(self) -> set[int]:
        """Geoms in contact with the cube, and its own."""
        touching: set[int] = set()
        for pair in self.twin.data.contact.geom.tolist():
            if self._cube_geom in pair:
                touching.update(pair)
        return touching


class Grasp:
    """How an expert comes to hold the cube: a feedback law that hovers, descends and grasps.

    Args:
        scene: Where the cube is.
    """

    _HOVER_M = 0.06
    _ALIGNED_M = 0.012

    def __init__(self, scene: CubeScene) -> None:
        self._scene = scene

    def holds(self) -> bool:
        """Whether the cube is in hand, so that it can be carried."""
        scene = self._scene
        return scene.is_grasped() and scene.robot.observe().gripper_width_m < CUBE_SIZE_M * 1.3

    def act(self) -> NDArray[np.float32]:
        """The action that leads to holding it."""
        state = self._scene.robot.observe()
        way_m = self._scene.cube_m - state.ee_position_m
        aside_m = float(np.hypot(way_m[0], way_m[1]))
        if aside_m < self._ALIGNED_M + 0.005 and abs(way_m[2]) < 0.012:
            return move(self._scene, way_m, CLOSED)
        is_open = state.gripper_width_m > 0.8 * MAX_GRIPPER_WIDTH_M
        if aside_m > self._ALIGNED_M or not is_open:
            # Come from above. Low and next to the cube, the fingers would push it away.
            way_m[2] += self._HOVER_M
            if way_m[2] > 0.02:
                way_m[:2] = 0.0
        return move(self._scene, way_m, OPEN)


def move(scene: TwinScene, way_m: Array, gripper: float) -> NDArray[np.float32]:
    """The action that goes a way, shape (3,), as far as one step leads."""
    part = np.clip(way_m / scene.task.action.translation_m, -1.0, 1.0)
    return np.append(part, gripper).astype(np.float32)
