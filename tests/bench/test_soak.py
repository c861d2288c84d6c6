"""What bench/soak.py says of samples, and that it reads processes as they are."""

import os
import threading

import numpy as np
import pytest

from bench.soak import Sample, look, slopes, table


def samples(memory_mib, name="learner", threads=9, files=20):
    """One every minute."""
    count = len(memory_mib)
    return [Sample(i / 60, name, m, threads, files) for i, m in zip(range(count), memory_mib, strict=True)]


def grows(found):
    return {(slope.name, slope.quantity) for slope in found if slope.grows}


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_no_growth_and_a_leak_within_it_is(seed):
    noise = np.random.default_rng(seed).normal(300.0, 2.0, 120)
    assert not grows(slopes(samples(noise), 0.0))
    leak = noise + np.linspace(0.0, 6.0, 120)  # 3 MiB an hour.
    assert grows(slopes(samples(leak), 0.0)) == {("learner", "memory_mib")}


def test_what_happens_in_the_warm_up_does_not_count():
    rising = np.concatenate([np.linspace(100.0, 300.0, 10), np.full(50, 300.0)])
    assert grows(slopes(samples(rising), 0.0)) == set()  # The median of all pairs is not misled.
    assert [s.first for s in slopes(samples(rising), 10 / 60)] == [300.0, 9, 20]


def test_a_thread_an_hour_is_growth_and_the_table_says_so():
    some = [s._replace(threads=9 + i // 20) for i, s in enumerate(samples(np.full(120, 300.0)))]
    found = list(slopes(some, 0.0))
    assert grows(found) == {("learner", "threads")}
    assert "| learner | threads | 9.0 | 14.0 | +" in table(found)
    assert table(found).count("YES") == 1


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="learner has 5 samples after the warm-up"):
        list(slopes(samples(np.ones(5)), 0.0))


def test_a_process_is_read_as_it_is():
    before = look("me", os.getpid(), 0.0)
    wall = threading.Event()
    thread = threading.Thread(target=wall.wait)
    thread.start()
    block, pipe = np.ones(16 << 20, np.uint8), os.pipe()
    after = look("me", os.getpid(), 0.0)
    wall.set()
    thread.join()
    for descriptor in pipe:
        os.close(descriptor)
    assert after.threads == before.threads + 1
    assert after.files == before.files + 2
    assert after.memory_mib - before.memory_mib > 12
    assert block.all()
    with pytest.raises(FileNotFoundError):
        look("nobody", 2**22 + 1, 0.0)
