import sys

import mujoco
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from controllers.config import InputError
from controllers.ik import InverseKinematics, UnreachableError
from controllers.rotations import error

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
