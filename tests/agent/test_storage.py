import errno
import logging
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.storage import Appender, StorageTrouble, is_storage_error, write_atomically, write_fully

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@given(st.lists(st.binary(max_size=40), max_size=5), st.lists(st.integers(1, 30), max_size=10))
def test_what_a_disk_takes_piece_by_piece_is_whole(parts, pieces):
    """As a nearly full disk does, every call takes a part only."""
    taken, sizes = bytearray(), iter(pieces)

    def take(content):
        taken.extend(content[: next(sizes, len(content))])
        return len(taken)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "writev", lambda _, buffers: take(b"".join(buffers)))
        patch.setattr(os, "write", lambda _, content: -len(taken) + take(bytes(content)))
        write_fully(-1, parts)
    assert taken == b"".join(parts)


def test_a_disk_that_takes_nothing_does_not_hang(monkeypatch):
    monkeypatch.setattr(os, "writev", lambda *_: 0)
    monkeypatch.setattr(os, "write", lambda *_: 0)
    with pytest.raises(OSError, match="only 0 of 4 bytes could be written; is the disk full") as info:
        write_fully(-1, (b"four",))
    assert is_storage_error(info.value)


def test_a_small_file_is_whole_or_as_it_was_wherever_the_disk_fails(tmp_path, faulty_disk):
    path = tmp_path / "file"
    write_atomically(path, b"before")
    with faulty_disk.failing(at=10**9):
        write_atomically(path, b"before")
    assert faulty_disk.calls == 5  # open, writev, fsync, replace, and fsync of the folder
    for at in range(5):
        with faulty_disk.failing(at), pytest.raises(OSError, match="No space left"):
            write_atomically(path, b"after")
        assert path.read_bytes() == (b"before" if at < 4 else b"after")
        assert [p.name for p in tmp_path.iterdir()] == ["file"]


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.integers(0, 4), st.booleans()), max_size=8))
def test_what_is_appended_is_whole_or_not_there_wherever_the_disk_fails(tmp_path_factory, faulty_disk, tries):
    path, kept = tmp_path_factory.mktemp("appended") / "file", b"before"
    path.write_bytes(kept)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    appender = Appender(descriptor)
    for content, at, lasting in tries:
        try:
            with faulty_disk.failing(at, lasting=lasting):
                appender.append(content[:1], content[1:])
            kept += content
        except OSError:
            assert path.read_bytes().startswith(kept)
    appender.append(b"after")
    assert path.read_bytes() == kept + b"after"
    os.close(descriptor)


def test_trouble_is_said_once_and_so_is_its_end(caplog):
    trouble = StorageTrouble("The book", "It waits.")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            trouble.over()
            trouble.note(FULL)
            trouble.note(OSError(errno.EROFS, ""))
            assert trouble.reason == "Read-only file system"
            trouble.over()
    said = [record.message for record in caplog.records]
    first = "The book cannot be written (No space left on device). It waits."
    assert said == [first, "The book can be written again."] * 2
    assert trouble.reason is None


@pytest.mark.parametrize("error", [OSError(errno.EBADF, "closed"), OSError("no number"), PermissionError()])
def test_what_no_disk_is_to_blame_for_is_raised(error):
    with pytest.raises(OSError) as info:  # noqa: PT011 - whatever it says
        StorageTrouble("The book", "It waits.").note(error)
    assert info.value is error


def test_that_nothing_can_be_opened_passes_like_a_full_disk():
    """As long as strangers hold all descriptors of a learner."""
    trouble = StorageTrouble("The book", "It waits.")
    trouble.note(OSError(errno.EMFILE, "Too many open files"))
    assert trouble.reason == "Too many open files"
