import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.record_log import FrameKind, RecordLog
from agent.transport.intake import Intake, Outcome
from agent.transport.messages import encode_report

DTYPE = np.dtype([("step", np.int64)])
STREAM = b"s" * 16


def payload(start: int, count: int) -> bytes:
    records = np.zeros(count, DTYPE)
    records["step"] = np.arange(start, start + count)
    return records.tobytes()


def taken(intake: Intake) -> list[int]:
    steps: list[int] = []
    while (records := intake.poll()) is not None:
        steps += records["step"].tolist()
    return steps


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10)), max_size=30), st.booleans())
def test_whatever_arrives_is_stored_once_and_in_order(tmp_path_factory, arrivals, restart):
    path = tmp_path_factory.mktemp("log") / "replay.log"
    log = RecordLog.open(path, DTYPE)
    intake = Intake(DTYPE, log, 1 << 20)
    intake.join(STREAM, 0)
    stored, handed_over = 0, []
    for first, count in arrivals:
        outcome = intake.take(FrameKind.RECORDS, STREAM, first, count, payload(first, count))
        if first > stored:
            assert outcome is Outcome.GAP
        elif first + count <= stored:
            assert outcome is Outcome.DUPLICATE
        else:
            assert outcome is Outcome.STORED
            stored = first + count
        if restart:
            handed_over += taken(intake)
            log.close()
            log = RecordLog.open(path, DTYPE)
            intake = Intake(DTYPE, log, 1 << 20)
            intake.join(STREAM, 0)
        assert intake.expected(STREAM) == intake.environment_steps == stored
    assert handed_over + taken(intake) == list(range(stored))
    assert [step for records in log.records() for step in records["step"]] == list(range(stored))
    log.close()


def test_reports_and_records_share_the_numbers():
    intake = Intake(DTYPE, None, 1 << 20)
    intake.join(STREAM, 0)
    report = encode_report({"return": 1.0})
    assert intake.take(FrameKind.RECORDS, STREAM, 0, 2, payload(0, 2)) is Outcome.STORED
    assert intake.take(FrameKind.REPORT, STREAM, 2, 1, report) is Outcome.STORED
    assert intake.take(FrameKind.REPORT, STREAM, 2, 1, report) is Outcome.DUPLICATE
    assert intake.poll_reports() == [{"return": 1.0}]
    assert intake.poll_reports() == []
    assert (intake.expected(STREAM), intake.environment_steps) == (3, 2)


def test_what_does_not_fit_is_turned_away_and_taken_later():
    intake = Intake(DTYPE, None, queue_bytes=8)
    intake.join(STREAM, 0)
    assert intake.take(FrameKind.RECORDS, STREAM, 0, 1, payload(0, 1)) is Outcome.STORED
    assert not intake.has_room
    assert intake.take(FrameKind.RECORDS, STREAM, 1, 1, payload(1, 1)) is Outcome.FULL
    assert taken(intake) == [0]
    assert intake.take(FrameKind.RECORDS, STREAM, 1, 1, payload(1, 1)) is Outcome.STORED
    assert taken(intake) == [1]


def test_streams_do_not_touch_each_other():
    intake = Intake(DTYPE, None, 1 << 20)
    other = b"o" * 16
    assert intake.join(STREAM, 0) == 0
    assert intake.join(other, 40) == 40
    intake.take(FrameKind.RECORDS, other, 40, 2, payload(40, 2))
    assert (intake.expected(STREAM), intake.expected(other)) == (0, 42)
    assert intake.join(other, 41) == 42


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 4)), max_size=12), st.booleans())
def test_what_a_failing_disk_does_not_take_is_taken_later_once_and_in_order(
    tmp_path_factory, faulty_disk, arrivals, lasting
):
    """An actor sends again what was not stored; while nothing can be, its items wait there, and none is handed over."""
    path = tmp_path_factory.mktemp("log") / "replay.log"
    log = RecordLog.open(path, DTYPE)
    intake, stored, handed_over = Intake(DTYPE, log, 1 << 20), 0, []
    intake.join(STREAM, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agent.transport.intake._WRITE_AGAIN_AFTER_S", 0.0)
        for count, at in arrivals:
            with faulty_disk.failing(at, lasting=lasting):
                outcome = intake.take(FrameKind.RECORDS, STREAM, stored, count, payload(stored, count))
            # One call writes; before it another cuts off what the disk took half of last time.
            assert outcome is (Outcome.UNWRITTEN if at < faulty_disk.calls else Outcome.STORED)
            stored += count * (outcome is Outcome.STORED)
            handed_over += taken(intake)
            assert intake.expected(STREAM) == intake.environment_steps == len(handed_over) == stored
    log.close()
    log = RecordLog.open(path, DTYPE)
    assert (
        [step for records in log.records() for step in records["step"]] == handed_over == list(range(stored))
    )
    log.close()


@pytest.mark.parametrize("sync", [False, True])
def test_on_demand_what_is_stored_was_forced_to_disk(tmp_path, monkeypatch, sync):
    log = RecordLog.open(tmp_path / "replay.log", DTYPE)
    forced = []
    monkeypatch.setattr(os, "fsync", lambda _: forced.append(log.end))
    intake = Intake(DTYPE, log, 1 << 20, sync=sync)
    intake.join(STREAM, 0)
    ends = [log.end]
    for number in range(3):
        intake.take(FrameKind.RECORDS, STREAM, number, 1, payload(number, 1))
        ends.append(log.end)
    assert forced == (ends if sync else [])
    log.close()


def test_after_a_failure_nothing_is_written_for_a_while(tmp_path, faulty_disk, monkeypatch):
    now_s = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    log = RecordLog.open(tmp_path / "replay.log", DTYPE)
    intake = Intake(DTYPE, log, 1 << 20)
    intake.join(STREAM, 0)
    with faulty_disk.failing(0):
        assert intake.take(FrameKind.RECORDS, STREAM, 0, 3, payload(0, 3)) is Outcome.UNWRITTEN
        calls = faulty_disk.calls
        assert not intake.has_room
        assert intake.take(FrameKind.RECORDS, STREAM, 0, 3, payload(0, 3)) is Outcome.FULL
        assert faulty_disk.calls == calls
        now_s += 1.0
        assert intake.has_room
        assert intake.take(FrameKind.RECORDS, STREAM, 0, 3, payload(0, 3)) is Outcome.STORED
    log.close()


@pytest.mark.parametrize("known", [0, 3, 8])
def test_what_is_new_of_a_large_message_is_neither_copied_nor_keeps_what_is_not(known):
    """More than half of what is kept in memory must count as waiting for the learner."""
    intake = Intake(DTYPE, None, 1 << 20)
    intake.join(STREAM, 0)
    if known:
        intake.take(FrameKind.RECORDS, STREAM, 0, known, payload(0, known))
        intake.poll()
    message = memoryview(payload(0, 10))
    assert intake.take(FrameKind.RECORDS, STREAM, 0, 10, message) is Outcome.STORED
    records = intake.poll()
    assert records["step"].tolist() == list(range(known, 10))
    assert not records.flags.writeable
    assert np.shares_memory(records, np.frombuffer(message, DTYPE)) == (known <= 5)
