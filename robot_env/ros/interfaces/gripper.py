"""Commands for a gripper: a topic, or an action of control_msgs.

What the four kinds send, after the interface files of control_msgs and the sources of ros2_controllers and franka_ros2:
a `GripperCommand` goal has the position of one joint (Franka's gripper doubles it to a width) and the largest effort; a
`ParallelGripperCommand` goal is a JointState of one joint; a forward position controller takes an array in the order of
its joints.
"""

from math import inf
from typing import Any, Protocol

from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from controllers.config import InputError
from robot_env.ros.description import GripperConfig
from robot_env.ros.messages import joint_state

# Widths that differ by less are the same command.
_CHANGE_M = 1e-4
# A subscriber that came late, or lost the message, gets the command again.
_REPEAT_S = 1.0
# Goals replace each other, and a gripper that starts anew at every control step never gets anywhere.
_SHORTEST_GOAL_INTERVAL_S = 0.2
# Enough to lift what fits between the fingers, and little enough not to break it; Franka's hand can hold 70 N.
_MAX_EFFORT = 20.0


class GripperCommander:
    """Sends the wanted width when it changes, and repeats it now and then.

    Goals of actions are not repeated: to start one anew would loosen the grasp. One that the gripper refused, or that
    found no gripper, is sent again.

    Args:
        node: Publishes; its executor must spin where actions are used.
        config: The gripper.

    Raises:
        InputError: It needs control_msgs, which is not installed.
    """

    def __init__(self, node: Any, config: GripperConfig) -> None:
        self._config = config
        self._sender = _make_sender(node, config)
        self._sent_m: float | None = None
        self._sent_ns = 0

    def send(self, width_m: float, stamp_ns: int) -> None:
        """Command a distance between the fingers. Called at the control rate; never waits.

        Args:
            width_m: The distance, in m.
            stamp_ns: ROS time now.
        """
        sender = self._sender
        if sender.failed():
            self._sent_m = None
        is_new = self._sent_m is None or abs(width_m - self._sent_m) > _CHANGE_M
        interval_s = sender.shortest_interval_s if is_new else sender.repeat_s
        # A clock that was set back must not silence the gripper.
        if self._sent_ns and 0.0 <= (stamp_ns - self._sent_ns) * 1e-9 < interval_s:
            return
        sender.send(self._positions(width_m), stamp_ns)
        self._sent_m, self._sent_ns = width_m, stamp_ns

    def restart(self) -> None:
        """Somebody else moved the fingers, as a reset does: the next width is new, whatever was sent before."""
        self._sent_m = None

    def _positions(self, width_m: float) -> list[float]:
        """Positions of the joints; together they make the width, each the same part."""
        config = self._config
        joints = len(config.joint_names)
        return [(width_m - config.offset_m) / config.scale / joints] * joints


class Sender(Protocol):
    """One way to a gripper."""

    shortest_interval_s: float
    repeat_s: float

    def send(self, positions: list[float], stamp_ns: int) -> None:
        """Send positions of the joints."""
        ...

    def failed(self) -> bool:
        """Whether what was sent last did not get through."""
        ...


class TopicSender:
    """Positions of the joints on a topic."""

    shortest_interval_s = 0.0
    repeat_s = _REPEAT_S

    def __init__(self, node: Any, config: GripperConfig) -> None:
        self._names = config.joint_names
        self._is_named = config.command == "joint_state"
        kind = JointState if self._is_named else Float64MultiArray
        self._publisher = node.create_publisher(kind, config.command_topic, 1)

    def send(self, positions: list[float], stamp_ns: int) -> None:
        """Publish."""
        if self._is_named:
            self._publisher.publish(joint_state(stamp_ns, self._names, positions))
        else:
            self._publisher.publish(Float64MultiArray(data=positions))

    def failed(self) -> bool:
        """Whether it got through is not known: that is what repeating is for."""
        return False


class ActionSender:
    """Goals of an action.

    Args:
        client: rclpy's ActionClient.
        make_goal: Makes a goal of positions of the joints.
    """

    shortest_interval_s = _SHORTEST_GOAL_INTERVAL_S
    repeat_s = inf

    def __init__(self, client: Any, make_goal: Any) -> None:
        self._client = client
        self._make_goal = make_goal
        self._answer: Any = None
        self._was_ready = True

    def send(self, positions: list[float], stamp_ns: int) -> None:
        """Send a goal if there is a gripper."""
        self._was_ready = self._client.server_is_ready()
        if self._was_ready:
            self._answer = self._client.send_goal_async(self._make_goal(positions))

    def failed(self) -> bool:
        """Whether there was no gripper, or it refused."""
        answer = self._answer
        if not self._was_ready or answer is None or not answer.done():
            return not self._was_ready
        return answer.exception() is not None or not answer.result().accepted


def _make_sender(node: Any, config: GripperConfig) -> Sender:
    if config.command in ("joint_state", "positions"):
        return TopicSender(node, config)
    try:
        from control_msgs import action
    except ImportError:
        raise InputError(
            f"gripper command {config.command!r} needs control_msgs, which is not installed: install it "
            "(apt install ros-$ROS_DISTRO-control-msgs), or command by joint_state or positions."
        ) from None
    from rclpy.action import ActionClient

    is_parallel = config.command == "parallel_gripper_command"
    kind = action.ParallelGripperCommand if is_parallel else action.GripperCommand

    def make_goal(positions: list[float]) -> Any:
        goal = kind.Goal()
        if is_parallel:
            goal.command.name, goal.command.position = list(config.joint_names), positions
        else:
            goal.command.position, goal.command.max_effort = positions[0], _MAX_EFFORT
        return goal

    return ActionSender(ActionClient(node, kind, config.command_topic), make_goal)
