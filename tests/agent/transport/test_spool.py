import errno
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import InputError
from agent.record_log import FrameKind, RecordLog
from agent.transport import spool as spool_module
from agent.transport.messages import BATCH_BYTES, decode_report
from agent.transport.spool import Spool, SpoolLimits

DTYPE = np.dtype([("step", np.int64)])


def rows(start: int, count: int) -> np.ndarray:
    records = np.zeros(count, DTYPE)
    records["step"] = np.arange(start, start + count)
    return records


def numbers(spool: Spool, start: int) -> list[int]:
    """What the items from `start` on say their numbers are."""
    said: list[int] = []
    while (batch := spool.next_batch(start)) is not None:
        assert batch.first_sequence == start
        if batch.kind is FrameKind.RECORDS:
            steps = np.frombuffer(batch.payload, DTYPE)["step"].tolist()
        else:
            steps = [decode_report(batch.payload)["number"]]
        assert len(steps) == batch.items
        said += steps
        start += batch.items
    return said


operations = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 5)),
        st.tuples(st.just("report"), st.just(0)),
        st.tuples(st.just("read"), st.integers(0, 10)),
        st.tuples(st.just("acknowledge"), st.integers(0, 10)),
        st.tuples(st.just("reopen"), st.just(0)),
        st.tuples(st.just("enter"), st.integers(1, 2)),
    ),
    max_size=30,
)


@given(operations)
def test_every_unacknowledged_item_can_be_sent_whatever_happened(tmp_path_factory, steps):
    directory = tmp_path_factory.mktemp("spool")
    spool = Spool(directory, DTYPE, segment_bytes=300)
    stream, owner, written, acknowledged, reports = spool.stream, 0, 0, 0, set()
    for operation, amount in steps:
        match operation:
            case "append":
                spool.append(rows(written, amount))
                written += amount
            case "report":
                spool.append_report({"number": written})
                reports.add(written)
                written += 1
            case "read":
                start = min(acknowledged + amount, written)
                assert numbers(spool, start) == list(range(start, written))
            case "acknowledge":
                acknowledged = min(acknowledged + amount, written)
                spool.acknowledge(acknowledged)
                spool.tidy()
            case "reopen":
                spool.close()
                spool = Spool(directory, DTYPE, segment_bytes=300)
            case "enter" if owner not in (0, amount) and acknowledged < written:
                with pytest.raises(InputError, match=f"{written - acknowledged} items .* another run"):
                    spool.enter_run(bytes([amount]) * 16)
            case "enter":
                new_stream = spool.enter_run(bytes([amount]) * 16)
                assert new_stream == (owner not in (0, amount)) == (spool.stream != stream)
                if new_stream:
                    stream, written, acknowledged, reports = spool.stream, 0, 0, set()
                owner = amount
        assert spool.stream == stream
        assert spool.acknowledged == acknowledged
        assert spool.next_sequence == written
        assert spool.oldest_sequence <= acknowledged
        unacknowledged = set(range(acknowledged, written))
        assert spool.records_from(acknowledged) == len(unacknowledged - reports)
    assert numbers(spool, acknowledged) == list(range(acknowledged, written))
    spool.close()


def test_stored_segments_are_deleted(tmp_path):
    spool = Spool(tmp_path, DTYPE, segment_bytes=1000)
    for number in range(500):
        spool.append(rows(number, 1))
        spool.tidy()
        assert numbers(spool, number) == [number]
        spool.acknowledge(number + 1)
        spool.tidy()
    assert sum(path.stat().st_size for path in tmp_path.glob("*.log")) < 3000
    spool.close()
    spool.close()


def test_the_number_outlives_the_items(tmp_path):
    """As when its owner is killed between deleting what one run has stored and beginning the next."""
    spool = Spool(tmp_path, DTYPE)
    stream = spool.stream
    spool.append(rows(0, 7))
    spool.acknowledge(7)
    spool.close()
    for segment in tmp_path.glob("*.log"):
        segment.unlink()
    spool = Spool(tmp_path, DTYPE)
    assert (spool.stream, spool.oldest_sequence, spool.next_sequence) == (stream, 7, 7)
    spool.append(rows(7, 3))
    assert numbers(spool, 7) == [7, 8, 9]
    spool.close()
    spool = Spool(tmp_path, DTYPE)
    assert (spool.acknowledged, spool.next_sequence) == (7, 10)
    spool.close()


