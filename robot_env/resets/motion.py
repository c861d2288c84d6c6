"""Slow, watched motions of the tool centre point, made of nothing but pose commands.

So they work on every arm that an episode works on: the twin in process, the twin and real arms behind ROS 2, and arms
that take no joint commands.
"""

from math import inf

import numpy as np
from numpy.typing import ArrayLike, NDArray

from controllers.config import Config
from controllers.joint_motion import MinimumJerk
from controllers.rotations import error, slerp
from controllers.state import PoseCommand, RobotState
from robot_env.clock import Rate
from robot_env.contracts import KeepGoing
from robot_env.robot import Robot, RobotError

Array = NDArray[np.float64]

_PEAK_SPEED = 15.0 / 8.0
"""Of the minimum-jerk motion of length one and duration one."""
_STILL_M = 0.0005
_LATEST_PERIODS = 1.5
_MEASURED = (
    "joint_position_rad",
    "ee_position_m",
    "ee_quaternion_xyzw",
    "ee_linear_velocity_m_s",
    "ee_wrench",
    "gripper_width_m",
)


class MotionError(RobotError):
    """A motion did not do what it was to; the arm may still be driven. The message says what was in the way."""


class MotionConfig(Config):
    """How fast, and when to give up.

    Attributes:
        speed_m_s: Highest speed of the target where the way is free.
        approach_speed_m_s: Where something may be touched.
        turn_rad_s: Highest turning speed of the target.
        rate_hz: Commands per second.
        tolerance_m: A motion must end this near its goal.
        settle_s: Time to get there after the last new target.
        still_m_s: Slower than this the arm rests.
        max_tracking_error_m: Further than this behind its target the arm is taken to be blocked.
        max_force_n: Above this measured force the motion ends as failed.
        contact_n: Where a touch is looked for, this much more force than at the start of the motion is one.
        budget_s: Longest time for one motion.
        gripper_timeout_s: Time that the fingers may take.
        gripper_still_s: Fingers that have not moved for so long have arrived or met something.
    """

    speed_m_s: float = 0.25
    approach_speed_m_s: float = 0.1
    turn_rad_s: float = 1.0
    rate_hz: float = 25.0
    tolerance_m: float = 0.01
    settle_s: float = 1.0
    still_m_s: float = 0.02
    max_tracking_error_m: float = 0.08
    max_force_n: float = 25.0
    contact_n: float = 8.0
    budget_s: float = 20.0
    gripper_timeout_s: float = 3.0
    gripper_still_s: float = 0.3

    def __post_init__(self) -> None:
        """Refuse what cannot be driven."""
        for name in self.__struct_fields__:
            if not 0.0 < getattr(self, name) < inf:
                raise ValueError(f"{name} {getattr(self, name)} must be positive and finite")


