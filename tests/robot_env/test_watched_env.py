import numpy as np
import pytest

from robot_env.assisted_env import AssistedEnv
from robot_env.fake import FakeRobot
from robot_env.robot import RobotUnavailableError
from robot_env.trouble.arm import StuckConfig
from robot_env.trouble.watch import TroubleConfig
from robot_env.watched_env import WatchedEnv

FORWARD = np.array([1.0, 0.0, 0.0, 1.0], np.float32)
QUICK = TroubleConfig(stuck=StuckConfig(duration_s=0.3))


@pytest.fixture
def robot():
    return FakeRobot()


@pytest.fixture
def env(make_env, robot):
    return WatchedEnv(make_env(robot), QUICK)


def play(env, robot, fault_at=None, steps=20):
    """Step forward until the end; the last step's results."""
    for step in range(steps):
        if step == fault_at:
            robot.fault = "stuck"
        _, reward, terminated, truncated, info = env.step(FORWARD)
        if terminated or truncated:
            return step + 1, reward, terminated, truncated, info
    return steps, reward, terminated, truncated, info


def test_while_all_is_well_nothing_is_changed(env, robot):
    env.reset(seed=0)
    steps, reward, terminated, truncated, info = play(env, robot)
    assert (steps, reward, terminated, truncated) == (10, -1.0, False, True)
    assert info["trouble"] == ""
    assert "stop" not in robot.calls


def test_trouble_stops_the_robot_and_ends_the_episode_as_the_time_limit_does(env, robot):
    env.reset(seed=0)
    steps, reward, terminated, truncated, info = play(env, robot, fault_at=2)
    assert steps == 5  # The window begins where the arm came to be held.
    assert (reward, terminated, truncated) == (-1.0, False, True)
    assert info["trouble"].startswith("the arm is stuck")
    assert not info["success"]
    assert {"rate", "limit_hits", "observation_ages"} <= info.keys()
    assert robot.calls[-1] == "stop"


def test_a_step_that_succeeds_is_a_success_in_spite_of_trouble(env, robot):
    env.reset(seed=0)
    robot.fault = "stuck"
    for _ in range(3):
        env.step(FORWARD)
    env.robot_env.scene.button = 1.0
    _, reward, terminated, truncated, info = env.step(FORWARD)
    assert (reward, terminated, truncated) == (0.0, True, False)
    assert info["trouble"]
    assert info["success"]
    assert robot.calls[-1] == "stop"


def test_the_next_episode_begins_anew(env, robot):
    env.reset(seed=0)
    play(env, robot, fault_at=0)
    robot.fault = None
    env.reset(seed=1)
    steps, _, _, truncated, info = play(env, robot)
    assert (steps, truncated, info["trouble"]) == (10, True, "")


def test_a_scene_that_cannot_be_observed_stops_the_robot(env, robot):
    env.reset(seed=0)
    observe, calls = env.robot_env.scene.observe, []

    def fail_when_watched():
        calls.append(1)
        if len(calls) > 1:
            raise RobotUnavailableError("The tracker is gone.")
        return observe()

    env.robot_env.scene.observe = fail_when_watched
    with pytest.raises(RobotUnavailableError, match="tracker"):
        env.step(FORWARD)
    assert robot.calls[-1] == "stop"


class Hand:
    """Always drives forward."""

    def connect(self):
        pass

    def restart(self, state):
        pass

    def get_action(self, state, last_action):
        return FORWARD

    def get_events(self):
        return ()

    def disconnect(self):
        pass


def test_a_person_who_drives_is_watched_too(env, robot):
    assisted = AssistedEnv(env, Hand())
    assisted.reset(seed=0)
    robot.fault = "stuck"
    for _ in range(4):
        _, _, _, truncated, info = assisted.step(np.zeros(4, np.float32))
    assert truncated
    assert info["intervened"]
    assert info["trouble"]
