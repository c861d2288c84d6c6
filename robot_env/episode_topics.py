"""Which topic of an episode holds what: robot states as messages of a ROS 2 robot, and back."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from controllers.state import RobotState
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
    stamp_ns: int, joint_names: tuple[str, ...], state: RobotState
) -> dict[str, mcap_messages.Message]:
    """A robot's state as messages by topic; the inverse of `ROBOT_FIELDS`."""
    joints = state.joint_position_rad, state.joint_velocity_rad_s, state.joint_effort_nm
    pose = state.ee_position_m, state.ee_quaternion_xyzw
    twist = state.ee_linear_velocity_m_s, state.ee_angular_velocity_rad_s
    width = np.array([state.gripper_width_m])
    return {
        _JOINTS: mcap_messages.joint_state(stamp_ns, joint_names, *joints),
        _GRIPPER: mcap_messages.joint_state(stamp_ns, ["gripper_width"], width),
        _POSE: mcap_messages.pose_stamped(stamp_ns, _BASE_FRAME, *pose),
        _TWIST: mcap_messages.twist_stamped(stamp_ns, _BASE_FRAME, *twist),
        _WRENCH: mcap_messages.wrench_stamped(stamp_ns, _BASE_FRAME, state.ee_wrench),
    }


def image_topic(camera: str) -> str:
    """The topic of a camera's images."""
    return f"/observation/{camera}/compressed"


def camera_of(topic: str) -> str | None:
    """The camera whose images `topic` holds; None for other topics."""
    match = re.fullmatch("/observation/(.+)/compressed", topic)
    return match[1] if match else None


def _xyz(vector: Any) -> tuple[float, float, float]:
    return vector.x, vector.y, vector.z