class ToolMotion:
    """Moves the tool centre point along straight lines, at rest at both ends, and watches.

    Every command is preceded by a question whether to go on. What ends a motion early is raised; who catches it stops
    the robot.

    Args:
        robot: Connected.
        config: How fast, and when to give up.
        keep_going: Asked before every command.

    Attributes:
        state: The newest measurement.

    Raises:
        RobotError: There is no measurement to begin with, or it is not finite.
    """

    def __init__(self, robot: Robot, config: MotionConfig, keep_going: KeepGoing) -> None:
        self._robot = robot
        self._config = config
        self._keep_going = keep_going
        self.state = self._observe()
        self._position_m = self.state.ee_position_m
        self._quaternion = self.state.ee_quaternion_xyzw
        self._width_m = self.state.gripper_width_m

    def move(
        self,
        position_m: ArrayLike,
        quaternion_xyzw: Array | None = None,
        *,
        speed_m_s: float | None = None,
        until_contact: bool = False,
        leaving: bool = False,
    ) -> bool:
        """Go straight to a pose.

        Args:
            position_m: Of the tool centre point, shape (3,).
            quaternion_xyzw: Orientation to turn to on the way, shape (4,); the last one wanted if not given.
            speed_m_s: Highest speed; that of the configuration if not given.
            until_contact: Whether to end where something is touched; then the arm stays there without pushing.
            leaving: Whether something may be touched already, which then may not become worse.

        Returns:
            Whether something was touched, where that was looked for.

        Raises:
            MotionError: The force was too high, or the arm did not follow or arrive in time.
            RobotError: The robot cannot be driven, or its measurement is not finite.
        """
        config, clock = self._config, self._robot.clock
        start_m, start_quaternion = self.state.ee_position_m, self.state.ee_quaternion_xyzw
        goal_m = np.array(position_m, np.float64)
        goal_quaternion = self._quaternion if quaternion_xyzw is None else quaternion_xyzw
        start_force_n = self.state.ee_wrench[:3]
        highest_n = max(config.max_force_n, float(np.linalg.norm(start_force_n)) if leaving else 0.0)
        duration_s = self._duration_s(goal_m, goal_quaternion, speed_m_s or config.speed_m_s)
        progress = MinimumJerk(np.zeros(1), np.ones(1), duration_s)
        rate = Rate(clock, config.rate_hz)
        start_s = now_s = clock.now_s()
        time_s = 0.0
        while True:
            fraction = progress.at(time_s)[0].item()
            self._position_m = start_m + fraction * (goal_m - start_m)
            self._quaternion = slerp(start_quaternion, goal_quaternion, fraction)
            self._command(rate)
            force_n, behind_m = self.state.ee_wrench[:3], self._behind_m()
            if until_contact:
                touched_n = float(np.linalg.norm(force_n - start_force_n))
                if touched_n > config.contact_n or behind_m > config.max_tracking_error_m:
                    self._position_m = self.state.ee_position_m
                    return True
            if np.linalg.norm(force_n) > highest_n:
                raise MotionError(f"the arm met a force of {np.linalg.norm(force_n):.0f} N {self._place()}")
            if behind_m > config.max_tracking_error_m:
                raise MotionError(f"the arm is blocked {self._place()}, {behind_m:.3f} m behind its target")
            if time_s >= duration_s and behind_m <= config.tolerance_m:
                return False
            if time_s >= duration_s + config.settle_s or now_s - start_s >= config.budget_s:
                away_m = float(np.linalg.norm(goal_m - self.state.ee_position_m))
                raise MotionError(f"the arm stayed {away_m:.3f} m from its goal {self._place()}")
            before_s, now_s = now_s, clock.now_s()
            # A computer that comes late makes the arm slow, and not jump.
            time_s += min(now_s - before_s, _LATEST_PERIODS * rate.period_s)

    def grip(self, width_m: float) -> float:
        """Move the fingers, the arm staying where it is, until they are there or move no more.

        Args:
            width_m: Wanted distance between the fingers.

        Returns:
            The distance that they have come to.
        """
        config, clock = self._config, self._robot.clock
        self._width_m = width_m
        rate = Rate(clock, config.rate_hz)
        start_s = still_since_s = clock.now_s()
        still_m = self.state.gripper_width_m
        while True:
            self._command(rate)
            now_s, measured_m = clock.now_s(), self.state.gripper_width_m
            if abs(measured_m - still_m) > _STILL_M:
                still_since_s, still_m = now_s, measured_m
            if now_s - still_since_s >= config.gripper_still_s or now_s - start_s >= config.gripper_timeout_s:
                return measured_m

    def rest(self) -> None:
        """Stay until the arm does not move any more.

        Raises:
            MotionError: It goes on moving.
        """
        clock = self._robot.clock
        rate = Rate(clock, self._config.rate_hz)
        start_s = clock.now_s()
        while (
            speed_m_s := float(np.linalg.norm(self.state.ee_linear_velocity_m_s))
        ) > self._config.still_m_s:
            if clock.now_s() - start_s > self._config.settle_s:
                raise MotionError(f"the arm does not come to rest: it moves with {speed_m_s:.2f} m/s")
            self._command(rate)

    def _command(self, rate: Rate) -> None:
        """One command, and what came of it."""
        self._keep_going()
        now_s = self._robot.clock.now_s()
        self._robot.send_command(PoseCommand(now_s, self._position_m, self._quaternion, self._width_m))
        rate.wait()
        self.state = self._observe()

    def _observe(self) -> RobotState:
        state = self._robot.observe()
        for name in _MEASURED:
            value = getattr(state, name)
            if not np.isfinite(value).all():
                raise RobotError(f"its {name} is {np.asarray(value).tolist()}")
        return state

    def _duration_s(self, goal_m: Array, goal_quaternion: Array, speed_m_s: float) -> float:
        way_m = float(np.linalg.norm(goal_m - self.state.ee_position_m))
        turn_rad = float(np.linalg.norm(error(goal_quaternion, self.state.ee_quaternion_xyzw)))
        return _PEAK_SPEED * max(way_m / speed_m_s, turn_rad / self._config.turn_rad_s)

    def _behind_m(self) -> float:
        return float(np.linalg.norm(self._position_m - self.state.ee_position_m))

    def _place(self) -> str:
        x, y, z = self.state.ee_position_m.tolist()
        return f"at {x:.2f}, {y:.2f}, {z:.2f} m"
