"""An arm behind ROS 2 as a Robot: it follows what it believes, and on any doubt it stops and names the topic."""

import math
import time
from contextlib import suppress
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from controllers.config import InputError
from controllers.state import JointCommand, PoseCommand
from robot_env.robot import RobotUnavailableError

pytestmark = pytest.mark.ros

AHEAD_M = np.array((0.02, 0.0, 0.0))


@pytest.fixture
def make_robot():
    from robot_env.ros.ros2_robot import Ros2Robot

    made = []

    def make(description, limits=None, **options):
        robot = Ros2Robot(description, limits or description.safety, **options)
        made.append(robot)
        return robot

    yield make
    for robot in made:
        robot.close()


@pytest.fixture
def direct(twin_description):
    """Commands go straight to the arm's own controller, and live long enough for a slow machine."""
    return msgspec.structs.replace(twin_description, commander="direct", command_lifetime_s=3.0)


@pytest.fixture
def robot(make_robot, direct, arm):
    """Connected to an arm that runs."""
    robot = make_robot(direct)
    with arm:
        robot.connect()
        yield robot
        robot.close()


def pose(robot, position_m, width_m=0.06):
    return PoseCommand(robot.clock.now_s(), position_m, np.array((1.0, 0.0, 0.0, 0.0)), width_m)


def go(robot, arm, wait_until, to_m=AHEAD_M):
    """Command a place beside the arm until the arm has heard of it."""

    def follow():
        with suppress(RobotUnavailableError):  # Not yet again.
            robot.observe()
            robot.send_command(pose(robot, arm.position_m + to_m))
        return any(np.allclose(goal, arm.position_m + to_m) for goal in arm.goals())

    wait_until(follow)


def until_unavailable(robot, wait_until):
    def fails():
        try:
            robot.observe()
        except RobotUnavailableError as error:
            return str(error)

    return wait_until(fails)


def connect_fails(robot):
    with pytest.raises(RobotUnavailableError) as caught:
        robot.connect()
    return str(caught.value)


def hear_no_more_than(arm, goal_m, seconds=0.3):
    """All that the arm hears from now on is this goal; returns how often."""
    time.sleep(seconds)
    goals = arm.goals()
    assert np.allclose(goals, goal_m), goals
    return len(goals)


# --- following ---


def test_a_command_within_the_limits_is_sent_as_it_is(robot, arm, wait_until):
    robot.observe()
    command = pose(robot, arm.position_m + AHEAD_M)
    assert robot.send_command(command) is command
    assert robot.limit_hits == {}
    wait_until(lambda: any(np.allclose(goal, command.ee_position_m) for goal in arm.goals()))


def test_what_the_filter_made_of_a_command_is_sent_returned_and_counted(robot, arm, wait_until):
    robot.observe()
    sent = robot.send_command(pose(robot, arm.position_m + 200.0 * AHEAD_M))
    assert sent.ee_position_m[0] < 0.75
    assert sum(robot.limit_hits.values()) > 0
    wait_until(lambda: any(np.allclose(goal, sent.ee_position_m) for goal in arm.goals()))


def test_a_command_that_is_none_holds_the_arm_and_is_counted(robot, arm, wait_until):
    robot.observe()
    sent = robot.send_command(pose(robot, np.full(3, math.nan)))
    assert sent.ee_position_m == pytest.approx(arm.position_m)
    assert robot.limit_hits == {"bad_command": 1}
    wait_until(lambda: hear_no_more_than(arm, arm.position_m, 0.05))


def test_joints_and_gripper_are_sent_by_name(robot, arm, wait_until):
    goal = np.array(arm.joints_rad) + 0.001
    robot.observe()
    sent = robot.send_command(JointCommand(robot.clock.now_s(), goal, 0.03))
    message = wait_until(lambda: arm.taken("joint"))[-1]
    assert list(message.name) == list(arm.description.joint_names)
    assert list(message.position) == pytest.approx(sent.joint_position_rad.tolist())
    finger = wait_until(lambda: arm.taken("gripper"))[-1]
    assert dict(zip(finger.name, finger.position, strict=True)) == pytest.approx(
        {"finger_joint1": 0.015, "finger_joint2": 0.015}
    )


