"""The state of an arm from its topics: right numbers, or an error that names the topic."""

import itertools
import math
import time
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from robot_env.robot import RobotError

pytestmark = pytest.mark.ros

NAN = math.nan


class Listener:
    """A StateSource on the arm's own node, so that it hears at once."""

    def __init__(self, runtime, arm, wait_until):
        self.runtime, self.arm, self.wait_until = runtime, arm, wait_until

    def make(self, **changes):
        from robot_env.ros.ros_clock import WallRosClock
        from robot_env.ros.state_source import StateSource

        description = msgspec.structs.replace(self.arm.description, **changes)
        return StateSource(self.runtime.node, description, WallRosClock())

    def read(self, source):
        """Publish once, and read as soon as everything is there."""
        self.wait_until(lambda: self._hears(source))
        return source.read()

    def complaint(self, source, words):
        """Publish until the source complains in these words; returns all it says."""

        def complains():
            self.arm.publish()
            time.sleep(0.01)
            try:
                source.read()
            except RobotError as error:
                return str(error) if words in str(error) else ""

        return self.wait_until(complains)

    def _hears(self, source):
        before = {name: part.measured_s for name, part in source.sources.items()}
        self.arm.publish()
        time.sleep(0.01)
        for part in source.sources.values():
            part.refresh()
        return all(part.measured_s > before[name] for name, part in source.sources.items())


@pytest.fixture
def listener(runtime, arm, wait_until):
    return Listener(runtime, arm, wait_until)


def topic(arm, part, **changes):
    """A StateConfig with this part's topic changed."""
    config = getattr(arm.description.state, part)
    return msgspec.structs.replace(
        arm.description.state, **{part: msgspec.structs.replace(config, **changes)}
    )


def test_a_state_has_what_the_topics_say(listener, arm):
    arm.lies["twist"] = lambda m: setattr(m.twist.linear, "y", 0.25)
    source = listener.make()
    before_s = time.monotonic()
    state = listener.read(source)
    assert state.joint_position_rad.tolist() == arm.joints_rad
    assert state.joint_velocity_rad_s.tolist() == [0.0] * 7
    assert state.joint_effort_nm.tolist() == [1.0] * 7
    assert state.ee_position_m == pytest.approx(arm.position_m)
    assert state.ee_quaternion_xyzw == pytest.approx(arm.quaternion)
    assert state.ee_linear_velocity_m_s == pytest.approx([0.0, 0.25, 0.0])
    assert state.ee_angular_velocity_rad_s == pytest.approx(np.zeros(3))
    assert state.ee_wrench == pytest.approx(np.arange(6.0))
    assert state.gripper_width_m == pytest.approx(0.06)
    assert before_s - 1e-3 <= state.stamp_s <= time.monotonic() + 1e-3
    assert source.ages_s().keys() == {"joint_states", "pose", "twist", "wrench", "gripper"}
    assert all(-1e-3 <= age_s < 3.0 for age_s in source.ages_s().values())


def test_joints_in_another_order_are_put_right(listener, arm):
    def shuffle(message):
        message.name, message.position = list(message.name[::-1]), message.position[::-1]

    arm.lies["joint_states"] = shuffle
    assert listener.read(listener.make()).joint_position_rad.tolist() == arm.joints_rad


def test_velocities_that_a_driver_leaves_out_are_the_change_of_positions(listener, arm):
    began_ns = time.time_ns() - 60 * 10**9
    numbers = itertools.count()

    def move(message):
        number = next(numbers)
        message.velocity = []
        message.position[0] = 0.02 * number
        stamp_ns = began_ns + number * 10**8  # A tenth of a second apart.
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)

    arm.lies["joint_states"] = move
    source = listener.make(state=topic(arm, "joint_states", max_age_s=1e3))
    first = listener.read(source)
    assert first.joint_velocity_rad_s.tolist() == [0.0] * 7
    second = listener.read(source)
    assert second.joint_velocity_rad_s[0] == pytest.approx(0.2)
    assert second.joint_velocity_rad_s[1:].tolist() == [0.0] * 6
    # Asked again without news: the same.
    assert source.read().joint_velocity_rad_s[0] == pytest.approx(0.2)


def test_pose_and_twist_that_no_topic_gives_are_computed(listener, arm):
    from controllers.kinematics import Kinematics

    arm.lies["joint_states"] = lambda m: m.velocity.__setitem__(0, 0.5)
    state = msgspec.structs.replace(arm.description.state, pose=None, twist=None)
    found = listener.read(listener.make(state=state))
    kinematics = Kinematics(arm.description.kinematics, arm.description.joint_names)
    position_m, quaternion = kinematics.pose(np.array(arm.joints_rad))
    assert found.ee_position_m == pytest.approx(position_m)
    assert found.ee_quaternion_xyzw == pytest.approx(quaternion)
    # Turning the first joint swings the tool about the base's vertical axis.
    assert found.ee_angular_velocity_rad_s == pytest.approx([0.0, 0.0, 0.5])
    assert found.ee_linear_velocity_m_s == pytest.approx(np.cross([0.0, 0.0, 0.5], position_m), abs=1e-9)


