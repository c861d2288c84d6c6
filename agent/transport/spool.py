"""The actor's outbox on disk: items wait here, numbered, until the learner has stored them.

A folder with a file `stream` (the `Ledger`, locked by its owner) and segments `<n>.log`. Segments that the
learner has wholly stored are deleted. An actor that restarts with the same folder goes on numbering where its
predecessor was killed. All items belong to one run; the next run begins a new stream.

Durability: an item is with the operating system when it was appended, so it survives `kill -9`: in the file, or, of a
spool with a `Stage`, in memory that outlives the process, from where another thread writes many at once. Only where
the disk takes longer than who appends has patience, and the stage is full or there is none, items wait in this process.
Nothing is forced to disk, which takes longer than a control period may: a loss of power can take the newest seconds.
With `SpoolLimits.sync` the thread that sends does that before it sends, and a loss of power takes nothing that was
sent. Where there is no room (`Spool.no_room`) whoever makes items should cease.
"""

import logging
import os
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from agent.config import InputError
from agent.record_log import FRAME_OVERHEAD, FrameKind
from agent.storage import is_storage_error, make_folder, reason_of
from agent.transition import Records
from agent.transport.ledger import Ledger
from agent.transport.messages import BATCH_BYTES, Report, encode_report
from agent.transport.segment_reader import Batch
from agent.transport.segments import Segments
from agent.transport.stage import Stage, left, place_of

log = logging.getLogger(__name__)

_STALLED_S = 2.0  # A disk that takes so long is in trouble; until then whoever makes items need not know.
_LAST_WRITE_S = 10.0
_SEGMENTS = 128  # At most, about; each is an open file.
_LEAST_SEGMENT_BYTES, _MOST_SEGMENT_BYTES = 1 << 20, 64 << 20
_GATHER_S = 0.002  # Between two writes of what lies in the stage, where it is safe.
_FRAME_BYTES = BATCH_BYTES - FRAME_OVERHEAD  # So that one read takes a frame whole.
_ENOUGH = (
    0.9  # Of a limit: so much must be free again, or whoever waits for room would begin and cease in turn.
)


class SpoolLimits(NamedTuple):
    """How much an actor may keep for a learner that does not take it.

    Attributes:
        spool_bytes: Of the spool.
        spare_bytes: What is left free on its disk.
        sync: Whether items are forced to disk before they are sent.
    """

    spool_bytes: int = 8 << 30
    spare_bytes: int = 200 << 20
    sync: bool = False


DEFAULT_LIMITS = SpoolLimits()


@dataclass(slots=True)
class _Item:
    """Numbered, and yet to be written; without a payload they are records that lie in the stage."""

    kind: FrameKind
    payload: bytes | None
    items: int
    since_s: float