def test_a_state_stamped_a_little_ahead_is_followed(make_robot, direct, arm, wait_until):
    from robot_env.ros.messages import stamp_ns_of, to_time

    def ahead(message):
        message.header.stamp = to_time(stamp_ns_of(message.header) + 15_000_000)

    limits = msgspec.structs.replace(direct.safety, max_state_age_s=0.1)
    robot = make_robot(direct, limits)
    arm.lies = dict.fromkeys(arm.publishers, ahead)
    with arm:
        robot.connect()
        wait_until(lambda: robot.observe().stamp_s > robot.clock.now_s() + 0.011)
        command = pose(robot, arm.position_m + AHEAD_M)
        assert robot.send_command(command) is command


def test_ages_of_all_sources_are_counted(robot):
    for _ in range(20):
        robot.observe()
    assert robot.ages.keys() == {"joint_states", "pose", "twist", "wrench", "gripper"}
    for ages in robot.ages.values():
        assert ages.counts.sum() == 20
        assert 0.0 < ages.summary()["median_s"] < 3.0


# --- the life of a command ---


def test_a_command_is_repeated_while_the_control_loop_lives_then_the_arm_is_stopped(
    make_robot, direct, arm, wait_until
):
    direct = msgspec.structs.replace(direct, command_rate_hz=50.0, command_lifetime_s=1.0)
    robot = make_robot(direct)
    with arm:
        robot.connect()
        go(robot, arm, wait_until)
        arm.taken()
        began_s = time.monotonic()
        robot.observe()
        robot.send_command(pose(robot, arm.position_m + AHEAD_M))
        messages = []

        def is_held():
            robot.observe()  # Observing alone keeps no command alive.
            messages.extend(arm.taken())
            return messages and np.allclose(messages[-1].pose.position.x, arm.position_m[0])

        wait_until(is_held)
        lived_s = time.monotonic() - began_s
        assert lived_s > 0.99
        assert 0.2 * 50.0 * lived_s < len(messages) < 1.2 * 50.0 * lived_s + 2, "50 Hz were asked for"
        stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in messages]
        assert len(set(stamps)) == len(stamps)
        # Then silence; its last word was to hold the arm where it is.
        assert hear_no_more_than(arm, arm.position_m) == 0


def test_a_loop_that_hangs_for_long_leaves_the_arm_where_it_is(make_robot, direct, arm, wait_until):
    # A hold at a state from before the silence would drive back.
    robot = make_robot(msgspec.structs.replace(direct, command_lifetime_s=0.2))
    with arm:
        robot.connect()
        go(robot, arm, wait_until)
        time.sleep(0.6)
        arm.goals()
        assert hear_no_more_than(arm, arm.position_m) == 0
        robot.stop()
        assert hear_no_more_than(arm, arm.position_m, 0.1) == 0


def test_stop_holds_the_arm_where_it_is_and_may_be_repeated(robot, arm, wait_until):
    go(robot, arm, wait_until)
    robot.observe()
    robot.stop()
    robot.stop()
    wait_until(lambda: any(np.allclose(goal, arm.position_m) for goal in arm.goals()))
    assert hear_no_more_than(arm, arm.position_m) == 0
    go(robot, arm, wait_until)  # And goes on when it is told to.


def test_stop_and_close_are_safe_in_every_state(make_robot, direct, arm, wait_until):
    robot = make_robot(direct)
    for _ in range(2):
        robot.stop()
        robot.close()
    with pytest.raises(InputError, match="'twin' is not connected: call connect"):
        robot.observe()
    with pytest.raises(InputError, match="not connected"):
        robot.send_command(pose(robot, arm.position_m))
    with arm:
        robot.connect()
        go(robot, arm, wait_until)
        robot.close()
        # The last word of a robot that is closed while it moves: stay.
        wait_until(lambda: any(np.allclose(goal, arm.position_m) for goal in arm.goals()))
        for _ in range(2):
            robot.stop()
            robot.close()
        assert hear_no_more_than(arm, arm.position_m, 0.1) == 0


