import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from controllers.config import InputError
from controllers.rotations import rotate
from controllers.state import PoseCommand
from robot_env.contracts import Reward
from robot_env.env import RobotEnv
from robot_env.fake import FakeClock, FakeRobot
from robot_env.robot import RobotError

POSITIONS = st.tuples(*[st.floats(-1.0, 1.0)] * 3)
QUATERNIONS = (
    arrays(np.float64, 4, elements=st.floats(-1.0, 1.0))
    .filter(lambda q: np.linalg.norm(q) > 0.1)
    .map(lambda q: q / np.linalg.norm(q))
)
ACTIONS = arrays(np.float32, 7, elements=st.floats(-1.0, 1.0, width=32))


class LoggingClock(FakeClock):
    """Writes down when it is slept on."""

    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def sleep_until(self, deadline_s):
        self.calls.append("sleep")
        super().sleep_until(deadline_s)


def test_the_env_passes_gymnasiums_checker(make_env):
    check_env(make_env(), skip_render_check=True)


def test_the_env_passes_gymnasiums_checker_with_images_and_turns(make_env):
    env = make_env(
        cameras={"wrist": {"width": 32, "height": 24}},
        action={"translation_m": 0.03, "rotation_rad": 0.1, "frame": "end_effector"},
    )
    check_env(env, skip_render_check=True)
    observation, _ = env.reset(seed=0)
    assert observation["wrist"].shape == (24, 32, 3)
    assert env.action_space.shape == (7,)


def test_names_and_scales_of_the_state_follow_the_task(make_env):
    robot = FakeRobot(joints=2)
    robot.place((0.5, -0.25, 0.3))
    env = make_env(robot)
    observation, _ = env.reset(seed=0)
    assert env.state_names == (
        *("ee_position.0", "ee_position.1", "ee_position.2"),
        *("joint_position.0", "joint_position.1", "button"),
    )
    assert observation["state"].dtype == np.float32
    np.testing.assert_allclose(observation["state"], [1.0, -0.5, 0.6, 0.0, 0.0, 0.0], rtol=1e-6)


def test_a_step_sends_then_waits_then_observes(make_env):
    robot = FakeRobot()
    robot.clock = LoggingClock(robot.calls)
    env = make_env(robot, cameras={"wrist": {"width": 8, "height": 8}})
    env.reset(seed=0)
    robot.calls.clear()
    env.step(np.zeros(4, np.float32))
    assert robot.calls == ["send_command", "sleep", "observe", "camera"]


@given(st.integers(1, 12), st.data())
def test_the_next_observation_is_what_the_action_caused(make_env, steps, data):
    env = make_env(observation=[{"name": "ee_position"}], episode_length_s=2.0)
    position_m = env.reset(seed=0)[0]["state"]
    for _ in range(steps):
        action = data.draw(arrays(np.float32, 4, elements=st.floats(-1.0, 1.0, width=32)))
        observation, *_ = env.step(action)
        np.testing.assert_allclose(observation["state"], position_m + 0.03 * action[:3], atol=1e-6)
        position_m = observation["state"]


def test_the_rate_is_held_across_steps_that_take_their_time(make_env):
    robot = FakeRobot()
    env = make_env(robot)
    env.reset(seed=0)
    start_s = robot.clock.now_s()
    for step in range(1, 6):
        robot.clock.advance(0.07)
        *_, info = env.step(np.zeros(4, np.float32))
        assert info["lateness_s"] == 0.0
        assert robot.clock.now_s() == pytest.approx(start_s + 0.1 * step)


@pytest.mark.parametrize("frame", ["base", "end_effector"])
@given(action=ACTIONS, position=POSITIONS, quaternion=QUATERNIONS)
def test_the_executed_action_of_an_obeyed_command_is_the_action(
    make_env, frame, action, position, quaternion
):
    config = {"translation_m": 0.03, "rotation_rad": 1.5, "frame": frame}
    env = _started(make_env, config, position, quaternion)
    state = env.robot.observe()
    command = env._command(action.astype(np.float64), state)
    np.testing.assert_allclose(env._executed_action(command, state), action, atol=1e-5)


@given(action=ACTIONS, quaternion=QUATERNIONS)
def test_a_translation_in_the_tools_frame_is_turned_into_the_base_frame(make_env, action, quaternion):
    config = {"translation_m": 0.03, "rotation_rad": 0.1, "frame": "end_effector"}
    env = _started(make_env, config, (0.5, 0.0, 0.3), quaternion)
    env.step(action)
    expected_m = np.array([0.5, 0.0, 0.3]) + rotate(quaternion, 0.03 * action[:3].astype(np.float64))
    np.testing.assert_allclose(env.robot.sent[-1].ee_position_m, expected_m, atol=1e-9)


