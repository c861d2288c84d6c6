"""Append-only JSON lines: what happened in a run, for people, reports and the live view."""

import json
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent.reports import KINDS, OTHER
from agent.storage import Appender, StorageTrouble

_MOST_WAITING = 10_000


class Journal:
    """One file of JSON objects, one per line, each with the wall-clock time `time` in seconds since the epoch.

    What a full or failing disk does not take waits in memory, in order, for the next entry; nobody is held up. Where
    too many wait, only reports are kept, of which a resumed learner counts those that the replay log has.
    """

    def __init__(self, path: Path, listener: Callable[[Mapping[str, Any]], None] | None = None) -> None:
        """Open, or begin, a journal.

        Args:
            path: Of the file.
            listener: Is handed every entry after it is written; returns at once.
        """
        self._listener = listener
        path.parent.mkdir(parents=True, exist_ok=True)
        cut_torn_line(path)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self._appender = Appender(self._fd)
        self._waiting: deque[bytes] = deque()
        self._trouble = StorageTrouble(
            f"The journal {path}", "What happens is kept in memory until there is room."
        )

    def write(self, kind: str, values: Mapping[str, Any]) -> None:
        """Append one entry; unless the disk is full it is with the operating system when this returns."""
        entry = {"time": time.time(), "kind": kind, **values}
        if len(self._waiting) < _MOST_WAITING or kind in (*KINDS, OTHER):
            self._waiting.append((json.dumps(entry) + "\n").encode())
        try:
            self._write_waiting()
        except OSError as error:
            self._trouble.note(error)
        if self._listener is not None:
            self._listener(entry)

    def write_report(self, report: Mapping[str, Any]) -> None:
        """Append what an actor reported. Its `kind` becomes the entry's if it is one that actors may report."""
        kind = report.get("kind")
        values = {key: value for key, value in report.items() if key not in ("kind", "time")}
        self.write(str(kind) if kind in KINDS else OTHER, values)

    def close(self) -> None:
        """Close the file; idempotent. What still waits is given up."""
        if self._fd >= 0:
            with suppress(OSError):
                self._write_waiting()
            os.close(self._fd)
            self._fd = -1

    def _write_waiting(self) -> None:
        while self._waiting:
            self._appender.append(self._waiting[0])
            self._waiting.popleft()
        self._trouble.over()


class JournalReader:
    """Follows a journal that another process may be writing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def new(self) -> list[dict[str, Any]]:
        """Complete entries since the last call; none while there is no file."""
        if not self._path.is_file():
            return []
        with self._path.open("rb") as file:
            file.seek(self._position)
            content = file.read()
        whole = content.rfind(b"\n") + 1  # What follows is still being written.
        self._position += whole
        return [json.loads(line) for line in content[:whole].splitlines()]


def last_of_each_process(episodes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the `episode` entries, the last one that each actor process wrote: its counters hold all before it.

    The counters of a process only grow; where an actor's `ticks` fall, it was started again.
    """
    open_ends: dict[str, dict[str, Any]] = {}
    ended = []
    for entry in episodes:
        before = open_ends.get(entry["actor"])
        if before is not None and entry["ticks"] < before["ticks"]:
            ended.append(before)
        open_ends[entry["actor"]] = entry
    return [*ended, *open_ends.values()]


def cut_torn_line(path: Path) -> None:
    """Remove what a killed process left of an unfinished line at the end of a file, if there is one."""
    if not path.is_file():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
