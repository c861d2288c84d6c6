"""Motions of the tool centre point on the fake robot, which is where it was told to be one command later."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.limits import SafetyLimits
from controllers.rotations import error, from_rotation_vector, multiply
from controllers.safety_filter import SafetyFilter
from robot_env.contracts import always
from robot_env.fake import FakeRobot
from robot_env.resets.motion import MotionConfig, MotionError, ToolMotion
from robot_env.robot import RobotError

HERE = np.array([0.5, 0.0, 0.3])


def make_motion(robot, keep_going=always, **changes):
    if "connect" not in robot.calls:
        robot.connect()
    return ToolMotion(robot, MotionConfig(**changes), keep_going)


@settings(max_examples=25)
@given(
    goal_m=st.tuples(st.floats(0.3, 0.7), st.floats(-0.3, 0.3), st.floats(0.05, 0.6)),
    turn_rad=st.floats(-1.0, 1.0),
    speed_m_s=st.floats(0.02, 0.5),
)
def test_the_arm_arrives_within_its_speed_limits(goal_m, turn_rad, speed_m_s):
    robot = FakeRobot()
    motion = make_motion(robot, speed_m_s=speed_m_s, budget_s=1e3)
    turned = multiply(from_rotation_vector(np.array([0.0, 0.0, turn_rad])), motion.state.ee_quaternion_xyzw)
    assert not motion.move(goal_m, turned)
    np.testing.assert_allclose(motion.state.ee_position_m, goal_m, atol=1e-9)
    np.testing.assert_allclose(error(turned, motion.state.ee_quaternion_xyzw), 0.0, atol=1e-9)
    targets_m = np.array([HERE, *(command.ee_position_m for command in robot.sent)])
    assert np.linalg.norm(np.diff(targets_m, axis=0), axis=1).max() * 25.0 <= speed_m_s + 1e-9
    assert {command.gripper_width_m for command in robot.sent} == {0.08}


def test_the_safety_filter_has_nothing_to_object_to():
    robot = FakeRobot()
    robot.place_joints((0.0, -0.3, 0.0, -2.0, 0.0, 1.8, 0.7))
    filter_ = SafetyFilter(SafetyLimits())
    robot.limit = lambda command: filter_.filter(command, robot.observe(), robot.clock.now_s()).command
    make_motion(robot).move((0.6, 0.2, 0.1))
    assert not filter_.hits


def test_every_command_is_asked_for_first():
    robot = FakeRobot()
    make_motion(robot, lambda *_: robot.calls.append("asked")).move((0.5, 0.0, 0.2))
    moves = [call for call in robot.calls if call in ("asked", "send_command")]
    assert moves == ["asked", "send_command"] * len(robot.sent)


def test_a_computer_that_comes_late_makes_the_arm_slow_and_not_jump():
    robot = FakeRobot()
    motion = make_motion(robot)

    def pause(command):
        robot.clock.oversleep_s = 0.5 * (len(robot.sent) % 5 == 2)
        return command

    robot.limit = pause
    motion.move((0.5, 0.0, 0.0))
    heights_m = np.array([command.ee_position_m[2] for command in robot.sent])
    assert np.abs(np.diff(heights_m)).max() <= 1.5 * 0.25 / 25.0


def test_a_blocked_arm_is_noticed_before_the_target_is_far_away():
    robot = FakeRobot()
    robot.fault = "stuck"
    with pytest.raises(MotionError, match=r"blocked at 0.50, 0.00, 0.30 m"):
        make_motion(robot).move((0.5, 0.0, 0.0))
    assert HERE[2] - robot.sent[-1].ee_position_m[2] < 0.1


def test_an_arm_that_stays_a_little_off_is_noticed_after_its_time_to_settle():
    robot = FakeRobot()
    robot.fault = "stuck"
    with pytest.raises(MotionError, match=r"stayed 0.020 m from its goal"):
        make_motion(robot, settle_s=0.5).move((0.5, 0.0, 0.28))
    assert robot.clock.now_s() < 101.0


def test_no_motion_takes_longer_than_its_budget():
    robot = FakeRobot()
    with pytest.raises(MotionError, match="from its goal"):
        make_motion(robot, speed_m_s=0.001, budget_s=2.0).move((0.5, 0.0, 0.0))
    assert robot.clock.now_s() < 102.2


def test_too_much_force_ends_a_motion(table):
    table.force_n = lambda position_m: np.array([0.0, 0.0, 40.0 * (position_m[2] < 0.2)])
    with pytest.raises(MotionError, match="a force of 40 N"):
        make_motion(table).move((0.5, 0.0, 0.1))
    assert table.sent[-1].ee_position_m[2] > 0.18


def test_who_leaves_may_have_been_pressed_before_but_not_more(table):
    table.force_n = lambda position_m: np.array([0.0, 0.0, 40.0])
    make_motion(table).move((0.5, 0.0, 0.4), leaving=True)
    table.force_n = lambda position_m: np.array([0.0, 0.0, 400.0 * (position_m[2] - 0.25)])
    with pytest.raises(MotionError, match="force"):
        make_motion(table).move((0.5, 0.0, 0.5), leaving=True)


def test_where_a_touch_is_looked_for_it_ends_the_motion_well(table):
    table.force_n = lambda position_m: np.array([0.0, 0.0, 2.0 + 10.0 * (position_m[2] < 0.2)])
    motion = make_motion(table)
    assert motion.move((0.5, 0.0, 0.1), until_contact=True)
    touched_m = motion.state.ee_position_m[2]
    assert 0.18 < touched_m < 0.2
    motion.grip(0.05)
    np.testing.assert_allclose(motion.state.ee_position_m[2], touched_m)  # It does not push.


def test_an_arm_without_a_force_sensor_feels_a_touch_by_not_getting_on():
    robot = FakeRobot()
    robot.fault = "stuck"
    assert make_motion(robot).move((0.5, 0.0, 0.1), until_contact=True)


@pytest.mark.parametrize(
    ("fault", "words"),
    [("nan_state", "joint_position_rad"), ("no_state", "sends no state"), ("refuses", "refuses commands")],
)
def test_what_cannot_be_driven_is_no_matter_of_the_motion(fault, words):
    robot = FakeRobot()
    motion = make_motion(robot)
    robot.fault = fault
    with pytest.raises(RobotError, match=words) as raised:
        motion.move((0.5, 0.0, 0.2))
    assert not isinstance(raised.value, MotionError)


def test_an_arm_is_waited_for_until_it_rests_but_not_for_ever(table):
    speeds_m_s = iter((0.3, 0.1, 0.03, 0.01))
    table.speed_m_s = lambda: next(speeds_m_s)
    make_motion(table).rest()
    assert len(table.sent) == 3
    table.speed_m_s = lambda: 0.3
    with pytest.raises(MotionError, match=r"does not come to rest: it moves with 0.30 m/s"):
        make_motion(table).rest()
    assert table.clock.now_s() < 102.0


def test_fingers_are_waited_for_and_told_how_far_they_came(table):
    motion = make_motion(table)
    assert motion.grip(0.02) == 0.02
    table.jammed_m = 0.03
    assert motion.grip(0.08) == 0.03


def test_fingers_that_never_rest_are_not_waited_for_for_ever(table):
    motion = make_motion(table, gripper_timeout_s=2.0)
    widths_m = iter(np.tile((0.01, 0.05), 100))
    observe = table.observe

    def restless():
        table.jammed_m = next(widths_m)
        return observe()

    table.observe = restless
    motion.grip(0.08)
    assert table.clock.now_s() < 102.2


@pytest.mark.parametrize("changes", [{"speed_m_s": 0.0}, {"rate_hz": np.nan}, {"budget_s": np.inf}])
def test_what_cannot_be_driven_is_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        MotionConfig(**changes)