def test_a_way_to_another_run_that_ends_half_way_leaves_the_run_before(tmp_path):
    spool = Spool(tmp_path, DTYPE, segment_bytes=1)
    stream = spool.stream
    spool.enter_run(b"1" * 16)
    for number in range(3):
        spool.append(rows(number, 1))
        spool.tidy()
    spool.acknowledge(3)
    obstacle = tmp_path / "00000001.log"
    obstacle.rename(tmp_path / "aside")
    obstacle.mkdir()
    with pytest.raises(OSError, match=obstacle.name):
        spool.enter_run(b"2" * 16)
    spool.close()
    obstacle.rmdir()
    (tmp_path / "aside").rename(obstacle)
    spool = Spool(tmp_path, DTYPE)
    assert not spool.enter_run(b"1" * 16)
    assert (spool.stream, spool.acknowledged, spool.next_sequence) == (stream, 3, 3)
    assert spool.enter_run(b"2" * 16)
    spool.close()


def test_acknowledged_items_that_a_loss_of_power_took_are_not_counted(tmp_path):
    spool = Spool(tmp_path, DTYPE)
    spool.append(rows(0, 3))
    spool.append(rows(3, 1))
    spool.acknowledge(4)
    spool.close()
    (segment,) = tmp_path.glob("*.log")
    with open(segment, "r+b") as file:
        file.truncate(segment.stat().st_size - 1)
    spool = Spool(tmp_path, DTYPE)
    assert (spool.acknowledged, spool.next_sequence) == (3, 3)
    spool.close()


def test_what_waits_for_another_run_is_named_with_its_folder_and_both_runs(tmp_path):
    spool = Spool(tmp_path, DTYPE)
    spool.enter_run(b"\x01" * 16)
    spool.append(rows(0, 3))
    spool.acknowledge(1)
    refusal = (
        rf"{tmp_path} holds 2 items .* \({'01' * 16}\) .* \({'02' * 16}\); go on with .* or remove the folder"
    )
    with pytest.raises(InputError, match=refusal):
        spool.enter_run(b"\x02" * 16)
    assert numbers(spool, 1) == [1, 2]
    spool.close()


def test_a_large_hand_over_leaves_in_messages_of_limited_size(tmp_path):
    spool = Spool(tmp_path, DTYPE)
    count = 3 * BATCH_BYTES // DTYPE.itemsize
    spool.append(rows(0, count))
    sent = 0
    while (batch := spool.next_batch(sent)) is not None:
        assert len(batch.payload) <= BATCH_BYTES
        sent += batch.items
    assert sent == count
    spool.close()


def test_many_small_hand_overs_leave_in_few_messages(tmp_path):
    spool = Spool(tmp_path, DTYPE)
    for number in range(1000):
        spool.append(rows(number, 1))
    batch = spool.next_batch(0)
    assert batch is not None
    assert batch.items == 1000
    spool.close()


def test_a_write_torn_by_the_death_of_the_writer_leaves_no_trace(tmp_path):
    spool = Spool(tmp_path, DTYPE)
    spool.append(rows(0, 3))
    spool.append(rows(3, 3))
    spool.close()
    (segment,) = tmp_path.glob("*.log")
    with open(segment, "r+b") as file:
        file.truncate(segment.stat().st_size - 1)
    spool = Spool(tmp_path, DTYPE)
    assert spool.dropped_bytes > 0
    assert spool.next_sequence == 3
    spool.append(rows(3, 1))
    assert numbers(spool, 0) == [0, 1, 2, 3]
    spool.close()


def test_a_second_owner_is_refused(tmp_path):
    spool = Spool(tmp_path, DTYPE)
    with pytest.raises(InputError, match="in use by another process"):
        Spool(tmp_path, DTYPE)
    spool.close()
    Spool(tmp_path, DTYPE).close()


def test_another_layout_is_refused_and_the_spool_is_free_again(tmp_path):
    Spool(tmp_path, DTYPE).close()
    with pytest.raises(InputError, match=r"step: <f8\[\] here, <i8\[\] there"):
        Spool(tmp_path, np.dtype([("step", np.float64)]))
    Spool(tmp_path, DTYPE).close()


def test_records_of_another_layout_cannot_be_handed_over(tmp_path):
    spool = Spool(tmp_path, DTYPE)
    with pytest.raises(ValueError, match="records are"):
        spool.append(np.zeros(1, [("step", np.float64)]))
    spool.close()


