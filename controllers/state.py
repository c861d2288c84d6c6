"""What a robot reports and what it is told: the vocabulary of the robot side.

SI units. Frames: everything Cartesian is in the robot's base frame (REP-103). Quaternions in ROS order
x, y, z, w. Time is monotonic seconds of the robot's own clock (`robot_env.clock`).
"""

from typing import dataclass_transform

import msgspec
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass_transform(frozen_default=True, eq_default=False)
class _Value(msgspec.Struct, frozen=True, eq=False):
    """Made at every control step: a frozen dataclass takes twenty times as long to make."""


class RobotState(_Value, frozen=True, eq=False):
    """One stamped measurement of an arm with N joints and a parallel gripper.

    Attributes:
        stamp_s: When it was measured.
        joint_position_rad: Shape (N,).
        joint_velocity_rad_s: Shape (N,).
        joint_effort_nm: Shape (N,).
        ee_position_m: End-effector (tool centre point) position, shape (3,).
        ee_quaternion_xyzw: End-effector orientation, shape (4,), unit length.
        ee_linear_velocity_m_s: Shape (3,).
        ee_angular_velocity_rad_s: Shape (3,).
        ee_wrench: External force in N, then torque in Nm, on the end effector, shape (6,).
        gripper_width_m: Distance between the fingers.
    """

    stamp_s: float
    joint_position_rad: Array
    joint_velocity_rad_s: Array
    joint_effort_nm: Array
    ee_position_m: Array
    ee_quaternion_xyzw: Array
    ee_linear_velocity_m_s: Array
    ee_angular_velocity_rad_s: Array
    ee_wrench: Array
    gripper_width_m: float


class PoseCommand(_Value, frozen=True, eq=False):
    """Go to an end-effector pose; the impedance controller (or IK) beside the robot tracks it.

    Attributes:
        stamp_s: When the command was decided.
        ee_position_m: Shape (3,).
        ee_quaternion_xyzw: Shape (4,), unit length.
        gripper_width_m: Wanted distance between the fingers.
    """

    stamp_s: float
    ee_position_m: Array
    ee_quaternion_xyzw: Array
    gripper_width_m: float


class JointCommand(_Value, frozen=True, eq=False):
    """Go to a joint configuration, as resets do.

    Attributes:
        stamp_s: When the command was decided.
        joint_position_rad: Shape (N,).
        gripper_width_m: Wanted distance between the fingers.
    """

    stamp_s: float
    joint_position_rad: Array
    gripper_width_m: float


RobotCommand = PoseCommand | JointCommand
