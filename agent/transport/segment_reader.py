"""Reads a spool's segments in the order of its numbers, as much at once as one message takes."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from agent.record_log import Frame, FrameKind, RecordLog
from agent.transport.messages import BATCH_BYTES


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
    payload: bytes | memoryview


class SegmentReader:
    """Goes on where it was; from anywhere else it has to look for the place.

    Attributes:
        segment: That it reads.

    Args:
        segment: The first.
        sequence: Of the item that is first in it, or will be.
    """

    def __init__(self, segment: RecordLog, sequence: int) -> None:
        self._ahead: deque[Frame] = deque()
        self.begin_at(segment, sequence)

    def begin_at(self, segment: RecordLog, sequence: int) -> None:
        """Read on from the beginning of a segment, where item `sequence` is, or will be."""
        self.segment, self._offset, self._position = segment, segment.start, sequence
        self._ahead.clear()

    def take(self, segments: Sequence[RecordLog], sequence: int, below: int) -> Batch:
        """Items from number `sequence` on, about `BATCH_BYTES` of them; there is at least one below number `below`."""
        if sequence != self._position:
            self._seek(segments, sequence)
        while not self._ahead:
            self._read_ahead(segments)
        batch = _take_batch(self._ahead, sequence, below, self.segment.dtype.itemsize)
        self._position = sequence + batch.items
        return batch

    def _read_ahead(self, segments: Sequence[RecordLog]) -> None:
        frames = self.segment.read_frames(self._offset, BATCH_BYTES)
        if frames:
            self._ahead.extend(frames)
            self._offset += sum(frame.size for frame in frames)
        else:
            # Called for an item that exists: what is not in this segment is in the next one.
            self.begin_at(segments[segments.index(self.segment) + 1], self._position)

    def _seek(self, segments: Sequence[RecordLog], sequence: int) -> None:
        begun = [s for s in segments if s.first_sequence is not None and s.first_sequence <= sequence]
        self.begin_at(begun[-1], sequence)
        while not self._ahead:
            self._read_ahead(segments)
            while self._ahead and self._ahead[0].end_sequence <= sequence:
                self._ahead.popleft()


def _take_batch(frames: deque[Frame], sequence: int, below: int, itemsize: int) -> Batch:
    """Take the leading frames of one kind, of items below a number, as one batch.

    It begins at `sequence`, which is in the first.
    """
    first = frames.popleft()
    if first.kind is FrameKind.REPORT:
        return Batch(first.kind, sequence, 1, bytes(first.payload))
    parts, end = [first.payload[(sequence - first.first_sequence) * itemsize :]], first.end_sequence
    while frames and frames[0].kind is FrameKind.RECORDS and frames[0].end_sequence <= below:
        end = frames[0].end_sequence
        parts.append(frames.popleft().payload)
    payload = parts[0] if len(parts) == 1 else b"".join(parts)
    return Batch(FrameKind.RECORDS, sequence, end - sequence, payload)
