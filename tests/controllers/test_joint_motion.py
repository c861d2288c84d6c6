import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose

from controllers.config import InputError
from controllers.joint_motion import MinimumJerk, minimum_duration_s
from controllers.limits import JointLimits

LIMITS = JointLimits()
joints = arrays(np.float64, 7, elements=st.floats(-2.0, 2.0))


@given(joints, joints, st.floats(0.1, 10.0))
def test_from_rest_to_rest(start, goal, duration_s):
    motion = MinimumJerk(start, goal, duration_s)
    for time_s, expected in ((-1.0, start), (0.0, start), (duration_s, goal), (duration_s + 1.0, goal)):
        position, velocity = motion.at(time_s)
        assert_allclose(position, expected, atol=1e-12)
        assert_allclose(velocity, 0.0, atol=1e-12)


@given(joints, joints, st.floats(0.05, 0.95))
def test_velocity_is_the_derivative_of_position(start, goal, part):
    motion = MinimumJerk(start, goal, 2.0)
    before, after = motion.at(2.0 * part - 1e-5)[0], motion.at(2.0 * part + 1e-5)[0]
    assert_allclose(motion.at(2.0 * part)[1], (after - before) / 2e-5, atol=1e-6)


@given(joints, joints, st.floats(0.1, 1.0))
def test_the_shortest_duration_uses_the_limits_to_the_full(start, goal, fraction):
    assume(np.abs(goal - start).max() > 1e-3)
    duration_s = minimum_duration_s(start, goal, LIMITS, fraction)
    motion = MinimumJerk(start, goal, duration_s)
    velocity = np.array([motion.at(t)[1] for t in np.linspace(0.0, duration_s, 2001)])
    acceleration = np.diff(velocity, axis=0) / (duration_s / 2000)
    used = max(
        np.abs(velocity / LIMITS.velocity_rad_s).max(),
        np.abs(acceleration / LIMITS.acceleration_rad_s2).max(),
    )
    assert_allclose(used, fraction, rtol=1e-3)


def test_nothing_to_do_takes_no_time():
    home = np.zeros(7)
    assert minimum_duration_s(home, home, LIMITS) == 0.0
    position, velocity = MinimumJerk(home, home, 0.0).at(0.0)
    assert_allclose(position, home)
    assert_allclose(velocity, 0.0)


@pytest.mark.parametrize("duration_s", [-1.0, np.nan, np.inf])
def test_impossible_durations_are_refused(duration_s):
    with pytest.raises(InputError, match="cannot last"):
        MinimumJerk(np.zeros(7), np.ones(7), duration_s)