def test_a_missing_segment_is_noticed(tmp_path):
    spool = Spool(tmp_path, DTYPE, segment_bytes=1)
    for number in range(3):
        spool.append(rows(number, 1))
        spool.tidy()
    spool.close()
    (tmp_path / "00000001.log").unlink()
    with pytest.raises(InputError, match="missing before number 2"):
        Spool(tmp_path, DTYPE)


def test_a_damaged_identity_is_noticed(tmp_path):
    (tmp_path / "stream").write_bytes(b"short")
    with pytest.raises(InputError, match="does not hold the identity"):
        Spool(tmp_path, DTYPE)


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 6), st.booleans(), st.booleans()), max_size=12),
    st.booleans(),
)
def test_what_a_failing_disk_does_not_take_keeps_its_number_and_is_written_later(
    tmp_path_factory, faulty_disk, hand_overs, lasting
):
    directory = tmp_path_factory.mktemp("spool")
    spool = Spool(directory, DTYPE, segment_bytes=200)
    made = 0
    for count, at, is_report, tends in hand_overs:
        with faulty_disk.failing(at, lasting=lasting):
            if is_report:
                spool.append_report({"number": made})
                made += 1
            else:
                spool.append(rows(made, count))
                made += count
            if tends:
                spool.tend()
        assert spool.next_sequence == made
        if numbers(spool, 0) != list(range(made)):
            assert "Transitions cannot be written" in spool.no_room
    spool.tend()
    assert spool.no_room is None
    assert numbers(spool, 0) == list(range(made))
    spool.acknowledge(made)
    with faulty_disk.failing(0, lasting=lasting):
        spool.append(rows(made, 1))
    spool.tend()  # All before it are the learner's; they make room.
    assert numbers(spool, made) == [made]
    made += 1
    spool.acknowledge(made)
    spool.close()
    spool = Spool(directory, DTYPE, segment_bytes=200)
    assert (spool.next_sequence, spool.acknowledged) == (made, made)
    assert numbers(spool, spool.oldest_sequence) == list(range(spool.oldest_sequence, made))
    spool.close()


def test_a_full_spool_says_so_and_has_room_when_the_learner_took_enough(tmp_path):
    spool = Spool(tmp_path, DTYPE, segment_bytes=1000, limits=SpoolLimits(10_000, 0))
    made = 0
    while spool.no_room is None:
        spool.append(rows(made, 10))
        spool.tend()
        made += 10
        assert made < 2000
    said = f"The learner has yet to take 1e-05 GB from {tmp_path}, and no more may wait there."
    assert spool.no_room == said
    spool.append(rows(made, 10))  # What is handed over all the same is kept.
    made += 10
    taken = 0
    while spool.no_room is not None:
        taken += 10
        spool.acknowledge(taken)
        spool.tend()
    assert sum(path.stat().st_size for path in tmp_path.glob("*.log")) < 9000
    assert numbers(spool, taken) == list(range(taken, made))
    spool.close()


