"""The arm's model and its physics under control."""

from copy import copy

import mujoco
import numpy as np
import pytest

from controllers.limits import JointLimits
from controllers.rotations import from_rotation_vector, multiply, rotate
from controllers.state import JointCommand, PoseCommand
from sim.scene import GRIPPER_DOWN
from sim.twin import MAX_GRIPPER_WIDTH_M


@pytest.fixture
def twin(lift_cube):
    return lift_cube.robot.twin


def _forward_kinematics(joints: np.ndarray) -> np.ndarray:
    """Position of the flange from the published Denavit-Hartenberg parameters (Craig's convention)."""
    a = [0.0, 0.0, 0.0, 0.0825, -0.0825, 0.0, 0.088]
    d = [0.333, 0.0, 0.316, 0.0, 0.384, 0.0, 0.0]
    alpha = np.pi / 2 * np.array([0, -1, 1, 1, -1, 1, 1])
    position, orientation = np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0])
    for length, offset, twist, angle in zip(a, d, alpha, joints, strict=True):
        orientation_x = multiply(orientation, from_rotation_vector(np.array([twist, 0.0, 0.0])))
        position = position + rotate(orientation, np.array([length, 0.0, 0.0]))
        position = position + rotate(orientation_x, np.array([0.0, 0.0, offset]))
        orientation = multiply(orientation_x, from_rotation_vector(np.array([0.0, 0.0, angle])))
    return position + rotate(orientation, np.array([0.0, 0.0, 0.107]))


def test_kinematics_are_those_of_the_data_sheet(twin) -> None:
    limits = JointLimits()
    rng = np.random.default_rng(0)
    for _ in range(20):
        joints = rng.uniform(limits.min_rad, limits.max_rad)
        twin.reset(rng, joints, 0.0)
        np.testing.assert_allclose(twin.data.body("hand").xpos, _forward_kinematics(joints), atol=1e-9)


def test_limits_are_those_of_the_controllers(twin) -> None:
    limits = JointLimits()
    np.testing.assert_allclose(twin.model.jnt_range[:7].T, [limits.min_rad, limits.max_rad])
    np.testing.assert_allclose(twin.model.actuator_forcerange[:7, 1], limits.effort_nm)


def test_the_state_is_of_this_very_moment(twin) -> None:
    """Positions and velocities belong together, although MuJoCo computes them half a step apart."""
    twin.follow(PoseCommand(0.0, np.array([0.55, 0.1, 0.1]), GRIPPER_DOWN, 0.02))
    twin.advance(7)
    state = twin.state(0.0)
    twin.refresh()
    fresh = twin.state(0.0)
    for name in ("joint_position_rad", "ee_position_m", "ee_quaternion_xyzw", "ee_linear_velocity_m_s"):
        np.testing.assert_array_equal(getattr(state, name), getattr(fresh, name))
    before = state.ee_position_m
    twin.advance(1)
    moved = (twin.state(0.0).ee_position_m - before) / twin.tick_s
    np.testing.assert_allclose(moved, state.ee_linear_velocity_m_s, atol=0.03)


def test_splitting_the_step_changes_nothing(twin) -> None:
    """A tick is exactly as many `mj_step`s with the same motor torques."""
    twin.follow(PoseCommand(0.0, np.array([0.5, 0.1, 0.1]), GRIPPER_DOWN, 0.0))
    twin.advance(3)
    plain = copy(twin.data)
    twin.advance(1)
    plain.ctrl[:] = twin.data.ctrl
    mujoco.mj_step(twin.model, plain, twin.config.substeps_per_tick)
    np.testing.assert_array_equal(plain.qpos, twin.data.qpos)
    np.testing.assert_array_equal(plain.qvel, twin.data.qvel)


