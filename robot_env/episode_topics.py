"""Which topic of an episode holds what: robot states as messages of a ROS 2 robot, and back."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from robot_env import mcap_messages

_BASE_FRAME = "base"
_JOINTS, _GRIPPER = "/joint_states", "/gripper/joint_states"
_POSE, _TWIST, _WRENCH = "/current_pose", "/current_twist", "/wrench"

STATE, ACTION, SUCCESS = "/observation/state", "/action", "/success"
IMAGE_TYPE = "sensor_msgs/msg/CompressedImage"

# Topic -> type of its messages; images have topics by camera, see `image_topic`.
TYPES: dict[str, str] = {
    _JOINTS: "sensor_msgs/msg/JointState",
    _GRIPPER: "sensor_msgs/msg/JointState",
    _POSE: "geometry_msgs/msg/PoseStamped",
    _TWIST: "geometry_msgs/msg/TwistStamped",
    _WRENCH: "geometry_msgs/msg/WrenchStamped",
    STATE: "std_msgs/msg/Float32MultiArray",
    ACTION: "std_msgs/msg/Float32MultiArray",
    "/reward": "std_msgs/msg/Float64",
    "/terminated": "std_msgs/msg/Bool",
    "/truncated": "std_msgs/msg/Bool",
    "/intervened": "std_msgs/msg/Bool",
    "/provenance": "std_msgs/msg/String",
    SUCCESS: "std_msgs/msg/Bool",
}

# Field of RobotState -> topic and the numbers in its message.
ROBOT_FIELDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "joint_position_rad": (_JOINTS, lambda m: m.position),
    "joint_velocity_rad_s": (_JOINTS, lambda m: m.velocity),
    "joint_effort_nm": (_JOINTS, lambda m: m.effort),
    "ee_position_m": (_POSE, lambda m: _xyz(m.pose.position)),
    "ee_quaternion_xyzw": (_POSE, lambda m: (*_xyz(m.pose.orientation), m.pose.orientation.w)),
    "ee_linear_velocity_m_s": (_TWIST, lambda m: _xyz(m.twist.linear)),
    "ee_angular_velocity_rad_s": (_TWIST, lambda m: _xyz(m.twist.angular)),
    "ee_wrench": (_WRENCH, lambda m: (*_xyz(m.wrench.force), *_xyz(m.wrench.torque))),
    "gripper_width_m": (_GRIPPER, lambda m: m.position[0]),
}


def robot_messages(
    stamp_ns: int, joint_names: tuple[str, ...], measured: Mapping[str, Any]
) -> dict[str, mcap_messages.Message]:
    """A robot's state as messages by topic; the inverse of `ROBOT_FIELDS`.

    Args:
        stamp_ns: When it was measured, since the Unix epoch.
        joint_names: Names of the N joints.
        measured: Fields of RobotState by name. A topic of which nothing is measured has no message; pose, twist and
            wrench are measured as a whole.
    """
    messages: dict[str, mcap_messages.Message] = {}
    joints = [
        measured.get(name) for name in ("joint_position_rad", "joint_velocity_rad_s", "joint_effort_nm")
    ]
    if any(values is not None for values in joints):
        messages[_JOINTS] = mcap_messages.joint_state(stamp_ns, joint_names, *joints)
    if "gripper_width_m" in measured:
        width = np.array([measured["gripper_width_m"]])
        messages[_GRIPPER] = mcap_messages.joint_state(stamp_ns, ["gripper_width"], width)
    if "ee_position_m" in measured:
        pose = measured["ee_position_m"], measured["ee_quaternion_xyzw"]
        messages[_POSE] = mcap_messages.pose_stamped(stamp_ns, _BASE_FRAME, *pose)
    if "ee_linear_velocity_m_s" in measured:
        twist = measured["ee_linear_velocity_m_s"], measured["ee_angular_velocity_rad_s"]
        messages[_TWIST] = mcap_messages.twist_stamped(stamp_ns, _BASE_FRAME, *twist)
    if "ee_wrench" in measured:
        messages[_WRENCH] = mcap_messages.wrench_stamped(stamp_ns, _BASE_FRAME, measured["ee_wrench"])
    return messages


def image_topic(camera: str) -> str:
    """The topic of a camera's images."""
    return f"/observation/{camera}/compressed"


def camera_of(topic: str) -> str | None:
    """The camera whose images `topic` holds; None for other topics."""
    match = re.fullmatch("/observation/(.+)/compressed", topic)
    return match[1] if match else None


def _xyz(vector: Any) -> tuple[float, float, float]:
    return vector.x, vector.y, vector.z