def test_the_last_of_a_disk_is_left_free(tmp_path, monkeypatch):
    disk = SimpleNamespace(f_bavail=1000, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    spool = Spool(tmp_path, DTYPE, limits=SpoolLimits(10**9, 1000))
    # What was full has room again only a tenth further.
    for free, has_room in (
        (1000, True),
        (999, False),
        (1000, False),
        (1111, False),
        (1112, True),
        (1000, True),
    ):
        disk.f_bavail = free
        spool.tend()
        assert (spool.no_room is None) == has_room
    spool.close()


def test_what_can_never_be_written_is_told_when_the_spool_is_closed(tmp_path, faulty_disk, caplog):
    spool = Spool(tmp_path, DTYPE)
    with faulty_disk.failing(0, lasting=True):
        spool.append(rows(0, 3))
        spool.close()
    assert f"3 items are lost: they could not be written to {tmp_path}." in caplog.messages
    Spool(tmp_path, DTYPE).close()


def test_a_spool_on_a_full_disk_is_refused_and_can_be_begun_when_there_is_room(tmp_path, faulty_disk):
    at = 0
    while True:
        with faulty_disk.failing(at):
            try:
                Spool(tmp_path / str(at), DTYPE).close()
            except InputError as error:
                assert "cannot be written (No space left on device); make room there" in str(error)  # noqa: PT017
        if at >= faulty_disk.calls:
            break
        spool = Spool(tmp_path / str(at), DTYPE)
        spool.append(rows(0, 2))
        assert numbers(spool, 0) == [0, 1]
        spool.close()
        at += 1
    assert at > 4


def test_on_demand_nothing_is_sent_that_was_not_forced_to_disk(tmp_path, monkeypatch):
    """Over several segments; what was appended since waits for the next call."""
    sizes: dict[str, int] = {}

    def fsync(descriptor):
        sizes[Path(os.readlink(f"/proc/self/fd/{descriptor}")).name] = os.fstat(descriptor).st_size

    spool = Spool(tmp_path, DTYPE, segment_bytes=150, limits=SpoolLimits(sync=True))
    monkeypatch.setattr(os, "fsync", fsync)
    for number in range(20):
        spool.append(rows(number, 1))
        assert numbers(spool, 0) == list(range(number))
        spool.tend()
        assert numbers(spool, 0) == list(range(number + 1))
        for path in tmp_path.glob("*.log"):
            assert path.name not in sizes or sizes[path.name] == path.stat().st_size
    assert len(sizes) > 4
    spool.close()


@pytest.fixture
def slow_disk(monkeypatch):
    """A disk that takes nothing until `slow_disk.set()`; whoever writes waits."""
    goes_on, append_raw = threading.Event(), RecordLog.append_raw

    def wait_first(self, *arguments):
        assert goes_on.wait(60.0)
        append_raw(self, *arguments)

    monkeypatch.setattr(RecordLog, "append_raw", wait_first)
    yield goes_on
    goes_on.set()


def test_whoever_has_no_patience_goes_on_while_the_disk_holds_a_write_up(tmp_path, slow_disk, wait_until):
    spool = Spool(tmp_path, DTYPE, patience_s=0.001)
    for number in range(3):
        spool.append(rows(number, 1))
    spool.append_report({"number": 3})
    assert spool.next_sequence == 4
    assert spool.records_from(0) == 3
    assert spool.next_batch(0) is None
    spool.tend()  # Does not wait either.
    slow_disk.set()
    wait_until(lambda: spool.next_batch(3) is not None)
    assert numbers(spool, 0) == [0, 1, 2, 3]
    spool.close()
    again = Spool(tmp_path, DTYPE)
    assert again.next_sequence == 4
    again.close()


def test_a_disk_that_takes_nothing_for_long_is_no_room_until_it_does(
    tmp_path, slow_disk, monkeypatch, wait_until
):
    monkeypatch.setattr(spool_module, "_STALLED_S", 0.0)
    spool = Spool(tmp_path, DTYPE, patience_s=0.001)
    spool.append(rows(0, 1))
    assert "has taken nothing for" in spool.no_room
    spool.tend()
    assert "has taken nothing for" in spool.no_room
    slow_disk.set()
    wait_until(lambda: spool.next_batch(0) is not None)
    spool.tend()
    assert spool.no_room is None
    spool.close()


def test_what_a_patient_append_hands_over_is_written_when_it_returns(tmp_path):
    spool = Spool(tmp_path, DTYPE, patience_s=60.0)
    for number in range(50):
        spool.append(rows(number, 1))
        assert spool.next_batch(number).items == 1
    spool.close()


def test_a_full_disk_is_noticed_by_who_has_a_writer_too(tmp_path, monkeypatch):
    append_raw = RecordLog.append_raw

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    spool = Spool(tmp_path, DTYPE, patience_s=60.0)
    monkeypatch.setattr(RecordLog, "append_raw", full)
    spool.append(rows(0, 1))
    assert "No space left" in spool.no_room
    spool.append(rows(1, 1))  # Nobody waits for what failed just now.
    monkeypatch.setattr(RecordLog, "append_raw", append_raw)
    spool.tend()
    assert spool.no_room is None
    assert spool.next_batch(0).items == 2
    spool.close()


def test_an_error_that_is_none_of_a_disk_ends_the_appending(tmp_path, monkeypatch):
    def broken(*_):
        raise ValueError("a defect")

    spool = Spool(tmp_path, DTYPE, patience_s=60.0)
    monkeypatch.setattr(RecordLog, "append_raw", broken)
    with pytest.raises(RuntimeError, match=r"thread that writes the spool died.*a defect"):
        spool.append(rows(0, 1))
    monkeypatch.undo()
    spool.close()
