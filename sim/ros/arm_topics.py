"""The topics of the twin's arm, gripper and scene. Belongs to the thread of the physics."""

from array import array
from collections.abc import Callable
from math import isfinite
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
from numpy.typing import NDArray
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray

from controllers.config import InputError
from controllers.state import JointCommand, PoseCommand
from robot_env.ros.description import RobotDescription
from robot_env.ros.messages import (
    MessageError,
    joint_state,
    joints_of,
    pose_of,
    pose_stamped,
    to_time,
    twist_stamped,
    wrench_stamped,
)
from robot_env.ros.node_log import NodeLog
from robot_env.ros.runtime import Inbox
from sim.ros.world import TwinWorld

Array = NDArray[np.float64]

SLOW_EVERY = 5
"""Ticks of 2 ms between two messages of every topic but the joint states: 100 Hz."""
_COMMAND_DEPTH = 1
_LOG_PERIOD_S = 1.0


class ArmTopics:
    """Publishes the state, and takes commands as the controllers of a real arm do.

    Commands: `target_pose` and `target_joint` for the impedance controller in the arm, as crisp_controllers has it;
    `effort_commands` as a forward effort controller; `gripper/target`. An arm that is told nothing for 100 ms holds,
    as one does whose vendor's interface watches its line.

    Args:
        node: Publishes and subscribes.
        description: Names of topics, joints and frames.
        world: The twin.
        heard: Called for every command that moves the arm.

    Attributes:
        stopped: Whether an emergency stop holds the arm.
    """

    def __init__(
        self,
        node: Any,
        description: RobotDescription,
        world: TwinWorld,
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        state, gripper = description.state, description.gripper
        if state.pose is None or state.twist is None or state.wrench is None or gripper is None:
            raise InputError(
                f"Robot {description.name!r} cannot be the twin, which needs pose, twist, wrench and gripper."
            )
        self._world, self._twin, self._heard = world, world.twin, heard
        self._logger = NodeLog(node)
        self._frame, self._joint_names = description.base_frame, description.joint_names
        self._finger_names = gripper.joint_names
        self._joints = node.create_publisher(JointState, state.joint_states.topic, 10)
        self._joint_message = JointState(name=list(self._joint_names))
        self._pose = node.create_publisher(PoseStamped, state.pose.topic, 10)
        self._twist = node.create_publisher(TwistStamped, state.twist.topic, 10)
        self._wrench = node.create_publisher(WrenchStamped, state.wrench.topic, 10)
        self._fingers = node.create_publisher(JointState, gripper.state_topic, 10)
        self._success = node.create_publisher(Bool, "success", 10)
        self._clock = node.create_publisher(Clock, "/clock", 10) if world.simulated_time else None
        self._objects = {
            name: node.create_publisher(PoseStamped, f"objects/{name}/pose", 10)
            for name in world.scene.poses()
        }
        self._pose_commands = Inbox(node, PoseStamped, "target_pose", _COMMAND_DEPTH)
        self._joint_commands = Inbox(node, JointState, "target_joint", _COMMAND_DEPTH)
        self._torque_commands = Inbox(node, Float64MultiArray, "effort_commands", _COMMAND_DEPTH)
        self._finger_commands = Inbox(node, JointState, gripper.command_topic, _COMMAND_DEPTH)
        self._stops = [Inbox(node, Bool, "e_stop", latched=latched) for latched in (True, False)]
        self._width_m = self._twin.state(0.0).gripper_width_m
        self._refused = ""
        self.stopped = False

    def restart(self) -> None:
        """The scene was reset: commands from before mean nothing now."""
        self._forget_commands()
        self._width_m = self._twin.state(0.0).gripper_width_m

    def release(self) -> None:
        """End an emergency stop. What was commanded during it stays undone."""
        if self.stopped:
            self._forget_commands()
            self.stopped = False

    def take_commands(self, is_slow_tick: bool) -> None:
        """Follow the newest commands. A command that cannot be meant is refused, and that is said."""
        if is_slow_tick:
            self._take_stops()
        if self.stopped:
            return
        try:
            for pose in self._pose_commands.take():
                self._heard()
                position_m, quaternion = pose_of(pose.message, self._frame)
                self._follow(PoseCommand(0.0, position_m, quaternion, self._width_m), position_m, quaternion)
            for joint in self._joint_commands.take():
                self._heard()
                wanted = joints_of(joint.message, self._joint_names)
                if wanted is not None:
                    self._follow(JointCommand(0.0, wanted.position_rad, self._width_m), wanted.position_rad)
            for torque in self._torque_commands.take():
                self._heard()
                self._follow_torque(np.array(torque.message.data, np.float64))
            for finger in self._finger_commands.take():
                self._grip(finger.message)
        except MessageError as error:
            self._refuse(f"a command {error}")

    def publish(self, is_slow_tick: bool) -> None:
        """The state as it is now."""
        stamp_ns = self._world.stamp_ns()
        state = self._twin.state(0.0)
        message = self._joint_message
        message.header.stamp = to_time(stamp_ns)
        # Arrays of the right type pass the message's checks at once; lists are looked at number by number.
        message.position = array("d", state.joint_position_rad.tobytes())
        message.velocity = array("d", state.joint_velocity_rad_s.tobytes())
        message.effort = array("d", state.joint_effort_nm.tobytes())
        self._joints.publish(message)
        if not is_slow_tick:
            return
        frame = self._frame
        self._pose.publish(pose_stamped(stamp_ns, frame, state.ee_position_m, state.ee_quaternion_xyzw))
        velocity = state.ee_linear_velocity_m_s, state.ee_angular_velocity_rad_s
        self._twist.publish(twist_stamped(stamp_ns, frame, *velocity))
        self._wrench.publish(wrench_stamped(stamp_ns, frame, state.ee_wrench))
        half_m = 0.5 * state.gripper_width_m
        self._fingers.publish(joint_state(stamp_ns, self._finger_names, [half_m, half_m]))
        for name, (position_m, quaternion) in self._world.scene.poses().items():
            self._objects[name].publish(pose_stamped(stamp_ns, frame, position_m, quaternion))
        self._success.publish(Bool(data=bool(self._world.scene.success())))
        self.publish_clock()

    def publish_clock(self) -> None:
        """The simulated time, where that is whose time counts."""
        if self._clock is not None:
            self._clock.publish(Clock(clock=to_time(self._world.time_ns())))

    def _forget_commands(self) -> None:
        for inbox in (
            self._pose_commands,
            self._joint_commands,
            self._torque_commands,
            self._finger_commands,
        ):
            inbox.take()

    def _follow(self, command: PoseCommand | JointCommand, *numbers: Array) -> None:
        if all(np.isfinite(part).all() for part in numbers):
            self._twin.follow(command)
        else:
            self._refuse("a command is not finite")

    def _follow_torque(self, torque_nm: Array) -> None:
        if torque_nm.shape == (len(self._joint_names),) and np.isfinite(torque_nm).all():
            self._twin.follow_torque(torque_nm)
        else:
            # Without the numbers: a reason that changes would be said 500 times a second.
            self._refuse(f"{torque_nm.size} effort_commands are not {len(self._joint_names)} finite torques")

    def _grip(self, message: JointState) -> None:
        fingers = joints_of(message, self._finger_names)
        width_m = float(fingers.position_rad.sum()) if fingers is not None else float("nan")
        if isfinite(width_m):
            self._width_m = width_m
            self._twin.grip(width_m)
        else:
            self._refuse("a gripper command is not finite, or for other joints")

    def _refuse(self, reason: str) -> None:
        if reason != self._refused:
            self._refused = reason
            if self._logger.is_due("refused", _LOG_PERIOD_S):
                self._logger.warning(f"Refused: {reason}.")

    def _take_stops(self) -> None:
        for inbox in self._stops:
            for received in inbox.take():
                if not received.message.data:
                    self.release()
                elif not self.stopped:
                    self.stopped = True
                    self._twin.hold()
                    self._logger.warning("Emergency stop: the arm holds.")
