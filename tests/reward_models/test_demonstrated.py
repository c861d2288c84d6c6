"""What rewards that are made from demonstrations have in common; nearness is simply an entry of the state here."""

from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.transition import TransitionSpec
from controllers.config import InputError
from reward_models.demonstrated import DemonstratedConfig, DemonstratedReward, calibrate, read_config
from robot_env.contracts import DemonstratedRewardModel
from robot_env.robot import RobotError
from robot_env.task import RewardConfig

SPEC = TransitionSpec.of(
    gymnasium.spaces.Dict(
        {
            "state": gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32),
            "front": gymnasium.spaces.Box(0, 255, (4, 6, 3), np.uint8),
        }
    ),
    gymnasium.spaces.Box(-1, 1, (2,), np.float32),
)
SPARSE = RewardConfig()
CERTAIN = DemonstratedConfig(needed=1, window=1)


class StateJudge:
    spec = SPEC

    def learn(self, episodes):
        return [self.nearness(observations) for observations in episodes]

    def nearness(self, observations):
        return observations["state"][:, 0].astype(np.float64)


def observe(nearness):
    return {"state": np.array([nearness], np.float32), "front": np.zeros((4, 6, 3), np.uint8)}


def episode(nearness, success=True):
    state = np.array(nearness, np.float32)[:, None]
    images = np.zeros((len(state), 4, 6, 3), np.uint8)
    return SimpleNamespace(observations={"state": state, "front": images}, success=success)


def make(config=CERTAIN, episodes=((-5.0, -3.0, 1.0), (-5.0, -1.0, 1.0)), reward=SPARSE):
    made = DemonstratedReward(StateJudge(), reward, config)
    made.learn([episode(nearness) for nearness in episodes])
    return made


# The scale.


@given(
    seed=st.integers(0, 1000),
    episodes=st.integers(2, 30),
    rate=st.floats(0.01, 0.3),
    unit=st.floats(1e-3, 1e3),
    offset=st.floats(-1e3, 1e3),
)
def test_a_scale_fits_whatever_unit_nearness_has(seed, episodes, rate, unit, offset):
    rng = np.random.default_rng(seed)
    nearness = [
        offset + unit * np.append(np.linspace(-1.0, -0.1, rng.integers(1, 20)), rng.uniform(-0.05, 0.0))
        for _ in range(episodes)
    ]
    scale = calibrate(nearness, rate)
    progress = scale.progress(np.concatenate(nearness))
    assert ((progress >= 0.0) & (progress <= 1.0)).all()
    np.testing.assert_allclose(scale.progress(np.array([scale.start, scale.goal])), [0.0, 1.0])
    assert scale.recognised == episodes
    assert scale.mistaken <= rate * (1 + sum(map(len, nearness)))


@given(seed=st.integers(0, 1000))
def test_ends_that_look_like_the_rest_are_refused(seed):
    rng = np.random.default_rng(seed)
    constant = [np.full(8, 3.0) for _ in range(6)]
    backwards = [np.linspace(0.0, -1.0, 8) + 0.01 * rng.normal(size=8) for _ in range(6)]
    for nearness in (constant, backwards):
        with pytest.raises(InputError, match=r"only 0 of 6 demonstrations end nearer .* other cameras"):
            calibrate(nearness, 0.05)


# The reward.


@given(nearness=st.floats(-20.0, -1.0, width=32))
def test_a_step_is_paid_by_its_progress(nearness):
    reward = make()
    paid = reward.reward(observe(nearness))
    progress = np.clip((nearness + 5.0) / 6.0, 0.0, 1.0)
    assert paid.value == pytest.approx(progress - 1.0)
    assert paid.terms["progress"] == pytest.approx(progress)
    assert not paid.success


def test_success_takes_votes_and_a_new_episode_forgets_them():
    reward = make(DemonstratedConfig(needed=2, window=3))
    assert isinstance(reward, DemonstratedRewardModel)
    assert [reward.reward(observe(1.0)).success for _ in range(2)] == [False, True]
    reward.restart()
    assert [reward.reward(observe(x)).success for x in (1.0, -4.0, -4.0, 1.0, -4.0, 1.0)] == 5 * [False] + [
        True
    ]


def test_the_tasks_own_payment_is_kept():
    reward = make(reward=RewardConfig(success=-1.0, step=-3.0))
    assert reward.reward(observe(-5.0)).value == -3.0
    assert reward.reward(observe(-2.0)).value == pytest.approx(-2.0)
    assert reward.reward(observe(1.0)) == (-1.0, True, {"progress": 1.0, "votes": 1.0})


def test_demonstrations_are_paid_as_the_policy_is():
    reward = make()
    states = np.array([-5.0, -2.0, -1.0, -1.0], np.float32)[:, None]
    paid = reward.pay({"state": states}, np.array([False, False, False, True]))
    np.testing.assert_allclose(paid[:3], [reward.reward(observe(x)).value for x in (-5.0, -2.0, -1.0)])
    assert paid[3] == 0.0


@pytest.mark.parametrize(
    "reward",
    [RewardConfig(success=1.0, step=0.0), RewardConfig(success=-1.0, step=-1.0), RewardConfig(kind="dense")],
)
def test_a_payment_by_which_to_linger_is_worth_more_is_refused(reward):
    with pytest.raises(InputError, match="step < success <= 0"):
        make(reward=reward)


# Wrong input.


def test_before_it_has_learned_it_says_so():
    reward = DemonstratedReward(StateJudge(), RewardConfig(), CERTAIN)
    for use in (reward.restart, lambda: reward.reward(observe(0.0))):
        with pytest.raises(InputError, match=r"there are none here: give demonstrations\.folder"):
            use()


def test_too_few_successes_are_refused():
    reward = DemonstratedReward(StateJudge(), RewardConfig(), CERTAIN)
    for episodes in ([], [episode([0.0, 1.0])], [episode([0.0, 1.0]), episode([0.0, 1.0], success=False)]):
        with pytest.raises(InputError, match=f"of {len(episodes)} succeed"):
            reward.learn(episodes)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(number):
    with pytest.raises(InputError, match="not finite: record it again"):
        make(episodes=[(0.0, number, 1.0), (0.0, 1.0)])
    with pytest.raises(RobotError, match="progress is not a number"):
        make().reward(observe(number))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (None, "'front' is nothing instead of uint8"),
        (np.zeros((6, 4, 3), np.uint8), r"uint8 of shape \[6, 4, 3\] instead"),
        (np.zeros((4, 6, 3), np.float32), "'front' is float32"),
    ],
)
def test_a_picture_that_cannot_be_judged_stops_the_robot(image, words):
    seen = {key: value for key, value in {**observe(0.0), "front": image}.items() if value is not None}
    with pytest.raises(RobotError, match=words):
        make().reward(seen)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"needed": 4}, "needed 4 must lie between 1 and window 3"),
        ({"false_positive_rate": 0.0}, "must lie between 0 and 1"),
        ({"threshold": 0.5}, "known are false_positive_rate, needed, window"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(config, words):
    with pytest.raises(InputError, match=words):
        read_config(config, DemonstratedConfig)
