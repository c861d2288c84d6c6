import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from controllers.config import InputError
from controllers.impedance import CartesianImpedance, ImpedanceConfig, JointImpedance, JointImpedanceConfig
from controllers.limits import JointLimits
from controllers.rotations import from_rotation_vector

PANDA = JointLimits()
STRONG = JointLimits(effort_nm=(1e9,) * 7)
IDENTITY = np.array([0.0, 0.0, 0.0, 1.0])
HOME_M = np.array([0.5, 0.0, 0.3])

number = st.floats(-1.0, 1.0)
jacobians = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).normal(size=(6, 7)))
joints = arrays(np.float64, 7, elements=number)
three = arrays(np.float64, 3, elements=number)


def six_joints():
    """Limits of an arm whose Jacobian can be the identity: its torques are the wrench at the end effector."""
    return JointLimits(
        min_rad=(-3.0,) * 6,
        max_rad=(3.0,) * 6,
        velocity_rad_s=(2.0,) * 6,
        acceleration_rad_s2=(10.0,) * 6,
        effort_nm=(1e9,) * 6,
    )


def wrench(config, translation_error_m, rotation_error_rad, velocity):
    controller = CartesianImpedance(config, six_joints())
    controller.set_target(HOME_M + translation_error_m, from_rotation_vector(rotation_error_rad))
    return controller.torque(np.eye(6), np.zeros(6), velocity, HOME_M, IDENTITY)


SIX = ImpedanceConfig(posture_rad=(0.0,) * 6)


@given(three, three, arrays(np.float64, 6, elements=number))
def test_spring_with_clipped_error_and_damper(translation, rotation, velocity):
    expected = (
        np.concatenate([2000.0 * np.clip(translation, -0.02, 0.02), 150.0 * np.clip(rotation, -0.05, 0.05)])
        - np.repeat([89.0, 7.0], 3) * velocity
    )
    assert_allclose(wrench(SIX, translation, rotation, velocity), expected, atol=1e-9)


@given(jacobians, joints, joints)
def test_posture_leaves_the_end_effector_alone(jacobian, position, velocity):
    controller = CartesianImpedance(ImpedanceConfig(), STRONG)
    controller.set_target(HOME_M, IDENTITY)
    torque = controller.torque(jacobian, position, velocity, HOME_M, IDENTITY)
    felt = np.linalg.pinv(jacobian.T) @ torque
    assert_allclose(felt, -np.repeat([89.0, 7.0], 3) * (jacobian @ velocity), atol=1e-6)


@given(jacobians, joints)
def test_posture_pulls_home(jacobian, position):
    config = ImpedanceConfig()
    controller = CartesianImpedance(config, STRONG)
    controller.set_target(HOME_M, IDENTITY)
    torque = controller.torque(jacobian, position, np.zeros(7), HOME_M, IDENTITY)
    null = np.linalg.svd(jacobian)[2][6]
    away = np.array(config.posture_rad) - position
    assert_allclose(torque, 10.0 * null * (null @ away), atol=1e-9)


@given(jacobians, jacobians, joints)
def test_torque_depends_on_nothing_older_than_a_restart(old, new, position):
    used, fresh = (CartesianImpedance(ImpedanceConfig(), PANDA) for _ in range(2))
    used.set_target(HOME_M, IDENTITY)
    for _ in range(3):
        used.torque(old, position, position, HOME_M, IDENTITY)
    used.restart()
    fresh.set_target(HOME_M, IDENTITY)
    measured = new, position, position, HOME_M, IDENTITY
    assert_array_equal(used.torque(*measured), fresh.torque(*measured))


@pytest.mark.parametrize("joints", [7, 8])
def test_the_posture_leaves_a_singular_or_more_redundant_arm_alone(joints):
    limits = JointLimits(
        **{
            name: (getattr(STRONG, name) * 2)[:joints]
            for name in ("min_rad", "max_rad", "velocity_rad_s", "acceleration_rad_s2", "effort_nm")
        }
    )
    jacobian = np.random.default_rng(0).normal(size=(6, joints))
    if joints == 7:
        jacobian[5] = jacobian[4]
    controller = CartesianImpedance(ImpedanceConfig(posture_rad=(0.5,) * joints), limits)
    controller.set_target(HOME_M, IDENTITY)
    torque = controller.torque(jacobian, np.zeros(joints), np.zeros(joints), HOME_M, IDENTITY)
    assert np.abs(torque).max() > 0.1
    assert_allclose(jacobian @ torque, 0.0, atol=1e-9)


def test_a_jacobian_that_is_no_number_gives_no_torque():
    controller = CartesianImpedance(ImpedanceConfig(), PANDA)
    controller.set_target(HOME_M, IDENTITY)
    with np.errstate(invalid="ignore"), pytest.raises(ArithmeticError, match="not finite"):
        controller.torque(np.full((6, 7), np.nan), np.zeros(7), np.zeros(7), HOME_M, IDENTITY)


