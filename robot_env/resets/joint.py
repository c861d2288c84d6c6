"""A reset that drives home in joint space."""

import numpy as np
from numpy.typing import NDArray

from controllers.config import Config, InputError
from controllers.joint_motion import MinimumJerk, minimum_duration_s
from controllers.limits import JointLimits
from controllers.state import JointCommand, RobotState
from robot_env.clock import Rate
from robot_env.contracts import KeepGoing, ResetResult, always
from robot_env.robot import Robot, RobotError, RobotUnavailableError


class JointResetConfig(Config):
    """How to move home.

    Attributes:
        home_joint_position_rad: Where to, one entry per joint.
        gripper_width_m: Distance of the fingers throughout; the one found at the start if not given.
        rate_hz: Commands per second.
        speed_fraction: Part of the joints' velocity and acceleration limits to use, in (0, 1].
        tolerance_rad: Every joint must end this near its home position.
        settle_s: Time to get there after the last new command.
        max_tracking_error_rad: Further than this behind the command the arm is taken to be blocked.
    """

    home_joint_position_rad: tuple[float, ...]
    gripper_width_m: float | None = None
    rate_hz: float = 50.0
    speed_fraction: float = 0.2
    tolerance_rad: float = 0.02
    settle_s: float = 1.0
    max_tracking_error_rad: float = 0.3

    def __post_init__(self) -> None:
        """Refuse what cannot be driven."""
        if not 0.0 < self.speed_fraction <= 1.0:
            raise ValueError(f"speed_fraction {self.speed_fraction} must lie in (0, 1]")
        for name in ("rate_hz", "tolerance_rad", "settle_s", "max_tracking_error_rad"):
            if not 0.0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} {getattr(self, name)} must be positive and finite")


class JointReset:
    """Moves a robot home in joint space along a minimum-jerk path, and sees whether it arrived.

    It is blind to what lies in between: choose a home position that every pose of the workspace reaches freely.
    On any doubt (no or bad measurement, a refused command, an arm that does not follow) the robot is stopped.

    Args:
        robot: Connected before the first reset.
        config: Home and how to get there.
        limits: Of the robot's joints.

    Raises:
        InputError: The home position has another number of joints than the robot, or lies outside the limits.
    """

    def __init__(self, robot: Robot, config: JointResetConfig, limits: JointLimits) -> None:
        home_rad = np.array(config.home_joint_position_rad)
        joints = len(robot.joint_names)
        if home_rad.size != joints or limits.joints != joints:
            raise InputError(
                f"The reset's home position has {home_rad.size} joints and the limits have {limits.joints}, but the "
                f"robot has {joints}: give one entry per joint."
            )
        inside = (home_rad >= limits.min_rad) & (home_rad <= limits.max_rad)  # False for NaN, too.
        if not inside.all():
            index = int(np.flatnonzero(~inside)[0])
            raise InputError(
                f"The reset's home position of {robot.joint_names[index]} is {home_rad[index]} rad, but must lie in "
                f"[{limits.min_rad[index]}, {limits.max_rad[index]}]: choose another."
            )
        self._robot = robot
        self._config = config
        self._limits = limits
        self._home_rad = home_rad

    def reset(self, rng: np.random.Generator, keep_going: KeepGoing = always) -> ResetResult:
        """Move home. Nothing about it is random.

        Raises:
            RobotUnavailableError: The robot went away meanwhile.
            Exception: What `keep_going` raised; the robot was stopped.
        """
        try:
            return self._move_home(keep_going)
        except RobotUnavailableError:
            self._robot.stop()
            raise
        except RobotError as error:
            return self._stopped(str(error))
        except BaseException:  # Ctrl-C as well.
            self._robot.stop()
            raise

    def _move_home(self, keep_going: KeepGoing) -> ResetResult:
        config, clock = self._config, self._robot.clock
        state = self._robot.observe()
        start_rad = state.joint_position_rad
        if not np.isfinite(start_rad).all():
            return self._stopped(_not_finite(start_rad))
        width_m = state.gripper_width_m if config.gripper_width_m is None else config.gripper_width_m
        duration_s = minimum_duration_s(start_rad, self._home_rad, self._limits, config.speed_fraction)
        motion = MinimumJerk(start_rad, self._home_rad, duration_s)
        rate = Rate(clock, config.rate_hz)
        start_s = clock.now_s()
        while True:
            keep_going()
            time_s = clock.now_s() - start_s
            target_rad, _ = motion.at(time_s)
            self._robot.send_command(JointCommand(clock.now_s(), target_rad, width_m))
            rate.wait()
            state = self._robot.observe()
            reason = self._fault(state, target_rad)
            if reason:
                return self._stopped(reason)
            distance_rad = np.abs(state.joint_position_rad - self._home_rad)
            if time_s >= duration_s and distance_rad.max() <= config.tolerance_rad:
                return ResetResult(True)
            if time_s >= duration_s + config.settle_s:
                return self._stopped(f"{self._worst(distance_rad)} from its home position")

    def _fault(self, state: RobotState, target_rad: NDArray[np.float64]) -> str:
        """Why the motion must end here; empty while all is well."""
        position_rad = state.joint_position_rad
        if not np.isfinite(position_rad).all():
            return _not_finite(position_rad)
        error_rad = np.abs(position_rad - target_rad)
        if error_rad.max() > self._config.max_tracking_error_rad:
            return (
                f"{self._worst(error_rad)} behind its command; it may be blocked or held by the safety filter"
            )
        return ""

    def _worst(self, error_rad: NDArray[np.float64]) -> str:
        index = int(error_rad.argmax())
        return f"{self._robot.joint_names[index]} is {error_rad[index]:.3f} rad"

    def _stopped(self, reason: str) -> ResetResult:
        self._robot.stop()
        return ResetResult(False, f"the robot did not reach its home position: {reason}")


def _not_finite(position_rad: NDArray[np.float64]) -> str:
    return f"its joint positions are {position_rad.tolist()}"