@pytest.mark.parametrize(
    ("frame", "wrench"), [("base", (0, 1, 2, 3, 4, 5)), ("tool_centre_point", (0, -1, -2, 3, -4, -5))]
)
def test_a_wrench_is_turned_into_the_base_frame(listener, arm, frame, wrench):
    # The gripper points down: turned by half a turn about x.
    arm.lies["wrench"] = lambda m: setattr(m.header, "frame_id", frame)
    assert listener.read(listener.make()).ee_wrench == pytest.approx(wrench)


def test_an_arm_without_wrench_and_gripper_reports_zeros(listener, arm):
    state = msgspec.structs.replace(arm.description.state, wrench=None)
    found = listener.read(listener.make(state=state, gripper=None))
    assert found.ee_wrench.tolist() == [0.0] * 6
    assert found.gripper_width_m == 0.0


def test_arm_and_gripper_may_share_a_topic(listener, arm):
    def add_fingers(message):
        message.name = ["finger_joint2", *message.name, "finger_joint1"]
        message.position = [0.011, *message.position, 0.012]
        message.velocity, message.effort = [], []

    arm.lies["joint_states"] = add_fingers
    gripper = msgspec.structs.replace(
        arm.description.gripper, state_topic="joint_states", scale=2.0, offset_m=0.001
    )
    state = listener.read(listener.make(gripper=gripper))
    assert state.joint_position_rad.tolist() == arm.joints_rad
    assert state.gripper_width_m == pytest.approx(0.047)


def test_a_gripper_that_speaks_ten_times_as_often_does_not_push_the_arm_out(listener, arm):
    gripper = msgspec.structs.replace(arm.description.gripper, state_topic="joint_states")
    source = listener.make(gripper=gripper)
    fingers = arm.publishers["gripper"] = arm.publishers["joint_states"]
    listener.read(source)
    for _ in range(9):
        fingers.publish(arm.messages()["gripper"])
    time.sleep(0.1)
    assert source.read().joint_position_rad.tolist() == arm.joints_rad


@pytest.mark.parametrize("part", ["joint_states", "pose", "twist", "wrench", "gripper"])
def test_a_silent_topic_is_named_with_what_to_start(listener, arm, part):
    arm.lies[part] = lambda m: False
    name = listener.make().sources[part].topic
    said = listener.complaint(listener.make(), f"has come on {name}")
    # This test's own node publishes there.
    assert "none that sends this: start it with `journeyman twin`, or correct the robot's YAML" in said


def test_a_topic_that_nobody_publishes_is_said_to_have_no_publisher(listener, arm):
    said = listener.complaint(listener.make(state=topic(arm, "pose", topic="curent_pose")), "curent_pose")
    assert said.startswith("No PoseStamped has come on /curent_pose, which has no publisher: start it with")


def test_a_topic_about_other_joints_says_which(listener, arm):
    arm.lies["joint_states"] = lambda m: setattr(m, "name", [f"panda_{name}" for name in m.name])
    said = listener.complaint(listener.make(), "/joint_states")
    assert "which speaks only of ['panda_joint1', 'panda_joint2'," in said


@pytest.mark.parametrize(
    ("part", "lie", "complaint"),
    [
        ("joint_states", lambda m: setattr(m, "name", [*m.name[:6], "x"]), r"lacks the joints ['joint7']"),
        ("joint_states", lambda m: setattr(m, "name", [*m.name[:6], "joint1"]), "lacks the joints"),
        ("joint_states", lambda m: (m.name.append("joint1"), m.position.append(0.0)), "names a joint twice"),
        ("joint_states", lambda m: setattr(m, "position", m.position[:3]), "has 7 names but 3 positions"),
        ("joint_states", lambda m: m.position.__setitem__(2, NAN), "has numbers that are not finite"),
        ("joint_states", lambda m: m.velocity.__setitem__(2, NAN), "has numbers that are not finite"),
        ("joint_states", lambda m: m.effort.__setitem__(2, math.inf), "has numbers that are not finite"),
        ("pose", lambda m: setattr(m.pose.orientation, "w", 0.5), "whose length is 1.12, not 1"),
        ("pose", lambda m: setattr(m.pose.orientation, "x", 0.0), "whose length is 0, not 1"),
        ("pose", lambda m: setattr(m.pose.orientation, "z", NAN), "has numbers that are not finite"),
        ("pose", lambda m: setattr(m.pose.orientation, "z", math.inf), "has numbers that are not finite"),
        ("pose", lambda m: setattr(m.pose.position, "z", NAN), "has numbers that are not finite"),
        ("pose", lambda m: setattr(m.header, "frame_id", "world"), "is in frame 'world', but 'base'"),
        ("twist", lambda m: setattr(m.header, "frame_id", "tool"), "is in frame 'tool', but 'base'"),
        ("twist", lambda m: setattr(m.twist.angular, "x", NAN), "has numbers that are not finite"),
        ("wrench", lambda m: setattr(m.header, "frame_id", "sensor"), "is in frame 'sensor'"),
        ("wrench", lambda m: setattr(m.wrench.force, "x", math.inf), "has numbers that are not finite"),
        ("gripper", lambda m: setattr(m, "position", [NAN, 0.0]), "has numbers that are not finite"),
        ("gripper", lambda m: setattr(m, "name", ["finger_joint1", "f"]), "lacks the joints"),
        ("pose", lambda m: setattr(m.header.stamp, "sec", m.header.stamp.sec + 1), "s in the future"),
        ("joint_states", lambda m: setattr(m.header.stamp, "sec", m.header.stamp.sec - 9), "is stale"),
        (
            "pose",
            lambda m: (setattr(m.header.stamp, "sec", 0), setattr(m.header.stamp, "nanosec", 0)),
            "stamp",
        ),
    ],
)
def test_what_cannot_be_is_an_error_that_names_the_topic_until_it_is_right_again(
    listener, arm, part, lie, complaint
):
    source = listener.make()
    listener.read(source)
    arm.lies[part] = lie
    assert source.sources[part].topic in listener.complaint(source, complaint)
    with pytest.raises(RobotError):
        source.read()  # The value from before the lie is not believed again.
    del arm.lies[part]
    assert listener.read(source).joint_position_rad.tolist() == arm.joints_rad


