"""Append-only file of transitions that survives `kill -9` of its writer at any moment.

File: head (magic, format version, layout of a record as JSON, checksum), then frames. A frame holds
consecutive items of one stream: its head says which stream and which numbers, so the file alone tells what
has been stored (`RecordLog.cursors`) and nothing is stored twice after a restart.

Durability: every append is one `write()`. What was written survives the death of the process; only `sync()`
makes it survive the loss of power. Call `sync()` at checkpoints. What a full disk took half of is cut off again.
"""

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from agent.checksum import crc32
from agent.config import InputError
from agent.storage import Appender, make_folder, write_atomically
from agent.transition import Records, describe_layout, differing_layout

FORMAT_VERSION = 1
LOCAL_STREAM = bytes(16)
"""Stream of what was appended without naming one."""

_FILE_MAGIC = b"JMRECLOG"
_FRAME_MAGIC = b"JMfr"
_FILE_HEAD = struct.Struct("<8sIII")  # magic, format version, bytes of JSON, crc32 of JSON
_FRAME_HEAD = struct.Struct("<4sBxxxIIQ16s")  # magic, kind, count, payload bytes, first sequence, stream
_CRC = struct.Struct("<I")  # of frame head and payload
FRAME_OVERHEAD = _FRAME_HEAD.size + _CRC.size
"""Bytes that a frame takes beside its payload."""
_READ_BYTES = 4 << 20


class FrameKind(IntEnum):
    """What the payload of a frame is."""

    RECORDS = 0  # `count` records
    REPORT = 1  # one message of plain values, encoded as msgpack


class Frame(NamedTuple):
    """Consecutive items of one stream.

    Attributes:
        kind: What the payload is.
        stream: 16 bytes, unique per spool.
        first_sequence: Number of the first item.
        items: How many; 1 for a report.
        payload: Raw bytes.
    """

    kind: FrameKind
    stream: bytes
    first_sequence: int
    items: int
    payload: memoryview

    @property
    def end_sequence(self) -> int:
        """Number of the item after the last one."""
        return self.first_sequence + self.items

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return FRAME_OVERHEAD + len(self.payload)


