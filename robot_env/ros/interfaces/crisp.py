"""Commands for the Cartesian impedance controllers of crisp_controllers, and for whatever speaks like them."""

from collections.abc import Mapping
from typing import Any

import msgspec
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState

from controllers.config import Config, InputError
from controllers.state import PoseCommand, RobotCommand, RobotState
from robot_env.ros.description import RobotDescription
from robot_env.ros.messages import joint_state, pose_stamped


class CrispConfig(Config):
    """Topics of the controller."""

    pose_topic: str = "target_pose"
    joint_topic: str = "target_joint"


class Crisp:
    """Implements `robot_env.ros.interfaces.interface.CommandInterface` by `target_pose` and `target_joint`."""

    def __init__(self, node: Any, description: RobotDescription, config: Mapping[str, Any]) -> None:
        try:
            topics = msgspec.convert(dict(config), CrispConfig, strict=False)
        except msgspec.ValidationError as error:
            raise InputError(f"interface of robot {description.name!r}: {error}.") from None
        self._frame = description.base_frame
        self._names = description.joint_names
        self._pose = node.create_publisher(PoseStamped, topics.pose_topic, 1)
        self._joint = node.create_publisher(JointState, topics.joint_topic, 1)

    def send(self, command: RobotCommand, state: RobotState, stamp_ns: int) -> None:
        """Publish a target."""
        if isinstance(command, PoseCommand):
            position_m, quaternion = command.ee_position_m, command.ee_quaternion_xyzw
            self._pose.publish(pose_stamped(stamp_ns, self._frame, position_m, quaternion))
        else:
            self._joint.publish(joint_state(stamp_ns, self._names, command.joint_position_rad.tolist()))

    def release(self) -> None:
        """The controller holds its last target by itself."""
