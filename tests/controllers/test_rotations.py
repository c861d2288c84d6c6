"""Every function against scipy's `Rotation`, which uses the same x, y, z, w order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation, Slerp

from controllers import rotations

coordinate = st.floats(-10.0, 10.0)
vectors = st.tuples(coordinate, coordinate, coordinate).map(np.array)
# Tiny rotations have their own branch of trouble, so they are drawn on purpose.
rotation_vectors = st.builds(
    lambda v, scale: v * scale, vectors, st.sampled_from([1.0, 1e-6, 1e-12, 1e-200, 0.0])
)
quaternions = st.builds(
    lambda v, sign: sign * Rotation.from_rotvec(v).as_quat(), rotation_vectors, st.sampled_from([1.0, -1.0])
)


def angle_between(a, b):
    return (Rotation.from_quat(a) * Rotation.from_quat(b).inv()).magnitude()


@given(quaternions, quaternions)
def test_multiply_is_composition(a, b):
    expected = Rotation.from_quat(a) * Rotation.from_quat(b)
    assert angle_between(rotations.multiply(a, b), expected.as_quat()) < 1e-7


@given(quaternions)
def test_conjugate_is_the_inverse(q):
    assert_allclose(rotations.multiply(q, rotations.conjugate(q)), [0, 0, 0, 1], atol=1e-12)


@given(quaternions, vectors)
def test_rotate(q, v):
    assert_allclose(rotations.rotate(q, v), Rotation.from_quat(q).apply(v), atol=1e-12)


@given(rotation_vectors)
def test_from_rotation_vector(v):
    q = rotations.from_rotation_vector(v)
    assert_allclose(np.linalg.norm(q), 1.0, atol=1e-12)
    assert angle_between(q, Rotation.from_rotvec(v).as_quat()) < 1e-7


@given(quaternions)
def test_to_rotation_vector_is_the_shortest_and_blind_to_sign(q):
    v = rotations.to_rotation_vector(q)
    assert np.linalg.norm(v) <= np.pi + 1e-12
    assert_allclose(
        Rotation.from_rotvec(v).apply(np.eye(3)), Rotation.from_quat(q).apply(np.eye(3)), atol=1e-9
    )
    if abs(q[3]) > 1e-9:  # half a turn has two shortest ways
        assert_allclose(rotations.to_rotation_vector(-q), v, atol=1e-12)


@given(st.floats(1e-300, 1e-3))
def test_tiny_rotations_keep_their_relative_precision(angle):
    v = np.array([0.0, angle, 0.0])
    assert_allclose(rotations.to_rotation_vector(rotations.from_rotation_vector(v)), v, rtol=1e-12)


@given(quaternions, quaternions)
def test_error_takes_current_to_target_in_the_base_frame(target, current):
    reached = Rotation.from_rotvec(rotations.error(target, current)) * Rotation.from_quat(current)
    assert angle_between(reached.as_quat(), target) < 1e-7


@given(quaternions, quaternions, st.floats(0.0, 1.0))
def test_slerp_moves_in_proportion(a, b, fraction):
    between = rotations.slerp(a, b, fraction)
    whole = angle_between(a, b)
    assert_allclose(angle_between(between, a), fraction * whole, atol=1e-6)
    assert_allclose(angle_between(b, between), (1 - fraction) * whole, atol=1e-6)


@given(quaternions, quaternions, st.floats(0.0, 1.0), st.sampled_from([1.0, -1.0]))
def test_slerp_is_that_of_scipy_and_blind_to_sign(a, b, fraction, sign):
    if angle_between(a, b) > np.pi - 1e-3:  # half a turn has two shortest ways
        return
    expected = Slerp([0.0, 1.0], Rotation.from_quat([a, b]))(fraction)
    assert angle_between(rotations.slerp(a, sign * b, fraction), expected.as_quat()) < 1e-6


@given(quaternions, quaternions, st.sampled_from([1.0, -1.0]), st.sampled_from([1.0, -1.0]))
def test_error_is_blind_to_sign(target, current, one, other):
    if angle_between(target, current) > np.pi - 1e-3:
        return
    assert_allclose(
        rotations.error(one * target, other * current), rotations.error(target, current), atol=1e-9
    )


@given(quaternions, rotation_vectors)
def test_a_turn_in_the_tools_axes_is_the_turned_vector_in_the_bases(q, v):
    """q exp(v) = exp(R(q) v) q: so a rotation vector changes its axes as any vector does."""
    in_tool = rotations.multiply(q, rotations.from_rotation_vector(v))
    in_base = rotations.multiply(rotations.from_rotation_vector(rotations.rotate(q, v)), q)
    assert angle_between(in_tool, in_base) < 1e-7


@given(quaternions, quaternions, vectors)
def test_turning_twice_is_turning_by_the_product(a, b, v):
    twice = rotations.rotate(a, rotations.rotate(b, v))
    assert_allclose(rotations.rotate(rotations.multiply(a, b), v), twice, atol=1e-9)


@given(quaternions, vectors)
def test_the_conjugate_turns_back(q, v):
    assert_allclose(rotations.rotate(rotations.conjugate(q), rotations.rotate(q, v)), v, atol=1e-9)


@given(quaternions, st.floats(1e-3, 1e3))
def test_normalize(q, scale):
    assert_allclose(rotations.normalize(q * scale), q, atol=1e-12)


def test_zero_is_no_rotation():
    with pytest.raises(ValueError, match="no rotation"):
        rotations.normalize(np.zeros(4))


def test_nan_stays_nan():
    nan = np.array([np.nan, 0.0, 0.0])
    assert np.isnan(rotations.from_rotation_vector(nan)).any()
    assert np.isnan(rotations.error(np.full(4, np.nan), np.array([0.0, 0.0, 0.0, 1.0]))).any()
