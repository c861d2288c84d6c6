"""What happens to items at the learner: recognised, stored, handed over; once, in the order of a stream."""

import math
import threading
import time
from collections import deque
from enum import Enum

import numpy as np

from agent.record_log import FrameKind, RecordLog
from agent.storage import StorageTrouble
from agent.transition import Records
from agent.transport.messages import Buffer, Report, decode_report
from agent.transport.quarantine import Quarantine, Run

_WRITE_AGAIN_AFTER_S = 1.0
_MOST_AT_ONCE_S = 0.2  # Others of the receive thread's actors wait meanwhile.


class Outcome(Enum):
    """What became of arriving items."""

    STORED = "stored"
    DUPLICATE = "all of them had been stored before"
    GAP = "items before them are missing"
    FULL = "the learner has yet to take what is waiting"
    UNWRITTEN = "the disk did not take them"
    LATER = "only the first ones are stored: all at once would hold up the other actors"


class Intake:
    """Stores items and queues them: the receive thread puts in, the learner's thread takes out.

    Attributes:
        environment_steps: Records stored, the log's older ones included.
    """

    def __init__(
        self,
        dtype: np.dtype[np.void],
        log: RecordLog | None,
        queue_bytes: int,
        changed: threading.Condition | None = None,
        quarantine: Quarantine | None = None,
        sync: bool = False,
    ) -> None:
        """Continue where `log` and `quarantine` end.

        Args:
            dtype: Layout of a record.
            log: Where items are stored before they are acknowledged; None keeps nothing.
            queue_bytes: How much may wait for the learner before more is turned away.
            changed: Is notified of what arrives; its own if None.
            quarantine: Says which transitions must not be learned from, and takes them; None looks at none.
            sync: Whether what is stored is forced to disk at once.
        """
        self._dtype = dtype
        self._log = log
        self._queue_bytes = queue_bytes
        self._quarantine = quarantine
        self._sync = sync
        if log is not None and sync:
            log.sync()  # What a process before this one stored counts as stored.
        self._cursors: dict[bytes, int] = dict(log.cursors) if log else {}
        for stream, cursor in quarantine.cursors.items() if quarantine else ():
            self._cursors[stream] = max(self._cursors.get(stream, 0), cursor)
        self._empty: set[bytes] = set()  # streams of which nothing is stored
        self.environment_steps = log.record_count if log else 0
        self._records: deque[Records] = deque()
        self._reports: deque[bytes] = deque()  # encoded: decoded they may take 30 times as much
        self._waiting_bytes = 0
        self._ended = False
        self._write_again_s = -math.inf
        self._trouble = StorageTrouble(
            f"The replay log {log.path if log else ''}",
            "The actors keep what they measure, and learning goes on with what there is until there is room.",
        )
        self._changed = changed or threading.Condition()

    def join(self, stream: bytes, oldest_sequence: int) -> int:
        """A stream begins or goes on; return the number of the item it is to send next.

        What lies below `oldest_sequence` nobody has any more: it was stored, in a log that has since lost it.
        """
        if stream not in self._cursors:
            self._empty.add(stream)
        self._cursors[stream] = max(self._cursors.get(stream, 0), oldest_sequence)
        return self._cursors[stream]

    def leave(self, stream: bytes) -> None:
        """Who sent a stream is gone. One of which nothing is stored is forgotten: any number of them may come."""
        if stream in self._empty:
            self._empty.remove(stream)
            del self._cursors[stream]

    def expected(self, stream: bytes) -> int:
        """Number of the item that `stream` is to send next; 0 for an unknown one."""
        return self._cursors.get(stream, 0)

    @property
    def has_room(self) -> bool:
        """Whether arriving items are taken: not while the learner has enough to take, or just after a disk failed."""
        return self._waiting_bytes < self._queue_bytes and time.monotonic() >= self._write_again_s

    def take(
        self, kind: FrameKind, stream: bytes, first_sequence: int, items: int, payload: Buffer
    ) -> Outcome:
        """Store what is new of these items: after `STORED` it is in the log and in the queue, else in neither.

        What must not be learned from is in the quarantine instead of both; of items that are not all stored the first
        ones may be.

        Raises:
            OSError: A log cannot be written for a reason that will not pass; a full or failing disk may.
        """
        if self._quarantine is None or kind is not FrameKind.RECORDS:
            return self._take(kind, stream, first_sequence, items, payload)
        size, outcome = self._dtype.itemsize, Outcome.DUPLICATE
        until_s = time.monotonic() + _MOST_AT_ONCE_S
        for first, end, reason in self._quarantine.runs(payload) or [Run(0, items, "")]:
            # Each time that good ones and others take turns the log is forced to disk.
            if first and time.monotonic() > until_s:
                return Outcome.LATER
            part = payload[first * size : end * size]
            outcome = self._take(kind, stream, first_sequence + first, end - first, part, reason)
            if outcome not in (Outcome.STORED, Outcome.DUPLICATE):
                break
        return outcome

    def _take(
        self,
        kind: FrameKind,
        stream: bytes,
        first_sequence: int,
        items: int,
        payload: Buffer,
        reason: str = "",
    ) -> Outcome:
        """As `take`, of items of which all must not be learned from for the same reason, or none."""
        expected = self._cursors[stream]
        if first_sequence > expected:
            return Outcome.GAP
        if first_sequence + items <= expected:
            return Outcome.DUPLICATE
        if not self.has_room:
            return Outcome.FULL
        if kind is FrameKind.RECORDS:
            # A batch may begin with records that arrived before, when its sender had not heard so.
            payload = payload[(expected - first_sequence) * self._dtype.itemsize :]
        items -= expected - first_sequence
        if not self._write(kind, payload, items, stream, expected, reason):
            return Outcome.UNWRITTEN
        self._cursors[stream] = expected + items
        self._empty.discard(stream)
        if not reason:
            self._queue(kind, items, payload)
        return Outcome.STORED

    def _write(
        self, kind: FrameKind, payload: Buffer, items: int, stream: bytes, first_sequence: int, reason: str
    ) -> bool:
        try:
            if reason:
                self._keep_aside(payload, items, stream, first_sequence, reason)
            elif self._log is not None:
                self._log.append_raw(kind, payload, items, stream, first_sequence)
        except OSError as error:
            self._trouble.note(error)
            self._write_again_s = time.monotonic() + _WRITE_AGAIN_AFTER_S
            return False
        if self._sync and self._log is not None:
            self._log.sync()  # It is in the log: an error here is none that sending it again could mend.
        self._trouble.over()
        return True

    def _keep_aside(
        self, payload: Buffer, items: int, stream: bytes, first_sequence: int, reason: str
    ) -> None:
        if self._log is not None:
            self._log.sync()  # Or after a loss of power the quarantine would say that what came before is stored.
        assert self._quarantine is not None
        self._quarantine.keep(payload, items, stream, first_sequence, reason)

    def _queue(self, kind: FrameKind, items: int, payload: Buffer) -> None:
        if kind is FrameKind.REPORT or 2 * len(payload) < _kept_by(payload):
            payload = bytes(payload)
        with self._changed:
            self._waiting_bytes += len(payload)
            if kind is FrameKind.RECORDS:
                self._records.append(np.frombuffer(payload, self._dtype))
                self.environment_steps += items
            else:
                self._reports.append(bytes(payload))
            self._changed.notify_all()

    def poll(self) -> Records | None:
        """The oldest batch the learner has not taken, read-only, shape (N,)."""
        with self._changed:
            if not self._records:
                return None
            records = self._records.popleft()
            self._waiting_bytes -= records.nbytes
            return records

    def poll_reports(self) -> list[Report]:
        """All reports the learner has not taken."""
        with self._changed:
            encoded = list(self._reports)
            self._reports.clear()
            self._waiting_bytes -= sum(map(len, encoded))
        return [decode_report(report) for report in encoded]

    def wait(self, timeout_s: float) -> bool:
        """Wait until there is something to take, or never will be; return whether there is."""
        with self._changed:
            self._changed.wait_for(lambda: self.has_news, timeout_s)
            return bool(self._records or self._reports)

    @property
    def has_news(self) -> bool:
        """Whether there is something to take, or never will be."""
        return bool(self._records or self._reports or self._ended)

    def end(self) -> None:
        """Nothing arrives any more: do not let anyone wait for it."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def _kept_by(payload: Buffer) -> int:
    """Bytes that cannot be given back while this is there: of a part, those of the whole."""
    return memoryview(payload.obj).nbytes if isinstance(payload, memoryview) else len(payload)
