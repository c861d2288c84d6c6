"""Torques hold and lead an arm, and cease when nobody commands."""

import math

import msgspec
import numpy as np
import pytest
from numpy.testing import assert_allclose

from controllers.config import InputError
from controllers.state import JointCommand, PoseCommand

pytestmark = pytest.mark.ros


@pytest.fixture
def twin():
    from sim.config import TwinConfig
    from sim.registration import load, make_env

    twin = make_env(load("reach"), TwinConfig(substeps_per_tick=5)).scene.twin
    twin.reset(np.random.default_rng(0), np.array(TwinConfig().impedance.posture_rad), 0.05)
    return twin


@pytest.fixture
def make(runtime, twin_description):
    from robot_env.ros.interfaces.effort import Effort

    return lambda config=None, **changes: Effort(
        runtime.node, msgspec.structs.replace(twin_description, **changes), config or {}
    )


def drive(effort, twin, command, ticks=300):
    """By torques, at 100 Hz; returns the state afterwards."""
    for _ in range(ticks):
        twin.follow_torque(effort.torque(command, twin.state(0.0)))
        twin.advance(1)
    return twin.state(0.0)


def test_an_arm_is_led_to_a_pose_and_held_there(make, twin):
    effort, start = make(), twin.state(0.0)
    goal = PoseCommand(
        0.0, start.ee_position_m + np.array((0.05, -0.08, 0.04)), start.ee_quaternion_xyzw, 0.0
    )
    state = drive(effort, twin, goal)
    assert_allclose(state.ee_position_m, goal.ee_position_m, atol=0.003)
    assert_allclose(state.joint_velocity_rad_s, 0.0, atol=0.02)


def test_an_arm_is_led_to_a_joint_configuration_and_from_there_to_a_pose(make, twin):
    effort, start = make(), twin.state(0.0)
    goal = JointCommand(0.0, start.joint_position_rad + 0.2, 0.0)
    state = drive(effort, twin, goal)
    assert_allclose(state.joint_position_rad, goal.joint_position_rad, atol=0.01)
    back = PoseCommand(0.0, start.ee_position_m, start.ee_quaternion_xyzw, 0.0)
    assert_allclose(drive(effort, twin, back, 500).ee_position_m, start.ee_position_m, atol=0.003)


def test_the_redundant_joints_are_drawn_home(make, twin, twin_description):
    start = twin.state(0.0)
    hold = PoseCommand(0.0, start.ee_position_m, start.ee_quaternion_xyzw, 0.0)
    assert_allclose(start.joint_position_rad, twin_description.home_joint_position_rad, atol=1e-6)
    assert_allclose(make().torque(hold, start), 0.0, atol=0.1)
    elsewhere = (1.0, *twin_description.home_joint_position_rad[1:])
    assert np.abs(make(home_joint_position_rad=elsewhere).torque(hold, start)).max() > 0.5
    assert np.abs(make({"impedance": {"posture_rad": elsewhere}}).torque(hold, start)).max() > 0.5


def test_gains_come_from_the_configuration(make, twin):
    start = twin.state(0.0)
    goal = JointCommand(0.0, start.joint_position_rad + 0.01, 0.0)
    gains = {"joint_impedance": {"stiffness_nm_rad": [100.0] * 7, "damping_nms_rad": [0.0] * 7}}
    assert_allclose(make(gains).torque(goal, start), 1.0, atol=1e-6)


def test_torques_are_published_and_end_with_zeros(make, twin, runtime, wait_until):
    from std_msgs.msg import Float64MultiArray

    from robot_env.ros.runtime import Inbox

    effort, start = make({"topic": "torques"}), twin.state(0.0)
    inbox = Inbox(runtime.node, Float64MultiArray, "torques", 10, reliable=True)
    wait_until(
        lambda: runtime.node.count_subscribers("torques") and effort._publisher.get_subscription_count()
    )
    goal = JointCommand(0.0, start.joint_position_rad + 0.1, 0.0)
    effort.send(goal, start, 0)
    effort.release()
    taken = []
    wait_until(lambda: taken.extend(list(got.message.data) for got in inbox.take()) or len(taken) >= 2)
    assert_allclose(taken[0], effort.torque(goal, start))
    assert taken[1] == [0.0] * 7


def test_a_measurement_that_is_none_makes_no_torques(make, twin):
    state = msgspec.structs.replace(twin.state(0.0), joint_velocity_rad_s=np.full(7, math.nan))
    for command in (
        PoseCommand(0.0, state.ee_position_m, state.ee_quaternion_xyzw, 0.0),
        JointCommand(0.0, state.joint_position_rad, 0.0),
    ):
        with pytest.raises(ArithmeticError):
            make().torque(command, state)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"toppic": "x"}, "toppic"),
        ({"impedance": {"stiffness": 1.0}}, "stiffness"),
        ({"impedance": {"posture_rad": [0.0]}}, "posture_rad has 1 entries"),
        ({"impedance": 5}, "impedance"),
        ({"joint_impedance": {"clip_rad": -1.0}}, "must be finite and not negative"),
    ],
)
def test_a_wrong_configuration_is_named(make, config, said):
    with pytest.raises(InputError, match=said):
        make(config)


def test_without_kinematics_there_are_no_torques(make):
    with pytest.raises(InputError, match="has no kinematics"):
        make(kinematics=None)
