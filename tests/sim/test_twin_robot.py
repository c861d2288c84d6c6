"""The twin keeps the robot contract, and nothing gets past the safety filter."""

import msgspec
import numpy as np
import pytest

from controllers.state import PoseCommand
from robot_env.robot import Robot, RobotUnavailableError
from sim.config import RandomisationConfig, TwinConfig
from sim.registration import load, make_env
from sim.scene import GRIPPER_DOWN


def test_it_is_a_robot(lift_cube) -> None:
    robot: Robot = lift_cube.robot
    assert len(robot.joint_names) == robot.observe().joint_position_rad.size == 7
    assert robot.max_gripper_width_m == 0.08
    robot.stop()
    robot.stop()
    robot.close()


def test_what_breaks_no_limit_is_sent_as_it_is(lift_cube) -> None:
    robot = lift_cube.robot
    state = robot.observe()
    command = PoseCommand(robot.clock.now_s(), state.ee_position_m + 0.01, state.ee_quaternion_xyzw, 0.05)
    assert robot.send_command(command) is command


def test_a_target_outside_comes_back_inside(lift_cube) -> None:
    robot = lift_cube.robot
    hits = robot.limit_hits.get("workspace", 0)
    sent = robot.send_command(
        PoseCommand(robot.clock.now_s(), np.array([0.5, 0.0, -1.0]), GRIPPER_DOWN, 0.05)
    )
    assert sent.ee_position_m[2] >= lift_cube.task.workspace.min_m[2]
    assert robot.limit_hits["workspace"] == hits + 1


def test_not_a_number_holds_the_arm(lift_cube) -> None:
    before = lift_cube.robot.observe()
    for _ in range(5):
        observation, *_ = lift_cube.step(np.full(4, np.nan, np.float32))
    assert np.isfinite(observation["state"]).all()
    after = lift_cube.robot.observe()
    np.testing.assert_allclose(after.ee_position_m, before.ee_position_m, atol=0.002)
    assert lift_cube.robot.limit_hits["bad_command"] >= 5


def test_stop_brings_the_arm_to_rest(lift_cube) -> None:
    for _ in range(4):
        lift_cube.step(np.array([1.0, 1.0, 1.0, 1.0], np.float32))
    robot = lift_cube.robot
    robot.stop()
    stopped = robot.observe().ee_position_m
    robot.clock.sleep_until(robot.clock.now_s() + 1.0)
    state = robot.observe()
    assert np.abs(state.joint_velocity_rad_s).max() < 0.01
    assert np.linalg.norm(state.ee_position_m - stopped) < 0.05


@pytest.mark.parametrize("task", ["lift_cube", "reach"])
def test_random_actions_stay_within_the_limits(twin_env, task: str) -> None:
    """Extreme actions, kept up for a while: what a learner does on its first day."""
    env = twin_env(task)
    safety = env.robot.twin.config.safety
    rng = np.random.default_rng(0)
    # What a gentle spring with a moving arm on it overshoots by.
    low, high = np.array(safety.workspace_min_m) - 0.02, np.array(safety.workspace_max_m) + 0.02
    for seed in range(5):
        env.reset(seed=seed)
        for _ in range(8):
            action = np.sign(rng.uniform(-1.0, 1.0, env.action_space.shape)).astype(np.float32)
            for _ in range(5):
                env.step(action)
                state = env.robot.observe()
                assert (low <= state.ee_position_m).all()
                assert (state.ee_position_m <= high).all()
                assert (np.abs(state.joint_velocity_rad_s) <= safety.joints.velocity_rad_s).all()
                assert (np.abs(state.joint_effort_nm) <= safety.joints.effort_nm).all()
                assert (state.joint_position_rad >= safety.joints.min_rad).all()
                assert (state.joint_position_rad <= safety.joints.max_rad).all()
                assert np.linalg.norm(state.ee_linear_velocity_m_s) < safety.linear_speed_m_s
                # A filter bounds how long the arm pushes, not how hard it first hits.
                assert np.linalg.norm(state.ee_wrench[:3]) < 3.0 * safety.contact_force_n


def test_a_reset_forgets_what_was_commanded_before(lift_cube) -> None:
    """The safety filter measures steps from the previous target, too; that of another episode must not count."""

    def first_target() -> np.ndarray:
        lift_cube.reset(seed=1)
        robot = lift_cube.robot
        far = PoseCommand(robot.clock.now_s(), np.array([0.66, 0.16, 0.26]), GRIPPER_DOWN, 0.05)
        return robot.send_command(far).ee_position_m

    expected = first_target()
    lift_cube.reset(seed=2)
    for _ in range(10):
        lift_cube.step(np.ones(4, np.float32))
    np.testing.assert_array_equal(first_target(), expected)


def test_limit_hits_reach_the_report(lift_cube) -> None:
    info = {}
    for _ in range(lift_cube.task.episode_steps):
        *_, info = lift_cube.step(np.array([1.0, 1.0, 1.0, 1.0], np.float32))
    assert info["limit_hits"]["workspace"] > 0
    assert info["rate"].missed == 0


def test_measurements_are_noisy_only_if_asked_for(lift_cube) -> None:
    def readings(env) -> np.ndarray:
        env.reset(seed=0)
        return np.array([env.robot.observe().ee_position_m for _ in range(50)])

    assert np.ptp(readings(lift_cube), axis=0).max() == 0.0
    config = TwinConfig(randomisation=RandomisationConfig(position_noise_m=(0.01, 0.01)))
    noisy = make_env("lift_cube", config)
    assert readings(noisy).std(axis=0) == pytest.approx(0.01, rel=0.5)
    np.testing.assert_array_equal(readings(noisy), readings(noisy))


def test_an_action_delay_is_kept() -> None:
    config = TwinConfig(randomisation=RandomisationConfig(action_delay_s=(0.05, 0.05)))
    env = make_env(msgspec.structs.replace(load("lift_cube"), control_rate_hz=100.0), config)
    env.reset(seed=0)
    start = env.robot.observe().ee_position_m
    moved = []
    for _ in range(12):
        env.step(np.array([0.0, 1.0, 0.0, 1.0], np.float32))
        moved.append(abs(env.robot.observe().ee_position_m[1] - start[1]))
    assert max(moved[:5]) < 1e-4
    assert moved[11] > 1e-3


class _Pauses:
    """Time passes between two looks at the clock, as where a process is put aside."""

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self.time_s = 100.0

    def now_s(self) -> float:
        self.time_s += self._pause_s
        return self.time_s

    def restart(self) -> None:
        pass


def _first_command(robot, clock) -> PoseCommand:
    """Of an episode: nothing was measured before."""
    state = robot.observe()
    robot._clock = clock
    robot.restart(np.random.default_rng(0))
    # Given at any time: it is the measurement that is in question.
    return PoseCommand(clock.time_s + 0.1, state.ee_position_m, state.ee_quaternion_xyzw, 0.05)


def test_a_process_that_is_put_aside_while_it_measures_sends_its_command(lift_cube) -> None:
    clock = _Pauses(0.05)
    command = _first_command(lift_cube.robot, clock)
    assert lift_cube.robot.send_command(command) is command
    assert not any(lift_cube.robot.limit_hits.get(name, 0) for name in ("stale_state", "stale_command"))


def test_one_that_is_put_aside_for_long_is_no_end_of_the_actor(lift_cube) -> None:
    command = _first_command(lift_cube.robot, _Pauses(1.0))
    with pytest.raises(RobotUnavailableError, match="no trustworthy measurement"):
        lift_cube.robot.send_command(command)
