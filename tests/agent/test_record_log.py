import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import InputError
from agent.record_log import FrameKind, RecordLog

DTYPE = np.dtype([("step", np.int64), ("action", np.float32, (3,))])
OTHER_DTYPE = np.dtype([("step", np.int64), ("action", np.float32, (4,))])
STREAM_A, STREAM_B = b"a" * 16, b"b" * 16


def rows(start: int, count: int) -> np.ndarray:
    records = np.zeros(count, DTYPE)
    records["step"] = np.arange(start, start + count)
    records["action"] = 0.5
    return records


def write(path: Path, sizes: list[int]) -> list[int]:
    """A log with one frame per size; where each frame ends, beginning with the end of the head."""
    log = RecordLog.open(path, DTYPE)
    ends = [log.end]
    for size in sizes:
        log.append(rows(log.record_count, size))
        ends.append(log.end)
    log.close()
    return ends


def stored_steps(log: RecordLog) -> list[int]:
    return [int(step) for records in log.records() for step in records["step"]]


def test_what_was_appended_is_read_back_after_reopening(tmp_path):
    log = RecordLog.open(tmp_path / "replay.log", DTYPE)
    log.append(rows(0, 5), STREAM_A, 10)
    log.append_raw(FrameKind.REPORT, b"report", 1, STREAM_A, 15)
    log.append(rows(5, 2), STREAM_B, 0)
    log.close()

    log = RecordLog.open(tmp_path / "replay.log", DTYPE)
    frames = list(log.frames())
    assert [(f.kind, f.stream, f.first_sequence, f.items) for f in frames] == [
        (FrameKind.RECORDS, STREAM_A, 10, 5),
        (FrameKind.REPORT, STREAM_A, 15, 1),
        (FrameKind.RECORDS, STREAM_B, 0, 2),
    ]
    assert log.cursors == {STREAM_A: 16, STREAM_B: 2}
    assert (log.record_count, log.first_sequence, log.dropped_bytes) == (7, 10, 0)
    assert stored_steps(log) == list(range(7))
    assert [bytes(report) for report in log.reports()] == [b"report"]
    log.close()
    log.close()


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5), data=st.data())
def test_torn_tail_is_cut_off_and_writing_goes_on(tmp_path_factory, sizes, data):
    path = tmp_path_factory.mktemp("log") / "replay.log"
    ends = write(path, sizes)
    cut = data.draw(st.integers(ends[0], ends[-1]))
    with open(path, "r+b") as file:
        file.truncate(cut)

    whole = max(i for i, end in enumerate(ends) if end <= cut)
    log = RecordLog.open(path, DTYPE)
    assert log.dropped_bytes == cut - ends[whole]
    assert stored_steps(log) == list(range(sum(sizes[:whole])))
    log.append(rows(log.record_count, 2))
    log.close()
    log = RecordLog.open(path, DTYPE)
    assert stored_steps(log) == list(range(sum(sizes[:whole]) + 2))
    assert log.dropped_bytes == 0
    log.close()


@given(sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4), data=st.data())
def test_a_changed_byte_is_never_read_as_data(tmp_path_factory, sizes, data):
    path = tmp_path_factory.mktemp("log") / "replay.log"
    ends = write(path, sizes)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        log = RecordLog.open(path, DTYPE)
    except InputError:
        assert path.read_bytes() == content, "a damaged file must be left as it is"
        return
    assert stored_steps(log) == list(range(sum(sizes[:-1]))), "only a damaged last frame may be cut off"
    assert log.dropped_bytes == ends[-1] - ends[-2]
    log.close()


def test_tail_of_zeros_after_a_loss_of_power_is_cut_off(tmp_path):
    write(tmp_path / "replay.log", [3])
    with open(tmp_path / "replay.log", "ab") as file:
        file.write(bytes(1000))
    log = RecordLog.open(tmp_path / "replay.log", DTYPE)
    assert (log.record_count, log.dropped_bytes) == (3, 1000)
    log.close()


