"""Append-only JSON lines: what happened in a run, for people, reports and the live view."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

REPORT_KINDS = ("episode", "evaluation", "fault", "state")
"""Kinds of entries that actors report; the learner writes them down."""
OTHER_REPORT = "report"
"""Kind of an entry that an actor reported without one of these."""


class Journal:
    """One file of JSON objects, one per line, each with the wall-clock time `time` in seconds since the epoch."""

    def __init__(self, path: Path, listener: Callable[[Mapping[str, Any]], None] | None = None) -> None:
        """Open, or begin, a journal.

        Args:
            path: Of the file.
            listener: Is handed every entry after it is written; returns at once.
        """
        self._listener = listener
        path.parent.mkdir(parents=True, exist_ok=True)
        cut_torn_line(path)
        self._file = path.open("a")

    def write(self, kind: str, values: Mapping[str, Any]) -> None:
        """Append one entry; it is with the operating system when this returns."""
        entry = {"time": time.time(), "kind": kind, **values}
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()
        if self._listener is not None:
            self._listener(entry)

    def write_report(self, report: Mapping[str, Any]) -> None:
        """Append what an actor reported. Its `kind` becomes the entry's if it is one that actors may report."""
        kind = report.get("kind")
        values = {key: value for key, value in report.items() if key not in ("kind", "time")}
        self.write(str(kind) if kind in REPORT_KINDS else OTHER_REPORT, values)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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