class RecordLog:
    """Append-only, checksummed file of records of one layout; locked against a second writer.

    One thread may append while another reads or syncs.

    Attributes:
        path: The file.
        dtype: Layout of a record.
        cursors: Next sequence number per stream.
        record_count: Records in the file.
        first_sequence: Number of the first item in the file, None while empty.
        dropped_bytes: What `open` cut off: a frame whose writer died in the middle of it.
        end: Size of the file in bytes; every frame below it is whole.
    """

    def __init__(self, path: Path, dtype: np.dtype[np.void], descriptor: int) -> None:
        """Use `RecordLog.open`."""
        self.path = path
        self.dtype = dtype
        self.cursors: dict[bytes, int] = {}
        self.record_count = 0
        self.first_sequence: int | None = None
        self.dropped_bytes = 0
        self._fd = descriptor
        self._appender = Appender(descriptor)
        self.start, stored = _read_head(path, descriptor)
        _check_layout(path, dtype, stored)
        self.end = self.start
        self._recover()

    @classmethod
    def open(cls, path: Path, dtype: np.dtype[np.void]) -> "RecordLog":
        """Open the log at `path`, or begin one; a torn last frame is cut off.

        Raises:
            InputError: The file is of another layout or version, damaged, no log, or in use elsewhere.
        """
        if not path.exists():
            _create(path, dtype)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
        try:
            lock(descriptor, path)
            return cls(path, dtype, descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def append(
        self, records: Records, stream: bytes = LOCAL_STREAM, first_sequence: int | None = None
    ) -> None:
        """Add records, numbered from `first_sequence` (default: after the stream's last)."""
        if records.dtype is not self.dtype and records.dtype != self.dtype:
            raise ValueError(f"{self.path} holds records of {self.dtype}, not {records.dtype}.")
        self.append_raw(FrameKind.RECORDS, records.tobytes(), len(records), stream, first_sequence)

    def append_raw(
        self,
        kind: FrameKind,
        payload: bytes | memoryview,
        count: int,
        stream: bytes = LOCAL_STREAM,
        first_sequence: int | None = None,
    ) -> None:
        """Add one frame whose payload is already bytes. After an error (disk full) the log is as before."""
        if first_sequence is None:
            first_sequence = self.cursors.get(stream, 0)
        head = _FRAME_HEAD.pack(_FRAME_MAGIC, kind, count, len(payload), first_sequence, stream)
        crc = _CRC.pack(crc32(payload, crc32(head)))
        self._appender.append(head, crc, payload)
        self._count(kind, stream, first_sequence, count)
        # Last, because a reader in another thread takes everything below `end` as whole.
        self.end += FRAME_OVERHEAD + len(payload)

    def read_frames(self, offset: int, max_bytes: int = _READ_BYTES) -> list[Frame]:
        """Whole frames from byte `offset`: what fits into `max_bytes`, but one at least if there is any."""
        available = self.end - offset
        chunk = os.pread(self._fd, min(max_bytes, available), offset)
        frames = list(_frames_in(chunk))
        if not frames and available > 0:
            payload_bytes = _FRAME_HEAD.unpack_from(os.pread(self._fd, _FRAME_HEAD.size, offset))[3]
            frames = list(_frames_in(os.pread(self._fd, FRAME_OVERHEAD + payload_bytes, offset)))
        return frames

    def frames(self) -> Iterator[Frame]:
        """Every frame, in the order of writing."""
        offset = self.start
        while frames := self.read_frames(offset):
            yield from frames
            offset += sum(frame.size for frame in frames)

    def records(self) -> Iterator[Records]:
        """Every record, in the order of writing, as read-only arrays of shape (N,)."""
        for frame in self.frames():
            if frame.kind is FrameKind.RECORDS:
                yield np.frombuffer(frame.payload, self.dtype)

    def reports(self) -> Iterator[memoryview]:
        """Every report, encoded, in the order of writing."""
        for frame in self.frames():
            if frame.kind is FrameKind.REPORT:
                yield frame.payload

    def clear(self) -> None:
        """Forget all frames. Nobody may be reading."""
        self._appender.truncate(self.start)
        self.cursors.clear()
        self.record_count, self.first_sequence, self.end = 0, None, self.start

    def sync(self) -> None:
        """Make everything appended so far survive a loss of power."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Release the file; idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _recover(self) -> None:
        size = os.fstat(self._fd).st_size
        if size > self.start:
            with mmap.mmap(self._fd, size, access=mmap.ACCESS_READ) as data:
                self._scan(data)
                if self.end < size and _whole_frame_after(data, self.end + 1):
                    raise InputError(
                        f"{self.path} is damaged at byte {self.end} of {size}, and whole transitions follow; "
                        "restore it from a copy, or keep what precedes with "
                        f"`truncate --size={self.end} {self.path}`."
                    )
        self.dropped_bytes = size - self.end
        if self.dropped_bytes:
            self._appender.truncate(self.end)

    def _scan(self, data: mmap.mmap) -> None:
        while (size := _whole_frame_size(data, self.end)) is not None:
            _, kind, count, _, first_sequence, stream = _FRAME_HEAD.unpack_from(data, self.end)
            if kind == FrameKind.RECORDS and size != FRAME_OVERHEAD + count * self.dtype.itemsize:
                raise InputError(
                    f"{self.path} is damaged at byte {self.end}: {count} records do not fill their frame."
                )
            if kind == FrameKind.REPORT and count != 1:
                raise InputError(
                    f"{self.path} is damaged at byte {self.end}: a report counts for {count} items."
                )
            self._count(kind, stream, first_sequence, count)
            self.end += size

    def _count(self, kind: int, stream: bytes, first_sequence: int, count: int) -> None:
        if self.first_sequence is None:
            self.first_sequence = first_sequence
        self.cursors[stream] = first_sequence + count
        if kind == FrameKind.RECORDS:
            self.record_count += count


def lock(descriptor: int, path: Path) -> None:
    """Take the file for this process until it ends, however it ends.

    Raises:
        InputError: Another process has it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"{path} is in use by another process; stop that one first, or use another directory."
        ) from None


def _create(path: Path, dtype: np.dtype[np.void]) -> None:
    layout = msgspec.json.encode(describe_layout(dtype))
    make_folder(path.parent)
    head = _FILE_HEAD.pack(_FILE_MAGIC, FORMAT_VERSION, len(layout), crc32(layout))
    write_atomically(path, head + layout)