@given(action=ACTIONS, share=st.floats(0.0, 1.0))
def test_what_the_safety_filter_left_of_an_action_is_what_is_reported(make_env, action, share):
    def shorten(command):
        way_m = command.ee_position_m - start_m
        return PoseCommand(
            command.stamp_s, start_m + share * way_m, command.ee_quaternion_xyzw, command.gripper_width_m
        )

    start_m = np.array([0.5, 0.0, 0.3])
    config = {"translation_m": 0.03, "rotation_rad": 0.1}
    env = _started(make_env, config, start_m, (1.0, 0.0, 0.0, 0.0), FakeRobot(limit=shorten))
    *_, info = env.step(action)
    expected = np.concatenate([share * action[:3], action[3:]])
    np.testing.assert_allclose(info["executed_action"], expected, atol=1e-5)
    assert info["executed_action"].dtype == np.float32


def test_an_action_that_no_limit_changed_comes_back_bit_for_bit(make_env):
    env = make_env()
    env.reset(seed=0)
    action = np.array([0.1, -0.7, 1.0, 0.3], np.float32)
    *_, info = env.step(action)
    assert info["executed_action"].tobytes() == action.tobytes()


def test_an_action_beyond_the_space_is_clipped_and_reported_so(make_env):
    env = make_env()
    env.reset(seed=0)
    *_, info = env.step(np.array([3.0, -9.0, 0.5, 0.0], np.float32))
    np.testing.assert_array_equal(info["executed_action"], np.array([1.0, -1.0, 0.5, 0.0], np.float32))


def test_without_turning_the_orientation_of_the_start_is_held(make_env):
    env = make_env()
    env.reset(seed=0)
    env.robot.place((0.5, 0.0, 0.3), (0.0, 1.0, 0.0, 0.0))  # Knocked out of its orientation.
    env.step(np.zeros(4, np.float32))
    np.testing.assert_array_equal(env.robot.sent[-1].ee_quaternion_xyzw, [1.0, 0.0, 0.0, 0.0])


def test_without_a_gripper_entry_the_width_of_the_start_is_held(make_env):
    env = make_env(action={"translation_m": 0.03, "gripper": False})
    env.reset(seed=0)
    env.step(np.ones(3, np.float32))
    assert env.robot.sent[-1].gripper_width_m == 0.08


@pytest.mark.parametrize(("entry", "width_m"), [(-1.0, 0.0), (0.0, 0.04), (1.0, 0.08)])
def test_the_last_entry_sets_the_finger_distance(make_env, entry, width_m):
    env = make_env()
    env.reset(seed=0)
    env.step(np.array([0, 0, 0, entry], np.float32))
    assert env.robot.sent[-1].gripper_width_m == pytest.approx(width_m)


def test_the_time_limit_truncates_and_does_not_terminate(make_env):
    env = make_env()
    env.reset(seed=0)
    ends = [env.step(np.zeros(4, np.float32))[2:4] for _ in range(10)]
    assert ends == [(False, False)] * 9 + [(False, True)]


def test_success_terminates_and_does_not_truncate_even_in_the_last_step(make_env):
    for pressed_at in (1, 10):
        env = make_env()
        env.reset(seed=0)
        for _ in range(pressed_at - 1):
            env.step(np.zeros(4, np.float32))
        env.scene.button = 1.0
        _, reward, terminated, truncated, info = env.step(np.zeros(4, np.float32))
        assert (reward, terminated, truncated) == (0.0, True, False)
        assert info["success"] is info["is_success"] is True


def test_info_says_what_happened_and_at_the_end_how_well_the_rate_was_held(make_env):
    env = make_env(
        FakeRobot(limit=lambda c: PoseCommand(c.stamp_s, c.ee_position_m, c.ee_quaternion_xyzw, 0.0))
    )
    env.reset(seed=0)
    infos = [env.step(np.zeros(4, np.float32))[-1] for _ in range(10)]
    always = {"executed_action", "success", "is_success", "reward_terms", "lateness_s"}
    assert all(info.keys() == always for info in infos[:-1])
    assert infos[-1].keys() == always | {"rate", "limit_hits", "observation_ages"}
    assert infos[-1]["observation_ages"].keys() == {"state"}
    assert infos[-1]["rate"].ticks == 10
    assert infos[-1]["limit_hits"] == {"limit": 10}
    assert infos[0]["reward_terms"] == {"button": 0.0}


def test_an_episode_after_another_has_its_full_length(make_env):
    env = make_env()
    for _ in range(2):
        env.reset()
        ends = [env.step(np.zeros(4, np.float32))[3] for _ in range(10)]
        assert ends.index(True) == 9


