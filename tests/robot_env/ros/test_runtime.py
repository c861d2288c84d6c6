"""A node in this process: exactly one ROS, an orderly end, subscriptions that are read when wanted."""

import signal
import sys
import threading
from importlib.machinery import ModuleSpec

import pytest

from controllers.config import InputError

pytestmark = pytest.mark.ros

# A program that ends as ours do: own handlers, a last message, then the shutdown.
_PROGRAM = """
import signal, sys, threading
from rclpy.duration import Duration
from rclpy.node import Node
from std_msgs.msg import Bool
from robot_env.ros.runtime import Runtime
stop = threading.Event()
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: stop.set())
runtime = Runtime(lambda **kw: Node("program", **kw))
publisher = runtime.node.create_publisher(Bool, "last_word", 1)
runtime.node.create_timer(0.001, lambda: None)
print("up", flush=True)
while not stop.wait(0.01):
    publisher.publish(Bool(data=False))
publisher.publish(Bool(data=True))
publisher.wait_for_all_acked(Duration(seconds=10))  # A busy machine may be behind, and what is gone asks for nothing.
runtime.close()
"""


@pytest.fixture
def bool_type():
    from std_msgs.msg import Bool

    return Bool


@pytest.fixture
def latched():
    from rclpy.qos import DurabilityPolicy, QoSProfile

    return QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture
def jazzy(tmp_path):
    """A ROS installation, as far as its folders."""
    (tmp_path / "jazzy" / "lib" / "python3.12" / "site-packages" / "rclpy").mkdir(parents=True)
    return tmp_path / "jazzy"


def pretend(monkeypatch, jazzy, *, wheels, sourced):
    if sourced:
        monkeypatch.setenv("AMENT_PREFIX_PATH", f"/home/me/workspace:{jazzy}")
    else:
        monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    name, module = "ros_wheels_bootstrapper", None
    if wheels:
        module = type(sys)(name)
        module.__spec__ = ModuleSpec(name, None, origin=f"/venv/site-packages/{name}/__init__.py")
    monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize(("wheels", "sourced"), [(True, False), (False, True)])
def test_one_ros_is_enough(monkeypatch, jazzy, wheels, sourced):
    from robot_env.ros.runtime import require_ros

    pretend(monkeypatch, jazzy, wheels=wheels, sourced=sourced)
    require_ros()


def test_two_ros_are_refused_before_anything_of_them_is_loaded(monkeypatch, jazzy):
    from robot_env.ros.runtime import Runtime

    pretend(monkeypatch, jazzy, wheels=True, sourced=True)
    with pytest.raises(InputError, match="ROS 2 is here twice") as caught:
        Runtime(lambda **_: pytest.fail("a node was made"))
    assert f"sourced from {jazzy}, and as wheels in /venv/site-packages" in str(caught.value)
    assert "pip uninstall" in str(caught.value)


def test_a_sourced_ros_beside_the_wheels_is_refused_by_the_program(run_process, jazzy):
    code = "from robot_env.ros.runtime import require_ros; require_ros()"
    with run_process("-c", f"import os; os.environ['AMENT_PREFIX_PATH'] = '{jazzy}'; {code}") as one:
        assert one.wait(60) == 1
    with run_process("-c", code) as other:
        assert other.wait(60) == 0


def test_no_ros_at_all_says_how_to_get_it(monkeypatch, jazzy):
    from robot_env.ros.runtime import require_ros

    pretend(monkeypatch, jazzy, wheels=False, sourced=False)
    monkeypatch.setitem(sys.modules, "rclpy", None)
    with pytest.raises(InputError, match=r"There is no rclpy here: .*pip install 'journeyman\[ros\]'"):
        require_ros()


def test_the_node_serves_while_nobody_waits_and_answers_no_more_after_close(runtime, wait_until):
    served = threading.Event()
    runtime.node.create_timer(0.001, served.set)
    assert served.wait(20.0)
    runtime.close()
    served.clear()
    assert not served.wait(0.05)
    runtime.close()


def test_arguments_of_ros_reach_the_node():
    from rclpy.node import Node

    from robot_env.ros.runtime import Runtime

    runtime = Runtime(lambda **kw: Node("arm", **kw), ["--ros-args", "-r", "__ns:=/left"])
    try:
        assert runtime.node.get_fully_qualified_name() == "/left/arm"
    finally:
        runtime.close()


def test_one_runtime_can_follow_another(runtime):
    from rclpy.node import Node

    from robot_env.ros.runtime import Runtime

    def fail(**_):
        raise InputError("no such robot")

    with pytest.raises(InputError, match="no such robot"):
        Runtime(fail)
    for _ in range(2):
        Runtime(lambda **kw: Node("next", **kw)).close()
    runtime.raise_if_dead()


