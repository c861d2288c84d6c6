"""Commands for the FZI cartesian_controllers (motion, force and compliance controllers for ros2_control).

After the sources of fzi-forschungszentrum-informatik/cartesian_controllers, branch ros2: the controllers of motion and
compliance subscribe to `<controller>/target_frame`, a PoseStamped whose frame must be their parameter `robot_base_link`
(others are ignored with a warning); it is the pose of their `end_effector_link`, so that link must be the tool centre
point of the robot's YAML. They go on towards the last target by themselves, and know nothing of joint targets.
"""

from collections.abc import Mapping
from typing import Any

from geometry_msgs.msg import PoseStamped
from trajectory_msgs.msg import JointTrajectory

from controllers.config import Config
from controllers.ik import UnreachableError
from controllers.state import PoseCommand, RobotCommand, RobotState
from robot_env.ros.description import RobotDescription
from robot_env.ros.interfaces.parameters import read_parameters, require_base_frame
from robot_env.ros.interfaces.ros2_control import joint_trajectory
from robot_env.ros.messages import pose_stamped


class CartesianControllersConfig(Config):
    """Where commands go.

    Attributes:
        controller: Name of the controller that takes poses.
        joint_topic: trajectory_msgs/JointTrajectory of another controller, for joint commands; null refuses them. Only
            one of the two controllers can be active: whoever sends joint commands has to switch before and after.
        time_from_start_s: When a joint command is to be reached.
    """

    controller: str = "cartesian_motion_controller"
    joint_topic: str | None = None
    time_from_start_s: float = 0.1


class CartesianControllers:
    """Implements `robot_env.ros.interfaces.interface.CommandInterface` by `target_frame`."""

    def __init__(self, node: Any, description: RobotDescription, config: Mapping[str, Any]) -> None:
        parameters = read_parameters(CartesianControllersConfig, config, description)
        self._frame = require_base_frame(description, parameters.controller)
        self._names = description.joint_names
        self._parameters = parameters
        self._pose = node.create_publisher(PoseStamped, f"{parameters.controller}/target_frame", 1)
        topic = parameters.joint_topic
        self._joint = node.create_publisher(JointTrajectory, topic, 1) if topic is not None else None

    def send(self, command: RobotCommand, state: RobotState, stamp_ns: int) -> None:
        """Publish a target."""
        if isinstance(command, PoseCommand):
            position_m, quaternion = command.ee_position_m, command.ee_quaternion_xyzw
            self._pose.publish(pose_stamped(stamp_ns, self._frame, position_m, quaternion))
        elif self._joint is not None:
            positions, time_s = command.joint_position_rad.tolist(), self._parameters.time_from_start_s
            self._joint.publish(joint_trajectory(self._names, positions, time_s))
        else:
            raise UnreachableError(
                f"{self._parameters.controller} takes poses only: give joint_topic in the interface's config, or "
                "command poses."
            )

    def release(self) -> None:
        """The controller holds its last target by itself."""
