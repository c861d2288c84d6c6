"""Sampling ahead: the same batches as without, each whole, whatever the replay takes in meanwhile."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agent.demonstrations import Demonstrations
from agent.prefetch import Prefetcher
from agent.replay import MixedSampler, ReplayBuffer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def make_sampler(camera_spec, camera_step):
    """Ten demonstrations, and room for so many steps."""

    def make(capacity, device=CPU, seed=0):
        shown = np.concatenate([camera_step(9, 0, step) for step in range(10)])
        demonstrations = Demonstrations(camera_spec, shown, 20, seed)
        replay = ReplayBuffer(camera_spec, capacity, seed + 1)
        return MixedSampler(camera_spec, replay, demonstrations, 0.5, device)

    return make


@pytest.fixture(scope="module")
def steps(camera_step):
    """So many steps of episodes of seven, one of them by hand, from a given step of all on."""

    def make(first, count):
        return np.concatenate(
            [
                camera_step(1, i // 7, i % 7, action=i, intervened=i % 7 == 3)
                for i in range(first, first + count)
            ]
        )

    return make


def assert_same(batch, expected):
    assert batch.keys() == expected.keys()
    for name, values in batch.items():
        assert torch.equal(values.cpu(), expected[name]), name


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@given(
    # How many steps arrive before each batch, and whether the one after it is begun at once.
    rounds=st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=12),
    capacity=st.integers(3, 60),
    ahead=st.booleans(),
)
def test_a_batch_comes_from_the_replay_as_it_was_when_it_was_begun(
    make_sampler, steps, rounds, capacity, ahead
):
    """Bit for bit what one thread would draw; the random state is that from before the batch under way."""
    prefetcher, reference = Prefetcher(make_sampler(capacity), ahead), make_sampler(capacity)
    begun, total = None, 0
    for count, another in rounds:
        if count:
            prefetcher.append(steps(total, count))
            reference.append(steps(total, count))
            total += count
        batch = prefetcher.sample(2, 16, another)
        assert_same(batch, reference.sample(2, 16) if begun is None else begun)
        state = reference.random_state()
        assert prefetcher.random_state() == state
        begun = reference.sample(2, 16) if another and ahead else None
    assert prefetcher.environment_steps == total
    prefetcher.close()
    assert prefetcher.random_state() == state
    assert not threads()


def test_no_batch_is_torn_by_steps_that_overwrite_what_it_reads(make_sampler, steps, assert_whole):
    """A ring of 40 steps is overwritten at once after each batch is begun, and whole frames are images of one step."""
    prefetcher = Prefetcher(make_sampler(40), ahead=True)
    prefetcher.append(steps(0, 40))
    arriving = [steps(first, 40) for first in range(40, 1240, 40)]
    for number, records in enumerate(arriving):
        batch = prefetcher.sample(4, 3000, another=True)
        prefetcher.append(records)
        assert_whole(batch)
        online = batch["observation.wrist"][:, 0, 0, 0] == 1
        state, action = batch["observation.state"][online], batch["action"][online]
        assert torch.equal(7 * state[:, 0] + state[:, 1], action[:, 0])
        newest = 40 * max(1, number)  # The batch was begun before the last forty came.
        assert float(action.max()) < newest
    prefetcher.close()


def test_the_next_batch_is_drawn_while_this_one_is_learned_from(make_sampler):
    sampler = make_sampler(40)
    sample, drawn = sampler.sample, []
    another_drawn = threading.Event()

    def watched(*size):
        drawn.append(threading.current_thread())
        batch = sample(*size)
        if len(drawn) == 2:
            another_drawn.set()
        return batch

    sampler.sample = watched
    prefetcher = Prefetcher(sampler, ahead=True)
    prefetcher.sample(1, 8, another=True)
    assert another_drawn.wait(30)  # This is the update.
    prefetcher.sample(1, 8, another=False)
    assert drawn[0] is threading.current_thread()
    assert drawn[1:] == threads()
    prefetcher.close()
    assert not threads()


def test_resuming_draws_the_batch_under_way_again(make_sampler, steps):
    first, second = (Prefetcher(make_sampler(40, seed=seed), ahead=True) for seed in (0, 50))
    for prefetcher in (first, second):
        prefetcher.append(steps(0, 40))
        prefetcher.sample(2, 16, another=True)
    second.set_random_state(first.random_state())
    for another in (True, True, False):
        assert_same(second.sample(2, 16, another), first.sample(2, 16, another))
    first.close()
    second.close()


def test_what_ends_the_drawing_ahead_is_raised_when_its_batch_is_asked_for(make_sampler, steps):
    sampler = make_sampler(40)
    sample = sampler.sample

    def failing(*size):
        if threading.current_thread() is not threading.main_thread():
            raise MemoryError("no more pinned memory")
        return sample(*size)

    sampler.sample = failing
    prefetcher = Prefetcher(sampler, ahead=True)
    prefetcher.sample(1, 8, another=True)
    prefetcher.append(steps(0, 10))
    with pytest.raises(MemoryError, match="pinned"):
        prefetcher.sample(1, 8, another=True)
    prefetcher.close()
    assert not threads()


@pytest.mark.gpu
@pytest.mark.parametrize("products", [0, 4])
def test_copies_beside_the_learning_are_complete_and_not_reused_too_early(make_sampler, steps, products):
    """Each batch is read at once, or late behind other work, and is thrown away before the device has read it."""
    device = torch.device("cuda")
    prefetcher, reference = Prefetcher(make_sampler(400, device), ahead=True), make_sampler(400)
    for sampler in (prefetcher, reference):
        sampler.append(steps(0, 400))
    work = torch.randn(4096, 4096, device=device)
    sums, expected = [], []
    for _ in range(50):
        batch = prefetcher.sample(4, 512, another=True)
        assert all(values.device.type == "cuda" for values in batch.values())
        for _ in range(products):
            work = work @ work / work.norm()
        sums.append({name: values.double().sum() for name, values in batch.items()})
        del batch
        expected.append({name: values.double().sum() for name, values in reference.sample(4, 512).items()})
    for got, wanted in zip(sums, expected, strict=True):
        assert_same(got, wanted)
    prefetcher.close()