def test_null_space_follows_the_arm_in_the_long_run():
    rng = np.random.default_rng(0)
    controller = CartesianImpedance(ImpedanceConfig(), STRONG)
    controller.set_target(HOME_M, IDENTITY)
    controller.torque(rng.normal(size=(6, 7)), np.zeros(7), np.zeros(7), HOME_M, IDENTITY)
    later = rng.normal(size=(6, 7))
    for _ in range(10):
        torque = controller.torque(later, np.zeros(7), np.zeros(7), HOME_M, IDENTITY)
    assert_allclose(np.linalg.pinv(later.T) @ torque, 0.0, atol=1e-9)


@given(jacobians, arrays(np.float64, 3, elements=st.floats(-1e6, 1e6)), joints)
def test_torques_stay_within_limits(jacobian, target, velocity):
    controller = CartesianImpedance(ImpedanceConfig(), PANDA)
    controller.set_target(target, IDENTITY)
    torque = controller.torque(jacobian, 100 * velocity, 100 * velocity, HOME_M, IDENTITY)
    assert (np.abs(torque) <= PANDA.effort_nm).all()


def test_a_mass_settles_on_the_target():
    controller = CartesianImpedance(SIX, six_joints())
    target = HOME_M + np.array([0.03, -0.02, 0.01])
    controller.set_target(target, IDENTITY)
    position, velocity = HOME_M.copy(), np.zeros(6)
    for _ in range(500):
        velocity += 0.001 * controller.torque(np.eye(6), np.zeros(6), velocity, position, IDENTITY)
        position += 0.001 * velocity[:3]
    assert_allclose(position, target, atol=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_measurement_that_is_no_number_gives_no_torque(bad):
    cartesian = CartesianImpedance(ImpedanceConfig(), PANDA)
    cartesian.set_target(HOME_M, IDENTITY)
    velocity = np.array([0, 0, 0, bad, 0, 0, 0])
    with np.errstate(invalid="ignore"), pytest.raises(ArithmeticError, match="not finite"):
        cartesian.torque(np.ones((6, 7)), np.zeros(7), velocity, HOME_M, IDENTITY)
    joint = JointImpedance(JointImpedanceConfig(), PANDA)
    joint.set_target(np.zeros(7))
    with pytest.raises(ArithmeticError, match="not finite"):
        joint.torque(np.zeros(7), velocity)


def test_target_first():
    with pytest.raises(RuntimeError, match="set_target"):
        CartesianImpedance(ImpedanceConfig(), PANDA).torque(
            np.ones((6, 7)), np.zeros(7), np.zeros(7), HOME_M, IDENTITY
        )
    with pytest.raises(RuntimeError, match="set_target"):
        JointImpedance(JointImpedanceConfig(), PANDA).torque(np.zeros(7), np.zeros(7))


@given(joints, joints)
def test_joint_spring_with_clipped_error_and_damper(target, velocity):
    config = JointImpedanceConfig()
    controller = JointImpedance(config, STRONG)
    controller.set_target(target)
    expected = config.stiffness_nm_rad * np.clip(target, -0.2, 0.2) - config.damping_nms_rad * velocity
    assert_allclose(controller.torque(np.zeros(7), velocity), expected, atol=1e-9)


@given(joints, joints)
def test_joint_torques_stay_within_limits(target, velocity):
    controller = JointImpedance(JointImpedanceConfig(), PANDA)
    controller.set_target(1e3 * target)
    assert (np.abs(controller.torque(np.zeros(7), 1e3 * velocity)) <= PANDA.effort_nm).all()


def test_a_target_is_a_copy():
    target_rad, target_m, quaternion = np.zeros(7), HOME_M.copy(), IDENTITY.copy()
    joint = JointImpedance(JointImpedanceConfig(), PANDA)
    joint.set_target(target_rad)
    cartesian = CartesianImpedance(SIX, six_joints())
    cartesian.set_target(target_m, quaternion)
    for array in (target_rad, target_m, quaternion):
        array += 1.0
    assert_array_equal(joint.torque(np.zeros(7), np.zeros(7)), np.zeros(7))
    assert_allclose(cartesian.torque(np.eye(6), np.zeros(6), np.zeros(6), HOME_M, IDENTITY), 0.0, atol=1e-12)


def test_gains_must_fit_the_arm():
    with pytest.raises(InputError, match="6 entries for an arm of 7"):
        CartesianImpedance(SIX, PANDA)
    with pytest.raises(InputError, match="stiffness_nm_rad has 1"):
        JointImpedance(JointImpedanceConfig(stiffness_nm_rad=(1.0,)), PANDA)


@pytest.mark.parametrize("gain", [-1.0, np.nan, np.inf])
def test_gains_must_be_sane(gain):
    with pytest.raises(ValueError, match="finite and not negative"):
        ImpedanceConfig(translation_damping_ns_m=gain)
    with pytest.raises(ValueError, match="finite and not negative"):
        JointImpedanceConfig(clip_rad=gain)
