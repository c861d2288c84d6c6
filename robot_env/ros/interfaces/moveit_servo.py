"""Commands for MoveIt Servo.

After the sources and parameter files of moveit2's moveit_servo: its node takes PoseStamped on `~/pose_target_cmds`,
TwistStamped on `~/delta_twist_cmds` and control_msgs/JointJog on `~/delta_joint_cmds`, of which it follows one kind at
a time, chosen by `ros2 service call /servo_node/switch_command_type moveit_msgs/srv/ServoCommandType
"{command_type: 2}"` (0 joints, 1 twists, 2 poses). It refuses stamps older than `incoming_command_timeout` (0.1 s) and
stops when nothing newer comes. Twists here are in m/s and rad/s: its `command_in_type` must be `speed_units`.
"""

from collections.abc import Mapping
from math import inf
from typing import Any, Literal

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from numpy.typing import NDArray

from controllers.config import Config, InputError
from controllers.ik import UnreachableError
from controllers.rotations import error
from controllers.state import JointCommand, PoseCommand, RobotCommand, RobotState
from robot_env.ros.description import RobotDescription
from robot_env.ros.interfaces.parameters import read_parameters, require_base_frame
from robot_env.ros.messages import pose_stamped, to_time, twist_stamped

Array = NDArray[np.float64]


class MoveItServoConfig(Config):
    """What Servo gets.

    Attributes:
        mode: `pose` sends target poses, `twist` sends velocities towards them.
        node: Name of Servo's node.
        gain_per_s: Velocity for a distance to the target, in m/s per m and rad/s per rad. More follows sooner; above
            about half of what the delay of arm and network leaves, the arm swings around the target.
        joints: Whether joint commands are sent, as JointJog. Servo follows them only when it was switched to joints.
    """

    mode: Literal["pose", "twist"] = "pose"
    node: str = "servo_node"
    gain_per_s: float = 5.0
    joints: bool = False

    def __post_init__(self) -> None:
        """Refuse gains that move nothing."""
        if not 0.0 < self.gain_per_s < inf:
            raise ValueError(f"gain_per_s {self.gain_per_s} must be positive and finite")


class MoveItServo:
    """Implements `robot_env.ros.interfaces.interface.CommandInterface` by poses or twists, and joint jogs."""

    def __init__(self, node: Any, description: RobotDescription, config: Mapping[str, Any]) -> None:
        self._parameters = parameters = read_parameters(MoveItServoConfig, config, description)
        self._frame = require_base_frame(description, "MoveIt Servo")
        self._names = description.joint_names
        self._limits = description.safety
        self._speed_rad_s = self._limits.joint_speed_fraction * np.array(self._limits.joints.velocity_rad_s)
        self._joint_jog: Any = _joint_jog_type(description) if parameters.joints else None
        self._pose = node.create_publisher(PoseStamped, f"{parameters.node}/pose_target_cmds", 1)
        self._twist = node.create_publisher(TwistStamped, f"{parameters.node}/delta_twist_cmds", 1)
        if parameters.joints:
            self._joint = node.create_publisher(self._joint_jog, f"{parameters.node}/delta_joint_cmds", 1)
        self._moving: tuple[type[RobotCommand], int] | None = None

    def send(self, command: RobotCommand, state: RobotState, stamp_ns: int) -> None:
        """Publish a target pose, or the velocity towards it."""
        if isinstance(command, JointCommand):
            self._send_joints(command.joint_position_rad - state.joint_position_rad, stamp_ns)
        elif self._parameters.mode == "pose":
            position_m, quaternion = command.ee_position_m, command.ee_quaternion_xyzw
            self._pose.publish(pose_stamped(stamp_ns, self._frame, position_m, quaternion))
        else:
            gain, limits = self._parameters.gain_per_s, self._limits
            away_m = command.ee_position_m - state.ee_position_m
            away_rad = error(command.ee_quaternion_xyzw, state.ee_quaternion_xyzw)
            self._publish_twist(
                _shortened(gain * away_m, limits.linear_speed_m_s),
                _shortened(gain * away_rad, limits.angular_speed_rad_s),
                stamp_ns,
            )
            self._moving = (PoseCommand, stamp_ns)

    def release(self) -> None:
        """Velocities end with zero; of a target pose, Servo's own time-out is the end."""
        if self._moving is None:
            return
        kind, stamp_ns = self._moving
        self._moving = None
        if kind is PoseCommand:
            self._publish_twist(np.zeros(3), np.zeros(3), stamp_ns)
        else:
            self._publish_jog(np.zeros(len(self._names)), stamp_ns)

    def _publish_twist(self, linear_m_s: Array, angular_rad_s: Array, stamp_ns: int) -> None:
        self._twist.publish(twist_stamped(stamp_ns, self._frame, linear_m_s, angular_rad_s))

    def _send_joints(self, away_rad: Array, stamp_ns: int) -> None:
        if self._joint_jog is None:
            raise UnreachableError(
                "MoveIt Servo gets no joint commands here: set joints in the interface's config and switch Servo to "
                "joints, or command poses."
            )
        velocity = self._parameters.gain_per_s * away_rad
        # All joints slow down alike, so that they arrive together.
        self._publish_jog(velocity / max(1.0, float((np.abs(velocity) / self._speed_rad_s).max())), stamp_ns)
        self._moving = (JointCommand, stamp_ns)

    def _publish_jog(self, velocity_rad_s: Array, stamp_ns: int) -> None:
        message = self._joint_jog(joint_names=list(self._names), velocities=velocity_rad_s.tolist())
        message.header.stamp = to_time(stamp_ns)
        message.header.frame_id = self._frame
        self._joint.publish(message)


def _shortened(vector: Array, longest: float) -> Array:
    """`vector`, no longer than `longest`."""
    return vector / max(1.0, float(np.linalg.norm(vector)) / longest)


def _joint_jog_type(description: RobotDescription) -> Any:
    try:
        from control_msgs.msg import JointJog
    except ImportError:
        raise InputError(
            f"interface of robot {description.name!r}: joints need control_msgs, which is not installed: install it "
            "(apt install ros-$ROS_DISTRO-control-msgs), or set joints to false."
        ) from None
    return JointJog
