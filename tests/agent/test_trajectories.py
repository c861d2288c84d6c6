"""Episodes of several actors, and of people who interrupt, are told apart; returns belong to their episode alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agent.demonstrations import Demonstrations
from agent.replay import MixedSampler, ReplayBuffer
from agent.trajectories import EpisodeTracker, count_breaks, episode_ends, returns_to_go

CPU = torch.device("cpu")


def make_episode(spec, number, length, actor=0, terminated=True, rewards=None):
    """Its observations name actor, episode and step."""
    rows = np.zeros(length, spec.dtype)
    for name, offset in (("observation.state", 0), ("next_observation.state", 1)):
        rows[name][:, 0], rows[name][:, 1] = actor, number
        rows[name][:, 2] = np.arange(length) + offset
    rows["episode"], rows["step"] = number, np.arange(length)
    rows["reward"] = np.arange(length) if rewards is None else rewards
    rows["terminated" if terminated else "truncated"][-1] = True
    return rows


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12), actors=st.integers(1, 3), data=st.data())
def test_interleaved_episodes_of_the_same_number_are_told_apart(lengths, actors, data):
    from gymnasium.spaces import Box

    from agent.transition import TransitionSpec

    spec = TransitionSpec.of(Box(-1, 1, (3,)), Box(-1, 1, (1,)))
    streams = [
        [row for number, length in enumerate(lengths) for row in make_episode(spec, number, length, actor)]
        for actor in range(actors)
    ]
    tracker, stream, over = EpisodeTracker(spec), [], []
    while any(streams):
        actor = data.draw(st.sampled_from([i for i, s in enumerate(streams) if s]))
        count = data.draw(st.integers(1, 5))
        rows, streams[actor] = streams[actor][:count], streams[actor][count:]
        over += [n.tolist() for n in tracker.follow(np.array(rows, spec.dtype), len(stream))]
        stream += rows
    assert sorted(n for numbers in over for n in numbers) == list(range(len(stream)))
    for numbers in over:
        states = np.array([stream[n]["observation.state"] for n in numbers])
        assert np.unique(states[:, :2], axis=0).shape[0] == 1
        assert states[:, 2].tolist() == list(range(lengths[int(states[0, 1])]))


def test_episodes_of_images_alone_are_followed_by_these():
    from gymnasium.spaces import Box, Dict

    from agent.transition import TransitionSpec

    spec = TransitionSpec.of(Dict({"front": Box(0, 255, (2, 2, 3), np.uint8)}), Box(-1, 1, (1,)))
    rows = np.zeros(6, spec.dtype)
    for row in range(6):  # Two actors in turn, whose images are even and odd.
        rows["observation.front"][row], rows["next_observation.front"][row] = row, row + 2
        rows["step"][row], rows["terminated"][row] = row // 2, row >= 4
    assert [numbers.tolist() for numbers in EpisodeTracker(spec).follow(rows, 0)] == [[0, 2, 4], [1, 3, 5]]


def test_episodes_that_never_end_are_forgotten(spec):
    tracker = EpisodeTracker(spec)
    for number in range(1000):
        assert not list(tracker.follow(make_episode(spec, number, 3)[:2], 2 * number))
    assert len(tracker._open) <= 256


def test_returns_are_discounted_sums_to_the_end():
    np.testing.assert_allclose(returns_to_go(np.float32([1.0, 0.0, 4.0]), 0.5), [2.0, 2.0, 4.0])
    assert returns_to_go(np.zeros(0, np.float32), 0.9).shape == (0,)


def returns_of(buffer):
    return buffer.take("mc_return", np.arange(len(buffer))).tolist()


def test_a_return_is_unknown_until_the_episode_is_over(spec):
    buffer = ReplayBuffer(spec, 10, 0, returns_discount=0.5)
    episode = make_episode(spec, 0, 3, rewards=[1.0, 0.0, 4.0])
    buffer.append(episode[:2])
    assert returns_of(buffer) == [-np.inf, -np.inf]
    buffer.append(episode[2:])
    assert returns_of(buffer) == [2.0, 2.0, 4.0]


def test_what_a_cut_episode_would_have_cost_is_unknown(spec):
    buffer = ReplayBuffer(spec, 10, 0, returns_discount=0.5)
    buffer.append(make_episode(spec, 0, 2, terminated=False, rewards=[-1.0, -1.0]))
    buffer.append(make_episode(spec, 1, 2, terminated=False, rewards=[0.0, 1.0]))
    buffer.append(make_episode(spec, 2, 2, terminated=True, rewards=[-1.0, -1.0]))
    assert returns_of(buffer) == [-np.inf, -np.inf, 0.5, 1.0, -1.5, -1.0]


def test_a_ring_that_went_round_keeps_the_returns_of_what_it_holds(spec):
    buffer = ReplayBuffer(spec, 4, 0, returns_discount=1.0)
    for row in make_episode(spec, 0, 6, rewards=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]):
        buffer.append(np.array([row], spec.dtype))
    assert sorted(returns_of(buffer)) == [6.0, 11.0, 15.0, 18.0]
    buffer.append(make_episode(spec, 1, 3, rewards=1.0)[:1])
    assert sorted(returns_of(buffer)) == [-np.inf, 6.0, 11.0, 15.0]


def test_batches_have_returns_where_they_are_asked_for(spec):
    def sampler(discount):
        shown = Demonstrations(spec, make_episode(spec, 7, 4), 8, 0, returns_discount=discount)
        return MixedSampler(spec, ReplayBuffer(spec, 8, 1, returns_discount=discount), shown, 0.5, CPU)

    mixed = sampler(1.0)
    assert set(mixed.sample_demonstrations(32)["mc_return"].tolist()) == {6.0, 5.0, 3.0}
    mixed.append(make_episode(spec, 0, 2, rewards=[10.0, 20.0]))
    assert set(mixed.sample(2, 32)["mc_return"].tolist()) == {6.0, 5.0, 3.0, 30.0, 20.0}
    assert "mc_return" not in sampler(None).sample_demonstrations(4)


@pytest.mark.parametrize("first", [0, 2])
def test_what_a_person_did_to_the_end_has_its_return(spec, first):
    mixed = MixedSampler(
        spec,
        ReplayBuffer(spec, 8, 0, returns_discount=1.0),
        Demonstrations(spec, np.zeros(0, spec.dtype), 8, 1, returns_discount=1.0),
        0.5,
        CPU,
    )
    episode = make_episode(spec, 0, 4, rewards=1.0)
    episode["intervened"][first:] = True
    mixed.append(episode)
    assert set(mixed.sample_demonstrations(32)["mc_return"].tolist()) == set(range(1, 5 - first))


@pytest.mark.parametrize(
    ("episodes", "terminated", "truncated"),
    [
        ([0, 0, 1, 1], [3], []),  # Another number.
        ([0, 0, 0, 0], [3], [1]),  # A flag.
        ([0, 0, 0, 0], [1, 3], []),
        ([0, 0, 1, 1], [], []),  # The data end.
    ],
)
def test_a_number_a_flag_or_the_end_of_the_data_ends_an_episode(spec, episodes, terminated, truncated):
    records = np.zeros(4, spec.dtype)
    records["episode"] = episodes
    records["terminated"][terminated], records["truncated"][truncated] = True, True
    assert episode_ends(records).tolist() == [False, True, False, True]
    assert episode_ends(records[:0]).tolist() == []


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=30), capacity=st.integers(3, 40), data=st.data()
)
def test_what_follows_is_of_the_same_episode_and_as_much_later(lengths, capacity, data):
    from gymnasium.spaces import Box

    from agent.transition import TransitionSpec

    spec = TransitionSpec.of(Box(-1, 1, (3,)), Box(-1, 1, (1,)))
    streams = [
        [row for number, length in enumerate(lengths) for row in make_episode(spec, number, length, actor)]
        for actor in range(2)
    ]
    recorded = np.concatenate([make_episode(spec, number, 4, actor=9) for number in range(2)])
    buffer, shown = (
        ReplayBuffer(spec, capacity, 0, follow_episodes=True),
        Demonstrations(spec, recorded, capacity, 0, follow_episodes=True),
    )
    while any(streams):
        stream = data.draw(st.sampled_from([s for s in streams if s]))
        rows = np.array(stream[:3], spec.dtype)
        del stream[:3]
        buffer.append(rows)
        shown.append(rows)
    for replay in (buffer, shown):
        rows = np.repeat(replay.draw(60), 4)
        steps = np.arange(len(rows)) % 12
        here = replay.take("observation.state", rows)
        there = replay.take("observation.state", replay.later(rows, steps))
        remaining = replay.remaining(rows)
        lengths_there = np.where(here[:, 0] == 9, 4, np.resize(lengths, 30)[here[:, 1].astype(int)])
        # All episodes are over, and of one whose beginning is gone the rest is known.
        np.testing.assert_array_equal(remaining, lengths_there - 1 - here[:, 2])
        np.testing.assert_array_equal(there[:, :2], here[:, :2])
        np.testing.assert_array_equal(there[:, 2], here[:, 2] + np.minimum(steps, remaining))


def test_nothing_follows_while_an_episode_is_not_over(spec):
    buffer = ReplayBuffer(spec, 4, 0, follow_episodes=True)
    buffer.append(make_episode(spec, 0, 4))
    buffer.append(make_episode(spec, 1, 3)[:2])  # In the slots of the first two.
    rows = np.arange(4)
    assert buffer.remaining(rows).tolist() == [-1, -1, 1, 0]
    assert buffer.later(rows, np.ones(4, np.int64)).tolist() == [0, 1, 3, 3]


@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=6), data=st.data())
def test_where_episodes_cannot_be_followed_is_counted(lengths, data):
    """As many as transitions that the tracker takes for the first of an episode, beyond those that are."""
    from gymnasium.spaces import Box

    from agent.transition import TransitionSpec

    spec = TransitionSpec.of(Box(-1, 1, (3,)), Box(-1, 1, (1,)))
    rows = np.concatenate([make_episode(spec, number, length) for number, length in enumerate(lengths)])
    moved = data.draw(st.lists(st.integers(0, len(rows) - 1), unique=True))
    rows["next_observation.state"][moved, 1] += 0.5
    before = np.full(len(rows), -1, np.int64)
    list(EpisodeTracker(spec).follow(rows, 0, before))
    assert count_breaks(rows, spec) == (before < 0).sum() - len(lengths)
