"""The actor's outbox on disk: items wait here, numbered, until the learner has stored them.

A folder with a file `stream` (the identity of the numbering, locked by its owner) and segments `<n>.log`.
Segments that the learner has wholly stored are deleted. An actor that restarts with the same folder goes on
numbering where its predecessor was killed.
"""

import os
import threading
from bisect import bisect_left
from pathlib import Path
from typing import NamedTuple

import numpy as np

from agent.config import InputError
from agent.record_log import Frame, FrameKind, RecordLog, lock
from agent.transition import Records
from agent.transport.messages import BATCH_BYTES, Report, encode_report

_SEGMENT_BYTES = 16 << 20
_STREAM_BYTES = 16


class Batch(NamedTuple):
    """Consecutive items of one kind, ready to be sent.

    Attributes:
        kind: Of all of them.
        first_sequence: Number of the first.
        items: How many; 1 for a report.
        payload: Their bytes.
    """

    kind: FrameKind
    first_sequence: int
    items: int
    payload: bytes


class Spool:
    """Numbered items on disk. Any thread may append; one thread reads, discards and rotates.

    Attributes:
        stream: 16 random bytes, the same for every process that uses this folder.
        next_sequence: Number of the next item.
        dropped_bytes: What a predecessor killed in the middle of a write left, cut off.
    """

    def __init__(
        self, directory: Path, dtype: np.dtype[np.void], segment_bytes: int = _SEGMENT_BYTES
    ) -> None:
        """Open the spool in `directory`, or begin one.

        Raises:
            InputError: Another process uses it, its transitions are of another layout, or it is damaged.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self.stream, self._stream_file = _own_stream(directory / "stream")
        try:
            self._segments = self._open_segments(dtype)
            self._report_numbers: list[int] = []
            self.next_sequence = self._follow_numbers()
        except BaseException:
            os.close(self._stream_file)
            raise
        self.dropped_bytes = sum(segment.dropped_bytes for segment in self._segments)
        self._position = (self._segments[0], self._segments[0].start, self.oldest_sequence)

    @property
    def oldest_sequence(self) -> int:
        """Number of the first item still here; `next_sequence` if there is none."""
        first = self._segments[0].first_sequence
        return self.next_sequence if first is None else first

    def append(self, records: Records) -> None:
        """Number records and write them to disk; those of one call stay in order. Costs one `write()`."""
        dtype = self._segments[-1].dtype
        if records.dtype is not dtype and records.dtype != dtype:
            raise ValueError(f"This actor's records are {dtype}, not {records.dtype}.")
        step = max(1, BATCH_BYTES // dtype.itemsize)
        for begin in range(0, len(records), step):
            part = records[begin : begin + step]
            self._write(FrameKind.RECORDS, part.tobytes(), len(part))

    def append_report(self, values: Report) -> None:
        """Number a report and write it to disk."""
        self._write(FrameKind.REPORT, encode_report(values), 1)

    def _write(self, kind: FrameKind, payload: bytes, count: int) -> None:
        with self._lock:
            self._segments[-1].append_raw(kind, payload, count, self.stream, self.next_sequence)
            if kind is FrameKind.REPORT:
                self._report_numbers.append(self.next_sequence)
            self.next_sequence += count

    def records_from(self, sequence: int) -> int:
        """How many records (reports not counted) are numbered `sequence` or higher."""
        with self._lock:
            reports = len(self._report_numbers) - bisect_left(self._report_numbers, sequence)
            return self.next_sequence - sequence - reports

    def next_batch(self, sequence: int) -> Batch | None:
        """Items from number `sequence` on, about `BATCH_BYTES` of them; None if there are none yet."""
        if sequence >= self.next_sequence:
            return None
        if sequence != self._position[2]:
            self._seek(sequence)
        segment, offset, _ = self._position
        frames = segment.read_frames(offset, BATCH_BYTES)
        if not frames:
            # All of this segment is read and the item exists, so it is in the next one.
            following = self._segments[self._segments.index(segment) + 1]
            self._position = (following, following.start, sequence)
            return self.next_batch(sequence)
        batch, size = _join(frames, sequence, segment.dtype.itemsize)
        self._position = (segment, offset + size, sequence + batch.items)
        return batch

    def discard_below(self, sequence: int) -> None:
        """Forget segments all of whose items are numbered lower than `sequence`."""
        while len(self._segments) > 1:
            # The last items stay until later ones are written: they carry the numbering over a restart.
            following = self._segments[1].first_sequence
            if following is None or following > sequence:
                break
            done = self._segments[0]
            self._segments = self._segments[1:]
            if self._position[0] is done:
                self._position = (self._segments[0], self._segments[0].start, following)
            done.path.unlink()
            done.close()
        with self._lock:
            del self._report_numbers[: bisect_left(self._report_numbers, sequence)]

    def rotate_if_full(self) -> None:
        """Begin a new segment behind a full one. Writes to disk for long, so `append` never does it."""
        full = self._segments[-1]
        if full.end < self._segment_bytes:
            return
        number = int(full.path.stem) + 1
        fresh = RecordLog.open(self._directory / f"{number:08d}.log", full.dtype)
        with self._lock:
            self._segments = [*self._segments, fresh]
        full.sync()

    def close(self) -> None:
        """Release the folder; idempotent."""
        for segment in self._segments:
            segment.close()
        if self._stream_file >= 0:
            os.close(self._stream_file)
            self._stream_file = -1

    def _open_segments(self, dtype: np.dtype[np.void]) -> list[RecordLog]:
        paths = sorted(self._directory.glob("*.log")) or [self._directory / "00000000.log"]
        return [RecordLog.open(path, dtype) for path in paths]

    def _follow_numbers(self) -> int:
        """Check that the numbers on disk have no gap; collect those of reports; return the next one."""
        expected: int | None = None
        for segment in self._segments:
            for frame in segment.frames():
                if frame.stream != self.stream or expected not in (None, frame.first_sequence):
                    raise InputError(
                        f"Transitions are missing before number {frame.first_sequence} in {segment.path}; "
                        f"remove {self._directory} to give up what was not yet sent, and start again."
                    )
                if frame.kind is FrameKind.REPORT:
                    self._report_numbers.append(frame.first_sequence)
                expected = frame.end_sequence
        return expected or 0

    def _seek(self, sequence: int) -> None:
        starts = [s for s in self._segments if s.first_sequence is not None and s.first_sequence <= sequence]
        segment = starts[-1]
        offset = segment.start
        while frames := segment.read_frames(offset):
            for frame in frames:
                if frame.end_sequence > sequence:
                    self._position = (segment, offset, sequence)
                    return
                offset += frame.size
        self._position = (segment, offset, sequence)


def _join(frames: list[Frame], sequence: int, itemsize: int) -> tuple[Batch, int]:
    """The leading frames of one kind as one batch that begins at `sequence`, and their size in the file."""
    first = frames[0]
    if first.kind is FrameKind.REPORT:
        return Batch(first.kind, sequence, 1, bytes(first.payload)), first.size
    parts, size, end = [], 0, sequence
    for frame in frames:
        if frame.kind is not FrameKind.RECORDS:
            break
        parts.append(frame.payload)
        size += frame.size
        end = frame.end_sequence
    parts[0] = parts[0][(sequence - first.first_sequence) * itemsize :]
    return Batch(FrameKind.RECORDS, sequence, end - sequence, b"".join(parts)), size


def _own_stream(path: Path) -> tuple[bytes, int]:
    """Lock the file and return the identity in it, made up if the file is new."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        lock(descriptor, path)
        if os.fstat(descriptor).st_size == 0:
            os.pwrite(descriptor, os.urandom(_STREAM_BYTES), 0)
            os.fsync(descriptor)
        stream = os.pread(descriptor, 2 * _STREAM_BYTES, 0)
        if len(stream) != _STREAM_BYTES:
            raise InputError(
                f"{path} does not hold the identity of a spool; "
                f"remove {path.parent} to give up what was not yet sent, and start again."
            )
    except BaseException:
        os.close(descriptor)
        raise
    return stream, descriptor
