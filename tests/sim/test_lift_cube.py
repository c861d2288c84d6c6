"""What counts as a lifted cube, and what does not."""

import numpy as np
import pytest

from controllers.state import PoseCommand
from sim.scene import GRIPPER_DOWN

UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])


@pytest.fixture
def scene(lift_cube):
    return lift_cube.scene


def _put_cube(scene, position_m, velocity_m_s=(0.0, 0.0, 0.0)) -> None:
    scene.twin.place("cube", np.array(position_m), UPRIGHT)
    scene.twin.data.joint("cube").qvel[:3] = velocity_m_s
    scene.twin.refresh()


def _drive(scene, position_m, width_m: float, seconds: float = 0.8) -> None:
    for _ in range(round(seconds / scene.twin.tick_s)):
        scene.twin.follow(PoseCommand(0.0, np.array(position_m), GRIPPER_DOWN, width_m))
        scene.twin.advance(1)


def _grasp(scene) -> None:
    x, y, z = scene.cube_m
    _drive(scene, (x, y, z + 0.1), 0.08, seconds=1.5)
    _drive(scene, (x, y, z), 0.08)
    _drive(scene, (x, y, z), 0.0)


def test_held_and_high_is_a_success(scene) -> None:
    _grasp(scene)
    assert scene.is_grasped()
    assert not scene.success(), "not lifted yet"
    x, y, z = scene.cube_m
    _drive(scene, (x, y, z + 0.06), 0.0)
    assert not scene.success(), "not high enough"
    _drive(scene, (x, y, z + 0.13), 0.0)
    assert scene.success()


def test_a_grasp_does_not_slip(scene) -> None:
    _grasp(scene)
    x, y, z = scene.cube_m
    _drive(scene, (x, y, z + 0.15), 0.0)
    before = scene.cube_m - scene.robot.observe().ee_position_m
    _drive(scene, (x, y + 0.08, z + 0.15), 0.0, seconds=5.0)
    after = scene.cube_m - scene.robot.observe().ee_position_m
    np.testing.assert_allclose(after, before, atol=0.004)
    assert scene.success()


def test_a_flying_cube_is_no_success(scene) -> None:
    tool = scene.robot.observe().ee_position_m
    _put_cube(scene, (tool[0], tool[1], 0.2), velocity_m_s=(0.0, 0.0, 1.0))
    for _ in range(30):
        scene.twin.advance(1)
        assert not scene.success()


def test_a_cube_between_open_fingers_is_no_success(scene) -> None:
    tool = scene.robot.observe().ee_position_m
    _drive(scene, (tool[0], tool[1], 0.2), 0.08)
    _put_cube(scene, scene.robot.observe().ee_position_m)
    assert scene._lifted_m() > 0.1
    assert not scene.success()


def test_one_finger_holds_nothing(scene) -> None:
    tool = scene.robot.observe().ee_position_m
    _drive(scene, (tool[0], tool[1], 0.2), 0.08)
    for side in (-1.0, 1.0):
        # The cube's face just inside the pad.
        _put_cube(scene, scene.robot.observe().ee_position_m + np.array([0.0, side * 0.0205, 0.0]))
        assert scene.twin.data.ncon > 0
        assert not scene.is_grasped()


def test_a_cube_on_top_of_the_closed_fingers_is_no_success(scene) -> None:
    tool = scene.robot.observe().ee_position_m
    _drive(scene, (tool[0], tool[1], 0.2), 0.0)
    _put_cube(scene, scene.robot.observe().ee_position_m + np.array([0.03, 0.0, 0.03]))
    for _ in range(20):
        scene.twin.advance(1)
        assert not scene.success()


def test_yaw_is_seen_up_to_quarter_turns(scene) -> None:
    def seen(yaw: float) -> np.ndarray:
        scene.twin.place(
            "cube", np.array([0.5, 0.0, 0.02]), np.array([0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)])
        )
        scene.twin.refresh()
        return scene.observe()["cube_yaw"]

    np.testing.assert_allclose(seen(0.3), seen(0.3 + np.pi / 2), atol=1e-9)
    np.testing.assert_allclose(seen(0.1), [np.cos(0.4), np.sin(0.4)], atol=1e-9)


def test_random_actions_do_not_succeed(lift_cube) -> None:
    """A sparse reward that noise collects would teach nothing."""
    rng = np.random.default_rng(0)
    for seed in range(10):
        lift_cube.reset(seed=seed)
        done = False
        while not done:
            _, _, terminated, truncated, _ = lift_cube.step(rng.uniform(-1, 1, 4).astype(np.float32))
            done = terminated or truncated
            assert not terminated