def layout_of(path: Path) -> dict[str, str]:
    """Layout of the records of a log, whatever it is, as `describe_layout` says it.

    Raises:
        InputError: It is of another version, damaged or no log.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return _read_head(path, descriptor)[1]
    finally:
        os.close(descriptor)


def end_of(path: Path) -> int:
    """The number after the last whole item of a log of whatever layout; 0 if there is none.

    Raises:
        InputError: It is of another version, damaged or no log; not where but the last frame is torn.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        offset, number = _read_head(path, descriptor)[0], 0
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
            while (size := _whole_frame_size(data, offset)) is not None:
                _, _, count, _, first_sequence, _ = _FRAME_HEAD.unpack_from(data, offset)
                number, offset = first_sequence + count, offset + size
            if _whole_frame_after(data, offset + 1):
                raise InputError(f"{path} is damaged at byte {offset}, and whole transitions follow.")
    finally:
        os.close(descriptor)
    return number


def _read_head(path: Path, descriptor: int) -> tuple[int, dict[str, str]]:
    """Check the file's head; return where the frames begin, and the layout of its records."""
    head = os.pread(descriptor, _FILE_HEAD.size, 0)
    if len(head) < _FILE_HEAD.size or not head.startswith(_FILE_MAGIC):
        raise InputError(
            f"{path} is not a record log; name another file, or remove this one to begin a new log."
        )
    _, version, layout_bytes, crc = _FILE_HEAD.unpack(head)
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path} is a record log of format {version}, this program reads format {FORMAT_VERSION}; "
            "use the version of journeyman that wrote it, or begin a new run."
        )
    # No more than there is: what a damaged head announces may be 4 GB.
    layout = os.pread(descriptor, min(layout_bytes, os.fstat(descriptor).st_size), _FILE_HEAD.size)
    if len(layout) != layout_bytes or crc32(layout) != crc:
        raise InputError(f"The head of {path} is damaged; restore the file from a copy, or begin a new run.")
    try:
        stored = msgspec.json.decode(layout, type=dict[str, str])
    except msgspec.MsgspecError as error:
        raise InputError(f"The head of {path} is none ({error}); restore the file from a copy.") from None
    return _FILE_HEAD.size + layout_bytes, stored


def _check_layout(path: Path, dtype: np.dtype[np.void], stored: dict[str, str]) -> None:
    if differences := differing_layout(describe_layout(dtype), stored):
        raise InputError(
            f"{path} (there) holds transitions of another layout than this program's (here): "
            f"{'; '.join(differences)}; use the task and robot it was recorded with, or begin a new run."
        )


def _frames_in(chunk: bytes) -> Iterator[Frame]:
    """The frames lying wholly in `chunk`, unchecked: they were checked on open or written by this process."""
    view, offset, end = memoryview(chunk), 0, len(chunk)
    while offset + FRAME_OVERHEAD <= end:
        _, kind, count, payload_bytes, first_sequence, stream = _FRAME_HEAD.unpack_from(chunk, offset)
        begin = offset + FRAME_OVERHEAD
        offset = begin + payload_bytes
        if offset > end:
            return
        yield Frame(FrameKind(kind), stream, first_sequence, count, view[begin:offset])


def _whole_frame_size(data: mmap.mmap, offset: int) -> int | None:
    """Size of the frame at `offset` in bytes, None if no whole and undamaged frame is there."""
    if offset + FRAME_OVERHEAD > len(data):
        return None
    magic, kind, _, payload_bytes, _, _ = _FRAME_HEAD.unpack_from(data, offset)
    begin = offset + FRAME_OVERHEAD
    end = begin + payload_bytes
    if magic != _FRAME_MAGIC or kind not in tuple(FrameKind) or end > len(data):
        return None
    # Every view must be released before the map can be closed.
    with memoryview(data) as view, view[offset : begin - _CRC.size] as head, view[begin:end] as payload:
        crc = crc32(payload, crc32(head))
    return end - offset if (crc,) == _CRC.unpack_from(data, begin - _CRC.size) else None


def _whole_frame_after(data: mmap.mmap, offset: int) -> bool:
    """Whether an undamaged frame begins anywhere from `offset` on."""
    while (offset := data.find(_FRAME_MAGIC, offset)) >= 0:
        if _whole_frame_size(data, offset) is not None:
            return True
        offset += 1
    return False
