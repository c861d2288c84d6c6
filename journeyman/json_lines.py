"""A handler of `logging` that writes JSON lines: never waited for, bounded, whole, undisturbed by a full disk."""

import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import msgspec

from agent.journal import cut_torn_line
from agent.storage import Appender

FILE_BYTES = 8 << 20
"""A file of this size is put aside as `NAME.1`, that one as `NAME.2`, and so on."""
OLDER_FILES = 3
"""How many stay besides the one that is written."""

_MOST_WAITING = 10_000
_TEXT_BYTES = 32 << 10
_RETRY_S = 1.0
_CLOSE_TIMEOUT_S = 5.0


class JsonLinesHandler(logging.Handler):
    """Appends an entry for each record, from a thread of its own: a control loop that logs does not wait for a disk.

    An entry is with the operating system a moment after it was logged, and in whole or not at all. What cannot be
    written (a full or read-only disk, more than can be kept up with) is lost and counted; the first such failure is
    told, and once there is room again an entry says how many are missing.

    Args:
        path: Of the file; made, like its folder, by the first entry.
        process: Who writes.
        tell: Takes a sentence about the first failure.
    """

    def __init__(self, path: Path, process: str, tell: Callable[[str], object]) -> None:
        super().__init__()
        self._file = _BoundedFile(path)
        self._path = path
        self._process = process
        self._tell = tell
        self._told = False
        self._lost = 0
        # Of the queues this one alone may be put to by a signal handler that interrupts a put.
        self._waiting: SimpleQueue[bytes | None] = SimpleQueue()
        self._closed_once = False
        self._thread = threading.Thread(target=self._run, name="run-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record over; returns at once."""
        if self._waiting.qsize() >= _MOST_WAITING:
            self._lost += 1
            return
        try:
            self._waiting.put(self._encode(record))
        except (
            Exception
        ):  # A record that does not fit its own format is a defect, but not one to end a robot for.
            self._lost += 1

    def close(self) -> None:
        """Write what waits, for a few seconds at most; idempotent."""
        if not self._closed_once:
            self._closed_once = True
            self._waiting.put(None)
            self._thread.join(_CLOSE_TIMEOUT_S)
        super().close()

    def _encode(self, record: logging.LogRecord) -> bytes:
        exception = None
        if record.exc_info:
            exception = logging.Formatter().formatException(record.exc_info)
        fields = getattr(record, "fields", {})
        entry = self._entry(record.created, record.levelname, record.name, record.getMessage(), fields)
        return _line(entry | ({"exception": _text(exception)} if exception else {}))

    def _entry(
        self, created_s: float, level: str, logger: str, message: str, fields: Any = None
    ) -> dict[str, Any]:
        return {
            "time": datetime.fromtimestamp(created_s, UTC).isoformat(timespec="microseconds"),
            "level": level,
            "process": self._process,
            "pid": os.getpid(),
            "logger": logger,
            "message": _text(message),
            "fields": fields or {},
        }

    def _run(self) -> None:
        while (line := self._waiting.get()) is not None:
            try:
                if self._lost:
                    self._file.append(self._about_lost())
                    self._lost = 0
                self._file.append(line)
            except OSError as error:
                self._lost += 1
                if not self._told:
                    self._told = True
                    reason = error.strerror or error
                    self._tell(f"The log {self._path} cannot be written: {reason}. Everything else goes on.")
        self._file.close()

    def _about_lost(self) -> bytes:
        message = f"{self._lost} entries are missing here: they could not be written."
        return _line(self._entry(time.time(), "WARNING", __name__, message, {"lost": self._lost}))


class _BoundedFile:
    """Whole lines, in files of bounded size."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._size = 0
        self._retry_s = 0.0

    def append(self, line: bytes) -> None:
        """Write a line, or nothing.

        Raises:
            OSError: It cannot be written. The file is opened anew by a later call.
        """
        try:
            if self._descriptor is None:
                self._open()
            if self._size and self._size + len(line) > FILE_BYTES:
                self._rotate()
            assert self._descriptor is not None
            Appender(self._descriptor).append(line)
        except OSError:
            self.close()
            raise
        self._size += len(line)

    def close(self) -> None:
        """Let go of the file; idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> None:
        now_s = time.monotonic()
        if now_s < self._retry_s:
            raise OSError(errno.EIO, "it failed a moment ago")
        self._retry_s = now_s + _RETRY_S
        self._path.parent.mkdir(parents=True, exist_ok=True)
        cut_torn_line(self._path)  # Of a process that was killed.
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._size = os.fstat(self._descriptor).st_size

    def _rotate(self) -> None:
        self.close()
        for number in range(OLDER_FILES, 0, -1):
            newer = self._path if number == 1 else self._aside(number - 1)
            if newer.exists():
                newer.replace(self._aside(number))
        self._retry_s = 0.0
        self._open()

    def _aside(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def _line(entry: dict[str, Any]) -> bytes:
    try:
        encoded = msgspec.json.encode(entry, enc_hook=str)
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError):
        encoded = msgspec.json.encode({**entry, "fields": {"unreadable": _text(repr(entry["fields"]))}})
    return encoded + b"\n"


def _text(text: str) -> str:
    """What JSON can hold, and no more than a person would read."""
    clean = text.encode("utf-8", "backslashreplace").decode()
    return clean if len(clean) <= _TEXT_BYTES else f"{clean[:_TEXT_BYTES]} ... ({len(clean):,} characters)"