def test_a_node_whose_thread_died_says_so(runtime, wait_until):
    def fail():
        raise ZeroDivisionError("in a callback")

    runtime.raise_if_dead()
    runtime.node.create_timer(0.001, fail)

    def is_dead():
        try:
            runtime.raise_if_dead()
        except RuntimeError as error:
            return isinstance(error.__cause__, ZeroDivisionError)

    assert wait_until(is_dead)
    runtime.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_time_for_a_last_word_and_an_orderly_end(
    runtime, run_process, wait_until, bool_type, number
):
    from robot_env.ros.runtime import Inbox

    inbox = Inbox(runtime.node, bool_type, "last_word", depth=10, reliable=True)
    with run_process("-c", _PROGRAM, ready="up") as process:
        wait_until(inbox.take)
        process.send_signal(number)
        assert process.wait(60) == 0
        wait_until(lambda: any(received.message.data for received in inbox.take()))


def test_an_inbox_keeps_the_newest_messages_until_they_are_taken(runtime, wait_until):
    from std_msgs.msg import Int64

    from robot_env.ros.runtime import Inbox

    inbox = Inbox(runtime.node, Int64, "numbers", depth=3)
    publisher = runtime.node.create_publisher(Int64, "numbers", 100)
    wait_until(lambda: publisher.publish(Int64(data=-1)) or inbox.take())
    assert inbox.topic == "/numbers"
    for number in range(20):
        publisher.publish(Int64(data=number))
    taken = []
    wait_until(lambda: taken.extend(inbox.take()) or (taken and taken[-1].message.data == 19))
    numbers = [received.message.data for received in taken]
    assert numbers == sorted(numbers)
    assert inbox.take() == []
    # Nobody else takes them: the executor had all the time for it.
    publisher.publish(Int64(data=20))
    threading.Event().wait(0.1)
    assert [received.message.data for received in wait_until(inbox.take)] == [20]


def test_messages_tell_when_they_came_and_from_whom(runtime, wait_until, bool_type):
    from robot_env.ros.runtime import Inbox

    inbox = Inbox(runtime.node, bool_type, "said", depth=10)
    senders = [runtime.node.create_publisher(bool_type, "said", 1) for _ in range(2)]
    for sender, data in zip(senders, (False, True), strict=True):
        wait_until(lambda sender=sender: sender.get_subscription_count())
        sender.publish(bool_type(data=data))
    taken = []
    wait_until(lambda: taken.extend(inbox.take()) or len(taken) == 2)
    assert len({received.publisher for received in taken}) == 2
    assert abs(taken[0].received_ns - taken[1].received_ns) < 60 * 10**9
    assert inbox.publishers() == 2


def test_a_latched_inbox_hears_what_was_said_before_it_came(runtime, wait_until, bool_type, latched):
    from robot_env.ros.runtime import Inbox

    runtime.node.create_publisher(bool_type, "e_stop", latched).publish(bool_type(data=True))
    late = Inbox(runtime.node, bool_type, "e_stop", latched=True)
    (received,) = wait_until(late.take)
    assert received.message.data


def test_a_best_effort_inbox_hears_reliable_publishers_and_a_reliable_one_loses_nothing(
    runtime, wait_until, bool_type
):
    from rclpy.qos import QoSProfile, ReliabilityPolicy

    from robot_env.ros.runtime import Inbox

    hasty = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    for topic, profile, reliable in (("a", 1, False), ("b", hasty, False), ("c", 100, True)):
        publisher = runtime.node.create_publisher(bool_type, topic, profile)
        inbox = Inbox(runtime.node, bool_type, topic, depth=100, reliable=reliable)
        wait_until(publisher.get_subscription_count)
        publisher.publish(bool_type(data=True))
        wait_until(inbox.take)
    taken = []
    for _ in range(100):
        publisher.publish(bool_type(data=True))
    wait_until(lambda: taken.extend(inbox.take()) or len(taken) == 100)


def test_nodes_without_arguments_share_namespace_and_remappings_of_the_process(monkeypatch):
    from rclpy.node import Node
    from std_msgs.msg import Bool

    from robot_env.ros import runtime as module

    monkeypatch.setattr(module, "_process_arguments", [])
    module.share_arguments(["--ros-args", "-r", "__node:=actor", "-r", "__ns:=/left", "-r", "a:=b"])
    runtime = module.Runtime(lambda **keywords: Node("robot", **keywords))
    try:
        assert runtime.node.get_fully_qualified_name() == "/left/robot"
        assert module.Inbox(runtime.node, Bool, "a").topic == "/left/b"
    finally:
        runtime.close()


def test_a_workspace_without_rclpy_is_no_second_ros(monkeypatch, tmp_path):
    from robot_env.ros.runtime import require_ros

    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    require_ros()
