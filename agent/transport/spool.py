"""The actor's outbox on disk: items wait here, numbered, until the learner has stored them.

A folder with a file `stream` (the identity of the numbering, locked by its owner) and segments `<n>.log`.
Segments that the learner has wholly stored are deleted. An actor that restarts with the same folder goes on
numbering where its predecessor was killed.
"""

import os
import threading
from bisect import bisect_left
from collections import deque
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
        self._ahead: deque[Frame] = deque()
        self._reading = self._segments[0]
        self._offset = self._reading.start
        self._position = self.oldest_sequence

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
        if sequence != self._position:
            self._seek(sequence)
        while not self._ahead:
            self._read_ahead()
        batch = _take_batch(self._ahead, sequence, self._reading.dtype.itemsize)
        self._position = sequence + batch.items
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
            if self._reading is done:
                self._begin_at(self._segments[0], self._segments[0].start, following)
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

    def _begin_at(self, segment: RecordLog, offset: int, sequence: int) -> None:
        """Read on from there, where item `sequence` is, or will be."""
        self._reading, self._offset, self._position = segment, offset, sequence
        self._ahead.clear()

    def _read_ahead(self) -> None:
        frames = self._reading.read_frames(self._offset, BATCH_BYTES)
        if frames:
            self._ahead.extend(frames)
            self._offset += sum(frame.size for frame in frames)
        else:
            # Called for an item that exists: what is not in this segment is in the next one.
            following = self._segments[self._segments.index(self._reading) + 1]
            self._begin_at(following, following.start, self._position)

    def _seek(self, sequence: int) -> None:
        begun = [s for s in self._segments if s.first_sequence is not None and s.first_sequence <= sequence]
        self._begin_at(begun[-1], begun[-1].start, sequence)
        while not self._ahead:
            self._read_ahead()
            while self._ahead and self._ahead[0].end_sequence <= sequence:
                self._ahead.popleft()


def _take_batch(frames: deque[Frame], sequence: int, itemsize: int) -> Batch:
    """Take the leading frames of one kind as one batch that begins at `sequence`, which is in the first."""
    first = frames.popleft()
    if first.kind is FrameKind.REPORT:
        return Batch(first.kind, sequence, 1, bytes(first.payload))
    parts, end = [first.payload[(sequence - first.first_sequence) * itemsize :]], first.end_sequence
    while frames and frames[0].kind is FrameKind.RECORDS:
        end = frames[0].end_sequence
        parts.append(frames.popleft().payload)
    return Batch(FrameKind.RECORDS, sequence, end - sequence, b"".join(parts))


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
