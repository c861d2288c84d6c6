"""Scripted experts behind the contract of what a person drives by."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.config import InputError
from sim.experts import LapsingExpert, make_expert
from sim.registration import make_env


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


def play(env, expert, seed):
    actions, success = [], False
    env.reset(seed=seed)
    expert.restart(env.state)
    for _ in range(env.task.episode_steps):
        actions.append(expert.get_action(env.state, env.action_at_rest(env.state)))
        _, _, terminated, _, _ = env.step(actions[-1])
        success = success or terminated
    return np.array(actions), success


@pytest.mark.parametrize("config", [{"noise": 0.2}, {"noise": 0.0}, {"noise": 0.1, "lapses": True}])
def test_what_it_does_is_decided_by_the_seed_of_the_reset(config):
    env = make_env("reach")
    expert = make_expert(env, config)
    expert.connect()
    first, _ = play(env, expert, 1)
    other, _ = play(env, expert, 2)
    again, _ = play(env, expert, 1)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert (np.abs(first) <= 1.0).all()
    assert expert.get_events() == ()
    expert.disconnect()


def test_it_succeeds_and_with_lapses_lingers_slowly_after_success():
    env = make_env("reach")
    assert play(env, make_expert(env, {"noise": 0.0}), 1)[1]
    lapsing = make_expert(env, {"noise": 0.0, "lapses": True})
    for seed in range(4):
        _, success = play(env, lapsing, seed)
        if success:
            assert np.abs(lapsing.get_action(env.state, env.action_at_rest(env.state))[:3]).max() <= 0.5
            break
    else:
        pytest.fail("it never came to linger")


@pytest.mark.parametrize(
    ("config", "complaint"),
    [({"noise": -1}, "noise -1"), ({"noise": float("inf")}, "noise inf"), ({"lapse": 1}, "lapses, noise")],
)
def test_a_configuration_that_cannot_be_meant(config, complaint):
    with pytest.raises(InputError, match=complaint):
        make_expert(make_env("reach"), config)
