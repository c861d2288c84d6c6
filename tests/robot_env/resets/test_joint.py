import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.config import InputError
from controllers.limits import JointLimits, SafetyLimits
from controllers.safety_filter import SafetyFilter
from robot_env.fake import FakeRobot
from robot_env.resets import JointReset, JointResetConfig

HOME = (0.0, -0.3, 0.0, -2.0, 0.0, 1.8, 0.7)
LIMITS = JointLimits()
RNG = np.random.default_rng(0)


def joint_angles():
    return st.tuples(
        *[st.floats(low, high) for low, high in zip(LIMITS.min_rad, LIMITS.max_rad, strict=True)]
    )


def make_reset(robot, **changes):
    return JointReset(robot, JointResetConfig(home_joint_position_rad=HOME, **changes), LIMITS)


def connected(**options):
    robot = FakeRobot(**options)
    robot.connect()
    return robot


@settings(max_examples=25)
@given(home=joint_angles(), fraction=st.floats(0.05, 1.0))
def test_the_robot_ends_at_home_within_its_speed_limits(home, fraction):
    robot = connected()
    robot.place_joints(HOME)
    config = JointResetConfig(home_joint_position_rad=home, speed_fraction=fraction)
    assert JointReset(robot, config, LIMITS).reset(RNG).success
    np.testing.assert_allclose(robot.observe().joint_position_rad, home, atol=1e-9)
    targets = np.array([HOME, *(command.joint_position_rad for command in robot.sent)])
    speeds = np.abs(np.diff(targets, axis=0)).max(axis=0) * config.rate_hz
    assert (speeds <= fraction * np.array(LIMITS.velocity_rad_s) + 1e-9).all()


def test_commands_come_at_the_rate_and_carry_the_time_they_were_decided():
    robot = connected()
    make_reset(robot, rate_hz=100.0).reset(RNG)
    stamps_s = np.array([command.stamp_s for command in robot.sent])
    np.testing.assert_allclose(np.diff(stamps_s), 0.01, atol=1e-9)
    assert stamps_s[0] == 100.0


@pytest.mark.parametrize(("width_m", "expected_m"), [(None, 0.08), (0.02, 0.02)])
def test_the_fingers_keep_their_distance_or_take_the_wanted_one(width_m, expected_m):
    robot = connected()
    make_reset(robot, gripper_width_m=width_m).reset(RNG)
    assert {command.gripper_width_m for command in robot.sent} == {expected_m}


def test_the_safety_filter_has_nothing_to_object_to():
    robot = connected()
    robot.place_joints((0.5, 0.2, -0.4, -1.5, 0.3, 1.5, 0.0))
    filter_ = SafetyFilter(SafetyLimits())
    robot.limit = lambda command: filter_.filter(command, robot.observe(), robot.clock.now_s()).command
    assert make_reset(robot).reset(RNG).success
    assert not filter_.hits


def test_an_arm_that_is_home_already_needs_one_command():
    robot = connected()
    robot.place_joints(HOME)
    assert make_reset(robot).reset(RNG).success
    assert len(robot.sent) == 1


def test_a_blocked_arm_is_stopped_and_named():
    robot = connected()
    robot.place_joints((0.0, -0.3, 0.0, -2.0, 0.0, 1.8, -0.7))
    robot.fault = "stuck"
    result = make_reset(robot).reset(RNG)
    assert not result.success
    assert "joint_7" in result.reason
    assert robot.calls[-1] == "stop"
    # It was noticed long before the command was at home.
    assert robot.sent[-1].joint_position_rad[6] < 0.0


def test_an_arm_that_stays_a_little_off_is_reported_after_its_time_to_settle():
    robot = connected()
    robot.place_joints((0.0, -0.3, 0.0, -2.0, 0.0, 1.8, 0.6))
    robot.fault = "stuck"
    result = make_reset(robot, settle_s=0.5).reset(RNG)
    assert not result.success
    assert "0.100 rad from its home position" in result.reason
    assert robot.calls[-1] == "stop"
    assert robot.clock.now_s() < 102.0


@pytest.mark.parametrize(
    ("fault", "words"),
    [("nan_state", "nan"), ("no_state", "sends no state"), ("refuses", "refuses commands")],
)
def test_on_any_doubt_the_robot_is_stopped(fault, words):
    robot = connected()
    robot.fault = fault
    result = make_reset(robot).reset(RNG)
    assert not result.success
    assert words in result.reason
    assert robot.calls[-1] == "stop"


def test_a_state_that_grows_stale_on_the_way_stops_the_robot():
    robot = connected()
    calls = 0

    def freeze(command):
        nonlocal calls
        calls += 1
        if calls == 5:
            robot.fault = "stale_state"
        return command

    robot.limit = freeze
    result = make_reset(robot).reset(RNG)
    assert not result.success
    assert "old" in result.reason
    assert robot.calls[-1] == "stop"
    assert len(robot.sent) < 15


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ZeroDivisionError])
def test_who_wants_it_to_end_stops_the_robot_on_the_way(interruption):
    robot = connected()
    calls = 0

    def keep_going():
        nonlocal calls
        calls += 1
        if calls == 5:
            raise interruption

    with pytest.raises(interruption):
        make_reset(robot).reset(RNG, keep_going)
    assert len(robot.sent) == 4
    assert robot.calls[-1] == "stop"


@pytest.mark.parametrize("home", [HOME[:6], (9.0, *HOME[1:]), (float("nan"), *HOME[1:])])
def test_a_home_that_the_robot_does_not_have_is_refused(home):
    with pytest.raises(InputError, match="home position"):
        JointReset(FakeRobot(), JointResetConfig(home_joint_position_rad=home), LIMITS)


@pytest.mark.parametrize("changes", [{"speed_fraction": 0.0}, {"speed_fraction": 1.5}, {"rate_hz": 0.0}])
def test_what_cannot_be_driven_is_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        JointResetConfig(home_joint_position_rad=HOME, **changes)
