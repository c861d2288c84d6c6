"""What the logs say after bench/faults.py: what is missing, double, out of order or late."""

import collections
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agent.journal import last_of_each_process
from agent.record_log import FrameKind, RecordLog
from agent.transport.spool import Spool


class Count(NamedTuple):
    """What the learner's log holds, against what actors say.

    Attributes:
        transitions: Stored.
        lost: Items that an actor handed over and the learner does not have, and steps missing within an episode.
        doubled: Items and steps that are there twice.
        disordered: Items that are before one with a lower number of the same actor.
        episodes: Whole ones whose report says as many steps as there are.
    """

    transitions: int
    lost: int
    doubled: int
    disordered: int
    episodes: int

    @property
    def is_good(self) -> bool:
        """Whether nothing is missing, double or out of order."""
        return not (self.lost or self.doubled or self.disordered)

    def __str__(self) -> str:
        return (
            f"{self.transitions:,} transitions stored: {self.lost} lost, {self.doubled} doubled, {self.disordered} out "
            f"of order; {self.episodes:,} episodes as long as their reports say."
        )


def count(log: RecordLog, spools: Iterable[Path], journal: Sequence[dict[str, Any]]) -> Count:
    """Read a learner's log.

    By the numbers of items, and, independent of these, by the steps within episodes and by how many an episode's
    report says that there were.

    Args:
        log: Of the learner.
        spools: Folders of all actors' spools, which nobody uses any more.
        journal: Entries of the learner's.
    """
    numbers: dict[bytes, list[int]] = collections.defaultdict(list)
    rows: dict[bytes, list[Any]] = collections.defaultdict(list)
    for frame in log.frames():
        numbers[frame.stream] += range(frame.first_sequence, frame.end_sequence)
        if frame.kind is FrameKind.RECORDS:
            rows[frame.stream].append(np.frombuffer(frame.payload, log.dtype))
    lost = _left_over(log, spools)
    doubled = disordered = 0
    for stream, found in numbers.items():
        lost += log.cursors[stream] - len(set(found))
        doubled += len(found) - len(set(found))
        disordered += int((np.diff(found) < 0).sum())
    by_stream = {stream: np.concatenate(parts) for stream, parts in rows.items()}
    for of_stream in by_stream.values():
        missing, twice = _within_episodes(of_stream)
        lost, doubled = lost + missing, doubled + twice
    wrong, whole = _against_reports(by_stream, journal)
    return Count(sum(map(len, by_stream.values())), lost + wrong, doubled, disordered, whole)


def deadlines(journal: Sequence[dict[str, Any]], actor: str) -> tuple[int, int, float]:
    """Deadlines of an actor: all, those missed by more than a period, and by how many seconds the latest."""
    last = last_of_each_process([e for e in journal if e["kind"] == "episode" and e["actor"] == actor])
    return (
        sum(e["ticks"] for e in last),
        sum(e["missed_deadlines"] for e in last),
        max((e["worst_lateness_s"] for e in last), default=0.0),
    )


def _left_over(log: RecordLog, spools: Iterable[Path]) -> int:
    """Items that actors have still to hand over."""
    items = 0
    for path in spools:
        spool = Spool(path, log.dtype)
        items += spool.next_sequence - log.cursors.get(spool.stream, 0)
        spool.close()
    return items


def _within_episodes(rows: Any) -> tuple[int, int]:
    """Steps of one actor that are missing, and that are there twice."""
    missing = twice = 0
    for episode in np.unique(rows["episode"]):
        steps = rows["step"][rows["episode"] == episode]
        missing += int(steps.max()) + 1 - len(np.unique(steps))
        twice += len(steps) - len(np.unique(steps))
    return missing, twice


def _against_reports(rows: dict[bytes, Any], journal: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """Steps of episodes whose report tells of another number than the log holds, and episodes that agree."""
    sizes = collections.Counter(
        (int(episode), int(steps))
        for of_stream in rows.values()
        for episode, steps in zip(*np.unique(of_stream["episode"], return_counts=True), strict=True)
    )
    told = collections.Counter((e["episode"], e["steps"]) for e in journal if e["kind"] == "episode")
    wrong = told - sizes
    return sum(steps * times for (_, steps), times in wrong.items()), (told & sizes).total()