def test_other_layout_is_refused_by_field(tmp_path):
    write(tmp_path / "replay.log", [1])
    with pytest.raises(InputError, match=r"action: <f4\[4\] here, <f4\[3\] there"):
        RecordLog.open(tmp_path / "replay.log", OTHER_DTYPE)


def test_other_order_of_fields_is_refused(tmp_path):
    write(tmp_path / "replay.log", [1])
    with pytest.raises(InputError, match="order of fields: action, step here, step, action there"):
        RecordLog.open(tmp_path / "replay.log", np.dtype([(n, DTYPE[n]) for n in ("action", "step")]))


@pytest.mark.parametrize("content", [b"", b"something else entirely, quite long"])
def test_other_file_is_refused(tmp_path, content):
    (tmp_path / "replay.log").write_bytes(content)
    with pytest.raises(InputError, match="is not a record log"):
        RecordLog.open(tmp_path / "replay.log", DTYPE)
    assert (tmp_path / "replay.log").read_bytes() == content


def test_other_version_is_refused(tmp_path):
    write(tmp_path / "replay.log", [1])
    content = bytearray((tmp_path / "replay.log").read_bytes())
    content[8] += 1
    (tmp_path / "replay.log").write_bytes(content)
    with pytest.raises(InputError, match="format 2, this program reads format 1"):
        RecordLog.open(tmp_path / "replay.log", DTYPE)


def test_records_of_another_layout_cannot_be_appended(tmp_path):
    log = RecordLog.open(tmp_path / "replay.log", DTYPE)
    with pytest.raises(ValueError, match="holds records of"):
        log.append(np.zeros(1, OTHER_DTYPE))
    log.close()


def test_second_writer_is_refused_until_the_first_is_dead(tmp_path):
    program = (
        "import sys, pathlib, numpy as np; from agent.record_log import RecordLog;"
        "dtype = np.dtype([('step', np.int64), ('action', np.float32, (3,))]);"
        "log = RecordLog.open(pathlib.Path(sys.argv[1]), dtype);"
        "print('open', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "replay.log"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"open\n"
    with pytest.raises(InputError, match="in use by another process"):
        RecordLog.open(tmp_path / "replay.log", DTYPE)
    other.kill()
    other.communicate()
    RecordLog.open(tmp_path / "replay.log", DTYPE).close()


def test_full_disk_leaves_the_log_as_it_was(tmp_path):
    log = RecordLog.open(tmp_path / "replay.log", DTYPE)
    log.append(rows(0, 3))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.end + 100, hard))
    try:
        with pytest.raises(OSError, match="is the disk full"):
            log.append(rows(3, 100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.append(rows(3, 2))
    log.close()
    log = RecordLog.open(tmp_path / "replay.log", DTYPE)
    assert stored_steps(log) == list(range(5))
    assert log.dropped_bytes == 0
    log.close()


@pytest.mark.parametrize("lasting", [False, True])
def test_a_disk_that_fails_at_any_call_leaves_whole_frames_only(tmp_path, faulty_disk, lasting):
    """What was said to be stored is there, once; what was not can be stored later, behind whatever half was written."""
    for at in range(9):
        log = RecordLog.open(tmp_path / f"{lasting}-{at}.log", DTYPE)
        kept, missed = [], []
        with faulty_disk.failing(at, lasting=lasting):
            for number in range(6):
                try:
                    log.append(rows(number, 1))
                    kept.append(number)
                except OSError:
                    missed.append(number)
        assert missed or at >= faulty_disk.calls
        for number in missed:
            log.append(rows(number, 1))
        log.close()
        log = RecordLog.open(log.path, DTYPE)
        assert stored_steps(log) == kept + missed
        assert log.dropped_bytes == 0
        log.close()


def test_a_frame_larger_than_the_read_size_is_read_whole(tmp_path):
    log = RecordLog.open(tmp_path / "replay.log", DTYPE)
    log.append(rows(0, 1000))
    log.append(rows(1000, 1))
    frames = log.read_frames(log.start, max_bytes=64)
    assert [frame.items for frame in frames] == [1000]
    assert [frame.items for frame in log.read_frames(log.start + frames[0].size, 64)] == [1]
    log.close()
