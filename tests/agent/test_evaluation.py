import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from agent.evaluation import evaluate, wilson_interval
from agent.transition import TransitionSpec


@given(trials=st.integers(1, 500), data=st.data())
def test_wilson_interval_agrees_with_scipy(trials, data):
    successes = data.draw(st.integers(0, trials))
    expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    low, high = wilson_interval(successes, trials)
    assert low == pytest.approx(expected.low, abs=1e-4)
    assert high == pytest.approx(expected.high, abs=1e-4)


def test_no_trials_say_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


class Countdown(gymnasium.Env):
    """Succeeds if the policy's action is positive; else times out after four steps."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self):
        self.seeds = []

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        self.left = 4
        return np.array([seed % 2], np.float32), {}

    def step(self, action):
        self.left -= 1
        success = bool(action[0] > 0 and self.left == 2)
        return np.zeros(1, np.float32), -1.0, success, self.left == 0, {"success": success}


class FirstObservation:
    """Acts positively in episodes that began at 1; remembers how it was asked."""

    def __init__(self):
        self.modes = set()
        self.positive = False

    def act(self, observation, deterministic):
        self.modes.add(deterministic)
        if observation["state"][0] == 1:
            self.positive = True
        return np.array([1.0 if self.positive else -1.0], np.float32)

    def load_weights(self, weights):
        pass


class LostError(Exception):
    """The robot is gone for a while."""


@pytest.mark.parametrize("lost_at", ["reset", "step"])
def test_an_episode_without_its_robot_does_not_count_and_is_done_again(lost_at):
    class Flaky(Countdown):
        lost = 0

        def lose(self, where):
            if where == lost_at and self.seeds[-1] == 11 and self.lost < 2:
                self.lost += 1
                raise LostError

        def reset(self, *, seed=None, options=None):
            result = super().reset(seed=seed)
            self.lose("reset")
            return result

        def step(self, action):
            result = super().step(action)
            self.lose("step")
            return result

    env, waits = Flaky(), []
    spec = TransitionSpec.of(env.observation_space, env.action_space)
    result = evaluate(
        env, FirstObservation(), spec, episodes=3, seed=10, faults=(LostError,), wait_after_fault=waits.append
    )
    assert env.seeds == [10, 11, 11, 11, 12]
    assert len(waits) == 2
    assert (result.successes, result.episodes) == (2, 3)
    assert result.mean_length == (4 + 2 + 2) / 3
    with pytest.raises(LostError):
        evaluate(Flaky(), FirstObservation(), spec, episodes=3, seed=10)


def test_counts_fixed_starts_and_determinism():
    env, policy = Countdown(), FirstObservation()
    spec = TransitionSpec.of(env.observation_space, env.action_space)
    steps = []
    result = evaluate(env, policy, spec, episodes=4, seed=10, after_step=lambda e, info: steps.append(e))
    assert env.seeds == [10, 11, 12, 13]
    assert policy.modes == {True}
    assert (result.successes, result.episodes) == (3, 4)  # Positive from the second episode (odd seed) on.
    assert result.mean_length == (4 + 2 + 2 + 2) / 4
    assert result.mean_return == -result.mean_length
    assert steps == [0] * 4 + [1] * 2 + [2] * 2 + [3] * 2


def test_where_the_truth_is_known_it_judges():
    class Fooled(Countdown):
        def step(self, action):
            *rest, info = super().step(action)
            return *rest, {**info, "true_success": False}

    spec = TransitionSpec.of(Fooled.observation_space, Fooled.action_space)
    assert evaluate(Countdown(), FirstObservation(), spec, episodes=2, seed=1).successes == 2
    assert evaluate(Fooled(), FirstObservation(), spec, episodes=2, seed=1).successes == 0