def test_the_seed_alone_decides_what_a_reset_draws(make_env, make_reset):
    policies = [make_reset(0), make_reset(0)]
    for policy in policies:
        env = make_env(resets=policy)
        env.reset(seed=5)
        env.reset()
    assert policies[0].draws == policies[1].draws
    assert policies[0].draws[0] != policies[0].draws[1]


def test_a_reset_is_tried_three_times(make_env, make_reset):
    make_env(resets=make_reset(2)).reset(seed=0)
    policy = make_reset(3)
    with pytest.raises(RobotError, match="the cube fell off the table"):
        make_env(resets=policy).reset(seed=0)
    assert len(policy.draws) == 3


def test_an_env_that_is_only_asked_for_its_spaces_leaves_the_robot_alone(make_env):
    robot = FakeRobot()
    env = make_env(robot)
    assert robot.calls == []
    env.reset(seed=0)
    env.reset()
    assert robot.calls.count("connect") == 1


def test_close_closes_the_robot(make_env):
    env = make_env()
    env.reset(seed=0)
    env.close()
    assert env.robot.calls[-1] == "close"


def test_a_step_before_a_reset_is_refused(make_env):
    with pytest.raises(RobotError, match="reset"):
        make_env().step(np.zeros(4, np.float32))


def test_a_measurement_that_is_not_finite_stops_the_robot(make_env):
    robot = FakeRobot()
    env = make_env(robot)
    env.reset(seed=0)
    robot.fault = "nan_state"
    with pytest.raises(RobotError, match=r"joint_position\.0"):
        env.step(np.zeros(4, np.float32))
    assert robot.calls[-1] == "stop"


@pytest.mark.parametrize("fault", ["refuses", "no_state"])
def test_a_robot_that_cannot_be_driven_is_reported_as_such(make_env, fault):
    robot = FakeRobot()
    env = make_env(robot)
    env.reset(seed=0)
    robot.fault = fault
    with pytest.raises(RobotError):
        env.step(np.zeros(4, np.float32))


def test_an_observable_that_does_not_exist_is_refused_with_the_choices(make_env):
    with pytest.raises(InputError, match=r"'cube_position'.*button.*ee_position"):
        make_env(observation=[{"name": "cube_position"}])


def test_a_camera_that_is_missing_is_refused(make_task, make_env):
    env = make_env()
    task = make_task(cameras={"wrist": {}})
    with pytest.raises(InputError, match=r"\['wrist'\]"):
        RobotEnv(FakeRobot(), task, env.scene, env.reward_model, env.reset_policy)


def test_the_reward_model_judges_what_the_learner_sees(make_env):
    class Recorder:
        def __init__(self):
            self.seen = []

        def reward(self, observation):
            self.seen.append(observation)
            return Reward(-1.0, False)

    env = make_env()
    env.reward_model = Recorder()
    env.reset(seed=0)
    observation, *_ = env.step(np.ones(4, np.float32))
    assert env.reward_model.seen[0] is observation


def _started(make_env, action, position, quaternion, robot=None):
    robot = robot or FakeRobot()
    robot.place(position, quaternion)
    env = make_env(robot, action=action)
    env.reset(seed=0)
    return env


class StuckReward:
    """Calls success from the second look of an episode on, whatever the truth."""

    def __init__(self):
        self.looks = 0

    def restart(self):
        self.looks = 0

    def reward(self, observation):
        self.looks += 1
        return Reward(0.0, self.looks >= 2)


def test_a_reward_model_with_a_memory_is_restarted_with_every_episode(make_env):
    env = make_env()
    env.reward_model = StuckReward()
    for _ in range(2):
        env.reset(seed=0)
        ends = [env.step(np.zeros(env.action_space.shape, np.float32))[2] for _ in range(2)]
        assert ends == [False, True]


def test_the_truth_is_told_and_decides_nothing(make_env):
    env = make_env()
    env.truth, env.reward_model = env.reward_model, StuckReward()
    for pressed, expected in (([0.0, 0.0], [False, False]), ([1.0, 0.0], [True, True])):
        env.reset(seed=0)
        told, ended = [], []
        for button in pressed:
            env.scene.button = button
            *_, terminated, _, info = env.step(np.zeros(env.action_space.shape, np.float32))
            told.append(info["true_success"])
            ended.append(terminated)
        assert told == expected
        assert ended == [False, True]


def test_without_a_better_judge_nothing_is_called_true(make_env):
    env = make_env()
    env.reset(seed=0)
    assert "true_success" not in env.step(np.zeros(env.action_space.shape, np.float32))[4]