def test_a_pose_is_reached_and_held(twin) -> None:
    target = np.array([0.45, 0.12, 0.2])
    for _ in range(300):
        twin.follow(PoseCommand(0.0, target, GRIPPER_DOWN, 0.03))
        twin.advance(1)
    state = twin.state(0.0)
    np.testing.assert_allclose(state.ee_position_m, target, atol=0.002)
    assert abs(state.ee_quaternion_xyzw @ GRIPPER_DOWN) > 0.9999
    assert state.gripper_width_m == pytest.approx(0.03, abs=0.001)
    assert np.abs(state.joint_velocity_rad_s).max() < 0.01


def test_a_joint_configuration_is_reached(twin) -> None:
    target = twin.state(0.0).joint_position_rad + 0.2
    for _ in range(200):
        twin.follow(JointCommand(0.0, target, MAX_GRIPPER_WIDTH_M))
        twin.advance(1)
    np.testing.assert_allclose(twin.state(0.0).joint_position_rad, target, atol=0.005)


def test_the_arm_holds_where_commands_stop_coming(twin) -> None:
    before = twin.timeouts
    twin.follow(PoseCommand(0.0, np.array([0.6, 0.1, 0.3]), GRIPPER_DOWN, 0.08))
    twin.advance(10)
    assert twin.timeouts == before
    moving = twin.state(0.0)
    assert np.linalg.norm(moving.ee_linear_velocity_m_s) > 0.05
    twin.advance(100)
    state = twin.state(0.0)
    assert twin.timeouts == before + 1
    assert np.abs(state.joint_velocity_rad_s).max() < 0.01
    assert np.linalg.norm(state.ee_position_m - moving.ee_position_m) < 0.05


def test_pressing_on_the_table_is_felt(twin) -> None:
    for _ in range(150):
        twin.follow(PoseCommand(0.0, np.array([0.5, -0.12, -0.02]), GRIPPER_DOWN, 0.0))
        twin.advance(1)
    force = twin.state(0.0).ee_wrench[:3]
    # The spring's clip times its stiffness.
    assert 15.0 < force[2] < 45.0
    assert np.abs(force[:2]).max() < 10.0


def test_the_fingers_are_as_quick_as_real_ones(twin) -> None:
    """Faster ones would hit the cube instead of grasping it."""
    before_m = twin.state(0.0).gripper_width_m
    pose = twin.state(0.0)
    speeds = []
    for _ in range(60):
        twin.follow(PoseCommand(0.0, pose.ee_position_m, pose.ee_quaternion_xyzw, 0.0))
        twin.advance(1)
        width_m = twin.state(0.0).gripper_width_m
        speeds.append((before_m - width_m) / twin.tick_s)
        before_m = width_m
    assert 0.1 < max(speeds) < 0.4
    assert before_m < 0.001


def test_time_differences_do_not_depend_on_the_hour(twin) -> None:
    def episode(start_s: float) -> list[float]:
        twin._start_s = start_s
        twin.reset(np.random.default_rng(0), np.array(twin.config.impedance.posture_rad), 0.08)
        times = []
        for _ in range(50):
            times.append(twin.now_s())
            twin.advance(1)
        return np.diff(times).tolist()

    first = episode(0.0)
    for start_s in (3.0, 1e3, 1e6):
        assert episode(start_s) == first
    assert sum(first) == pytest.approx(0.49)


@pytest.mark.parametrize("ticks_before", [3, 10])
def test_torques_do_not_depend_on_the_episode_before(twin, ticks_before) -> None:
    def episode(ticks: int, turn_rad: float) -> np.ndarray:
        twin.reset(np.random.default_rng(0), np.array(twin.config.impedance.posture_rad) + turn_rad, 0.08)
        target_m = twin.state(0.0).ee_position_m + np.array([0.03, 0.0, 0.0])
        for _ in range(ticks):
            twin.follow(PoseCommand(twin.now_s(), target_m, GRIPPER_DOWN, 0.08))
            twin.advance(1)
        return twin.state(0.0).joint_position_rad

    episode(10, 0.0)
    first = episode(15, 0.0)
    episode(ticks_before, 0.3)
    np.testing.assert_array_equal(episode(15, 0.0), first)
