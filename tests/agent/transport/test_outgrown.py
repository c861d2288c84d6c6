from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config import InputError
from agent.transport.outgrown import forget_outgrown
from agent.transport.spool import Spool
from agent.transport.stage import Stage, place_of

BEFORE = np.dtype([("step", np.int64)])
AFTER = np.dtype([("step", np.float64)])


@settings(max_examples=30)
@given(st.integers(0, 6), st.integers(0, 6), st.sampled_from([200, 4000]))
def test_a_spool_of_another_layout_makes_way_once_it_is_delivered(
    tmp_path_factory, appended, delivered, size
):
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder, BEFORE, segment_bytes=size)
    for _ in range(appended):
        spool.append(np.zeros(1, BEFORE))
        spool.tidy()
    spool.acknowledge(min(appended, delivered))
    stream = spool.stream
    spool.close()
    forget_outgrown(folder, BEFORE)
    spool = Spool(folder, BEFORE)  # As it was.
    assert (spool.stream, spool.next_sequence) == (stream, appended)
    spool.close()
    if delivered < appended:
        with pytest.raises(InputError, match="does not have yet: start the actor with that task"):
            forget_outgrown(folder, AFTER)
        Spool(folder, BEFORE).close()
        return
    forget_outgrown(folder, AFTER)
    spool = Spool(folder, AFTER)
    assert (spool.next_sequence, spool.run_id) == (0, b"")
    assert spool.stream != stream
    spool.append(np.zeros(1, AFTER))
    spool.close()


@pytest.mark.parametrize(("first", "is_kept"), [(1, False), (3, True)])
def test_what_a_killed_actor_left_in_memory_counts_unless_it_was_delivered(tmp_path, first, is_kept):
    spool = Spool(tmp_path, BEFORE)
    spool.append(np.zeros(3, BEFORE))
    spool.acknowledge(3)
    stream = spool.stream
    spool.close()
    stage = Stage(place_of(tmp_path / "stream"), BEFORE, stream)
    stage.put(np.zeros(2, BEFORE), first)
    stage.close()
    with pytest.raises(InputError, match="does not have yet") if is_kept else nullcontext():
        forget_outgrown(tmp_path, AFTER)
    stage.path.unlink()


def test_a_damaged_spool_is_kept(tmp_path):
    spool = Spool(tmp_path, BEFORE)
    for _ in range(5):
        spool.append(np.zeros(1, BEFORE))
    spool.acknowledge(1)
    spool.close()
    (log,) = tmp_path.glob("*.log")
    content = bytearray(log.read_bytes())
    content[-3 * (len(content) // 8)] ^= 1
    log.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged at byte .* whole transitions follow"):
        forget_outgrown(tmp_path, AFTER)
    assert log.read_bytes() == content


def test_a_spool_in_use_is_left_alone(tmp_path):
    spool = Spool(tmp_path, BEFORE)
    with pytest.raises(InputError, match="in use"):
        forget_outgrown(tmp_path, AFTER)
    spool.close()


def test_no_spool_is_none(tmp_path):
    forget_outgrown(tmp_path / "nowhere", AFTER)
    assert not list(tmp_path.iterdir())
