"""A recording that drives."""

import msgspec
import numpy as np
import pytest

from controllers.config import InputError
from robot_env.devices.replay import make_replay
from robot_env.episode_writer import EpisodeWriter

ACTIONS = np.random.default_rng(0).uniform(-1, 1, (2, 5, 4)).astype(np.float32)


@pytest.fixture
def env(make_env):
    env = make_env()
    env.reset(seed=0)
    return env


def record(env, path, actions, **changes):
    task = msgspec.to_builtins(env.task) | changes
    names = env.state_names
    writer = EpisodeWriter(path, task=task, robot="fake", state_names=names, action_size=4)
    seen, _ = env.reset(seed=0)
    writer.start(seen, env.state)
    for action in actions:
        seen, reward, terminated, truncated, info = env.step(action)
        writer.step(info["executed_action"], reward, seen, terminated, truncated, env.state)
    writer.finish(False)


def test_episodes_are_replayed_by_name_and_then_again(env, tmp_path):
    for number, actions in enumerate(ACTIONS):
        record(env, tmp_path / f"{number}.mcap", actions)
    replay = make_replay(env, {"episodes": str(tmp_path)})
    for expected in [*ACTIONS, ACTIONS[0]]:
        replay.restart(env.state)
        played = [replay.get_action(env.state, ACTIONS[0, 0]) for _ in expected]
        np.testing.assert_array_equal(played, expected)
        assert replay.get_action(env.state, ACTIONS[0, 0]) is None


def test_an_episode_of_another_task_is_refused(env, tmp_path):
    record(env, tmp_path / "x.mcap", ACTIONS[0], control_rate_hz=20.0)
    with pytest.raises(InputError, match=r"x.mcap was recorded with task.control_rate_hz = 20.0"):
        make_replay(env, {"episodes": str(tmp_path / "x.mcap")})


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({}, "says what is replayed"),
        ({"episodes": "absent.mcap"}, "absent.mcap"),
        ({"episodes": "."}, "no episodes"),
    ],
)
def test_what_cannot_be_replayed(env, tmp_path, monkeypatch, config, complaint):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=complaint):
        make_replay(env, config)
