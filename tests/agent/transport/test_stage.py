"""What is handed over outlives the process before any disk has it, once and in order."""

import os
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.transport import stage as stage_module
from agent.transport.spool import Spool
from agent.transport.stage import Stage, left, place_of

DTYPE = np.dtype([("step", np.int64), ("value", np.float32, (3,))])
STREAM = b"s" * 16


def rows(start: int, count: int) -> np.ndarray:
    records = np.zeros(count, DTYPE)
    records["step"] = np.arange(start, start + count)
    records["value"] = records["step"][:, None]
    return records


def steps(pieces) -> list[int]:
    found: list[int] = []
    for piece in pieces:
        records = np.frombuffer(piece, DTYPE)
        assert (records["value"] == records["step"][:, None]).all()
        found += records["step"].tolist()
    return found


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """Stages of this test, apart from those of everybody else."""
    folder = tmp_path / "memory"
    folder.mkdir()
    monkeypatch.setattr(stage_module, "_MEMORY", folder)
    return folder


@pytest.fixture
def read() -> Callable[[Spool], list[int]]:
    def every(spool: Spool) -> list[int]:
        sequence, found = spool.oldest_sequence, []
        while (batch := spool.next_batch(sequence)) is not None:
            found += steps([batch.payload])
            sequence += batch.items
        return found

    return every


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 5), st.integers(0, 2)), max_size=25),
    st.integers(0, 3),
)
def test_what_is_not_on_disk_is_left_once_and_in_order(tmp_path_factory, moves, unnoted):
    """Over a ring of five. Between what lies in the ring numbers may be missing: those of reports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage_module, "_RING_BYTES", 5 * DTYPE.itemsize)
        path = tmp_path_factory.mktemp("memory") / "journeyman-test"
        stage = Stage(path, DTYPE, STREAM)
        number, put, written = 0, [], 0
        for count, release, reports in moves:
            number += reports
            had_room = stage.has_room(count)
            assert had_room == (len(put) - written + count <= 5)
            assert stage.put(rows(number, count), number) == had_room
            if had_room:
                put += range(number, number + count)
                number += count
            payload, oldest = stage.oldest(release)
            assert steps([payload]) == put[written : written + oldest]
            written += oldest
            stage.release(oldest)
        # Of what is on disk, the head may not say so yet.
        unnoted = min(unnoted, len(put) - written)
        next_sequence = put[written + unnoted - 1] + 1 if written + unnoted else 0
        for _ in range(2):  # Whoever finds it may be killed, too.
            pieces = list(left(path, DTYPE, STREAM, next_sequence))
            assert steps(pieces) == put[written + unnoted :]
        again = left(path, DTYPE, STREAM, next_sequence + 1)
        assert steps(again) == put[written + unnoted + 1 :], (
            "numbers are closed up: the first has the next one"
        )
        assert steps(left(path, DTYPE, b"other stream 16b", 0)) == []
        assert steps(left(path, np.dtype([("step", np.int32)]), STREAM, 0)) == []
        stage.close()
        assert path.exists() == (written < len(put))


def test_of_a_process_that_is_killed_while_its_disk_takes_nothing_all_is_there(tmp_path, start, spec):
    process = start("stuck", tmp_path / "spool")
    for line in process.stdout:
        if line.strip() == "500":
            break
    process.kill()
    process.wait()
    spool = Spool(tmp_path / "spool", spec.dtype)
    batch = spool.next_batch(0)
    assert batch.items >= 501
    assert np.frombuffer(batch.payload, spec.dtype)["step"].tolist() == list(range(batch.items))
    assert spool.next_sequence == batch.items
    spool.close()
    assert not place_of(tmp_path / "spool" / "stream").exists()
    spool = Spool(tmp_path / "spool", spec.dtype)
    assert spool.next_sequence == batch.items
    spool.close()


def test_what_a_failing_disk_never_took_is_written_by_the_next_owner(
    tmp_path, memory, faulty_disk, read, caplog, wait_until
):
    spool = Spool(tmp_path / "spool", DTYPE, patience_s=60.0, staged=True)
    with faulty_disk.failing(0, lasting=True):
        spool.append(rows(0, 3))
        wait_until(lambda: spool._failure is not None)
        spool.append(rows(3, 2))
        spool.close()
    assert "5 transitions could not be written" in caplog.text
    assert "are lost" not in caplog.text
    spool = Spool(tmp_path / "spool", DTYPE, patience_s=60.0, staged=True)
    assert read(spool) == [0, 1, 2, 3, 4]
    spool.append(rows(5, 1))
    wait_until(lambda: read(spool) == [0, 1, 2, 3, 4, 5])
    spool.close()
    assert not list(memory.iterdir())


def test_many_hand_overs_are_one_write(tmp_path, memory, wait_until):
    """But for those that are written while others are handed over."""
    spool = Spool(tmp_path / "spool", DTYPE, patience_s=60.0, staged=True)
    with spool._disk:
        for number in range(1000):
            spool.append(rows(number, 1))
    wait_until(lambda: spool.has_from(999))
    (segment,) = (tmp_path / "spool").glob("*.log")
    assert segment.stat().st_size < 1.05 * 1000 * DTYPE.itemsize
    spool.close()


def test_records_of_more_than_the_stage_and_every_second_one_of_an_array(tmp_path, memory, monkeypatch, read):
    monkeypatch.setattr(stage_module, "_RING_BYTES", 10 * DTYPE.itemsize)
    spool = Spool(tmp_path / "spool", DTYPE, patience_s=60.0, staged=True)
    spool.append(rows(0, 25))
    for number in range(25, 45, 4):
        spool.append(rows(number, 4))
    spool.append(rows(45, 12)[::2])
    spool.close()
    spool = Spool(tmp_path / "spool", DTYPE)
    assert read(spool) == [*range(45), *range(45, 57, 2)]
    spool.close()


def test_where_the_stage_is_full_a_hand_over_waits_once_and_goes_on(
    tmp_path, memory, monkeypatch, read, wait_until
):
    monkeypatch.setattr(stage_module, "_RING_BYTES", 10 * DTYPE.itemsize)
    spool = Spool(tmp_path / "spool", DTYPE, patience_s=0.001, staged=True)
    waited, wait = [], spool._wait_for_writer
    monkeypatch.setattr(spool, "_wait_for_writer", lambda is_done: waited.append(0) or wait(is_done))
    with spool._disk:  # As who writes to one that is slow.
        for number in range(16):
            spool.append(rows(number, 1))
    assert len(waited) == 6
    wait_until(lambda: read(spool) == list(range(16)))
    spool.close()


@pytest.mark.parametrize("trouble", ["absent", "full", "readable", "link"])
def test_without_such_memory_every_hand_over_waits_for_the_disk(tmp_path, memory, monkeypatch, trouble):
    Spool(tmp_path / "spool", DTYPE).close()
    place = place_of(tmp_path / "spool" / "stream")
    match trouble:
        case "absent":
            memory.rmdir()
        case "full":
            monkeypatch.setattr(stage_module, "_RING_BYTES", 1 << 60)
        case "readable":
            place.touch()
            monkeypatch.setattr(os, "unlink", lambda *_, **__: None)
            monkeypatch.setattr(type(place), "unlink", lambda *_, **__: None)
            place.chmod(0o644)
        case "link":
            place.symlink_to(tmp_path / "elsewhere")
            monkeypatch.setattr(type(place), "unlink", lambda *_, **__: None)
    spool = Spool(tmp_path / "spool", DTYPE, patience_s=60.0, staged=True)
    for number in range(20):
        spool.append(rows(number, 1))
        assert spool.next_batch(number).items == 1
    spool.close()
    assert not (tmp_path / "elsewhere").exists()


def test_memory_of_the_killed_is_given_back_unless_something_waits_there(memory):
    empty, waiting, used = (memory / f"journeyman-{name}" for name in ("empty", "waiting", "used"))
    (memory / "others").touch()
    for path in (empty, waiting):
        stage = Stage(path, DTYPE, STREAM)
        stage.put(rows(0, 2), 0)
        stage.release(2 if path == empty else 1)
        os.close(stage._descriptor)  # As the kernel does of a killed process.
    in_use = Stage(used, DTYPE, STREAM)
    assert not empty.exists()
    assert waiting.exists()
    Stage(memory / "journeyman-another", DTYPE, STREAM).close()
    assert {path.name for path in memory.iterdir()} == {"journeyman-waiting", "journeyman-used", "others"}
    in_use.close()