def test_too_seldom_messages_are_told_from_a_source_that_died(listener, arm):
    source = listener.make(state=topic(arm, "pose", max_age_s=0.05))
    now_ns = time.time_ns()
    sent = iter(range(100))

    def seldom(message):
        number = next(sent)
        stamp_ns = now_ns + number * 250_000_000
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)

    arm.lies["pose"] = seldom
    for _ in range(3):
        arm.publish()
        time.sleep(0.02)
        source.sources["pose"].refresh()
    wait_s = (now_ns + 500_000_000 - time.time_ns()) * 1e-9 + 0.06
    time.sleep(wait_s)
    with pytest.raises(RobotError, match=r"at most 0.05 s is allowed") as caught:
        source.sources["pose"].require()
    assert "/current_pose is stale" in str(caught.value)
    assert "one came every 0.250 s, at 4 Hz" in str(caught.value)


def test_a_source_that_died_is_not_called_slow_by_a_slow_reader(listener, arm):
    source = listener.make(state=topic(arm, "pose", max_age_s=0.05))
    for _ in range(2):
        for _ in range(3):
            arm.publish()
            time.sleep(0.002)
        time.sleep(0.5)  # The reader's period is longer than the greatest age.
        source.sources["pose"].refresh()
    with pytest.raises(RobotError, match="/current_pose is stale") as caught:
        source.sources["pose"].require()
    assert "one came every" not in str(caught.value)


def test_the_parts_of_a_state_are_known_before_there_is_a_node(arm, listener):
    from robot_env.ros.state_source import source_names

    assert source_names(arm.description) == list(listener.make().sources)
    bare = msgspec.structs.replace(
        arm.description,
        state=msgspec.structs.replace(arm.description.state, pose=None, twist=None, wrench=None),
        gripper=None,
    )
    assert source_names(bare) == ["joint_states"]


def test_a_late_message_is_waited_for_in_simulated_time_alone(listener, monkeypatch):
    from robot_env.ros import state_source
    from robot_env.ros.ros_clock import SimulatedRosClock, WallRosClock

    def wall(sleep, monotonic=time.monotonic):
        monkeypatch.setattr(state_source, "time", SimpleNamespace(sleep=sleep, monotonic=monotonic))

    def grow_old():
        for part in source.sources.values():
            part.measured_s -= 100.0

    source = listener.make()
    listener.read(source)
    grow_old()
    wall(lambda _: pytest.fail("beside a real arm nobody waits"))
    with pytest.raises(state_source.StaleError, match="is stale"):
        source.read()

    monkeypatch.setattr(WallRosClock, "patience_s", 60.0)
    wall(lambda _: (listener.arm.publish(), time.sleep(0.01)))
    assert source.read().joint_position_rad.shape == (7,)

    monkeypatch.setattr(WallRosClock, "patience_s", SimulatedRosClock.patience_s)
    grow_old()
    naps = []
    wall(naps.append, iter([0.0, 0.1, 0.4, 0.6]).__next__)
    with pytest.raises(state_source.StaleError, match="is stale"):
        source.read()
    assert len(naps) == 2


def test_a_clock_that_jumps_while_the_state_is_read_is_to_blame_for_the_ages(listener, monkeypatch):
    source = listener.make()
    listener.read(source)
    said = iter(("", "the clock jumped by -500.000 s"))
    monkeypatch.setattr(source._clock, "fault", lambda: next(said))
    monkeypatch.setattr(source._clock, "now_s", lambda: time.monotonic() - 500.0)
    with pytest.raises(RobotError, match=r"^The clock jumped by -500"):
        source.read()


def test_a_message_from_the_future_is_to_blame_where_the_clock_is_right(listener, monkeypatch):
    source = listener.make()
    listener.read(source)
    monkeypatch.setattr(source._clock, "now_s", lambda: time.monotonic() - 500.0)
    with pytest.raises(RobotError, match="in the future"):
        source.read()
