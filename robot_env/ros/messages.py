"""Between ROS messages and the robot side's own words. Pure functions; units are SI on both sides."""

from collections.abc import Sequence
from math import hypot, isfinite
from typing import Any, NamedTuple

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
from numpy.typing import NDArray
from sensor_msgs.msg import JointState
from std_msgs.msg import Header

Array = NDArray[np.float64]

_SECOND_NS = 1_000_000_000
_UNIT_TOLERANCE = 1e-2


class MessageError(ValueError):
    """A message does not say what it should; the text follows the name of its topic."""


class Joints(NamedTuple):
    """What a JointState says of an arm, in the arm's order, shapes (N,); None for what it leaves out."""

    position_rad: Array
    velocity_rad_s: Array | None
    effort_nm: Array | None


def to_time(stamp_ns: int) -> Time:
    """Nanoseconds as a stamp."""
    seconds, nanoseconds = divmod(stamp_ns, _SECOND_NS)
    return Time(sec=seconds, nanosec=nanoseconds)


def stamp_ns_of(header: Header) -> int:
    """The stamp of a header in nanoseconds; 0 if it was never set."""
    return int(header.stamp.sec) * _SECOND_NS + int(header.stamp.nanosec)


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


def joints_of(message: JointState, names: Sequence[str]) -> Joints | None:
    """What a message says of the joints `names`, put into their order.

    Returns:
        None if it speaks of other joints only, as a gripper's does on the same topic.

    Raises:
        MessageError: Some of the joints are missing or twice, or there are fewer numbers than names.
    """
    given = list(message.name)
    known = [name for name in names if name in given]
    if not known:
        return None
    if len(known) < len(names):
        missing = [name for name in names if name not in given]
        raise MessageError(f"lacks the joints {missing}; it has {given}")
    if len(set(given)) < len(given):
        raise MessageError(f"names a joint twice: {given}")
    order = [given.index(name) for name in names]
    position, velocity, effort = message.position, message.velocity, message.effort
    if len(position) != len(given):
        raise MessageError(f"has {len(given)} names but {len(position)} positions")
    return Joints(
        _ordered(position, order), *(_optional(part, order, len(given)) for part in (velocity, effort))
    )


def pose_of(message: PoseStamped, frame: str) -> tuple[Array, Array]:
    """Position, shape (3,), and unit quaternion x, y, z, w, shape (4,).

    Raises:
        MessageError: It is in another frame than `frame` (an empty one accepts any), or its quaternion is not one.
    """
    check_frame(message.header, frame)
    q = message.pose.orientation
    length = hypot(q.x, q.y, q.z, q.w)
    if isfinite(length) and abs(length - 1.0) > _UNIT_TOLERANCE:
        raise MessageError(
            f"has the quaternion ({q.x:g}, {q.y:g}, {q.z:g}, {q.w:g}), whose length is {length:.3g}, not 1"
        )
    quaternion = np.array((q.x, q.y, q.z, q.w))
    # Drivers round; what is left of that is taken out here. A NaN passes through to the safety filter.
    return _xyz(message.pose.position), quaternion / length if isfinite(length) else quaternion


def twist_of(message: TwistStamped, frame: str) -> tuple[Array, Array]:
    """Linear velocity in m/s and angular velocity in rad/s, shapes (3,).

    Raises:
        MessageError: It is in another frame than `frame`.
    """
    check_frame(message.header, frame)
    return _xyz(message.twist.linear), _xyz(message.twist.angular)


def wrench_of(message: WrenchStamped) -> tuple[Array, Array, str]:
    """Force in N and torque in Nm, shapes (3,), and the frame that they are in."""
    return _xyz(message.wrench.force), _xyz(message.wrench.torque), message.header.frame_id


def check_frame(header: Header, frame: str) -> None:
    """Refuse a message in a frame other than `frame`; an empty `frame` accepts any.

    Raises:
        MessageError: It is in another.
    """
    if frame and header.frame_id.lstrip("/") != frame:
        raise MessageError(f"is in frame {header.frame_id!r}, but {frame!r} is expected")


def _ordered(values: Sequence[float], order: list[int]) -> Array:
    return np.array([values[index] for index in order], np.float64)


def _optional(values: Sequence[float], order: list[int], size: int) -> Array | None:
    """None for what is not measured: an empty array, or as joint_state_broadcaster of ros2_control writes it, NaN."""
    ordered = _ordered(values, order) if len(values) == size else None
    return None if ordered is None or np.isnan(ordered).all() else ordered


def _set_header(header: Header, stamp_ns: int, frame: str) -> None:
    header.stamp = to_time(stamp_ns)
    header.frame_id = frame


def _set_xyz(vector: Any, values: Array) -> None:
    vector.x, vector.y, vector.z = values.tolist()


def _xyz(vector: Any) -> Array:
    return np.array((vector.x, vector.y, vector.z))
