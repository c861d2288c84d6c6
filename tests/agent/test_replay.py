import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agent.replay import MixedSampler, ReplayBuffer

CPU = torch.device("cpu")


@given(capacity=st.integers(1, 40), chunks=st.lists(st.integers(0, 60), max_size=8))
def test_ring_keeps_the_newest(capacity, chunks):
    spec, make = _spec_and_maker()
    buffer = ReplayBuffer(spec, capacity, 0)
    total = 0
    for count in chunks:
        buffer.append(make(count, episode=np.arange(total, total + count)))
        total += count
    assert buffer.total_added == total
    assert len(buffer) == min(total, capacity)
    kept = sorted(buffer.take("episode", np.arange(len(buffer))).tolist())
    assert kept == list(range(total - len(buffer), total))


@given(
    lengths=st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=2, max_size=30),
    actors=st.integers(1, 3),
    capacity=st.integers(5, 100),
    data=st.data(),
)
def test_no_sampled_next_observation_belongs_to_another_episode(lengths, actors, capacity, data):
    """Random episode lengths, ends of both kinds, interleaved actors, any ring size."""
    spec, _ = _spec_and_maker()
    streams = [[] for _ in range(actors)]
    for number, (length, terminated) in enumerate(lengths):
        for step in range(length):
            row = np.zeros(1, spec.dtype)
            # The observation names its own origin: (episode, step).
            row["observation.state"][0, :2] = number, step
            row["next_observation.state"][0, :2] = number, step + 1
            row["episode"], row["step"] = number, step
            row["terminated"] = terminated and step == length - 1
            row["truncated"] = not terminated and step == length - 1
            streams[number % actors].append(row)
    buffer = ReplayBuffer(spec, capacity, 0)
    while any(streams):
        actor = data.draw(st.sampled_from([i for i, s in enumerate(streams) if s]))
        buffer.append(streams[actor].pop(0))
    batch = MixedSampler(spec, buffer, ReplayBuffer(spec, 1, 0), 0.5, CPU).sample(4, 64)
    now, after = batch["observation.state"], batch["next_observation.state"]
    assert torch.equal(now[:, 0], after[:, 0])
    assert torch.equal(now[:, 1] + 1, after[:, 1])


@pytest.mark.parametrize(
    ("online", "demonstrations", "expected"), [(50, 50, 0.5), (50, 0, 0.0), (0, 50, 1.0)]
)
def test_every_slice_of_a_batch_has_the_same_share_and_is_whole(
    spec, make_records, online, demonstrations, expected
):
    buffers = []
    for count, mark in ((online, 0), (demonstrations, 1)):
        buffer = ReplayBuffer(spec, 64, mark)
        buffer.append(make_records(count, reward=mark))
        buffers.append(buffer)
    batch = MixedSampler(spec, *buffers, 0.5, CPU).sample(5, 16)
    assert batch["reward"].shape == (80,)
    for part in batch["reward"].split(16):
        assert float(part.mean()) == expected


def test_demonstrations_alone_are_sampled_whatever_the_share_and_resume_where_they_were(spec, make_records):
    def make_sampler(seed):
        online, demonstrations = (ReplayBuffer(spec, 64, seed + i) for i in range(2))
        online.append(make_records(64, reward=0.0))
        demonstrations.append(make_records(64, reward=np.arange(1, 65)))
        return MixedSampler(spec, online, demonstrations, 0.25, CPU)

    first, second = make_sampler(0), make_sampler(10)
    drawn = first.sample_demonstrations(500)
    assert set(drawn["reward"].tolist()) == set(range(1, 65))
    assert drawn.keys() == first.sample(1, 8).keys()
    second.set_random_state(first.random_state())
    again = (sampler.sample_demonstrations(9)["action"] for sampler in (first, second))
    assert torch.equal(*again)


def test_fields_of_a_sampled_row_belong_together(spec, make_records):
    records = make_records(30)
    buffer = ReplayBuffer(spec, 30, 0)
    buffer.append(records)
    batch = MixedSampler(spec, buffer, ReplayBuffer(spec, 1, 0), 0.0, CPU).sample(1, 200)
    for i in range(200):
        match = records[records["reward"] == float(batch["reward"][i])]
        assert np.array_equal(match["action"][0], batch["action"][i].numpy())
        assert np.array_equal(match["next_observation.state"][0], batch["next_observation.state"][i].numpy())


def test_sampling_is_uniform_and_resumes_where_it_was(spec, make_records):
    buffer = ReplayBuffer(spec, 10, 3)
    buffer.append(make_records(10))
    counts = np.bincount(buffer.draw(20_000), minlength=10)
    assert counts.min() > 1800
    state = buffer.random_state()
    expected = buffer.draw(5)
    other = ReplayBuffer(spec, 10, 99)
    other.append(make_records(10))
    other.set_random_state(state)
    assert np.array_equal(other.draw(5), expected)


def test_both_buffers_resume_sampling_where_they_were(spec, make_records):
    def make_sampler(seed):
        buffers = [ReplayBuffer(spec, 64, seed + i) for i in range(2)]
        for buffer in buffers:
            buffer.append(make_records(64))
        return MixedSampler(spec, *buffers, 0.5, CPU)

    first, second = make_sampler(0), make_sampler(10)
    first.sample(2, 8)
    second.set_random_state(first.random_state())
    assert torch.equal(first.sample(2, 8)["reward"], second.sample(2, 8)["reward"])


def _spec_and_maker():
    """hypothesis does not mix with function-scoped fixtures."""
    import gymnasium

    from agent.transition import TransitionSpec

    spec = TransitionSpec.of(
        gymnasium.spaces.Box(-np.inf, np.inf, (5,), np.float32), gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    )

    def make(count, **values):
        rows = np.zeros(count, spec.dtype)
        for key, value in values.items():
            rows[key] = value
        return rows

    return spec, make
