"""Lift a cube: grasp it and hold it 10 cm above the table."""

import numpy as np
from numpy.typing import NDArray

from controllers.config import Config
from robot_env.resets.region import Region
from robot_env.task import Task
from sim.cube_scene import CLOSED, REST_HEIGHT_M, CubeScene, Grasp, move
from sim.scene import MODELS, Expert, closeness, yaw_quaternion
from sim.twin import Twin
from sim.twin_robot import TwinRobot

_STILL_M_S = 0.3


class LiftCubeConfig(Config):
    """Start states and success.

    Attributes:
        start: Tool centre points to start from.
        cube: Positions of the cube on the table, x and y.
        max_yaw_rad: The cube is turned about the vertical by up to this.
        lift_m: How far the cube must be above the table top on which it lay.
    """

    start: Region
    cube: Region
    max_yaw_rad: float = 0.4
    lift_m: float = 0.1


class LiftCube(CubeScene):
    """A cube lies somewhere on the table, turned a little; the gripper keeps pointing down."""

    config_type = LiftCubeConfig
    model_file = MODELS / "lift_cube.xml"

    def __init__(self, twin: Twin, robot: TwinRobot, task: Task, config: LiftCubeConfig) -> None:
        super().__init__(twin, robot, task, config)
        self._config = config

    def success(self) -> bool:
        """Whether the cube is high enough, held by both fingers and not flying.

        A cube that was thrown, pushed up or caught on top of the gripper does not count.
        """
        return self._lifted_m() >= self._config.lift_m and self.speed_m_s() < _STILL_M_S and self.is_grasped()

    def dense_terms(self) -> dict[str, float]:
        """How near the gripper is to the cube, whether it has it, how high it is."""
        grasped = self.is_grasped()
        lifted = min(max(self._lifted_m() / self._config.lift_m, 0.0), 1.0)
        return {
            "reach": closeness(self.distance_m(), 0.1),
            "grasp": float(grasped),
            "lift": lifted if grasped else 0.0,
        }

    def make_expert(self) -> Expert:
        """Hovers, descends, grasps, lifts."""
        return LiftCubeExpert(self)

    def _start(self, rng: np.random.Generator) -> None:
        self._start_arm(rng, self._config.start)
        position_m = np.append(self._config.cube.sample(rng), REST_HEIGHT_M)
        yaw_rad = rng.uniform(-self._config.max_yaw_rad, self._config.max_yaw_rad)
        self.twin.place("cube", position_m, yaw_quaternion(yaw_rad))

    def _lifted_m(self) -> float:
        return float(self.cube_m[2]) - REST_HEIGHT_M


class LiftCubeExpert:
    """A feedback law, so that it recovers from whatever noise did to its earlier actions.

    Args:
        scene: Where the cube is.
    """

    def __init__(self, scene: LiftCube) -> None:
        self._scene = scene
        self._grasp = Grasp(scene)

    def act(self) -> NDArray[np.float32]:
        """The action of the phase that robot and cube are in."""
        scene = self._scene
        if not self._grasp.holds():
            return self._grasp.act()
        return move(scene, np.array((0.0, 0.0, scene.task.action.translation_m)), CLOSED)
