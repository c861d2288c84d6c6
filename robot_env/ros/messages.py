"""Between ROS messages and the robot side's own words. Pure functions; units are SI on both sides.

What needs no ROS, reading them, is in `robot_env.message_reading`, and can be had from here as well.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
from numpy.typing import NDArray
from sensor_msgs.msg import JointState
from std_msgs.msg import Header

from robot_env.message_reading import (
    Joints,
    MessageError,
    check_frame,
    joints_of,
    pose_of,
    stamp_ns_of,
    twist_of,
    wrench_of,
)

__all__ = [
    "Joints",
    "MessageError",
    "check_frame",
    "joint_state",
    "joints_of",
    "pose_of",
    "pose_stamped",
    "stamp_ns_of",
    "to_time",
    "twist_of",
    "twist_stamped",
    "wrench_of",
    "wrench_stamped",
]

Array = NDArray[np.float64]

_SECOND_NS = 1_000_000_000


def to_time(stamp_ns: int) -> Time:
    """Nanoseconds as a stamp."""
    seconds, nanoseconds = divmod(stamp_ns, _SECOND_NS)
    return Time(sec=seconds, nanosec=nanoseconds)


def joint_state(
    stamp_ns: int,
    names: Sequence[str],
    position: Sequence[float],
    velocity: Sequence[float] = (),
    effort: Sequence[float] = (),
) -> JointState:
    """A JointState: rad, rad/s and Nm; of sliding joints m, m/s and N."""
    message = JointState(name=list(names), position=position, velocity=velocity, effort=effort)
    message.header.stamp = to_time(stamp_ns)
    return message


def pose_stamped(stamp_ns: int, frame: str, position_m: Array, quaternion_xyzw: Array) -> PoseStamped:
    """A PoseStamped; shapes (3,) and (4,)."""
    message = PoseStamped()
    _set_header(message.header, stamp_ns, frame)
    _set_xyz(message.pose.position, position_m)
    orientation = message.pose.orientation
    orientation.x, orientation.y, orientation.z, orientation.w = quaternion_xyzw.tolist()
    return message


def twist_stamped(stamp_ns: int, frame: str, linear_m_s: Array, angular_rad_s: Array) -> TwistStamped:
    """A TwistStamped; shapes (3,)."""
    message = TwistStamped()
    _set_header(message.header, stamp_ns, frame)
    _set_xyz(message.twist.linear, linear_m_s)
    _set_xyz(message.twist.angular, angular_rad_s)
    return message


def wrench_stamped(stamp_ns: int, frame: str, wrench: Array) -> WrenchStamped:
    """A WrenchStamped of force in N, then torque in Nm, shape (6,)."""
    message = WrenchStamped()
    _set_header(message.header, stamp_ns, frame)
    _set_xyz(message.wrench.force, wrench[:3])
    _set_xyz(message.wrench.torque, wrench[3:])
    return message


def _set_header(header: Header, stamp_ns: int, frame: str) -> None:
    header.stamp = to_time(stamp_ns)
    header.frame_id = frame


def _set_xyz(vector: Any, values: Array) -> None:
    vector.x, vector.y, vector.z = values.tolist()
