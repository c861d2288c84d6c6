import sys

import mujoco
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from controllers.config import InputError
from controllers.ik import InverseKinematics, UnreachableError
from controllers.kinematics import Kinematics, KinematicsConfig
from controllers.limits import JointLimits
from controllers.rotations import error, from_rotation_vector, multiply

# Seven hinges with the alternating axes of usual arms, a finger behind the site and a free body beside it.
ARM = """
<mujoco>
  <compiler angle="radian"/>
  <worldbody>
    <body name="cube" pos="0.5 0 0"><freejoint/><geom size="0.02"/></body>
    <body pos="0 0 0.3"><joint axis="0 0 1" range="-2.9 2.9"/><geom size="0.05"/>
    <body><joint axis="0 1 0" range="-1.7 1.7"/><geom size="0.05"/>
    <body pos="0 0 0.3"><joint axis="0 0 1" range="-2.9 2.9"/><geom size="0.05"/>
    <body pos="0.08 0 0"><joint axis="0 -1 0" range="-3.0 -0.1"/><geom size="0.05"/>
    <body pos="-0.08 0 0.38"><joint axis="0 0 1" range="-2.9 2.9"/><geom size="0.05"/>
    <body><joint axis="0 -1 0" range="0 3.7"/><geom size="0.05"/>
    <body pos="0.09 0 0"><joint axis="0 0 -1" range="-2.9 2.9"/><geom size="0.05"/>
      <site name="tcp" pos="0 0 -0.2" euler="3.14159 0 0"/>
      <body pos="0 0 -0.15"><joint type="slide" axis="0 1 0" range="0 0.04"/><geom size="0.01"/></body>
    </body></body></body></body></body></body></body>
  </worldbody>
</mujoco>
"""
READY_RAD = np.array([0.0, 0.3, 0.0, -1.8, 0.0, 2.0, 0.0])
BACKENDS = ["mink", "least_squares"]


@pytest.fixture(scope="module")
def model():
    return mujoco.MjModel.from_xml_string(ARM)


def pose_of(model, joints):
    """Position and quaternion of the site, by an independent way through the kinematics."""
    data = mujoco.MjData(model)
    data.qpos[7:14] = joints
    mujoco.mj_forward(model, data)
    wxyz = np.empty(4)
    mujoco.mju_mat2Quat(wxyz, data.site("tcp").xmat)
    return data.site("tcp").xpos.copy(), np.roll(wxyz, -1)


def test_auto_takes_mink(model):
    pytest.importorskip("mink")
    assert InverseKinematics(model, "tcp").backend == "mink"


