"""A policy that has not acted is judged as it will turn out to be, and what nobody can know is said."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from agent.config import InputError
from agent.dynamics import DynamicsConfig, Following, Steps, fit_dynamics
from agent.off_policy_evaluation import Evaluator, EvaluatorConfig, difference
from agent.transition import TransitionSpec

SPEC = TransitionSpec.of(Box(-1, 1, (2,)), Box(-1, 1, (2,)))
SMALL = DynamicsConfig(members=3, hidden_sizes=(32, 32), updates=600, batch_size=128, learning_rate=3e-3)
CONFIG = EvaluatorConfig(steps=8, starts_per_member=20, discount=0.9, value_updates=150, dynamics=SMALL)


def moved(state, action):
    """A point on a square; -1 for every step until it is near the middle."""
    following = np.clip(state + 0.25 * action, -1, 1)
    there = np.hypot(*following.T) < 0.25
    return following, np.where(there, 0.0, -1.0), there


def recorded(count, seed=0):
    """Random actions in random states."""
    rng = np.random.default_rng(seed)
    state, action = rng.uniform(-1, 1, (2, count, 2)).astype(np.float32)
    rows = np.zeros(count, SPEC.dtype)
    rows["observation.state"], rows["action"] = state, action
    rows["next_observation.state"], rows["reward"], rows["terminated"] = moved(state, action)
    rows["truncated"] = ~rows["terminated"]
    return rows


class Walking:
    """Towards the middle, or away from it."""

    def __init__(self, gain):
        self._gain = gain

    def act(self, observation, deterministic):
        return np.clip(self._gain * -observation["state"], -1, 1).astype(np.float32)


def earned(policy, states, steps=60):
    """What it really earns from each state."""
    total, alive = np.zeros(len(states)), np.ones(len(states), bool)
    for step in range(steps):
        action = np.stack([policy.act({"state": state}, True) for state in states])
        states, reward, there = moved(states, action)
        total += alive * 0.9**step * reward
        alive &= ~there
    return total


@pytest.fixture(scope="module")
def evaluator():
    torch.set_num_threads(1)
    return Evaluator(CONFIG, SPEC, recorded(2000), 0)


def test_policies_that_nobody_has_seen_are_worth_what_they_earn(evaluator):
    assert evaluator.explained > 0.95
    values = {gain: evaluator.values(Walking(gain)) for gain in (5.0, 0.7, -5.0)}
    starts = evaluator._starts.numpy()
    for gain, error in ((5.0, 0.35), (0.7, 0.6)):
        assert np.abs(values[gain].ravel() - earned(Walking(gain), starts)).mean() < error
    assert difference(values[5.0], values[0.7]).low > 0.0
    assert difference(values[0.7], values[-5.0]).low > 0.0
    assert difference(values[-5.0], values[5.0]).high < 0.0


def test_a_rollout_is_worth_its_discounted_rewards_and_the_value_at_its_end_as_far_as_it_goes_on():
    evaluator = object.__new__(Evaluator)
    evaluator._config = EvaluatorConfig(
        steps=2, starts_per_member=1, discount=0.5, dynamics=DynamicsConfig(members=2)
    )
    evaluator._starts = torch.zeros(2, 1)
    evaluator._act = lambda policy, state: state
    reward, terminates = torch.tensor([1.0, 2.0]), torch.tensor([0.25, 1.0])
    evaluator._follow = lambda state, action: Following(state + 1.0, reward, terminates)
    evaluator._last_value = lambda state, action: 4.0 * state[:, 0]
    first = 1.0 + 0.5 * 0.75 * 1.0 + 0.25 * 0.75**2 * 8.0
    assert evaluator.values(None).tolist() == [[first], [2.0]]


def test_a_policy_is_worth_as_much_as_itself(evaluator):
    values = evaluator.values(Walking(2.0))
    assert values.shape == (3, 20)
    np.testing.assert_array_equal(values, evaluator.values(Walking(2.0)))
    assert difference(values, values) == (0.0, 0.0, 0.0)


def test_members_that_disagree_widen_the_interval():
    rng = np.random.default_rng(0)
    alike = rng.normal(1.0, 0.1, (5, 50))
    apart = alike + np.linspace(-3, 3, 5)[:, None]
    narrow, wide = (difference(values, np.zeros((5, 50))) for values in (alike, apart))
    assert narrow.mean == pytest.approx(wide.mean)
    assert narrow.low > 0.9
    assert wide.low < -0.5 < 2.5 < wide.high


def test_what_no_action_explains_is_not_explained():
    rng = np.random.default_rng(0)
    noise = [torch.from_numpy(rng.normal(size=(1500, 2)).astype(np.float32)) for _ in range(3)]
    steps = Steps(noise[0], noise[1], torch.zeros(1500), noise[0] + noise[2], torch.zeros(1500))
    _, explained = fit_dynamics(DynamicsConfig(hidden_sizes=(16,), updates=100), steps, 0)
    assert explained < 0.1


def steps_of(rows):
    names = ("observation.state", "action", "reward", "next_observation.state", "terminated")
    return Steps(*(torch.from_numpy(rows[name].astype(np.float32)) for name in names))


def test_nothing_is_expected_beyond_what_was_seen_however_far_a_rollout_leaves_the_data():
    steps = steps_of(recorded(500))
    steps = steps._replace(reward=steps.state[:, 0] + steps.action[:, 0])  # It goes on growing outside.
    dynamics, _ = fit_dynamics(DynamicsConfig(hidden_sizes=(16,), updates=200, learning_rate=1e-2), steps, 0)
    away = 20.0 * torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        far, near = dynamics(away, away), dynamics(steps.state, steps.action)
    for expected in (far, near):
        assert float(expected.reward.min()) >= float(steps.reward.min())
        assert float(expected.reward.max()) <= float(steps.reward.max())
        assert expected.state.abs().max() <= 1.0
    # Within the data nothing is cut off.
    assert (near.reward.mean(0) - steps.reward).abs().mean() < 0.15


def test_the_same_seed_gives_the_same_dynamics():
    steps = steps_of(recorded(300))
    config = DynamicsConfig(hidden_sizes=(8,), updates=20)
    state = torch.get_rng_state()
    (one, first), (same, again), (_, other) = (fit_dynamics(config, steps, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert first == again != other
    assert torch.equal(one(steps.state, steps.action).state, same(steps.state, steps.action).state)


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        (DynamicsConfig, {"members": 0}, "members 0 must be at least 1"),
        (DynamicsConfig, {"held_out": 1.0}, "held_out 1.0 must lie between 0 and 1"),
        (DynamicsConfig, {"learning_rate": float("nan")}, "learning_rate nan must lie in"),
        (EvaluatorConfig, {"steps": 0}, "steps 0 must be at least 1"),
        (EvaluatorConfig, {"discount": 0.0}, "discount 0.0 must lie in"),
        (EvaluatorConfig, {"expectile": 1.0}, "expectile 1.0 must lie between"),
    ],
)
def test_what_cannot_be_meant_is_refused(kind, values, words):
    with pytest.raises(ValueError, match=words):
        kind(**values)


def test_cameras_and_too_few_data_are_refused(camera_spec):
    with pytest.raises(InputError, match=r"cameras \['front', 'wrist'\].*evaluate it on the twin"):
        Evaluator(CONFIG, camera_spec, np.zeros(500, camera_spec.dtype), 0)
    with pytest.raises(InputError, match="10 recorded transitions are too few"):
        Evaluator(CONFIG, SPEC, recorded(10), 0)


def test_data_without_rewards_are_refused():
    rows = recorded(300)
    rows["reward"][:7] = np.nan
    with pytest.raises(InputError, match="7 of 300 recorded transitions have no reward"):
        Evaluator(CONFIG, SPEC, rows, 0)