class Spool:
    """Numbered items on disk. Any thread may append; one thread reads and does all the rest.

    Attributes:
        next_sequence: Number of the next item.
        no_room: Why no more items should be made now, in a sentence; None while there is room. What is appended all the
            same is not lost.
        dropped_bytes: What a predecessor killed in the middle of a write left, cut off.
    """

    def __init__(
        self,
        directory: Path,
        dtype: np.dtype[np.void],
        segment_bytes: int | None = None,
        limits: SpoolLimits = DEFAULT_LIMITS,
        patience_s: float | None = None,
        staged: bool = False,
        on_written: Callable[[], None] = lambda: None,
    ) -> None:
        """Open the spool in `directory`, or begin one.

        Args:
            directory: Belongs to it alone.
            dtype: Layout of a record.
            segment_bytes: When the next file is begun; None takes what fits the limits.
            limits: How much may be kept.
            patience_s: How long whoever appends waits for the disk; None as long as it takes.
            staged: Whether records wait for the disk in a `Stage`, and nobody for them, as long as there is room; only
                with `patience_s`, and not where the system has no such memory.
            on_written: Called after something was written, on the thread that did.

        Raises:
            InputError: Another process uses it, its transitions are of another layout, it is damaged, or the disk takes
                nothing.
        """
        self._directory = directory
        self._limits = limits
        self._patience_s = patience_s
        self._on_written = on_written
        # Of what is numbered, for a moment; and of the last segment, for as long as the disk takes. In this order: disk
        # before numbers.
        self._lock, self._disk = threading.Lock(), threading.Lock()
        self._moved = threading.Condition(self._lock)
        self._waiting: deque[_Item] = deque()
        self._stage: Stage | None = None
        self._idle = False  # The thread that writes waits for something to write.
        self._hurried = 0  # How many wait for it.
        self._failure: str | None = None
        self.no_room: str | None = None
        self._dtype = dtype
        self._frame_records = self._most_at_once = max(1, _FRAME_BYTES // dtype.itemsize)
        try:
            self._open(segment_bytes, staged and patience_s is not None)
        except OSError as error:
            raise InputError(
                f"The spool {directory} cannot be written ({reason_of(error)}); make room there, or use another disk."
            ) from None
        # After a loss of power the ledger may be older than the segments, or the segments than the ledger.
        self._ledger.acknowledge(min(max(self.acknowledged, self.oldest_sequence), self.next_sequence))
        self.dropped_bytes = self._segments.dropped_bytes
        self._closing = False
        self._error: BaseException | None = None
        self._writer: threading.Thread | None = None
        if patience_s is not None:
            self._writer = threading.Thread(target=self._keep_writing, name="spool", daemon=True)
            self._writer.start()

    def _open(self, segment_bytes: int | None, staged: bool) -> None:
        make_folder(self._directory)
        fitting = min(max(self._limits.spool_bytes // _SEGMENTS, _LEAST_SEGMENT_BYTES), _MOST_SEGMENT_BYTES)
        with ExitStack() as opened:
            self._ledger = Ledger(self._directory / "stream")
            opened.callback(self._ledger.close)
            size = fitting if segment_bytes is None else segment_bytes
            self._segments = Segments(self._directory, self._dtype, size, self._ledger)
            opened.callback(self._segments.close)
            self._report_numbers, end = self._segments.found_reports, self._segments.found_end
            self.next_sequence = self.acknowledged if end is None else end
            self._stage = self._take_over_stage(place_of(self._directory / "stream"), staged)
            self._written = self._sendable = self.next_sequence
            opened.pop_all()

    def _take_over_stage(self, place: Path, staged: bool) -> Stage | None:
        """Write what a killed process left there, and begin anew."""
        for payload in left(place, self._dtype, self.stream, self.next_sequence):
            for begin in range(0, len(payload), self._frame_records * self._dtype.itemsize):
                part = payload[begin : begin + self._frame_records * self._dtype.itemsize]
                count = len(part) // self._dtype.itemsize
                self._segments.append(FrameKind.RECORDS, part, count, self.stream, self.next_sequence)
                self.next_sequence += count
        with suppress(OSError):
            place.unlink(missing_ok=True)
        try:
            return Stage(place, self._dtype, self.stream) if staged else None
        except OSError as error:
            log.info("Every hand-over waits for its disk: no memory that outlives it (%s).", reason_of(error))
            return None

    @property
    def stream(self) -> bytes:
        """Identity of the numbering, 16 bytes: as long as the items are one run's, the same in every process."""
        return self._ledger.stream

    @property
    def run_id(self) -> bytes:
        """Of the run that the items belong to; empty while none is known."""
        return self._ledger.run_id

    @property
    def acknowledged(self) -> int:
        """The learner has all items below this number."""
        return self._ledger.acknowledged

    @property
    def oldest_sequence(self) -> int:
        """Number of the first item that is on disk; of the next one if there is none."""
        first = self._segments.oldest_sequence
        return self._written if first is None else first

    def enter_run(self, run_id: bytes) -> bool:
        """What is handed over from now on is for this run; return whether a new stream began for it.

        Items that no learner has welcomed yet become this run's. If they are another's, and its learner has
        them all, they are forgotten, and numbers begin again at 0.

        Raises:
            InputError: The learner of the other run lacks some of them.
        """
        if self._ledger.run_id == run_id:
            return False
        # Takes long, but once in a run: what is appended meanwhile must belong wholly to one of the two.
        with self._disk, self._lock:
            owner = self._ledger.run_id
            if not owner:
                self._ledger.belong_to(run_id)
            if not owner:
                return False
            if self.acknowledged < self.next_sequence:
                raise InputError(
                    f"Spool {self._directory} holds {self.next_sequence - self.acknowledged} items that belong to "
                    f"another run ({owner.hex()}) than this learner's ({run_id.hex()}); go on with the run they "
                    "belong to, or remove the folder to give them up."
                )
            self._begin_stream(run_id)
            return True

    def append(self, records: Records) -> None:
        """Number records and write them to disk, or to the stage; those of one call stay in order.

        Those that the disk does not take, or not within `patience_s`, wait in memory.
        """
        dtype = self._dtype
        if records.dtype is not dtype and records.dtype != dtype:
            raise ValueError(f"This actor's records are {dtype}, not {records.dtype}.")
        fits = self._stage is not None and len(records) <= self._stage.capacity
        if self._stage is not None and fits and self._put(self._stage, records):
            return
        step = self._frame_records
        for begin in range(0, len(records), step):
            part = records[begin : begin + step]
            # What fits the stage has waited for it already.
            self._write(FrameKind.RECORDS, part.tobytes(), len(part), is_patient=not fits)

    def _put(self, stage: Stage, records: Records) -> bool:
        """Into the stage; False if there is no room, and none for as long as patience lasts."""
        count = len(records)
        with self._lock:
            if not stage.has_room(count):
                self._wait_for_writer(lambda: stage.has_room(count))
            if not stage.put(records, self.next_sequence):
                return False
            self.next_sequence += count
            waiting = self._waiting
            if waiting and waiting[-1].payload is None:
                waiting[-1].items += count
            else:
                waiting.append(_Item(FrameKind.RECORDS, None, count, time.monotonic()))
            if self._idle or stage.waiting >= self._frame_records:
                self._moved.notify_all()
            self._look_at_writer()
        return True

    def settle(self) -> None:
        """Wait until the disk took, or did not take, what was appended; no longer than patience lasts."""
        if self._writer is not None and self._waiting:
            with self._lock:
                self._wait_for_writer(lambda: not self._waiting)
                self._look_at_writer()

    def append_report(self, values: Report) -> None:
        """Number a report and write it to disk."""
        self._write(FrameKind.REPORT, encode_report(values), 1)

    def _write(self, kind: FrameKind, payload: bytes, count: int, is_patient: bool = True) -> None:
        with self._lock:
            if kind is FrameKind.REPORT:
                self._report_numbers.append(self.next_sequence)
            self.next_sequence += count
            self._waiting.append(_Item(kind, payload, count, time.monotonic()))
            if self._writer is not None:
                if is_patient:
                    self._wait_for_writer(lambda: not self._waiting)
                self._look_at_writer()
        if self._writer is None:
            with self._disk:
                self._try_to_write()

    def _wait_for_writer(self, is_done: Callable[[], bool]) -> None:
        """Until it is, or was tried in vain, or takes too long. With the lock."""
        if self._failure is None:
            self._hurried += 1
            self._moved.notify_all()
            self._moved.wait_for(lambda: is_done() or self._failure or self._error, self._patience_s)
            self._hurried -= 1

    def _look_at_writer(self) -> None:
        """With the lock."""
        if self._error is not None:
            raise RuntimeError(f"The thread that writes the spool died: {self._error!r}.") from self._error
        if stalled := self._stalled():
            self.no_room = stalled

    def _keep_writing(self) -> None:
        """The writer's thread: the disk may hold it up, and nobody else."""
        try:
            while self._await_work():
                with self._disk:
                    self._try_to_write()
        except BaseException as error:
            with self._lock:
                self._error = error
                self._moved.notify_all()

    def _await_work(self) -> bool:
        """Wait until there is something to write; False when there never will be.

        What is safe in the stage may gather for a moment: one write for many.
        """
        with self._lock:
            if self._stage is not None:
                self._moved.wait_for(self._is_urgent, _GATHER_S)
            self._idle = True
            # After a failure it is for `tend` to try again.
            self._moved.wait_for(lambda: self._closing or (self._waiting and self._failure is None))
            self._idle = False
            return not self._closing

    def _is_urgent(self) -> bool:
        """With the lock."""
        full = self._stage is not None and self._stage.waiting >= self._frame_records
        return self._closing or self._hurried > 0 or (full and self._failure is None)

    def _try_to_write(self) -> None:
        """With the disk."""
        try:
            self._write_waiting()
        except OSError as error:
            self._note(error)
            self.no_room = self._why_no_room()

    def _write_waiting(self) -> None:
        """Write what waits, in order. With the disk."""
        while self._waiting:
            item = self._waiting[0]
            payload, count = self._next_payload(item)
            try:
                self._segments.append(item.kind, payload, count, self.stream, self._written)
            except OSError:
                self._most_at_once = max(1, count // 2)  # A disk that is nearly full may have room for fewer.
                raise
            self._most_at_once = min(2 * self._most_at_once, self._frame_records)
            with self._lock:
                self._written += count
                if self._stage is not None and item.payload is None:
                    self._stage.release(count)
                item.items, item.since_s = item.items - count, time.monotonic()
                if not item.items:
                    self._waiting.popleft()
                if not self._limits.sync:
                    self._sendable = self._written
                if self._hurried:
                    self._moved.notify_all()
            self._on_written()

    def _next_payload(self, item: _Item) -> tuple[bytes | memoryview, int]:
        """What of an item is written next, and how many those are."""
        if item.payload is not None:
            return item.payload, item.items
        assert self._stage is not None
        with self._lock:
            return self._stage.oldest(min(item.items, self._most_at_once))

    def tend(self) -> None:
        """Write what waits, tidy up, and look how much room there is. To be called now and then; may take long."""
        try:
            self.tidy()
            self._write_again()
            self._release()
        except OSError as error:
            self._note(error)
        self.no_room = self._why_no_room()

    def _write_again(self) -> None:
        """What failed, unless someone is just writing."""
        if (self._writer is not None and self._failure is None) or not self._disk.acquire(blocking=False):
            return
        try:
            if self._waiting and self._failure is not None:
                self._give_up_stored()
            self._write_waiting()
            self._failure = None
        finally:
            self._disk.release()

    def _give_up_stored(self) -> None:
        """Where the disk is full, do not keep even the last items that the learner has. With the disk."""
        if self.acknowledged < self._written or self._segments.is_empty:
            return
        self._ledger.sync()  # Nothing else tells the number of the next item then.
        self._segments.clear(self._written)

    def _release(self) -> None:
        """Let what is written be sent."""
        written = self._written
        if self._limits.sync and written > self._sendable:
            self._segments.sync()
        self._sendable = written

    def _note(self, error: OSError) -> None:
        if not is_storage_error(error):
            raise error
        with self._lock:
            self._failure = reason_of(error)
            self._moved.notify_all()

    def _stalled(self) -> str | None:
        """With the lock."""
        oldest = next(iter(self._waiting), None)
        if oldest is None or time.monotonic() - oldest.since_s < _STALLED_S:
            return None
        return f"The disk of {self._directory} has taken nothing for {_STALLED_S:g} s."

    def _why_no_room(self) -> str | None:
        enough = 1.0 if self.no_room is None else _ENOUGH
        if self._failure is not None:
            return f"Transitions cannot be written to {self._directory} ({self._failure})."
        with self._lock:
            stalled = self._stalled()
        if stalled is not None:
            return stalled
        if self._segments.size > self._limits.spool_bytes * enough:
            most = self._limits.spool_bytes / 1e9
            return f"The learner has yet to take {most:.3g} GB from {self._directory}, and no more may wait there."
        disk = os.statvfs(self._directory)
        if disk.f_bavail * disk.f_frsize < self._limits.spare_bytes / enough:
            return f"Less than {self._limits.spare_bytes / 1e6:.3g} MB are free on the disk of {self._directory}."
        return None

    def records_from(self, sequence: int) -> int:
        """How many records (reports not counted) are numbered `sequence` or higher."""
        with self._lock:
            reports = len(self._report_numbers) - bisect_left(self._report_numbers, sequence)
            return self.next_sequence - sequence - reports

    def has_from(self, sequence: int) -> bool:
        """Whether `next_batch` has something."""
        return sequence < self._sendable

    def fills_message(self, sequence: int) -> bool:
        """Whether there is about as much from number `sequence` on as one message takes."""
        return (self._sendable - sequence) * self._dtype.itemsize >= _FRAME_BYTES // 2

    @property
    def lets_send_when_tended(self) -> bool:
        """Whether items wait for `tend` to force them to disk."""
        return self._limits.sync and self._sendable < self._written

    def next_batch(self, sequence: int) -> Batch | None:
        """Items from number `sequence` on, about `BATCH_BYTES` of them; None if there are none yet."""
        if sequence >= self._sendable:
            return None
        return self._segments.take(sequence, self._sendable)

    def acknowledge(self, sequence: int) -> None:
        """The learner has all items numbered lower than `sequence`."""
        self._ledger.acknowledge(sequence)

    def tidy(self) -> None:
        """Delete files that hold nothing but acknowledged items; begin a new one behind a full one. Takes long."""
        self._segments.discard_below(self.acknowledged)
        with self._lock:
            del self._report_numbers[: bisect_left(self._report_numbers, self.acknowledged)]
        self._segments.rotate_if_full()

    def close(self) -> None:
        """Release the folder; idempotent. What the disk does not take even now is lost, and told."""
        if self._writer is not None:
            with self._lock:
                self._closing = True
                self._moved.notify_all()
            self._writer.join(_LAST_WRITE_S)
        if self._disk.acquire(timeout=_LAST_WRITE_S):
            with suppress(OSError):
                self._write_waiting()
            self._disk.release()
        self._close_stage()
        if lost := sum(item.items for item in self._waiting if item.payload is not None):
            log.error("%d items are lost: they could not be written to %s.", lost, self._directory)
        self._waiting.clear()
        self._segments.close()
        self._ledger.close()

    def _close_stage(self) -> None:
        if self._stage is None:
            return
        if kept := self._stage.waiting:
            log.error(
                "%d transitions could not be written to %s: the next actor with this spool does it, unless the machine "
                "is started anew before.",
                kept, self._directory,
            )  # fmt: skip
        self._stage.close()
        self._stage = None

    def _begin_stream(self, run_id: bytes) -> None:
        """Forget everything. A process killed in between leaves the old stream, all acknowledged, or the new."""
        self._segments.begin_anew()
        self._ledger.begin_stream(run_id)
        if self._stage is not None:
            self._stage.begin(self.stream)
        self._report_numbers = []
        self.next_sequence = self._written = self._sendable = 0
