"""Transitions between hand-over and disk, in memory that outlives its process: no system call, no disk to wait for.

A file in `/dev/shm`, locked by its owner: a head of eight words, the numbers of the transitions, and the transitions
themselves, a ring. What is handed over is copied there; then the count in the head grows, so that a process killed at
any moment leaves whole transitions only, which the next owner of the spool puts on disk (`left`). The machine's end
takes it, as it takes what the operating system has not yet forced to disk; so does the end of a container that has a
`/dev/shm` of its own.
"""

import errno
import fcntl
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.checksum import crc32
from agent.transition import Records, describe_layout

_MEMORY = Path("/dev/shm")  # Of this user alone: see `_open_private`.
_MAGIC = int.from_bytes(b"JMstage1", "little")
_WORDS = 8
_MAGIC_AT, _CAPACITY_AT, _LAYOUT_AT, _STREAM_AT, _PUT_AT, _TAKEN_AT = 0, 1, 2, 3, 5, 6
_RING_BYTES = 4 << 20
_NOT_OURS = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP}
_LEAST = 4  # Transitions, be they as large as they may.


class Stage:
    """A ring of records and their numbers. Who uses it takes care that one thread at a time does.

    Attributes:
        capacity: Records that it holds.
        waiting: Records put and not released.

    Args:
        path: See `place_of`; what is there is overwritten.
        dtype: Layout of a record.
        stream: 16 bytes: what the numbers count.

    Raises:
        OSError: There is no such memory, or not enough of it.
    """

    def __init__(self, path: Path, dtype: np.dtype[np.void], stream: bytes) -> None:
        self.path = path
        self.capacity = max(_LEAST, _RING_BYTES // dtype.itemsize)
        self._itemsize = dtype.itemsize
        _sweep()
        self._descriptor = _open_locked(path)
        try:
            # All of it now: where memory is missing later, the kernel ends the process.
            os.ftruncate(self._descriptor, 0)
            size = _bytes_before(self.capacity) + self.capacity * dtype.itemsize
            os.posix_fallocate(self._descriptor, 0, size)
            self._map = mmap.mmap(self._descriptor, 0, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
        except BaseException:
            path.unlink(missing_ok=True)
            os.close(self._descriptor)
            raise
        self._view = memoryview(self._map)[_bytes_before(self.capacity) :]
        self._head = np.frombuffer(self._map, np.uint64, _WORDS)
        self._numbers = np.frombuffer(self._map, np.uint64, self.capacity, 8 * _WORDS)
        self._put = self._taken = 0
        self._head[_CAPACITY_AT], self._head[_LAYOUT_AT] = self.capacity, _layout_sum(dtype)
        self.begin(stream)
        self._head[_MAGIC_AT] = _MAGIC

    @property
    def waiting(self) -> int:
        """Records put and not released."""
        return self._put - self._taken

    def begin(self, stream: bytes) -> None:
        """Count another stream from here on; nothing may be waiting."""
        self._head[_STREAM_AT : _STREAM_AT + 2] = np.frombuffer(stream, np.uint64)

    def has_room(self, records: int) -> bool:
        """Whether so many more can be put."""
        return self._put - self._taken + records <= self.capacity

    def put(self, records: Records, first_sequence: int) -> bool:
        """Keep records, shape (N,), numbered from there on; False, and nothing done, without room for all of them."""
        count, size = len(records), self._itemsize
        if not self.has_room(count):
            return False
        slot = self._put % self.capacity
        whole = records if records.flags.c_contiguous else np.ascontiguousarray(records)
        fits = min(count, self.capacity - slot)
        for first, end, at in ((0, fits, slot), (fits, count, 0)):
            if first < end:
                part = whole if end - first == count else whole[first:end]
                self._view[at * size : (at + end - first) * size] = part.view(np.uint8).data
                self._numbers[at : at + end - first] = range(first_sequence + first, first_sequence + end)
        self._put += count
        # Last, and one store: whoever reads it after our death finds what it counts.
        self._head[_PUT_AT] = self._put
        return True

    def oldest(self, most: int) -> tuple[memoryview, int]:
        """Bytes of the oldest waiting records that lie in one piece, at most so many, and how many those are."""
        slot = self._taken % self.capacity
        count = min(self.waiting, most, self.capacity - slot)
        return self._view[slot * self._itemsize : (slot + count) * self._itemsize], count

    def release(self, records: int) -> None:
        """The oldest are on disk; their place is free."""
        self._taken += records
        self._head[_TAKEN_AT] = self._taken

    def close(self) -> None:
        """Let go; what is waiting stays for `left`. Idempotent."""
        if self._descriptor < 0:
            return
        if not self.waiting:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = -1


def place_of(ledger: Path) -> Path:
    """Where the stage of a spool with this ledger is; that of a copy is elsewhere."""
    status = ledger.stat()
    return _MEMORY / f"journeyman-{status.st_dev:x}-{status.st_ino:x}"


def is_left(path: Path, next_sequence: int) -> bool:
    """Whether a killed process left anything there that is numbered so or higher, of whatever layout and stream.

    Raises:
        OSError: It cannot be opened now; it is not known what is there.
    """
    content = _content(path)
    return content is not None and len(_waiting(content, next_sequence)[1]) > 0


def left(path: Path, dtype: np.dtype[np.void], stream: bytes, next_sequence: int) -> Iterator[bytes]:
    """What a killed process left that is numbered `next_sequence` or higher, as pieces of whole records.

    Numbers that are missing, those of reports that were waiting, too, are closed up before anything is given out: none
    of this has been sent. So, if this process is killed before `path` is removed, the next one takes up where it was.

    Raises:
        OSError: It cannot be opened now; it is not known what is there.
    """
    content = _content(path)
    if content is None:
        return
    head = np.frombuffer(content, np.uint64, _WORDS)
    capacity, before = int(head[_CAPACITY_AT]), _bytes_before(int(head[_CAPACITY_AT]))
    if head[_LAYOUT_AT] != _layout_sum(dtype) or len(content) != before + capacity * dtype.itemsize:
        return
    if head[_STREAM_AT : _STREAM_AT + 2].tobytes() != stream:
        return  # Of another spool, whose folder was removed.
    numbers, slots = _waiting(content, next_sequence)
    numbers[slots] = np.arange(next_sequence, next_sequence + len(slots), dtype=np.uint64)
    for part in np.split(slots, np.flatnonzero(np.diff(slots) != 1) + 1):
        if len(part):
            begin = before + int(part[0]) * dtype.itemsize
            yield content[begin : begin + len(part) * dtype.itemsize]


def _content(path: Path) -> mmap.mmap | None:
    """What is there; None where nothing is, or not of ours, or its owner died before there was anything.

    Raises:
        OSError: It cannot be opened now; it is not known what is there.
    """
    try:
        descriptor = _open_private(path, 0)
    except OSError as error:
        if error.errno in _NOT_OURS:
            return None
        raise
    try:
        content = mmap.mmap(descriptor, 0)
    except ValueError:
        return None
    finally:
        os.close(descriptor)
    if len(content) < 8 * _WORDS or np.frombuffer(content, np.uint64, _WORDS)[_MAGIC_AT] != _MAGIC:
        return None
    return content


def _waiting(content: mmap.mmap, next_sequence: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The numbers in the file itself, and where in the ring those lie that were put, not released and are not lower."""
    head = np.frombuffer(content, np.uint64, _WORDS)
    capacity, put, taken = (int(head[at]) for at in (_CAPACITY_AT, _PUT_AT, _TAKEN_AT))
    numbers = np.frombuffer(content, np.uint64, capacity, 8 * _WORDS)
    slots = np.arange(max(taken, put - capacity), put) % capacity
    return numbers, slots[numbers[slots] >= next_sequence]


def _bytes_before(capacity: int) -> int:
    """Of head and numbers."""
    return 8 * (_WORDS + capacity)


def _layout_sum(dtype: np.dtype[np.void]) -> int:
    return crc32(msgspec.json.encode(describe_layout(dtype))) | dtype.itemsize << 32


def _open_locked(path: Path) -> int:
    """The file, made if need be, as nobody's but this process's until it ends."""
    while True:
        descriptor = _open_private(path, os.O_CREAT)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)  # Another spool's owner swept it away meanwhile.


def _sweep() -> None:
    """Give back the memory of processes that were killed with nothing waiting, and whose spools nobody opens again."""
    for path in _MEMORY.glob("journeyman-*"):
        try:
            descriptor = _open_private(path, 0)
        except OSError:
            continue
        with suppress(OSError):  # It is in use.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            head = np.frombuffer(os.pread(descriptor, 8 * _WORDS, 0), np.uint64)
            if not head.size or (head.size == _WORDS and head[_PUT_AT] == head[_TAKEN_AT]):
                path.unlink(missing_ok=True)
        os.close(descriptor)


def _open_private(path: Path, flags: int) -> int:
    """Open a file that nobody but this user can have put there, or read.

    Raises:
        OSError: It is another's, or none.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        os.close(descriptor)
        raise PermissionError(errno.EACCES, "not this user's alone", str(path))
    return descriptor
