"""Relocate: take a cube out of one bin and put it into the other, or bring it back."""

import numpy as np
from numpy.typing import NDArray

from controllers.config import Config
from robot_env.resets.region import Region
from robot_env.task import Task
from sim.cube_scene import CLOSED, OPEN, REST_HEIGHT_M, CubeScene, Grasp, move
from sim.scene import MODELS, Expert, closeness, yaw_quaternion
from sim.twin import Twin
from sim.twin_robot import TwinRobot

Array = NDArray[np.float64]

THERE, BACK = "there", "back"
# Of the bins' floors in the model; the left one is on the side of positive y.
_FLOOR_CENTRE_M = np.array((0.5, 0.12))
_HALF_FLOOR_M = np.array((0.08, 0.06))
# A cube that fell may lean on the foot of a slope.
_LEANING_M = 0.015
_STILL_M_S = 0.02
# The fingers have room beside a cube whose centre is this far from a slope.
_FROM_SLOPE_M = 0.02


class RelocateConfig(Config):
    """Start states and success.

    Attributes:
        start: Tool centre points to start from.
        cube: Positions of the cube in the left bin, x and y.
        max_yaw_rad: The cube is turned about the vertical by up to this.
        clearance_m: The cube counts as put down only once the tool centre point is this far from it. To withdraw is
            best left to the reset: critics that saw every success end with an arm that rises take rising for success.
    """

    start: Region
    cube: Region
    max_yaw_rad: float = 0.4
    clearance_m: float = 0.0


class Relocate(CubeScene):
    """Goals: `there`, the cube lies in the right bin (negative y); `back`, it lies in the left one.

    From wherever the cube falls the slopes let it slide to a floor, or to lean on their foot, where the arm reaches it:
    practice needs nobody to put it back.
    """

    config_type = RelocateConfig
    model_file = MODELS / "relocate.xml"
    goals = (THERE, BACK)

    def __init__(self, twin: Twin, robot: TwinRobot, task: Task, config: RelocateConfig) -> None:
        super().__init__(twin, robot, task, config)
        self._config = config

    def success(self) -> bool:
        """Whether the goal that is pursued is reached."""
        return self.achieved(self.goal)

    def achieved(self, goal: str) -> bool:
        """Whether the cube lies still on the floor of the goal's bin, the gripper withdrawn if that is wanted."""
        return (
            self.lies_in(goal)
            and self.speed_m_s() < _STILL_M_S
            and self.distance_m() >= self._config.clearance_m
        )

    def dense_terms(self) -> dict[str, float]:
        """How near the gripper is to a cube that is to be moved, whether it has it, how near the cube is to its bin."""
        done = self.lies_in(self.goal)
        aside_m = float(np.linalg.norm(self.cube_m[:2] - self.centre_m(self.goal)))
        return {
            "reach": 1.0 if done else closeness(self.distance_m(), 0.1),
            "grasp": float(done or self.is_grasped()),
            "carry": 1.0 if done else closeness(aside_m, 0.1),
        }

    def make_expert(self) -> Expert:
        """Grasps, carries over the ridge, puts down and withdraws."""
        return RelocateExpert(self, self.goal)

    def lies_in(self, goal: str) -> bool:
        """Whether the cube is on the floor of the goal's bin."""
        aside_m = np.abs(self.cube_m[:2] - self.centre_m(goal)) - _HALF_FLOOR_M
        return bool((aside_m < _LEANING_M).all()) and self.cube_m[2] - REST_HEIGHT_M < _LEANING_M

    def centre_m(self, goal: str) -> Array:
        """Of the floor of the goal's bin, x and y."""
        return _FLOOR_CENTRE_M * (1.0, -1.0 if goal == THERE else 1.0)

    def _start(self, rng: np.random.Generator) -> None:
        self._start_arm(rng, self._config.start)
        position_m = np.append(self._config.cube.sample(rng), REST_HEIGHT_M)
        yaw_rad = rng.uniform(-self._config.max_yaw_rad, self._config.max_yaw_rad)
        self.twin.place("cube", position_m, yaw_quaternion(yaw_rad))


class RelocateExpert:
    """A feedback law, so that it recovers from whatever noise did to its earlier actions.

    It puts the cube down anywhere on the goal's floor, so that who brings it back learns to find it anywhere. Where, is
    drawn from where the cube lies: the same scene has the same expert.

    Args:
        scene: Where the cube is.
        goal: Where it is to be.
    """

    _CARRY_M = 0.09
    _PUT_DOWN_M = REST_HEIGHT_M + 0.012
    _ALIGNED_M = 0.025

    def __init__(self, scene: Relocate, goal: str) -> None:
        self._scene = scene
        self._goal = goal
        self._grasp = Grasp(scene)
        rng = np.random.default_rng(np.frombuffer(scene.cube_m.tobytes(), np.uint32))
        spread_m = _HALF_FLOOR_M - _FROM_SLOPE_M
        self._target_m = scene.centre_m(goal) + rng.uniform(-spread_m, spread_m)

    def act(self) -> NDArray[np.float32]:
        """The action of the phase that robot and cube are in."""
        scene = self._scene
        if scene.lies_in(self._goal):
            if scene.is_grasped():
                return move(scene, np.zeros(3), OPEN)
            return move(scene, np.array((0.0, 0.0, 0.05)), OPEN)
        if not self._grasp.holds():
            return self._grasp.act()
        way_m = np.append(self._target_m - scene.cube_m[:2], 0.0)
        aside_m = float(np.hypot(way_m[0], way_m[1]))
        if aside_m < self._ALIGNED_M:
            way_m[2] = self._PUT_DOWN_M - scene.cube_m[2]
            return move(scene, way_m, OPEN if way_m[2] > -0.005 else CLOSED)
        way_m[2] = self._CARRY_M - scene.cube_m[2]
        if way_m[2] > 0.03:
            way_m[:2] = 0.0  # Over the ridge, not into it.
        return move(scene, way_m, CLOSED)
