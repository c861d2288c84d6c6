"""Commands for the joint controllers of ros2_controllers: poses become joint positions by our own kinematics.

After the documentation and sources of ros2_controllers (control.ros.org): a forward_command_controller takes
`<controller>/commands`, a Float64MultiArray in the order of its `joints`, ignores arrays of another length, and holds
the last one for ever. A joint_trajectory_controller takes `<controller>/joint_trajectory`; a zero stamp means "start
now", whereas a trajectory that lies in the past by its stamp is refused, which clocks that differ would bring about.
Both pass on what they get, however far away it is: so this interface limits the step of every joint.
"""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, Literal

import msgspec
import numpy as np
from builtin_interfaces.msg import Duration
from numpy.typing import NDArray
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from controllers.config import Config, InputError
from controllers.ik import InverseKinematics, UnreachableError
from controllers.kinematics import Kinematics
from controllers.limits import JointLimits, SafetyLimits
from controllers.rotations import error
from controllers.state import JointCommand, RobotCommand, RobotState
from robot_env.ros.description import RobotDescription
from robot_env.ros.interfaces.parameters import read_parameters

Array = NDArray[np.float64]

# Measured pose and pose of the measured joints differ by no more: they are not from one moment, and a real arm differs
# from its nominal kinematics by millimetres. A forgotten gripper, or a base turned by half a turn, is more.
_POSE_TOLERANCE_M = 0.05
_POSE_TOLERANCE_RAD = 0.35
# A pose that is near, as all filtered ones are, takes about ten; the control loop cannot wait for more than this.
_MAX_ITERATIONS = 40