def test_it_connects_again_after_close(make_robot, direct, arm, wait_until):
    robot = make_robot(direct)
    with arm:
        for number in range(2):
            robot.connect()
            robot.connect()  # Twice is no harm.
            robot.observe()
            robot.send_command(pose(robot, np.full(3, math.nan)))
            assert robot.limit_hits == {"bad_command": 1}, f"counted since connect {number}"
            go(robot, arm, wait_until)
            robot.close()


def test_an_arm_that_was_moved_meanwhile_is_not_driven_back_when_connecting(
    make_robot, direct, arm, wait_until
):
    robot = make_robot(direct, connect_timeout_s=0.5)
    with arm:
        robot.connect()
        go(robot, arm, wait_until)
        robot.close()
        wait_until(lambda: any(np.allclose(goal, arm.position_m) for goal in arm.goals()))
        arm.position_m = arm.position_m + 0.1
        arm.lies["twist"] = lambda m: False
        wait_until(lambda: "has come on /current_twist" in connect_fails(robot))
        robot.stop()
        assert hear_no_more_than(arm, arm.position_m) == 0


# --- what is missing ---


@pytest.mark.parametrize(
    ("part", "topic"),
    [("joint_states", "/joint_states"), ("wrench", "/wrench"), ("gripper", "/gripper/joint_states")],
)
def test_connect_names_what_is_missing_and_sends_nothing(make_robot, direct, arm, wait_until, part, topic):
    robot, hint = make_robot(direct, connect_timeout_s=0.5), "start it with `journeyman twin`"
    arm.lies[part] = lambda m: False
    with arm:
        wait_until(
            lambda: f"has come on {topic}, which has" in (said := connect_fails(robot)) and hint in said
        )
        assert hear_no_more_than(arm, arm.position_m, 0.1) == 0
        del arm.lies[part]
        robot.connect()  # And can be tried again.
        robot.observe()


def test_two_ros_at_once_are_refused_before_anything_starts(make_robot, direct, monkeypatch, tmp_path):
    (tmp_path / "lib" / "python3" / "site-packages" / "rclpy").mkdir(parents=True)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    robot = make_robot(direct)
    with pytest.raises(InputError, match="ROS 2 is here twice"):
        robot.connect()
    robot.stop()


def test_a_part_that_cannot_live_on_the_node_leaves_nothing_behind(make_robot, direct, arm):
    def fail(node, clock):
        raise InputError("no such topic")

    robot = make_robot(direct)
    robot.add(SimpleNamespace(attach=fail))
    with pytest.raises(InputError, match="no such topic"):
        robot.connect()
    with pytest.raises(InputError, match="not connected"):
        robot.observe()


def test_a_state_too_old_for_the_filter_is_an_error_that_can_be_recovered_from(make_robot, direct, arm):
    limits = msgspec.structs.replace(direct.safety, max_state_age_s=1e-9)
    robot = make_robot(direct, limits)
    with arm:
        robot.connect()
        robot.observe()
        with pytest.raises(RobotUnavailableError, match="no trustworthy measurement"):
            robot.send_command(pose(robot, arm.position_m + AHEAD_M))
        assert hear_no_more_than(arm, arm.position_m, 0.1) == 0


# --- lies ---


def rename(message):
    message.name = [*message.name[:-1], "elbow"]


def double(message):
    message.name.append("joint1")
    message.position.append(0.0)


