"""Lift a cube: grasp it and hold it 10 cm above the table."""

from collections.abc import Mapping
from math import atan2, cos, sin

import numpy as np
from numpy.typing import NDArray

from controllers.config import Config
from robot_env.task import Task
from sim.scene import MODELS, Box, Expert, TwinScene, closeness, yaw_quaternion
from sim.twin import MAX_GRIPPER_WIDTH_M, Twin
from sim.twin_robot import TwinRobot

Array = NDArray[np.float64]

CUBE_SIZE_M = 0.04
_REST_HEIGHT_M = CUBE_SIZE_M / 2
# Between the finger pads: the tool centre point lies within the cube.
_GRASP_DISTANCE_M = 0.025
_STILL_M_S = 0.3


class LiftCubeConfig(Config):
    """Start states and success.

    Attributes:
        start: Tool centre points to start from.
        cube: Positions of the cube on the table, x and y.
        max_yaw_rad: The cube is turned about the vertical by up to this.
        lift_m: How far the cube must be above the table top on which it lay.
    """

    start: Box
    cube: Box
    max_yaw_rad: float = 0.4
    lift_m: float = 0.1


class LiftCube(TwinScene):
    """A cube lies somewhere on the table, turned a little; the gripper keeps pointing down."""

    config_type = LiftCubeConfig
    model_file = MODELS / "lift_cube.xml"

    def __init__(self, twin: Twin, robot: TwinRobot, task: Task, config: LiftCubeConfig) -> None:
        super().__init__(twin, robot, task, config)
        self._config = config
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

    def success(self) -> bool:
        """Whether the cube is high enough, held by both fingers and not flying.

        A cube that was thrown, pushed up or caught on top of the gripper does not count.
        """
        return (
            self._lifted_m() >= self._config.lift_m
            and float(np.linalg.norm(self._cube_velocity[:3])) < _STILL_M_S
            and self.is_grasped()
        )

    def dense_terms(self) -> dict[str, float]:
        """How near the gripper is to the cube, whether it has it, how high it is."""
        grasped = self.is_grasped()
        lifted = min(max(self._lifted_m() / self._config.lift_m, 0.0), 1.0)
        return {
            "reach": closeness(self._distance_m(), 0.1),
            "grasp": float(grasped),
            "lift": lifted if grasped else 0.0,
        }

    def make_expert(self) -> Expert:
        """Hovers, descends, grasps, lifts."""
        return LiftCubeExpert(self)

    def is_grasped(self) -> bool:
        """Whether the cube is between the finger pads and both touch it."""
        if self._distance_m() > _GRASP_DISTANCE_M:
            return False
        touching = set()
        for pair in self.twin.data.contact.geom.tolist():
            if self._cube_geom in pair:
                touching.update(pair)
        return touching.issuperset(self._pads)

    def _start(self, rng: np.random.Generator) -> None:
        self._start_arm(rng, self._config.start)
        position_m = np.append(self._config.cube.sample(rng), _REST_HEIGHT_M)
        yaw_rad = rng.uniform(-self._config.max_yaw_rad, self._config.max_yaw_rad)
        self.twin.place("cube", position_m, yaw_quaternion(yaw_rad))

    def _distance_m(self) -> float:
        return float(np.linalg.norm(self.cube_m - self._tool))

    def _lifted_m(self) -> float:
        return float(self.cube_m[2]) - _REST_HEIGHT_M


class LiftCubeExpert:
    """A feedback law, so that it recovers from whatever noise did to its earlier actions.

    Args:
        scene: Where the cube is.
    """

    _HOVER_M = 0.06
    _ALIGNED_M = 0.012
    _OPEN, _CLOSED = 1.0, -1.0

    def __init__(self, scene: LiftCube) -> None:
        self._scene = scene

    def act(self) -> NDArray[np.float32]:
        """The action of the phase that robot and cube are in."""
        state = self._scene.robot.observe()
        way_m = self._scene.cube_m - state.ee_position_m
        aside_m = float(np.hypot(way_m[0], way_m[1]))
        between_fingers = aside_m < self._ALIGNED_M + 0.005 and abs(way_m[2]) < 0.012
        if self._scene.is_grasped() and state.gripper_width_m < CUBE_SIZE_M * 1.3:
            way_m, gripper = np.array((0.0, 0.0, self._scene.task.action.translation_m)), self._CLOSED
        elif between_fingers:
            gripper = self._CLOSED
        else:
            gripper = self._OPEN
            is_open = state.gripper_width_m > 0.8 * MAX_GRIPPER_WIDTH_M
            if aside_m > self._ALIGNED_M or not is_open:
                # Come from above. Low and next to the cube, the fingers would push it away.
                way_m[2] += self._HOVER_M
                if way_m[2] > 0.02:
                    way_m[:2] = 0.0
        action = self._scene.task.action
        move = np.clip(way_m / action.translation_m, -1.0, 1.0)
        return np.append(move, gripper).astype(np.float32)
