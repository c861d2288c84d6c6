"""Commands for the Cartesian impedance controllers of crisp_controllers, and for whatever speaks like them."""

from collections.abc import Mapping
from typing import Any, Literal

from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState

from controllers.braking import StopBy
from controllers.config import Config
from controllers.state import PoseCommand, RobotCommand, RobotState
from robot_env.ros.description import RobotDescription
from robot_env.ros.interfaces.parameters import read_parameters
from robot_env.ros.messages import joint_state, pose_stamped


class CrispConfig(Config):
    """Topics of the controller, and what it is stopped by.

    Attributes:
        pose_topic: geometry_msgs/PoseStamped.
        joint_topic: sensor_msgs/JointState.
        stop_by: `joints` where a joint target takes over from a pose at any time; crisp_controllers itself takes it for
            the posture of the null space only, so `damping` by a target behind the arm. See `controllers.braking`.
    """

    pose_topic: str = "target_pose"
    joint_topic: str = "target_joint"
    stop_by: Literal["damping", "joints"] = "damping"


class Crisp:
    """Implements `robot_env.ros.interfaces.interface.CommandInterface` by `target_pose` and `target_joint`.

    Attributes:
        stop_by: As configured.
    """

    def __init__(self, node: Any, description: RobotDescription, config: Mapping[str, Any]) -> None:
        topics = read_parameters(CrispConfig, config, description)
        self.stop_by = StopBy(topics.stop_by)
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