@pytest.mark.parametrize(
    ("part", "lie", "complaint"),
    [
        ("joint_states", rename, "/joint_states lacks the joints ['joint7']"),
        ("joint_states", double, "/joint_states names a joint twice"),
        ("joint_states", lambda m: m.position.__setitem__(0, math.nan), "/joint_states has numbers that are not"),
        ("joint_states", lambda m: setattr(m.header.stamp, "sec", m.header.stamp.sec + 5), "in the future"),
        ("joint_states", lambda m: setattr(m.header.stamp, "sec", m.header.stamp.sec - 5), "is stale"),
        ("pose", lambda m: setattr(m.header, "frame_id", "camera"), "/current_pose is in frame 'camera'"),
        ("pose", lambda m: setattr(m.pose.orientation, "x", 0.0), "/current_pose has the quaternion (0, 0, 0, 0)"),
        ("pose", lambda m: setattr(m.pose.orientation, "y", 0.5), "whose length is 1.12, not 1"),
        ("pose", lambda m: setattr(m.pose.orientation, "y", math.nan), "/current_pose has numbers that are not"),
        ("twist", lambda m: setattr(m.header, "frame_id", "camera"), "/current_twist is in frame 'camera'"),
        ("gripper", lambda m: m.position.__setitem__(0, math.nan), "/gripper/joint_states has numbers"),
    ],
)  # fmt: skip
def test_a_driver_that_lies_is_named_and_the_arm_stopped_until_it_tells_the_truth(
    robot, arm, wait_until, part, lie, complaint
):
    go(robot, arm, wait_until)
    arm.lies[part] = lie
    assert complaint in until_unavailable(robot, wait_until)
    wait_until(lambda: any(np.allclose(goal, arm.position_m) for goal in arm.goals()))  # The stop.
    with pytest.raises(RobotUnavailableError):
        robot.send_command(pose(robot, arm.position_m + AHEAD_M))
    assert hear_no_more_than(arm, arm.position_m, 0.1) == 0
    del arm.lies[part]
    go(robot, arm, wait_until)


def test_joints_in_another_order_make_no_difference(robot, arm, wait_until):
    def shuffle(message):
        message.name, message.position = list(message.name[::-1]), message.position[::-1]

    arm.lies["joint_states"] = shuffle
    wait_until(lambda: robot.observe() and time.sleep(0.02) is None)
    go(robot, arm, wait_until)
    assert robot.observe().joint_position_rad.tolist() == arm.joints_rad


def test_a_driver_that_dies_is_named_and_the_arm_stopped(make_robot, direct, arm, wait_until):
    state = msgspec.structs.replace(
        direct.state, joint_states=msgspec.structs.replace(direct.state.joint_states, max_age_s=0.4)
    )
    robot = make_robot(msgspec.structs.replace(direct, state=state))
    with arm:
        robot.connect()
        go(robot, arm, wait_until)
    said = until_unavailable(robot, wait_until)
    assert said.startswith("/joint_states is stale: its newest message is 0.4")
    wait_until(lambda: any(np.allclose(goal, arm.position_m) for goal in arm.goals()))
    assert hear_no_more_than(arm, arm.position_m, 0.1) == 0


@pytest.mark.parametrize("jump_s", [-10.0, 10.0])
def test_a_system_clock_that_is_set_stops_the_arm(robot, arm, wait_until, monkeypatch, jump_s):
    go(robot, arm, wait_until)
    with monkeypatch.context() as patch:
        patch.setattr(
            "robot_env.ros.ros_clock.time",
            SimpleNamespace(
                time=lambda: time.time() + jump_s,
                time_ns=lambda: time.time_ns() + round(jump_s * 1e9),
                monotonic=time.monotonic,
                sleep=time.sleep,
            ),
        )
        assert f"The system's clock jumped by {jump_s:+.3f} s" in until_unavailable(robot, wait_until)
        wait_until(lambda: any(np.allclose(goal, arm.position_m) for goal in arm.goals()))
        # The arm's stamps are of another time now.
        wait_until(lambda: "/joint_states is" in until_unavailable(robot, wait_until))
        hear_no_more_than(arm, arm.position_m, 0.1)
    until_unavailable(robot, wait_until)  # Set right again, which is a jump as well.
    go(robot, arm, wait_until)


