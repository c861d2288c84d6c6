"""What the controller node hears: how long it listens for an emergency stop before the arm may move."""

import time

import pytest

pytestmark = pytest.mark.ros


@pytest.fixture
def now_s(monkeypatch):
    """The time that the topic sees: `now_s[0]`."""
    from robot_env.ros import controller_topics

    now_s = [1000.0]

    class Time:
        """Stands where the test puts it."""

        monotonic = staticmethod(lambda: now_s[0])

    monkeypatch.setattr(controller_topics, "time", Time)
    return now_s


@pytest.fixture
def topic(runtime, now_s):
    """The topic of the node `runtime.node`, which finds no other but those of the test."""
    from robot_env.ros.controller_topics import EmergencyStopTopic

    return EmergencyStopTopic(runtime.node)


def meet(runtime, name):
    """Another node, found by that of `runtime`."""
    from rclpy.node import Node

    from robot_env.ros.runtime import Runtime

    other = Runtime(lambda **keywords: Node(name, **keywords))
    end_s = time.monotonic() + 30.0
    while name not in runtime.node.get_node_names():
        assert time.monotonic() < end_s
        time.sleep(0.02)
    return other


def test_an_arm_waits_until_those_who_say_stop_had_time_to_be_found(topic, now_s):
    assert not topic.listened()
    now_s[0] += 3.4
    assert not topic.listened()
    now_s[0] += 0.2
    assert topic.listened()


def test_a_button_found_late_has_as_long_as_any_to_repeat_its_last_word(topic, now_s, runtime, wait_until):
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from std_msgs.msg import Bool

    assert not topic.listened()
    now_s[0] += 5.0
    late = meet(runtime, "late")
    try:
        button = late.node.create_publisher(
            Bool, "e_stop", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        )
        wait_until(lambda: runtime.node.get_publishers_info_by_topic("e_stop"))
        assert not topic.listened()
        now_s[0] += 3.9  # Its heartbeat comes every 3 s.
        assert not topic.listened()
        button.publish(Bool(data=False))
        wait_until(topic.listened)
        silent = late.node.create_publisher(Bool, "e_stop", button.qos_profile)
        wait_until(lambda: len(runtime.node.get_publishers_info_by_topic("e_stop")) == 2)
        assert not topic.listened()
        now_s[0] += 4.1
        assert topic.listened()  # It never said anything.
        late.node.destroy_publisher(silent)
    finally:
        late.close()


def test_while_nodes_turn_up_somebody_who_says_stop_may_be_the_next(topic, now_s, runtime):
    assert not topic.listened()
    now_s[0] += 3.6
    late = meet(runtime, "late")
    try:
        assert not topic.listened()
        now_s[0] += 0.9
        assert not topic.listened()
        now_s[0] += 0.2
        assert topic.listened()
    finally:
        late.close()


def test_a_graph_that_is_never_quiet_does_not_keep_the_arm_for_ever(topic, now_s, runtime):
    now_s[0] += 15.1
    late = meet(runtime, "late")
    try:
        assert topic.listened()
    finally:
        late.close()
