"""`journeyman collect --mixed`: successes and failures to label."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import InputError
from journeyman.collect import record_demonstrations
from journeyman.config import compose
from journeyman.lapses import LapsingExpert, record_mixed
from robot_env.episodes import list_episodes, read_episode

SMALL = ["task=lift_cube", "task.cameras={front: {width: 16, height: 12}}"]


class Steady:
    """Always does the same."""

    def act(self):
        return np.array([0.5, -0.5, 0.0, 1.0], np.float32)


@given(chance=st.floats(0, 1), noise=st.floats(0, 3), seed=st.integers(0, 99))
def test_a_lapsing_expert_stays_within_the_actions(chance, noise, seed):
    expert = LapsingExpert(Steady(), noise, chance, np.random.default_rng(seed))
    for _ in range(20):
        action = expert.act()
        assert action.dtype == np.float32
        assert (np.abs(action) <= 1.0).all()


def test_without_lapses_and_noise_it_is_the_expert():
    expert = LapsingExpert(Steady(), 0.0, 0.0, np.random.default_rng(0))
    assert all((expert.act() == Steady().act()).all() for _ in range(20))


def test_a_lapse_lasts_some_steps_of_one_action():
    expert = LapsingExpert(Steady(), 0.0, 0.3, np.random.default_rng(0))
    actions = [tuple(expert.act()) for _ in range(300)]
    lapses = {action: actions.count(action) for action in set(actions) - {tuple(Steady().act())}}
    assert len(lapses) > 10
    assert 1 <= min(lapses.values()) <= max(lapses.values()) <= 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    try:
        record_mixed(compose(SMALL), folder, 6)
    except InputError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    return folder


def test_there_are_successes_and_failures_and_they_go_on_after_success(folder):
    episodes = [read_episode(path) for path in list_episodes(folder)]
    assert len(episodes) == 6
    assert {episode.success for episode in episodes} == {True, False}
    for episode in episodes:
        rewarded = np.flatnonzero(episode.rewards == 0.0)
        assert (rewarded.size > 0) == episode.success
        assert not episode.terminated.any()
        assert episode.truncated[-1]
        assert episode.observations["front"].shape[1:] == (12, 16, 3)
        if rewarded.size and len(episode.actions) < 50:
            assert len(episode.actions) == rewarded[0] + 6


def test_what_is_there_counts_and_the_rest_is_the_same_again(folder):
    path = list_episodes(folder)[3]
    before = read_episode(path)
    kept = list_episodes(folder)[0].read_bytes()
    path.unlink()
    record_mixed(compose(SMALL), folder, 6)
    np.testing.assert_array_equal(read_episode(path).actions, before.actions)
    np.testing.assert_array_equal(read_episode(path).observations["front"], before.observations["front"])
    assert list_episodes(folder)[0].read_bytes() == kept


def test_a_real_arm_has_no_expert(tmp_path):
    with pytest.raises(InputError, match="no scripted expert"):
        record_mixed(compose(["robot=ros2", "robot.provenance=robot", *SMALL]), tmp_path, 1)


def test_demonstrations_are_judged_by_the_task_whoever_judges_the_run(tmp_path):
    config = compose(["task=reach", "reward=classifier", "reward.config.model=absent"])
    record_demonstrations(config, tmp_path, 1)
    assert read_episode(list_episodes(tmp_path)[0]).success