@pytest.mark.parametrize("jump_s", [-50.0, 5000.0])
def test_a_simulation_whose_time_jumps_stops_the_arm(runtime, make_robot, direct, arm, wait_until, jump_s):
    from rosgraph_msgs.msg import Clock

    from robot_env.ros.messages import to_time

    publisher = runtime.node.create_publisher(Clock, "/clock", 1)
    start_s, now = time.monotonic(), SimpleNamespace(offset_s=100.0)

    def tick(message):
        stamp = to_time(round((time.monotonic() - start_s + now.offset_s) * 1e9))
        message.header.stamp = stamp
        publisher.publish(Clock(clock=stamp))

    arm.lies = dict.fromkeys(arm.publishers, tick)
    robot = make_robot(direct, simulated_time=True)
    with arm:
        robot.connect()
        assert 100.0 < robot.observe().stamp_s < 200.0
        go(robot, arm, wait_until)
        now.offset_s += jump_s
        said = until_unavailable(robot, wait_until)
        assert said.startswith("/clock jumped by ") or "/joint_states" in said
        wait_until(lambda: any(np.allclose(goal, arm.position_m) for goal in arm.goals()))
        go(robot, arm, wait_until)


def test_a_camera_that_fails_in_an_episode_stops_the_arm(robot, arm, make_task, wait_until, monkeypatch):
    from robot_env.contracts import ResetResult, Reward
    from robot_env.env import RobotEnv

    def fail():
        raise RobotUnavailableError("/front/color/image_raw is stale")

    camera = SimpleNamespace(read=lambda: np.zeros((8, 8, 3), np.uint8))
    task = make_task(observation=[{"name": "ee_position"}], cameras={"front": {"width": 8, "height": 8}})
    env = RobotEnv(
        robot,
        task,
        SimpleNamespace(observables={}, observe=dict),
        SimpleNamespace(reward=lambda _: Reward(0.0, False)),
        SimpleNamespace(reset=lambda *_: ResetResult(True)),
        {"front": camera},
    )
    env.reset(seed=0)
    env.step(np.array((1, 0, 0, 1), np.float32))
    wait_until(lambda: any(goal[0] > arm.position_m[0] + 0.01 for goal in arm.goals()))
    camera.read, stop, stops = fail, robot.stop, []
    monkeypatch.setattr(robot, "stop", lambda: stops.append(1) or stop())
    with pytest.raises(RobotUnavailableError, match="/front/color/image_raw"):
        env.step(np.array((1, 0, 0, 1), np.float32))
    assert stops  # At once, not when the command's life is over.
    wait_until(lambda: any(np.allclose(goal, arm.position_m) for goal in arm.goals()))
    assert hear_no_more_than(arm, arm.position_m, 0.1) == 0


# --- by way of the controller node ---


class FakeController:
    """Says what a controller node says, and hears what it hears."""

    def __init__(self, node):
        from diagnostic_msgs.msg import DiagnosticStatus
        from geometry_msgs.msg import PoseStamped
        from rclpy.qos import DurabilityPolicy, QoSProfile
        from sensor_msgs.msg import JointState
        from std_srvs.srv import Trigger

        from robot_env.ros.runtime import Inbox

        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._status = node.create_publisher(DiagnosticStatus, "controller/status", latched)
        self.targets = Inbox(node, PoseStamped, "controller/target_pose", 100)
        self.widths = Inbox(node, JointState, "controller/target_gripper", 100)
        self.stops = 0
        node.create_service(Trigger, "controller/stop", self._stop)

    def say(self, level, state, message="", **values):
        from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

        pairs = {"state": state, **values}
        self._status.publish(
            DiagnosticStatus(
                level=bytes([level]),
                name="controller",
                message=message,
                values=[KeyValue(key=key.replace("__", "."), value=value) for key, value in pairs.items()],
            )
        )

    def _stop(self, _, answer):
        self.stops += 1
        answer.success = True
        return answer


@pytest.fixture
def controller(runtime):
    return FakeController(runtime.node)


@pytest.fixture
def controlled(make_robot, twin_description, arm, controller):
    """A robot whose commands go to a controller node that is idle."""
    robot = make_robot(twin_description)
    controller.say(0, "idle")
    with arm:
        robot.connect()
        yield robot
        robot.close()


