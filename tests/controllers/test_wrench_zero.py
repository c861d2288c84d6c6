"""Zeroing takes out what the sensor shows untouched, and follows it as it turns."""

import math

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.testing import assert_allclose

from controllers.rotations import from_rotation_vector
from controllers.state import RobotState
from controllers.wrench_zero import WrenchZero

UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])
SHOWN = np.array([1.0, 2.0, 3.0, 0.1, 0.2, 0.3])
STATE = RobotState(0.0, *[np.zeros(7)] * 3, np.zeros(3), UPRIGHT, np.zeros(3), np.zeros(3), SHOWN, 0.0)


@pytest.fixture
def zeroed():
    zero = WrenchZero()
    for _ in range(20):
        zero.apply(STATE)
    assert zero.zero() == ""
    return zero


def test_before_it_was_asked_for_nothing_changes():
    assert WrenchZero().apply(STATE) is STATE


def test_afterwards_only_the_difference_is_felt(zeroed):
    assert_allclose(zeroed.apply(STATE).ee_wrench, 0.0, atol=1e-12)
    pushed = replace(STATE, ee_wrench=STATE.ee_wrench + 1.0)
    assert_allclose(zeroed.apply(pushed).ee_wrench, 1.0)


def test_it_averages_noise():
    zero, rng = WrenchZero(), np.random.default_rng(0)
    for _ in range(20):
        zero.apply(replace(STATE, ee_wrench=STATE.ee_wrench + rng.normal(0.0, 0.3, 6)))
    zero.zero()
    assert np.abs(zero.apply(STATE).ee_wrench).max() < 0.3


def test_the_offset_turns_with_the_sensor(zeroed):
    quarter = from_rotation_vector(np.array([0.0, 0.0, 0.5 * math.pi]))
    shown = np.array([-2.0, 1.0, 3.0, -0.2, 0.1, 0.3])
    assert_allclose(
        zeroed.apply(replace(STATE, ee_quaternion_xyzw=quarter, ee_wrench=shown)).ee_wrench, 0.0, atol=1e-12
    )


def test_zeroing_again_counts_from_the_sensor_not_from_the_last_zero(zeroed):
    for _ in range(20):
        zeroed.apply(STATE)
    assert zeroed.zero() == ""
    assert_allclose(zeroed.apply(STATE).ee_wrench, 0.0, atol=1e-12)


@pytest.mark.parametrize("speed_rad_s", [0.1, -0.1, math.nan])
def test_a_moving_arm_is_not_zeroed(speed_rad_s):
    zero = WrenchZero()
    for _ in range(40):
        zero.apply(STATE)
    moving = replace(STATE, joint_velocity_rad_s=np.array([0.0, speed_rad_s, 0.0, 0.0, 0.0, 0.0, 0.0]))
    zero.apply(moving)
    assert zero.zero().startswith("Not zeroed: the arm must be at rest")


def test_a_broken_sensor_is_not_zeroed():
    zero = WrenchZero()
    for _ in range(20):
        zero.apply(replace(STATE, ee_wrench=np.full(6, math.nan)))
    assert "not finite" in zero.zero()
    assert zero.apply(STATE) is STATE