@pytest.mark.parametrize("missing", ["mink", "qpsolvers"])
def test_without_mink_least_squares_serves(model, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    assert InverseKinematics(model, "tcp").backend == "least_squares"
    with pytest.raises(ImportError):
        InverseKinematics(model, "tcp", backend="mink")


@pytest.mark.parametrize("backend", BACKENDS)
def test_finds_reachable_poses_within_limits(model, backend):
    if backend == "mink":
        pytest.importorskip("mink")
    solver = InverseKinematics(model, "tcp", backend=backend)
    rng = np.random.default_rng(0)
    low, high = model.jnt_range[1:8].T
    for _ in range(50):
        wanted = np.clip(READY_RAD + rng.uniform(-0.6, 0.6, 7), low, high)
        position, quaternion = pose_of(model, wanted)
        joints = solver.solve(position, quaternion, READY_RAD)
        assert (joints >= low - 1e-9).all()
        assert (joints <= high + 1e-9).all()
        reached_position, reached_quaternion = pose_of(model, joints)
        assert_allclose(reached_position, position, atol=1e-4)
        assert np.linalg.norm(error(quaternion, reached_quaternion)) < 1e-3


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_pose_that_is_reached_stays(model, backend):
    solver = InverseKinematics(model, "tcp", backend=backend)
    assert_array_equal(solver.solve(*pose_of(model, READY_RAD), READY_RAD), READY_RAD)


@pytest.mark.parametrize("backend", BACKENDS)
def test_out_of_reach_says_so(model, backend):
    solver = InverseKinematics(model, "tcp", backend=backend)
    with pytest.raises(UnreachableError, match=r"\[3.0, 0.0, 0.0\] m .* within reach"):
        solver.solve(np.array([3.0, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 1.0]), READY_RAD)


def test_an_unknown_site_lists_the_known(model):
    with pytest.raises(InputError, match=r"no site 'tool'; choose from \['tcp'\]"):
        InverseKinematics(model, "tool")


def test_a_chain_with_a_slide_is_refused():
    xml = ARM.replace('<geom size="0.01"/>', '<geom size="0.01"/><site name="finger"/>')
    with pytest.raises(InputError, match="hinge"):
        InverseKinematics(mujoco.MjModel.from_xml_string(xml), "finger")


# Five hinges like those of the SO-101: pan, three parallel ones, roll. In the plane of the arm it reaches any tilt.
FIVE = KinematicsConfig(
    dh=(
        (0.0, np.pi, -0.15, 0.0),
        (0.03, np.pi / 2, 0.0, -1.33),
        (0.116, 0.0, 0.0, 1.29),
        (0.135, 0.0, 0.0, -1.53),
        (0.0, np.pi / 2, 0.0, 0.0),
    ),
    tool_position_m=(0.0, 0.0, -0.16),
)
FIVE_READY_RAD = np.array([0.1, -0.2, 0.3, 0.9, 0.2])


@pytest.fixture(scope="module")
def five():
    return Kinematics(FIVE, tuple("abcde"))


def test_with_position_first_five_joints_reach_what_they_can_reach_in_full(five):
    solver = InverseKinematics(five.model, five.site_name, position_first=True)
    rng = np.random.default_rng(0)
    for _ in range(50):
        position, quaternion = five.pose(FIVE_READY_RAD + rng.uniform(-0.4, 0.4, 5))
        reached_position, reached_quaternion = five.pose(solver.solve(position, quaternion, FIVE_READY_RAD))
        assert_allclose(reached_position, position, atol=1e-4)
        assert np.linalg.norm(error(quaternion, reached_quaternion)) < 0.01


def test_with_position_first_the_orientation_is_as_near_as_the_position_allows(five):
    solver = InverseKinematics(five.model, five.site_name, position_first=True)
    position, quaternion = five.pose(FIVE_READY_RAD)
    # Out of the plane of the arm: only the pan could do it, which the position needs.
    tilted = multiply(from_rotation_vector(np.array([0.3, 0.2, -0.25])), quaternion)
    found = solver.solve(position, tilted, FIVE_READY_RAD)
    reached_position, reached_quaternion = five.pose(found)
    assert_allclose(reached_position, position, atol=1e-4)
    missing = np.linalg.norm(error(tilted, reached_quaternion))
    assert 0.05 < missing < np.linalg.norm(error(tilted, quaternion))
    # No nearby configuration at this position is nearer in orientation.
    jacobian = five.jacobian(found)
    _, _, rows = np.linalg.svd(jacobian[:3])
    for direction in (*rows[3:], *-rows[3:]):
        step = found + 0.03 * direction
        back = step + np.linalg.pinv(jacobian[:3]) @ (position - five.pose(step)[0])
        assert np.linalg.norm(error(tilted, five.pose(back)[1])) > missing - 1e-3


def test_six_and_more_joints_meet_the_whole_pose_with_position_first(model):
    solver = InverseKinematics(model, "tcp", position_first=True)
    position, quaternion = pose_of(model, READY_RAD + 0.2)
    reached_position, reached_quaternion = pose_of(model, solver.solve(position, quaternion, READY_RAD))
    assert_allclose(reached_position, position, atol=1e-4)
    assert np.linalg.norm(error(quaternion, reached_quaternion)) < 0.01


def test_position_first_says_when_the_position_is_out_of_reach(five):
    solver = InverseKinematics(five.model, five.site_name, position_first=True)
    with pytest.raises(UnreachableError, match="within reach"):
        solver.solve(np.array([0.6, 0.0, 0.2]), np.array([0.0, 0.0, 0.0, 1.0]), FIVE_READY_RAD)


def test_mink_cannot_put_the_position_first(model):
    with pytest.raises(InputError, match="cannot put the position first"):
        InverseKinematics(model, "tcp", backend="mink", position_first=True)
    assert InverseKinematics(model, "tcp", position_first=True).backend == "least_squares"


@pytest.fixture(scope="module")
def narrow():
    """The five joints with ends that are often in the way, and those ends."""
    low, high = (-1.5, -1.0, -1.3, -1.6, -2.0), (1.5, 1.5, 1.3, 1.6, 2.0)
    ones = (1.0,) * 5
    limits = JointLimits(
        min_rad=low, max_rad=high, velocity_rad_s=ones, acceleration_rad_s2=ones, effort_nm=ones
    )
    return Kinematics(FIVE, tuple("abcde"), limits), np.array(low), np.array(high)


def test_an_orientation_beyond_the_ends_of_the_joints_does_not_spoil_the_position(narrow):
    arm, low, high = narrow
    solver = InverseKinematics(arm.model, arm.site_name, position_first=True)
    rng = np.random.default_rng(1)
    ended = 0
    for _ in range(100):
        start = rng.uniform(low, high)
        position, quaternion = arm.pose(np.clip(start + rng.uniform(-0.2, 0.2, 5), low, high))
        turned = multiply(from_rotation_vector(rng.uniform(-1.0, 1.0, 3)), quaternion)
        found = solver.solve(position, turned, start)
        assert_allclose(arm.pose(found)[0], position, atol=1e-4)
        assert (found >= low - 1e-9).all()
        assert (found <= high + 1e-9).all()
        ended += bool((np.minimum(found - low, high - found) < 1e-6).any())
    assert ended > 10


def test_few_iterations_do_even_where_joints_start_at_their_ends(narrow):
    arm, low, high = narrow
    solver = InverseKinematics(arm.model, arm.site_name, position_first=True, max_iterations=40)
    rng = np.random.default_rng(3)
    failures = 0
    for _ in range(300):
        start, joint = rng.uniform(low, high), rng.integers(5)
        start[joint] = rng.choice([low[joint], high[joint]])
        position, quaternion = arm.pose(np.clip(start + rng.uniform(-0.15, 0.15, 5), low, high))
        turned = multiply(from_rotation_vector(rng.uniform(-0.6, 0.6, 3)), quaternion)
        try:
            solver.solve(position, turned, start)
        except UnreachableError:
            failures += 1
    assert failures < 6
