"""What the controller node hears, between ROS messages and `controllers.arm_control`."""

import math
import threading
import time
from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.qos import DurabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

from controllers.emergency_stop import EmergencyStop
from controllers.incoming import GripperCommand, Incoming
from controllers.state import JointCommand, PoseCommand, RobotCommand
from robot_env.ros.description import RobotDescription
from robot_env.ros.messages import MessageError, joints_of, pose_of, stamp_ns_of
from robot_env.ros.ros_clock import RosClock
from robot_env.ros.runtime import Inbox, tells_publishers

WIDTH_NAME = "gripper_width"

# Enough that no command is lost between two ticks, whoever sends it; above all not that of a second commander.
_DEPTH = 10
# A publisher is in the graph within this, on a machine that is not overloaded.
_DISCOVERY_S = 0.5
# Before the arm moves: who has said stop for long may be found later than who commands. Fast DDS announces a process a
# few times in its first half second, then every 3 s: whom the first words did not reach is found by the next.
_LISTENING_S = 3.5
# And a publisher that keeps its words for those who come later may repeat them, once it is found, only with its next
# heartbeat, which Fast DDS sends every 3 s.
_HEARTBEAT_S = 4.0
# On a busy machine discovery takes longer than any constant: while nodes still turn up, so may whoever says stop. But a
# graph in which some always come and go, command line tools in a loop, must not keep an arm from starting for good.
_QUIET_S = 1.0
_LONGEST_DISCOVERY_S = 15.0


class CommandTopics:
    """The topics `~/target_pose`, `~/target_joint` and `~/target_gripper`.

    Args:
        node: Subscribes.
        description: Frame and joints of commands.
        clock: Tells when a command was decided.
    """

    def __init__(self, node: Any, description: RobotDescription, clock: RosClock) -> None:
        self._frame, self._names = description.base_frame, description.joint_names
        self._clock = clock
        # The gripper first: a commander sends the width that belongs to a target before it.
        self._inboxes: list[tuple[Inbox[Any], Callable[[Any, float], RobotCommand | GripperCommand]]] = [
            (Inbox(node, JointState, "~/target_gripper", _DEPTH), self._gripper),
            (Inbox(node, JointState, "~/target_joint", _DEPTH), self._joint),
            (Inbox(node, PoseStamped, "~/target_pose", _DEPTH), self._pose),
        ]

    def take(self) -> list[Incoming]:
        """What has come since the last call; of each topic in its order."""
        return [
            self._incoming(inbox, convert, received)
            for inbox, convert in self._inboxes
            for received in inbox.take()
        ]

    def _incoming(self, inbox: Inbox[Any], convert: Callable[..., Any], received: Any) -> Incoming:
        publisher = received.publisher
        alone = bool(publisher) or inbox.publishers() <= 1
        stamp_ns = stamp_ns_of(received.message.header)
        if stamp_ns == 0:
            # Otherwise it would be called stale, and somebody would look for a slow network.
            return Incoming(
                inbox.topic, publisher, None, "has no stamp: set it to the time of decision", alone
            )
        try:
            command = convert(received.message, self._clock.local_s(stamp_ns))
        except MessageError as error:
            return Incoming(inbox.topic, publisher, None, str(error), alone)
        return Incoming(inbox.topic, publisher, command, "", alone)

    def _pose(self, message: PoseStamped, stamp_s: float) -> PoseCommand:
        return PoseCommand(stamp_s, *pose_of(message, self._frame), 0.0)

    def _joint(self, message: JointState, stamp_s: float) -> JointCommand:
        return JointCommand(stamp_s, _required(message, self._names), 0.0)

    def _gripper(self, message: JointState, stamp_s: float) -> GripperCommand:
        return GripperCommand(stamp_s, float(_required(message, (WIDTH_NAME,))[0]))


class EmergencyStopTopic:
    """The topic `e_stop`: latched for whoever says true.

    Args:
        node: Subscribes.
    """

    def __init__(self, node: Any) -> None:
        self._node = node
        self._lock = threading.Lock()  # The control thread listens, the node's thread releases.
        self._stop = EmergencyStop()
        self._heard_true_s = -math.inf
        self._start_s = self._changed_s = time.monotonic()
        self._graph: set[Any] = set()
        self._found_s: dict[bytes, float] = {}  # When a publisher that keeps its words was found.
        # The first hears what was said before it was there; the second those whose words nobody keeps.
        self._inboxes = [Inbox(node, Bool, "e_stop", _DEPTH, latched=latched) for latched in (True, False)]

    @property
    def reason(self) -> str:
        """Why it is latched; empty when it is not."""
        return self._stop.reason

    def listened(self) -> bool:
        """Whether those who said something before this node was there had time to be heard."""
        listened_s = time.monotonic() - self._start_s
        has_settled, is_waiting = self._settled(), self._awaits_words()
        if listened_s >= _LONGEST_DISCOVERY_S:
            return True
        return listened_s >= _LISTENING_S and has_settled and not is_waiting

    def refresh(self) -> None:
        """Take in what has come."""
        with self._lock:
            self._refresh()

    def _refresh(self) -> None:
        heard = [received for inbox in self._inboxes for received in inbox.take()]
        for received in sorted(heard, key=lambda received: received.received_ns):
            if received.message.data:
                self._heard_true_s = time.monotonic()
            self._stop.hear(
                received.publisher, received.message.data, f"emergency stop from {self._inboxes[0].topic}"
            )

    def reset(self) -> str:
        """Release it if nobody insists; returns why not, in a sentence."""
        with self._lock:
            self._refresh()
            # Whoever spoke just now may not be in the graph yet.
            if time.monotonic() - self._heard_true_s < _DISCOVERY_S:
                return "The emergency stop was said a moment ago: look at the arm, then try again."
            return self._stop.reset(self._alive())

    def _alive(self) -> set[bytes] | None:
        if not tells_publishers():
            return None
        found = self._endpoints()
        return {bytes(endpoint.endpoint_gid) for endpoint in found} | ({b""} if found else set())

    def _awaits_words(self) -> bool:
        """Whether a publisher that keeps its words may yet be heard. It may never have said anything."""
        now_s, kept = time.monotonic(), DurabilityPolicy.TRANSIENT_LOCAL
        keeping = {bytes(e.endpoint_gid) for e in self._endpoints() if e.qos_profile.durability == kept}
        self._found_s = {publisher: self._found_s.get(publisher, now_s) for publisher in keeping}
        self.refresh()
        heard = self._stop.heard
        if not tells_publishers() and heard:  # Whoever it was.
            return False
        return any(now_s - self._found_s[publisher] < _HEARTBEAT_S for publisher in keeping - heard)

    def _settled(self) -> bool:
        """Whether nothing new has turned up for a while."""
        graph = {
            *self._node.get_node_names_and_namespaces(),
            *(bytes(e.endpoint_gid) for e in self._endpoints()),
        }
        if graph != self._graph:
            self._graph, self._changed_s = graph, time.monotonic()
        return time.monotonic() - self._changed_s >= _QUIET_S

    def _endpoints(self) -> list[Any]:
        return list(self._node.get_publishers_info_by_topic(self._inboxes[0].topic))


def _required(message: JointState, names: tuple[str, ...]) -> Any:
    """Positions of the joints `names`, in this order."""
    joints = joints_of(message, names)
    if joints is None:
        raise MessageError(f"names the joints {list(message.name)}, but {list(names)} are expected")
    return joints.position_rad
