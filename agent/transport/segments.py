"""The files of a spool: items are added at the end, read from anywhere, given back from the beginning."""

from pathlib import Path

import numpy as np

from agent.config import InputError
from agent.record_log import FrameKind, RecordLog
from agent.transport.ledger import Ledger
from agent.transport.segment_reader import Batch, SegmentReader


class Segments:
    """Files `<n>.log` with consecutive items of one stream. One thread may add while another does all the rest.

    Attributes:
        segment_bytes: When the next file is begun.
        dropped_bytes: What a predecessor killed in the middle of a write left, cut off.
        found_reports: Numbers of the reports that were there at first.
        found_end: Number after the last item that was there at first; None if there was none.

    Args:
        directory: Where they are; a first one is made if there is none.
        dtype: Layout of a record.
        segment_bytes: See above.
        ledger: Says of which stream the items are, and which of them the learner has.

    Raises:
        InputError: One of them is in use elsewhere, of another layout or damaged, or items are missing between them.
    """

    def __init__(self, directory: Path, dtype: np.dtype[np.void], segment_bytes: int, ledger: Ledger) -> None:
        self.segment_bytes = segment_bytes
        self._directory, self._dtype = directory, dtype
        self._all: list[RecordLog] = []
        self.found_reports: list[int] = []
        self.found_end: int | None = None
        try:
            for path in sorted(directory.glob("*.log")) or [directory / "00000000.log"]:
                self._all.append(RecordLog.open(path, dtype))
            self.dropped_bytes = sum(segment.dropped_bytes for segment in self._all)
            self._follow(ledger.stream)
        except BaseException:
            self.close()
            raise
        oldest = self.oldest_sequence
        self._reader = SegmentReader(self._all[0], ledger.acknowledged if oldest is None else oldest)

    @property
    def oldest_sequence(self) -> int | None:
        """Number of the first item; None if there is none."""
        return self._all[0].first_sequence

    @property
    def size(self) -> int:
        """Of all files, in bytes."""
        return sum(segment.end for segment in self._all)

    def append(
        self, kind: FrameKind, payload: bytes | memoryview, count: int, stream: bytes, first_sequence: int
    ) -> None:
        """Add items that go on where the last one ends; after an error all is as before."""
        self._all[-1].append_raw(kind, payload, count, stream, first_sequence)

    def take(self, sequence: int, below: int) -> Batch:
        """See `SegmentReader.take`."""
        return self._reader.take(self._all, sequence, below)

    def rotate_if_full(self) -> None:
        """Begin a new file behind a full one. Takes long."""
        if self._all[-1].end >= self.segment_bytes:
            self._all = [*self._all, self._next()]

    def discard_below(self, sequence: int) -> None:
        """Delete files that hold only items numbered lower.

        The last items stay until later ones are written: a learner whose machine lost power wants them.
        """
        while len(self._all) > 1:
            following = self._all[1].first_sequence
            if following is None or following > sequence:
                break
            done = self._all[0]
            done.path.unlink(missing_ok=True)
            self._all = self._all[1:]
            if self._reader.segment is done:
                self._reader.begin_at(self._all[0], following)
            done.close()

    @property
    def is_empty(self) -> bool:
        """Whether there is but one file, and nothing in it."""
        return len(self._all) == 1 and self._all[0].first_sequence is None

    def clear(self, next_sequence: int) -> None:
        """Forget all items, without room for a new file; the next one has this number. Nobody may be adding."""
        last = self._all[-1]
        for segment in self._all[:-1]:
            segment.path.unlink(missing_ok=True)
            segment.close()
        self._all = [last]
        last.clear()
        self._reader.begin_at(last, next_sequence)

    def begin_anew(self) -> None:
        """Forget all items, and go on in a new file with number 0. Nobody may be adding."""
        done, fresh = self._all, self._next()
        self._all = [*done, fresh]
        for segment in done:
            segment.path.unlink(missing_ok=True)  # A failing disk may have taken some of it already.
            segment.close()
        self._all = [fresh]
        self._reader.begin_at(fresh, 0)

    def sync(self) -> None:
        """Force to disk what may not be there yet."""
        for segment in self._all[-2:]:  # A file is left with items that were not forced to disk yet.
            segment.sync()

    def close(self) -> None:
        """Release the files; idempotent."""
        for segment in self._all:
            segment.close()

    def _follow(self, stream: bytes) -> None:
        """Check that the numbers have no gap, and note where they end."""
        for segment in self._all:
            for frame in segment.frames():
                if frame.stream != stream or self.found_end not in (None, frame.first_sequence):
                    raise InputError(
                        f"Transitions are missing before number {frame.first_sequence} in {segment.path}; "
                        f"remove {self._directory} to give up what was not yet sent, and start again."
                    )
                if frame.kind is FrameKind.REPORT:
                    self.found_reports.append(frame.first_sequence)
                self.found_end = frame.end_sequence

    def _next(self) -> RecordLog:
        last = self._all[-1].path
        return RecordLog.open(self._directory / f"{int(last.stem) + 1:08d}.log", self._dtype)