class Ros2ControlConfig(Config):
    """Which controller, and how.

    Attributes:
        controller: Its name.
        command: `commands` for a forward position controller, `joint_trajectory` for a joint trajectory controller.
        time_from_start_s: When the one point of a trajectory is to be reached. Shorter follows sooner, longer is
            smoother.
        largest_jump_rad: A pose whose joint positions lie farther from the measured ones belongs to another posture
            of the arm, and is refused.
        position_first: See `controllers.ik`; for arms with fewer than six joints.
    """

    controller: str
    command: Literal["commands", "joint_trajectory"]
    time_from_start_s: float = 0.1
    largest_jump_rad: float = 0.8
    position_first: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be meant."""
        for name in ("time_from_start_s", "largest_jump_rad"):
            if not 0.0 < getattr(self, name) < inf:
                raise ValueError(f"{name} {getattr(self, name)} must be positive and finite")


class Ros2Control:
    """Implements `robot_env.ros.interfaces.interface.CommandInterface` by joint positions."""

    def __init__(self, node: Any, description: RobotDescription, config: Mapping[str, Any]) -> None:
        self._parameters = parameters = read_parameters(Ros2ControlConfig, config, description)
        limits = description.safety
        self._names = description.joint_names
        self._kinematics = _make_kinematics(description, parameters)
        self._inverse = InverseKinematics(
            self._kinematics.model,
            self._kinematics.site_name,
            "least_squares",
            position_first=parameters.position_first,
            max_iterations=_MAX_ITERATIONS,
        )
        self._speed_rad_s = limits.joint_speed_fraction * np.array(limits.joints.velocity_rad_s)
        self._first_period_s = 1.0 / description.command_rate_hz
        self._longest_period_s = limits.max_command_age_s
        self._sent: tuple[int, Array] | None = None
        kind = Float64MultiArray if parameters.command == "commands" else JointTrajectory
        self._publisher = node.create_publisher(kind, f"{parameters.controller}/{parameters.command}", 1)

    def send(self, command: RobotCommand, state: RobotState, stamp_ns: int) -> None:
        """Publish joint positions, no farther from the ones before than the joints may go since."""
        wanted = self._joints_of(command, state)
        target = self._step(wanted, state.joint_position_rad, stamp_ns)
        self._sent = (stamp_ns, target)
        if self._parameters.command == "commands":
            self._publisher.publish(Float64MultiArray(data=target.tolist()))
        else:
            time_s = self._parameters.time_from_start_s
            self._publisher.publish(joint_trajectory(self._names, target.tolist(), time_s))

    def release(self) -> None:
        """The controller holds its last target; the next command starts from the measured joints."""
        self._sent = None

    def _joints_of(self, command: RobotCommand, state: RobotState) -> Array:
        """Joint positions of a command, shape (N,); those of a pose are near the measured ones.

        Raises:
            UnreachableError: There are none, or those found belong to another posture of the arm.
        """
        if isinstance(command, JointCommand):
            return command.joint_position_rad
        measured = state.joint_position_rad
        position_m, quaternion = self._kinematics.pose(measured)
        away_m = np.linalg.norm(state.ee_position_m - position_m)
        away_rad = np.linalg.norm(error(state.ee_quaternion_xyzw, quaternion))
        # Written so that a NaN is refused.
        if not (away_m < _POSE_TOLERANCE_M and away_rad < _POSE_TOLERANCE_RAD):
            raise UnreachableError(
                f"The measured pose is {100 * away_m:.1f} cm and {away_rad:.2f} rad away from where the kinematics put "
                "the measured joints: give kinematics the base frame and the tool of the pose topic."
            )
        found = self._inverse.solve(command.ee_position_m, command.ee_quaternion_xyzw, measured)
        jump = np.abs(found - measured)
        if jump.max() > self._parameters.largest_jump_rad:
            raise UnreachableError(
                f"The pose needs joint {self._names[int(jump.argmax())]!r} to turn by {jump.max():.2f} rad, more than "
                f"largest_jump_rad {self._parameters.largest_jump_rad:g}, into another posture of the arm: command a "
                "pose nearer to it."
            )
        return found

    def _step(self, wanted: Array, measured: Array, stamp_ns: int) -> Array:
        """The way to `wanted` as far as the joints may go; all joints slow down alike, so the tool keeps its path."""
        start, period_s = measured, self._first_period_s
        if self._sent is not None:
            passed_s = (stamp_ns - self._sent[0]) * 1e-9
            # After a pause, or when the clock was set back, from where the arm is.
            if 0.0 <= passed_s <= self._longest_period_s:
                start, period_s = self._sent[1], passed_s
        way = wanted - start
        allowed = period_s * self._speed_rad_s
        return start + way * min(1.0, float((allowed / np.maximum(np.abs(way), 1e-9)).min()))


def joint_trajectory(names: Sequence[str], positions: Sequence[float], time_s: float) -> JointTrajectory:
    """A trajectory of one point, in rad, that starts when it arrives and ends `time_s` later."""
    seconds, nanoseconds = divmod(round(time_s * 1e9), 1_000_000_000)
    point = JointTrajectoryPoint(
        positions=positions, time_from_start=Duration(sec=seconds, nanosec=nanoseconds)
    )
    return JointTrajectory(joint_names=list(names), points=[point])


def _make_kinematics(description: RobotDescription, parameters: Ros2ControlConfig) -> Kinematics:
    if description.kinematics is None:
        raise InputError(
            f"robot {description.name!r} has no kinematics, but its interface turns poses into joint positions: "
            "give a model or dh."
        )
    if len(description.joint_names) < 6 and not parameters.position_first:
        raise InputError(
            f"robot {description.name!r} has {len(description.joint_names)} joints, too few for every orientation: "
            "set position_first in the interface's config."
        )
    return Kinematics(description.kinematics, description.joint_names, _inner(description.safety))


def _inner(limits: SafetyLimits) -> JointLimits:
    """Ends of the joints less the margin: a solution beyond would be limited, and the pose missed."""
    joints, margin = limits.joints, limits.joint_margin_rad
    return msgspec.structs.replace(
        joints,
        min_rad=tuple(low + margin for low in joints.min_rad),
        max_rad=tuple(high - margin for high in joints.max_rad),
    )
