"""Monte-Carlo returns: sums to the end of the episode, never across, and what a cut leaves open."""

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import InputError
from agent.returns import episode_ends, monte_carlo_returns
from agent.transition import TransitionSpec

BOX = gymnasium.spaces.Box
SPEC = TransitionSpec.of(BOX(-9, 9, (1,), np.float32), BOX(-1, 1, (1,), np.float32))


def records_of(rewards, episodes, terminated=(), truncated=()):
    records = np.zeros(len(rewards), SPEC.dtype)
    records["reward"], records["episode"] = rewards, episodes
    records["terminated"][list(terminated)] = True
    records["truncated"][list(truncated)] = True
    return records


def test_rewards_are_discounted_and_no_episode_sees_the_next():
    records = records_of([1, 2, 4, 8, 16], [0, 0, 0, 1, 1], terminated=[2, 4])
    assert monte_carlo_returns(records, 0.5).tolist() == [3.0, 4.0, 4.0, 16.0, 16.0]
    assert monte_carlo_returns(records, 1.0).tolist() == [7.0, 6.0, 4.0, 24.0, 16.0]
    assert monte_carlo_returns(records, 0.0).tolist() == records["reward"].tolist()
    assert monte_carlo_returns(records, 0.5).dtype == np.float32


@pytest.mark.parametrize(
    "records",
    [
        records_of([1, 1, 1, 1], [0, 0, 1, 1], terminated=[3]),  # Another number.
        records_of([1, 1, 1, 1], [0, 0, 0, 0], terminated=[3], truncated=[1]),  # A flag.
        records_of([1, 1, 1, 1], [0, 0, 0, 0], terminated=[1, 3]),
    ],
)
def test_a_number_or_a_flag_ends_an_episode(records):
    assert episode_ends(records).tolist() == [False, True, False, True]
    assert monte_carlo_returns(records, 1.0).tolist() == [2.0, 1.0, 2.0, 1.0]


def test_of_what_was_cut_the_sum_so_far_or_nothing_is_known():
    records = records_of(np.ones(7), [0, 0, 1, 1, 2, 2, 2], terminated=[1], truncated=[3])
    assert monte_carlo_returns(records, 1.0).tolist() == [2, 1, 2, 1, 3, 2, 1]
    unknown = monte_carlo_returns(records, 1.0, of_cut="unknown")
    assert unknown.tolist() == [2.0, 1.0, *[-np.inf] * 5]  # Truncated, and the end of the data.


def test_a_step_that_terminates_and_times_out_is_known():
    records = records_of([1, 1], [0, 0], terminated=[1], truncated=[1])
    assert monte_carlo_returns(records, 1.0, of_cut="unknown").tolist() == [2.0, 1.0]


def test_nothing_has_no_returns_and_is_not_changed():
    assert monte_carlo_returns(records_of([], []), 0.9, of_cut="unknown").shape == (0,)
    records = records_of([1, 1], [0, 1])
    monte_carlo_returns(records, 0.9)
    assert not records["terminated"].any()
    assert not records["truncated"].any()


@pytest.mark.parametrize("discount", [-0.1, 1.1, float("nan")])
def test_no_discount_is_refused(discount):
    with pytest.raises(InputError, match="discount"):
        monte_carlo_returns(records_of([1], [0]), discount)


@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=6),
    discount=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_the_sum_is_the_definition(lengths, discount, seed):
    rng = np.random.default_rng(seed)
    records = records_of(rng.normal(size=sum(lengths)), np.repeat(np.arange(len(lengths)), lengths))
    wanted = []
    for rewards in np.split(records["reward"].astype(float), np.cumsum(lengths)[:-1]):
        wanted += [(discount ** np.arange(len(rewards) - t) * rewards[t:]).sum() for t in range(len(rewards))]
    np.testing.assert_allclose(monte_carlo_returns(records, discount), wanted, rtol=1e-5, atol=1e-5)
