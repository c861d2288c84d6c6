"""A ROS 2 node in this process: started, spun and shut down in the only order that never aborts."""

import importlib.util
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from controllers.config import InputError
from robot_env.program import ThreadDiedError
from robot_env.ros.node_log import NodeLog

_WHEELS = "ros_wheels_bootstrapper"  # Comes with every wheel of ROS 2 on the package index.
_RCLPY = (
    "lib/python*/site-packages/rclpy",
    "lib/python*/dist-packages/rclpy",
    "local/lib/python*/*-packages/rclpy",
)
_JOIN_TIMEOUT_S = 5.0
PROCESS_BYTES = 12
"""So many first bytes of a publisher's identifier tell its process, see `tells_publishers`."""

Message = TypeVar("Message")


def require_ros() -> None:
    """See that exactly one ROS 2 is here.

    Raises:
        InputError: There is none, or the wheels of the `ros` extra are mixed with a sourced installation, whose
            libraries would be loaded at random.
    """
    wheels = importlib.util.find_spec(_WHEELS)
    # A workspace that colcon built with the wheels is in this path, too; it holds no rclpy.
    prefixes = filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep))
    sourced = next((p for p in prefixes if any(any(Path(p).glob(place)) for place in _RCLPY)), None)
    if wheels is not None and sourced:
        raise InputError(
            f"ROS 2 is here twice: sourced from {sourced}, and as wheels in "
            f"{Path(str(wheels.origin)).parents[1]}; use a shell where it is not sourced, or an environment without "
            "the ros extra (pip uninstall ros-rclpy ros-wheels-bootstrapper)."
        )
    if importlib.util.find_spec("rclpy") is None:
        raise InputError(
            "There is no rclpy here: source your ROS 2 (Humble or newer), or pip install 'journeyman[ros]'."
        )


_process_arguments: list[str] = []


def share_arguments(arguments: Sequence[str]) -> None:
    """Let later nodes of this process that are given no arguments have these: namespace and remappings.

    Args:
        arguments: Of the process. What renames its own node is left out.
    """
    names = ("__node:=", "__name:=")
    kept = [a for a in arguments if not a.startswith(names)]
    # `-r` before what was left out must go with it.
    _process_arguments[:] = [
        a
        for a, after in zip(kept, [*kept[1:], ""], strict=True)
        if not (a in ("-r", "--remap") and after[:1] in ("", "-"))
    ]


