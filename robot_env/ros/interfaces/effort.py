"""Torques of our own impedance controllers, for arms that take torques.

Gravity is the driver's: Franka's adds it to what it is told, as the twin does, and so zero torques mean an arm that
stays where it is and can be moved by hand. Torques are computed once per command. Delay and a low rate take damping
away: the default gains want a `rate_hz` of 100 or more on the computer beside the arm, better 500.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Float64MultiArray

from controllers.braking import StopBy
from controllers.config import Config, InputError
from controllers.impedance import CartesianImpedance, ImpedanceConfig, JointImpedance, JointImpedanceConfig
from controllers.kinematics import Kinematics
from controllers.state import JointCommand, RobotCommand, RobotState
from robot_env.ros.description import RobotDescription
from robot_env.ros.interfaces.parameters import read_parameters

Array = NDArray[np.float64]


class EffortConfig(Config):
    """Where torques go, and how stiff the arm is.

    Attributes:
        topic: std_msgs/Float64MultiArray in the order of the robot's joint_names, as a forward effort controller
            takes it.
        impedance: Gains for poses. Without `posture_rad` the redundant joints are drawn to the robot's home.
        joint_impedance: Gains for joint positions.
    """

    topic: str = "effort_commands"
    impedance: ImpedanceConfig = ImpedanceConfig()
    joint_impedance: JointImpedanceConfig = JointImpedanceConfig()


class Effort:
    """Implements `robot_env.ros.interfaces.interface.CommandInterface` by joint torques.

    Attributes:
        stop_by: Springs and dampers follow poses and joint positions alike; see `controllers.braking`.
    """

    stop_by = StopBy.JOINTS
    needs_controller = True  # Torques from a state that is old, or repeated after it, are wrong.

    def __init__(self, node: Any, description: RobotDescription, config: Mapping[str, Any]) -> None:
        parameters = read_parameters(EffortConfig, config, description)
        impedance = parameters.impedance
        if "posture_rad" not in config.get("impedance", {}):
            impedance = msgspec.structs.replace(impedance, posture_rad=description.home_joint_position_rad)
        if description.kinematics is None:
            raise InputError(
                f"robot {description.name!r} has no kinematics, but torques for a pose need its Jacobian: give it some."
            )
        limits = description.safety.joints
        self._kinematics = Kinematics(description.kinematics, description.joint_names)
        self._cartesian = CartesianImpedance(impedance, limits)
        self._joint = JointImpedance(parameters.joint_impedance, limits)
        self._followed_pose = False
        self._zeros = [0.0] * limits.joints
        self._publisher = node.create_publisher(Float64MultiArray, parameters.topic, 1)

    def send(self, command: RobotCommand, state: RobotState, stamp_ns: int) -> None:
        """Publish the torques that draw the arm towards a target.

        Raises:
            ArithmeticError: They are not finite.
        """
        self._publisher.publish(Float64MultiArray(data=self.torque(command, state).tolist()))

    def release(self) -> None:
        """Zero torques: a forward controller would apply the last ones for ever."""
        self._publisher.publish(Float64MultiArray(data=self._zeros))

    def torque(self, command: RobotCommand, state: RobotState) -> Array:
        """Torques in Nm without gravity, within the joints' limits, shape (N,).

        Raises:
            ArithmeticError: They are not finite.
        """
        position, velocity = state.joint_position_rad, state.joint_velocity_rad_s
        if isinstance(command, JointCommand):
            self._followed_pose = False
            self._joint.set_target(command.joint_position_rad)
            return self._joint.torque(position, velocity)
        if not self._followed_pose:
            self._cartesian.restart()
            self._followed_pose = True
        self._cartesian.set_target(command.ee_position_m, command.ee_quaternion_xyzw)
        jacobian = self._kinematics.jacobian(position)
        return self._cartesian.torque(
            jacobian, position, velocity, state.ee_position_m, state.ee_quaternion_xyzw
        )
