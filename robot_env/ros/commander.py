"""Where a robot's commands go: to journeyman's controller node beside the arm, or to the arm's own controller."""

import contextlib
from collections import Counter
from typing import Any, Protocol

from controllers.config import InputError
from controllers.ik import UnreachableError
from controllers.state import PoseCommand, RobotCommand, RobotState
from robot_env.message_reading import values_of
from robot_env.robot import RobotUnavailableError
from robot_env.ros.description import RobotDescription
from robot_env.ros.interfaces.interface import make_interface
from robot_env.ros.runtime import Inbox, Received
from robot_env.ros.services import Service

_STATUS_MAX_AGE_S = 1.0
_ERROR = b"\x02"


class Commander(Protocol):
    """Sends filtered commands on their way. Its methods are called by one thread at a time."""

    def send(self, command: RobotCommand, state: RobotState, stamp_ns: int) -> None:
        """Publish one command; the same one again is how the robot side knows that somebody is there."""
        ...

    def fault(self, now_s: float) -> str:
        """Why the robot side would not follow commands, in a sentence; empty if it does."""
        ...

    def stop(self, state: RobotState | None, stamp_ns: int) -> None:
        """Bring the arm to rest; `state` is the last one known."""
        ...

    @property
    def limit_hits(self) -> dict[str, int]:
        """Limits that the robot side hit."""
        ...


class ControllerCommander:
    """Speaks to `robot_env.ros.controller_node`, which filters again and stops by itself when commands cease.

    Args:
        node: Publishes and subscribes.
        description: Names the controller, frames and joints.
    """

    def __init__(self, node: Any, description: RobotDescription) -> None:
        from diagnostic_msgs.msg import DiagnosticStatus
        from geometry_msgs.msg import PoseStamped
        from sensor_msgs.msg import JointState
        from std_srvs.srv import SetBool, Trigger

        name = self._name = description.controller_name
        self._frame, self._joint_names = description.base_frame, description.joint_names
        self._pose = node.create_publisher(PoseStamped, f"{name}/target_pose", 1)
        self._joint = node.create_publisher(JointState, f"{name}/target_joint", 1)
        self._gripper = node.create_publisher(JointState, f"{name}/target_gripper", 1)
        self._stop = Service(node, Trigger, f"{name}/stop")
        self.enable = Service(node, SetBool, f"{name}/enable")
        self._status: Inbox[DiagnosticStatus] = Inbox(node, DiagnosticStatus, f"{name}/status", latched=True)
        self._newest: Received[DiagnosticStatus] | None = None
        self._heard_s = 0.0

    def send(self, command: RobotCommand, state: RobotState, stamp_ns: int) -> None:
        """Publish the target of arm and gripper."""
        from robot_env.ros.messages import joint_state, pose_stamped

        # The gripper first: the controller joins a target with the width that it knows.
        self._gripper.publish(joint_state(stamp_ns, ["gripper_width"], [command.gripper_width_m]))
        if isinstance(command, PoseCommand):
            position_m, quaternion = command.ee_position_m, command.ee_quaternion_xyzw
            self._pose.publish(pose_stamped(stamp_ns, self._frame, position_m, quaternion))
        else:
            names, positions = self._joint_names, command.joint_position_rad.tolist()
            self._joint.publish(joint_state(stamp_ns, names, positions))

    def fault(self, now_s: float) -> str:
        """What the controller says; or that it says nothing."""
        for received in self._status.take():
            self._newest, self._heard_s = received, now_s
        if self._newest is None:
            return f"No {self._status.topic} has come: start the controller node (`journeyman controller`)."
        if now_s - self._heard_s > _STATUS_MAX_AGE_S:
            return f"{self._status.topic} is silent for {now_s - self._heard_s:.1f} s: the controller node is gone."
        status = self._newest.message
        # DiagnosticStatus.level is a byte, which rclpy gives as bytes of length one.
        if status.level >= _ERROR or self.state in ("inactive", "disabled"):
            return f"The controller node is in state {self.state}: {status.message}"
        return ""

    @property
    def state(self) -> str:
        """State of the controller as it said last; empty before."""
        return self._values().get("state", "")

    @property
    def limit_hits(self) -> dict[str, int]:
        """As the controller counts them, under `controller.`."""
        hits = {k.removeprefix("hit."): v for k, v in self._values().items() if k.startswith("hit.")}
        return {f"controller.{name}": int(count) for name, count in hits.items()}

    def stop(self, state: RobotState | None, stamp_ns: int) -> None:
        """Ask for it; and even if nobody hears that, commands end here, which stops the arm as well."""
        self._stop.call_and_forget()

    def _values(self) -> dict[str, str]:
        newest = self._newest
        return {} if newest is None else values_of(newest.message)


class DirectCommander:
    """Speaks to the arm's own controller. Nobody beside the arm stops it when this process dies.

    An emergency stop that was heard stays until the process is started anew.

    Args:
        node: Publishes.
        description: Names interface and gripper.

    Raises:
        InputError: The interface needs the controller node: what it sends must not outlive a commander.
    """

    def __init__(self, node: Any, description: RobotDescription) -> None:
        from robot_env.ros.controller_topics import EmergencyStopTopic
        from robot_env.ros.interfaces.gripper import GripperCommander

        self._interface = make_interface(node, description)
        if getattr(self._interface, "needs_controller", False):
            raise InputError(
                f"Robot {description.name!r} has commander: direct, but its interface {description.interface.type} "
                "works with the controller node only: set commander: controller."
            )
        self._stop = EmergencyStopTopic(node)
        self._gripper = GripperCommander(node, description.gripper) if description.gripper else None
        self._hits: Counter[str] = Counter()

    def send(self, command: RobotCommand, state: RobotState, stamp_ns: int) -> None:
        """Publish it in the words of the arm's controller; what cannot be expressed to it is counted instead."""
        if self.fault(0.0):
            return
        try:
            self._interface.send(command, state, stamp_ns)
        except UnreachableError:
            self._hits["unreachable"] += 1
        if self._gripper is not None:
            self._gripper.send(command.gripper_width_m, stamp_ns)

    def fault(self, now_s: float) -> str:
        """Such controllers do not say; but an emergency stop counts here, too."""
        self._stop.refresh()
        reason = self._stop.reason
        return f"Stopped by an {reason}: when all is safe, start this program again." if reason else ""

    @property
    def limit_hits(self) -> dict[str, int]:
        """Commands that the interface could not express."""
        return dict(self._hits)

    def stop(self, state: RobotState | None, stamp_ns: int) -> None:
        """Make the pose where the arm is the target."""
        if state is not None:
            hold = PoseCommand(0.0, state.ee_position_m, state.ee_quaternion_xyzw, state.gripper_width_m)
            with contextlib.suppress(UnreachableError):
                self._interface.send(hold, state, stamp_ns)
        self._interface.release()


def make_commander(node: Any, description: RobotDescription) -> ControllerCommander | DirectCommander:
    """The one that the robot's YAML asks for."""
    return (ControllerCommander if description.commander == "controller" else DirectCommander)(
        node, description
    )


def require_service(service: Service, request: Any) -> None:
    """Call a service that must work.

    Raises:
        RobotUnavailableError: It is not there, does not answer, or says no.
    """
    problem = service.call(request)
    if problem:
        raise RobotUnavailableError(problem)