class Runtime:
    """One node with its context, and a thread that serves its services, parameters, events and cameras.

    Signals stay with the program, because after ROS's own handler nothing can be published any more, not even a
    last stop.

    Args:
        make_node: Called with keyword arguments for `rclpy.node.Node` (its context); returns the node.
        arguments: ROS arguments such as `--ros-args -r __ns:=/left`; those of `share_arguments` if empty.

    Raises:
        InputError: There is no ROS 2, or the arguments, or the types of parameters in them, cannot be used.

    Attributes:
        node: The node. Subscriptions in an `Inbox` are never touched by the thread.
    """

    def __init__(self, make_node: Callable[..., Any], arguments: Sequence[str] = ()) -> None:
        require_ros()
        import rclpy
        from rclpy.exceptions import ParameterException
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        self._rclpy = rclpy
        self._context = rclpy.Context()
        self._closed = False
        self._failure: BaseException | None = None
        arguments = list(arguments or _process_arguments)
        try:
            rclpy.init(args=arguments, context=self._context, signal_handler_options=SignalHandlerOptions.NO)
            self.node = make_node(context=self._context)
        except (ParameterException, RuntimeError) as error:  # Of rcl, which names what it could not read.
            rclpy.try_shutdown(context=self._context)
            raise InputError(f"The ROS arguments {arguments} cannot be used: {error}") from None
        except BaseException:
            rclpy.try_shutdown(context=self._context)
            raise
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, name="ros-spin", daemon=True)
        self._thread.start()

    def raise_if_dead(self) -> None:
        """Raise if the thread has ended: a node that no longer answers must not go on."""
        if self._failure is not None:
            raise ThreadDiedError("The thread that serves the ROS node died.") from self._failure

    def close(self) -> None:
        """Stop the thread, then destroy the node, then the context. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._executor.shutdown()
        self._thread.join(_JOIN_TIMEOUT_S)
        self.node.destroy_node()
        self._rclpy.try_shutdown(context=self._context)

    def _spin(self) -> None:
        from rclpy.executors import ExternalShutdownException, ShutdownException

        try:
            self._executor.spin()
        except (ExternalShutdownException, ShutdownException):
            pass
        except BaseException as error:  # Kept for raise_if_dead: every kind of failure ends the process.
            if not self._closed:
                self._failure = error
                NodeLog(self.node).fatal(f"The thread that serves this node died: {error!r}")


def tells_publishers() -> bool:
    """Whether identifiers of publishers mean something.

    Then those of messages equal those of the graph, and begin alike for all publishers of one process. Fast DDS does
    so; Cyclone DDS and Zenoh do not (rmw_cyclonedds issue 377).
    """
    from rclpy import get_rmw_implementation_identifier

    return "fastrtps" in get_rmw_implementation_identifier()


class Received(NamedTuple, Generic[Message]):
    """A message with what the middleware knows of it.

    Attributes:
        message: The message.
        received_ns: System time at which it arrived.
        publisher: Identifies who sent it; empty where the middleware does not say (before ROS 2 Kilted).
    """

    message: Message
    received_ns: int
    publisher: bytes


class Inbox(Generic[Message]):
    """A subscription that is read when wanted, by the thread that wants it.

    Callbacks for joint states at 500 Hz would cost a fifth of a core in each process, and hold up its control loop;
    the middleware keeps the newest messages anyway.

    Args:
        node: Subscribes.
        message_type: A ROS message class.
        topic: Its name.
        depth: How many of the newest messages are kept.
        reliable: Whether to ask for lost messages again; needs a reliable publisher.
        latched: Whether to get the last message of publishers that were there before; needs such publishers.
    """

    def __init__(
        self,
        node: Any,
        message_type: type[Message],
        topic: str,
        depth: int = 1,
        *,
        reliable: bool = False,
        latched: bool = False,
    ) -> None:
        profile = _quality(depth, reliable, latched)
        self._subscription = node.create_subscription(
            message_type, topic, _ignore, profile, callback_group=_make_polled_group()
        )
        self._depth = depth
        self.topic: str = self._subscription.topic_name
        self._node = node

    def take(self) -> list[Received[Message]]:
        """What has arrived since the last call, oldest first, at most `depth` messages."""
        subscription, taken = self._subscription, []
        with subscription.handle:
            # Bounded: a flood must not keep a control loop here.
            for _ in range(self._depth):
                found = subscription.handle.take_message(subscription.msg_type, False)
                if found is None:
                    break
                message, info = found
                publisher = (info.get("publisher_gid") or {}).get("data", b"")
                # Some middlewares leave the time out.
                taken.append(Received(message, info["received_timestamp"] or time.time_ns(), publisher))
        return taken

    def publishers(self) -> int:
        """How many publishers the topic has, the dead of the last seconds included."""
        return int(self._node.count_publishers(self.topic))


def subscribe(node: Any, message_type: type[Message], topic: str, take: Callable[[Message], None]) -> str:
    """Hand the newest message of a topic to `take`, on the node's thread, as soon as that has time for it.

    For messages that are few and take long to read, such as images: an `Inbox` would leave that to the control loop.

    Returns:
        The topic's whole name.
    """
    profile = _quality(depth=1, reliable=False, latched=False)
    return str(node.create_subscription(message_type, topic, take, profile).topic_name)


def _quality(depth: int, reliable: bool, latched: bool) -> Any:
    from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

    return QoSProfile(
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable or latched else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def _ignore(_message: Any) -> None:
    """Never called: the group below keeps the executor away."""


def _make_polled_group() -> Any:
    from rclpy.callback_groups import CallbackGroup

    class PolledGroup(CallbackGroup):
        """Executors serve nothing of it: messages wait for `Inbox.take`.

        Not even the events of a subscription: Fast DDS wakes who waits for those also for messages that nobody has
        taken yet, and the executor's thread would never sleep again.
        """

        def can_execute(self, entity: Any) -> bool:
            return False

        def beginning_execution(self, entity: Any) -> bool:
            return False

        def ending_execution(self, entity: Any) -> None:
            """Nothing is locked."""

    return PolledGroup()
