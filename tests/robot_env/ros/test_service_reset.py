"""A reset that another node does: asked with a seed, and over when everything observed is from after it."""

import math
import time

import msgspec
import numpy as np
import pytest

from robot_env.robot import RobotUnavailableError

pytestmark = pytest.mark.ros


@pytest.fixture
def fixture_node(runtime):
    """A node `test` with a `~/reset`; a test says what it answers."""
    from std_srvs.srv import Trigger

    class Fixture:
        success, message = True, ""
        seeds = ()

        def answer(self, _, response):
            self.seeds = (*self.seeds, runtime.node.get_parameter("reset_seed").value)
            response.success, response.message = self.success, self.message
            return response

    fixture = Fixture()
    runtime.node.declare_parameter("reset_seed", -1)
    runtime.node.create_service(Trigger, "~/reset", fixture.answer)
    return fixture


@pytest.fixture
def robot(arm, twin_description):
    from robot_env.ros.ros2_robot import Ros2Robot

    description = msgspec.structs.replace(twin_description, commander="direct")
    robot = Ros2Robot(description, description.safety)
    yield robot
    robot.close()


@pytest.fixture
def make_reset(robot, arm, fixture_node):
    from robot_env.ros.service_reset import ServiceReset

    with arm:

        def make(*news):
            reset = ServiceReset(robot, "test", list(news))
            robot.add(reset)
            robot.connect()
            return reset

        yield make
        robot.close()


def test_the_node_is_asked_with_a_seed_that_repeats(make_reset, fixture_node):
    reset = make_reset()
    for seed in (1, 2, 1):
        assert reset.reset(np.random.default_rng(seed)).success
    first, second, third = fixture_node.seeds
    assert first == third != second
    assert min(fixture_node.seeds) >= 0


def test_a_node_that_cannot_reset_is_quoted(make_reset, fixture_node):
    fixture_node.success, fixture_node.message = False, "the cube is under the table"
    result = make_reset().reset(np.random.default_rng(0))
    assert not result.success
    assert result.reason == "the cube is under the table"


def test_a_node_that_is_not_there_is_named(robot, arm, monkeypatch):
    from robot_env.ros.service_reset import ServiceReset
    from robot_env.ros.services import Service

    monkeypatch.setattr(Service.__init__, "__defaults__", (0.1, 0.0))
    reset = ServiceReset(robot, "fixture", [])
    robot.add(reset)
    with arm:
        robot.connect()
        with pytest.raises(RobotUnavailableError, match="The service /fixture/set_parameters is not there"):
            reset.reset(np.random.default_rng(0))


def test_a_reset_is_over_when_everything_is_news(make_reset, robot):
    heard_s = [-math.inf]
    asked = []

    def news():
        asked.append(1)
        if len(asked) == 20:
            heard_s[0] = robot.clock.now_s()
        return heard_s[0]

    before_s = robot.clock.now_s()
    assert make_reset(news).reset(np.random.default_rng(0)).success
    assert len(asked) == 20
    assert robot.observe().stamp_s > before_s


def test_news_that_do_not_come_end_the_wait(make_reset, monkeypatch):
    monkeypatch.setattr("robot_env.ros.service_reset._NEWS_TIMEOUT_S", 0.3)
    began_s = time.monotonic()
    with pytest.raises(RobotUnavailableError, match="There is no news from the robot after its reset"):
        make_reset(lambda: -math.inf).reset(np.random.default_rng(0))
    assert time.monotonic() - began_s < 15.0


def test_a_source_of_news_that_fails_is_quoted(make_reset, monkeypatch):
    def fail():
        raise RobotUnavailableError("No image has come on /front")

    monkeypatch.setattr("robot_env.ros.service_reset._NEWS_TIMEOUT_S", 0.3)
    with pytest.raises(RobotUnavailableError, match="No image has come on /front"):
        make_reset(fail).reset(np.random.default_rng(0))


def test_a_robot_that_says_what_cannot_be_after_a_reset_is_quoted(make_reset, arm, monkeypatch):
    monkeypatch.setattr("robot_env.ros.service_reset._NEWS_TIMEOUT_S", 0.5)
    reset = make_reset(lambda: -math.inf)
    arm.lies["pose"] = lambda m: setattr(m.header, "frame_id", "camera")
    with pytest.raises(RobotUnavailableError, match="/current_pose is in frame 'camera'"):
        reset.reset(np.random.default_rng(0))


def test_nothing_from_before_the_reset_is_remembered(make_reset, robot, arm):
    reset = make_reset()
    before = robot.observe()
    arm.position_m = arm.position_m + 0.1  # As a twin is put elsewhere.
    assert reset.reset(np.random.default_rng(0)).success
    assert robot.last_state.stamp_s > before.stamp_s
    assert robot.last_state.ee_position_m == pytest.approx(arm.position_m)


def test_a_robot_that_somebody_stopped_is_not_touched(make_reset, robot, fixture_node, runtime, wait_until):
    from std_msgs.msg import Bool

    reset = make_reset()
    publisher = runtime.node.create_publisher(Bool, "e_stop", 1)

    def is_stopped():
        publisher.publish(Bool(data=True))
        return robot.commander.fault(time.monotonic()) != ""

    wait_until(is_stopped)
    with pytest.raises(RobotUnavailableError, match="emergency stop"):
        reset.reset(np.random.default_rng(0))
    assert fixture_node.seeds == ()


def test_a_reset_that_does_not_end_leaves_the_controller_alone(make_reset, robot, fixture_node, monkeypatch):
    reset = make_reset()
    enabled = []
    monkeypatch.setattr(reset, "_set_enabled", lambda wanted: enabled.append(wanted) or "")
    monkeypatch.setattr(reset._reset, "ask", lambda: "The service did not answer within 60 s.")
    with pytest.raises(RobotUnavailableError, match="stays disabled"):
        reset.reset(np.random.default_rng(0))
    assert enabled == [False]
