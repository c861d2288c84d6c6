"""Grasps objects from above and puts them down elsewhere, by what is seen of them."""

from math import atan2, pi

import numpy as np
from numpy.typing import NDArray

from controllers.rotations import from_rotation_vector, multiply, rotate
from robot_env.contracts import Scene
from robot_env.resets.motion import MotionError, ToolMotion
from robot_env.resets.region import Region
from robot_env.resets.scripted_config import ObjectConfig, ScriptedResetConfig
from robot_env.robot import Robot, RobotError

Array = NDArray[np.float64]

_UP = np.array([0.0, 0.0, 1.0])


class Picker:
    """The hand of one reset. All of it may raise what `ToolMotion` raises.

    Args:
        robot: Connected.
        scene: Observes the objects.
        workspace: Is not left.
        config: Of the reset.
        motion: Moves the arm.
    """

    def __init__(
        self,
        robot: Robot,
        scene: Scene,
        workspace: Region,
        config: ScriptedResetConfig,
        motion: ToolMotion,
    ) -> None:
        self._robot, self._scene, self._workspace = robot, scene, workspace
        self._config, self._motion = config, motion
        self._down = np.array(config.gripper_down_xyzw)
        self._open_m = config.open_fraction * robot.max_gripper_width_m

    def rise(self) -> None:
        """Go straight up to where the way across the table is free, if that is higher."""
        self._rise_to(self._travel_height_m(), None)

    def retreat(self) -> None:
        """As `rise`, but slowly and at least a little, away from whatever was in the way."""
        height_m = max(self._travel_height_m(), self._here_m[2] + self._config.retreat_m)
        self._rise_to(min(height_m, self._workspace.max_m[2]), self._config.motion.approach_speed_m_s)

    def hold_on(self) -> None:
        """Close the fingers on what may be between them: nobody knows what they were told before."""
        if self._may_hold():
            self._motion.grip(0.0)

    def held(self) -> str | None:
        """The object that is in the hand, as far as can be seen; after `hold_on`."""
        if not self._may_hold():
            return None
        return next((name for name in self._config.objects if self._is_at_hand(name)), None)

    def let_go(self) -> None:
        """Put down what may be held, and open the fingers."""
        if self.held() is not None or (self._may_hold() and not self._config.objects):
            x, y, _ = self._here_m
            self._lower(x, y, self._workspace.min_m[2])
        self._open()

    def put_back(
        self, rng: np.random.Generator, name: str, thing: ObjectConfig, in_hand: bool = False
    ) -> None:
        """Bring an object from where it is to somewhere in its region.

        Args:
            rng: Source of randomness.
            name: Of the object.
            thing: Says where to.
            in_hand: Whether it may be held already.

        Raises:
            MotionError: It lies out of reach, or all tries failed.
        """
        goal_m, turn_rad = thing.region.sample(rng), rng.uniform(-thing.max_yaw_rad, thing.max_yaw_rad)
        problem = ""
        for number in range(self._config.grasps):
            height_m = None if in_hand and number == 0 else self._grasp(name, thing)
            problem = self._lift(name) or self._put_down(goal_m, turn_rad, height_m)
            if problem:
                self.let_go()
            else:
                self._open()
            self.rise()
            if not problem:
                return
        raise MotionError(f"{name} was not put back in {self._config.grasps} tries: {problem}")

    def _grasp(self, name: str, thing: ObjectConfig) -> float:
        """Close the fingers around an object from above; returns the height at which they did."""
        object_m, yaw_rad = self._find(name)
        self._require_reach(name, object_m)
        x, y, z = self._workspace.nearest(object_m + thing.grasp_offset_m * _UP).tolist()
        over_m = max(self._travel_height_m(z + self._config.held_m), self._here_m[2])
        self._motion.move((x, y, over_m), self._turned(_quarter(yaw_rad - self._heading_rad())))
        self._descend(x, y, z)
        width_m = self._motion.grip(0.0)
        if width_m >= self._open_m:
            raise MotionError(f"the gripper does not close: {width_m:.3f} m is between its fingers")
        return self._here_m[2]

    def _lift(self, name: str) -> str:
        """Returns what went wrong."""
        if not self._holds():
            return "nothing was between the fingers"
        self.rise()
        return "" if self._holds() and self._is_at_hand(name) else "it slipped"

    def _put_down(self, goal_m: Array, turn_rad: float, height_m: float | None) -> str:
        """Bring what was grasped to the height at which that was done, if known; returns what went wrong."""
        x, y, _ = self._workspace.nearest((*goal_m, 0.0)).tolist()
        self._motion.move((x, y, self._here_m[2]), self._turned(turn_rad))
        if not self._holds():
            return "it was lost on the way"
        if height_m is None:
            self._lower(x, y, self._workspace.min_m[2])
        else:
            self._descend(x, y, height_m)
        return ""

    def _rise_to(self, height_m: float, speed_m_s: float | None) -> None:
        x, y, z = self._here_m
        if height_m - z > self._config.motion.tolerance_m:
            self._motion.move((x, y, height_m), speed_m_s=speed_m_s, leaving=True)

    def _descend(self, x: float, y: float, z: float) -> None:
        """Go down to a known height, the last part slowly, and not below where something is touched."""
        slow_from_m = min(z + self._config.approach_m, self._here_m[2])
        if not self._motion.move((x, y, slow_from_m), until_contact=True):
            self._lower(x, y, z)

    def _lower(self, x: float, y: float, z: float) -> None:
        """Go down slowly all the way, and not below where something is touched."""
        self._motion.move((x, y, z), speed_m_s=self._config.motion.approach_speed_m_s, until_contact=True)

    def _open(self) -> None:
        width_m = self._motion.grip(self._robot.max_gripper_width_m)
        if width_m < self._open_m:
            raise MotionError(f"the gripper does not open: {width_m:.3f} m is between its fingers")

    def _holds(self) -> bool:
        return self._motion.state.gripper_width_m > self._config.closed_m

    def _may_hold(self) -> bool:
        """Fingers that are neither closed nor open."""
        return self._config.closed_m < self._motion.state.gripper_width_m < self._open_m

    def _is_at_hand(self, name: str) -> bool:
        away_m = np.linalg.norm(self._find(name)[0] - np.array(self._here_m))
        return bool(away_m <= self._config.held_m)

    def _find(self, name: str) -> tuple[Array, float]:
        """Position in m of an object as it lies now, and its yaw in rad, up to quarter turns."""
        self._robot.observe()  # Trackers tell of the time of the arm's newest state.
        seen = self._scene.observe()
        position_m, (cosine, sine) = seen[f"{name}_position"], seen[f"{name}_yaw"].tolist()
        if not np.isfinite((*position_m, cosine, sine)).all():
            raise RobotError(f"{name} is not seen: its position is {position_m.tolist()}")
        return position_m, atan2(sine, cosine) / 4.0

    def _require_reach(self, name: str, object_m: Array) -> None:
        lowest_m, highest_m = self._workspace.min_m[2], self._workspace.max_m[2]
        outside_m = self._workspace.distance_m((*object_m[:2], lowest_m))
        away_m = max(lowest_m - object_m[2], object_m[2] - highest_m)
        if outside_m > self._config.reach_m or away_m > self._config.held_m:
            x, y, z = object_m.tolist()
            raise MotionError(f"{name} lies out of reach at {x:.2f}, {y:.2f}, {z:.2f} m")

    def _travel_height_m(self, above_m: float = 0.0) -> float:
        return min(max(self._config.travel_height_m, above_m), self._workspace.max_m[2])

    def _turned(self, turn_rad: float) -> Array:
        return multiply(from_rotation_vector(turn_rad * _UP), self._down)

    def _heading_rad(self) -> float:
        """Of the line along which the fingers move, the hand's y axis, at the start."""
        x, y, _ = rotate(self._down, np.array([0.0, 1.0, 0.0])).tolist()
        return atan2(y, x)

    @property
    def _here_m(self) -> tuple[float, float, float]:
        x, y, z = self._motion.state.ee_position_m.tolist()
        return x, y, z


def _quarter(angle_rad: float) -> float:
    """The same angle up to quarter turns, in [-pi/4, pi/4]."""
    return angle_rad - 0.5 * pi * round(angle_rad / (0.5 * pi))
