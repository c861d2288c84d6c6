"""An arm comes to rest on its way, soon and without a jerk."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from controllers.braking import StopBy, brake, stands, stay, stay_at
from controllers.limits import SafetyLimits
from controllers.rotations import error, from_rotation_vector, multiply
from controllers.state import JointCommand, PoseCommand, RobotState

LIMITS = SafetyLimits()
DOWN = np.array([1.0, 0.0, 0.0, 0.0])
PERIOD_S = 0.01


def pose(x=0.5, angle_rad=0.0):
    turned = multiply(from_rotation_vector(np.array([0.0, 0.0, angle_rad])), DOWN)
    return PoseCommand(0.0, np.array([x, 0.0, 0.3]), turned, 0.04)


def joint(angle_rad):
    return JointCommand(0.0, np.full(7, angle_rad), 0.04)


def state(x=0.5, speed_m_s=0.0, angle_rad=0.0, joints_rad=0.0, joint_speed_rad_s=0.0, turning_rad_s=0.0):
    return RobotState(
        stamp_s=0.0,
        joint_position_rad=np.full(7, joints_rad),
        joint_velocity_rad_s=np.full(7, joint_speed_rad_s),
        joint_effort_nm=np.zeros(7),
        ee_position_m=np.array([x, 0.0, 0.3]),
        ee_quaternion_xyzw=pose(angle_rad=angle_rad).ee_quaternion_xyzw,
        ee_linear_velocity_m_s=np.array([speed_m_s, 0.0, 0.0]),
        ee_angular_velocity_rad_s=np.array([0.0, 0.0, turning_rad_s]),
        ee_wrench=np.zeros(6),
        gripper_width_m=0.04,
    )


def positions(braking, number=50):
    return np.array([braking.target(state(), tick * PERIOD_S).ee_position_m[0] for tick in range(number)])


@given(st.floats(0.0, 0.6), st.floats(0.0, 0.3))
def test_a_moving_target_slows_down_evenly_and_never_passes_its_goal(speed_m_s, way_m):
    goal, sent, before = pose(0.5 + way_m), pose(0.5), pose(0.5 - speed_m_s * PERIOD_S)
    told = positions(brake(LIMITS, goal, sent, before, PERIOD_S, state(speed_m_s=speed_m_s), 0.0))
    steps = np.diff(told, prepend=0.5)[1:]
    assert (steps >= -1e-12).all()
    assert (told <= 0.5 + way_m + 1e-12).all()
    assert (steps <= speed_m_s * PERIOD_S + 1e-12).all()
    # No step is shorter than the one before by more than the limit allows, unless the goal is there.
    fell = -np.diff(steps)
    allowed = LIMITS.linear_acceleration_m_s2 * PERIOD_S**2
    arrived = told[2:] >= 0.5 + way_m - 1e-12
    assert ((fell <= allowed + 1e-12) | arrived).all()
    assert told[-1] - 0.5 <= speed_m_s**2 / (2.0 * LIMITS.linear_acceleration_m_s2) + 1e-12


def test_at_half_a_metre_per_second_it_rests_after_40_ms_and_a_centimetre():
    braking = brake(LIMITS, pose(0.9), pose(0.5), pose(0.495), PERIOD_S, state(speed_m_s=0.5), 0.0)
    assert not braking.at_rest(0.03)
    assert braking.at_rest(0.04)
    assert_allclose(positions(braking)[-1], 0.5096, atol=1e-4)


def test_a_turning_target_comes_to_rest():
    braking = brake(
        LIMITS, pose(angle_rad=1.0), pose(), pose(angle_rad=-0.02), PERIOD_S, state(turning_rad_s=2.0), 0.0
    )
    turned = error(braking.target(state(), 1.0).ee_quaternion_xyzw, DOWN)
    assert_allclose(turned, [0.0, 0.0, 2.0**2 / (2.0 * LIMITS.angular_acceleration_rad_s2)], atol=1e-9)


def test_joints_come_to_rest_each_by_its_own_limit():
    braking = brake(LIMITS, joint(1.0), joint(0.0), joint(-0.01), PERIOD_S, state(joint_speed_rad_s=1.0), 0.0)
    way_rad = 1.0 / (2.0 * np.array(LIMITS.joints.acceleration_rad_s2))
    assert_allclose(braking.target(state(), 1.0).joint_position_rad, way_rad)
    assert braking.at_rest(1.0)


@pytest.mark.parametrize(("speed_m_s", "ahead_m"), [(0.0, 0.005), (0.4, 0.023)])
def test_a_target_far_ahead_of_the_arm_gives_that_up(speed_m_s, ahead_m):
    sent = pose(0.6)
    braking = brake(LIMITS, pose(0.7), sent, sent, PERIOD_S, state(0.5, speed_m_s), 0.0)
    assert_allclose(braking.target(state(), 0.0).ee_position_m[0], 0.5 + ahead_m)


def test_joint_and_turned_targets_far_ahead_give_that_up_too():
    sent = joint(0.5)
    held = brake(LIMITS, sent, sent, sent, PERIOD_S, state(), 0.0).target(state(), 0.0)
    assert_allclose(held.joint_position_rad, 0.02)
    sent = pose(angle_rad=0.5)
    held = brake(LIMITS, sent, sent, sent, PERIOD_S, state(), 0.0).target(state(), 0.0)
    assert_allclose(error(held.ee_quaternion_xyzw, DOWN), [0.0, 0.0, 0.02], atol=1e-12)


def test_a_target_near_the_arm_stays_though_the_arm_hangs_below_it():
    sent = pose(0.504)
    assert_allclose(positions(brake(LIMITS, sent, sent, sent, PERIOD_S, state(), 0.0)), 0.504)


def test_a_jump_towards_the_arm_is_not_taken_for_speed():
    braking = brake(LIMITS, pose(0.2), pose(0.5), pose(0.58), PERIOD_S, state(), 0.0)
    assert 0.5 - positions(braking)[-1] <= LIMITS.linear_speed_m_s**2 / (
        2.0 * LIMITS.linear_acceleration_m_s2
    )


@pytest.mark.parametrize(
    ("goal", "before"), [(joint(1.0), pose(0.4)), (pose(0.9), joint(0.0)), (pose(0.9), None)]
)
def test_what_is_of_another_kind_than_the_target_does_not_move_it(goal, before):
    told = positions(brake(LIMITS, goal, pose(0.5), before, PERIOD_S, state(), 0.0))
    assert_allclose(told, 0.5)


def test_a_target_at_rest_stays_and_is_stamped_anew():
    for braking in (stay(pose(0.4), 3.0), stay_at(state(0.4), 3.0)):
        assert braking.at_rest(3.0)
        target = braking.target(state(), 7.0)
        assert target.stamp_s == 7.0
        assert_allclose(target.ee_position_m[0], 0.4)
    assert_allclose(stay(joint(0.3), 3.0).target(state(), 7.0).joint_position_rad, 0.3)


def test_an_arm_stands_when_neither_its_way_nor_its_turn_is_fast():
    assert stands(state(speed_m_s=0.02, turning_rad_s=0.05))
    assert not stands(state(speed_m_s=0.05))
    assert not stands(state(turning_rad_s=0.2))


def damp(sent, at, stop_by=StopBy.DAMPING):
    return brake(LIMITS, sent, sent, sent, PERIOD_S, at, 0.0, stop_by)


def test_damping_puts_the_target_behind_a_moving_arm_and_then_where_it_stands():
    braking = damp(pose(0.55), state(0.5, speed_m_s=0.2))
    assert_allclose(braking.target(state(0.5, speed_m_s=0.2), 0.0).ee_position_m[0], 0.49)
    assert_allclose(braking.target(state(0.51, speed_m_s=0.1), 0.01).ee_position_m[0], 0.505)
    assert not braking.at_rest(0.01)
    for x in (0.515, 0.514, 0.513):  # What moves it afterwards does not move the target.
        assert_allclose(braking.target(state(x, speed_m_s=-0.02), 0.02).ee_position_m[0], 0.515)
    assert braking.at_rest(0.02)


def test_damping_pulls_no_farther_than_an_impedance_controller_would_follow():
    braking = damp(pose(0.55), state(0.5, speed_m_s=2.0))
    assert_allclose(braking.target(state(0.5, speed_m_s=2.0), 0.0).ee_position_m[0], 0.48)


def test_damping_gives_up_on_an_arm_that_never_stands():
    braking = damp(pose(0.55), state(0.5, speed_m_s=0.2))
    assert not braking.at_rest(0.0)
    assert_allclose(braking.target(state(0.6, speed_m_s=0.2), 0.31).ee_position_m[0], 0.6)
    assert braking.at_rest(0.31)


def test_damping_leaves_the_target_of_an_arm_at_rest_near_it():
    braking = damp(pose(0.504), state(0.5))
    assert_allclose(braking.target(state(0.5), 0.0).ee_position_m[0], 0.504)


@pytest.mark.parametrize(("stop_by", "sent"), [(StopBy.JOINTS, pose()), (StopBy.DAMPING, joint(0.5))])
def test_joints_stay_where_they_come_to_rest(stop_by, sent):
    moving = state(joints_rad=0.1, joint_speed_rad_s=1.0, speed_m_s=0.4)
    braking = damp(sent, moving, stop_by)
    for joints_rad in (0.1, 0.2):
        later = state(joints_rad=joints_rad, joint_speed_rad_s=1.0, speed_m_s=0.4)
        assert_allclose(braking.target(later, 0.0).joint_position_rad, 0.13)
    assert_allclose(braking.target(state(joints_rad=0.15), 0.1).joint_position_rad, 0.15)
    assert_allclose(braking.target(state(joints_rad=0.16), 0.2).joint_position_rad, 0.15)


def test_an_arm_that_stops_by_its_joints_is_held_by_them_from_the_start():
    assert_allclose(
        stay_at(state(joints_rad=0.3), 0.0, StopBy.JOINTS).target(state(), 1.0).joint_position_rad, 0.3
    )