def test_targets_go_to_the_controller_and_not_to_the_arm(controlled, controller, arm, wait_until):
    controlled.observe()
    controlled.send_command(pose(controlled, arm.position_m + AHEAD_M, 0.05))
    message = wait_until(controller.targets.take)[-1].message
    assert message.header.frame_id == "base"
    assert message.pose.position.x == pytest.approx(0.52)
    width = wait_until(controller.widths.take)[-1].message
    assert (list(width.name), list(width.position)) == (["gripper_width"], [0.05])
    assert len(arm.goals()) == 0


def test_without_a_controller_connect_names_its_topic_and_what_to_start(make_robot, twin_description, arm):
    robot = make_robot(twin_description, connect_timeout_s=0.5)
    with (
        arm,
        pytest.raises(RobotUnavailableError, match=r"No /controller/status .* start the controller node"),
    ):
        robot.connect()


@pytest.mark.parametrize(
    ("level", "state"), [(2, "fault"), (2, "e_stop"), (1, "inactive"), (1, "disabled"), (3, "fault")]
)
def test_a_controller_that_does_not_follow_is_quoted_and_told_nothing_more(
    controlled, controller, arm, wait_until, level, state
):
    controller.say(level, state, "stopped: joint3 is too fast; journeyman robot recover")

    def fails():
        controlled.observe()
        try:
            controlled.send_command(pose(controlled, arm.position_m + AHEAD_M))
        except RobotUnavailableError as error:
            return str(error)

    said = wait_until(fails)
    assert said == (
        f"The controller node is in state {state}: stopped: joint3 is too fast; journeyman robot recover"
    )
    controller.targets.take()
    time.sleep(0.2)
    assert controller.targets.take() == []
    controller.say(0, "idle")
    wait_until(lambda: not fails())


def test_a_controller_that_is_idle_tracking_or_warns_is_commanded(controlled, controller, arm, wait_until):
    for level, state in ((0, "idle"), (0, "tracking"), (1, "tracking")):
        controller.say(level, state)
        wait_until(
            lambda state=state: (
                controlled.commander.fault(time.monotonic()) == "" and controlled.commander.state == state
            )
        )
        controlled.observe()
        controlled.send_command(pose(controlled, arm.position_m + AHEAD_M))


def test_a_controller_that_falls_silent_is_gone(controlled, controller, arm, wait_until):
    def fails():
        controlled.observe()
        try:
            controlled.send_command(pose(controlled, arm.position_m + AHEAD_M))
        except RobotUnavailableError as error:
            return str(error)

    said = wait_until(fails)
    assert said.startswith("/controller/status is silent for 1.")
    assert said.endswith("the controller node is gone.")


def test_limits_that_the_controller_hit_are_counted_beside_our_own(controlled, controller, arm, wait_until):
    controller.say(0, "tracking", hit__linear_speed="3", ticks="100")
    controlled.observe()

    def hits():
        controlled.send_command(pose(controlled, np.full(3, math.nan)))
        return "controller.linear_speed" in controlled.limit_hits and controlled.limit_hits

    hits = wait_until(hits)
    assert hits["controller.linear_speed"] == 3
    assert hits["bad_command"] >= 1
    assert hits.keys() == {"controller.linear_speed", "bad_command"}


def test_stopping_asks_the_controller_and_ends_the_commands(controlled, controller, arm, wait_until):
    controlled.observe()
    controlled.send_command(pose(controlled, arm.position_m + AHEAD_M))
    wait_until(controller.targets.take)
    wait_until(lambda: controlled.stop() or controller.stops)
    controller.targets.take()
    time.sleep(0.2)
    assert controller.targets.take() == []
    assert len(arm.goals()) == 0


def test_a_node_that_died_is_an_error_and_not_silence(robot, wait_until):
    def fail():
        raise ZeroDivisionError

    robot._runtime.node.create_timer(0.001, fail)

    def dies():
        try:
            robot.observe()
        except RuntimeError as error:
            return "thread that serves the ROS node died" in str(error)

    wait_until(dies)
