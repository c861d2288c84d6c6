"""Transitions that must not be learned from: recognised as they arrive, and kept aside with the reason."""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.record_log import FrameKind, RecordLog
from agent.transition import Provenance, Records, TransitionSpec
from agent.transport.messages import Buffer, Report, decode_report, encode_report

log = logging.getLogger(__name__)

_ROUNDING = 1e-4  # Of a bound, or of 1 where that is more.
_Check = Callable[[Records], NDArray[np.bool_]]
"""What is good in records, shape (N, ...)."""


class Run(NamedTuple):
    """Consecutive records of which the same is to be said.

    Attributes:
        first: Index of the first.
        end: Index of the one after the last.
        reason: Why they must not be learned from; empty where they may.
    """

    first: int
    end: int
    reason: str


class Inspector:
    """Says of a transition what is wrong with it, by the layout of transitions alone.

    Wrong is what no robot measures: a number that is not finite, an action or observation outside its space by more
    than rounding (where the space has bounds), a flag that is neither true nor false, a provenance that does not exist,
    an episode or step with a negative number.

    Args:
        spec: Layout of transitions.
    """

    def __init__(self, spec: TransitionSpec) -> None:
        self._dtype = spec.dtype
        vectors = [key for key in spec.observation_keys if key not in spec.image_keys]
        names = [f"{prefix}.{key}" for key in vectors for prefix in ("observation", "next_observation")]
        self._checks: list[tuple[str, _Check]] = [
            (f"{name} is not finite", _is_finite(name)) for name in (*names, "action", "reward")
        ]
        spaces = [(name, spec.observation_space[name.partition(".")[2]]) for name in names]
        for name, space in (*spaces, ("action", spec.action_space)):
            if np.isfinite(space.low).any() or np.isfinite(space.high).any():
                self._checks.append((f"{name} is out of bounds", _is_within(name, space.low, space.high)))
        for name in ("terminated", "truncated", "intervened"):
            self._checks.append((f"{name} is neither true nor false", _is_less(name, np.uint8, 2)))
        self._checks.append(("provenance is unknown", _is_less("provenance", np.uint8, len(Provenance))))
        for name in ("episode", "step"):
            self._checks.append((f"{name} is negative", _is_not_negative(name)))

    def runs(self, payload: Buffer) -> list[Run]:
        """What is to be said of records, in order; nothing of none."""
        records = np.frombuffer(payload, self._dtype)
        reasons: list[str] | None = None
        for reason, check in self._checks:
            good = check(records)
            if good.all():
                continue
            reasons = reasons or [""] * len(records)
            for row in np.flatnonzero(~_rows(good)).tolist():
                reasons[row] = reasons[row] or reason
        if reasons is None:
            return [Run(0, len(records), "")] if len(records) else []
        return list(_runs(reasons))


class Quarantine:
    """An append-only file of transitions that are not learned from; for the receive thread.

    A frame of records follows a frame that says why they are here. Records keep their stream and numbers, so replay log
    and quarantine together tell what has arrived.

    Attributes:
        cursors: Number after the last one kept here, per stream.
        count: Transitions kept here.

    Args:
        path: The file; made with the first transition.
        spec: Layout of transitions.

    Raises:
        InputError: The file is of another layout, damaged, or in use elsewhere.
    """

    def __init__(self, path: Path, spec: TransitionSpec) -> None:
        self.runs = Inspector(spec).runs
        self.path = path
        self._dtype = spec.dtype
        self._untold: Report | None = None
        self._news: deque[Report] = deque()
        self._log = RecordLog.open(path, spec.dtype) if path.exists() else None
        self.cursors = dict(self._log.cursors) if self._log else {}
        self.count = self._log.record_count if self._log else 0

    def keep(self, payload: Buffer, items: int, stream: bytes, first_sequence: int, reason: str) -> None:
        """Store records; that is news whenever their number passes a power of two.

        Raises:
            OSError: The disk does not take them; then they are not here.
        """
        if self._log is None:
            self._log = RecordLog.open(self.path, self._dtype)
        why: Report = {"stream": stream.hex(), "first_sequence": first_sequence, "reason": reason}
        self._log.append_raw(FrameKind.REPORT, encode_report(why), 1)
        self._log.append_raw(FrameKind.RECORDS, payload, items, stream, first_sequence)
        self.cursors[stream] = first_sequence + items
        before, self.count = self.count, self.count + items
        if before.bit_length() != self.count.bit_length():
            first = np.frombuffer(payload, self._dtype)[0]
            where = {"episode": int(first["episode"]), "step": int(first["step"])}
            self._untold = {"count": self.count, "reason": reason, **where}

    def tell(self, actor: str) -> None:
        """Log what is news of transitions that came from this actor, and keep it for `take_news`."""
        if self._untold is None:
            return
        news, self._untold = {"actor": actor, **self._untold}, None
        log.warning(
            "Transition %d of episode %d of actor %r is kept in %s and not learned from: %s. So far there are %d.",
            news["step"], news["episode"], actor, self.path, news["reason"], news["count"],
        )  # fmt: skip
        self._news.append(news)

    def take_news(self) -> list[Report]:
        """What was told since this was last asked: `actor`, `episode`, `step`, `reason`, and `count` of all so far.

        May be called from any thread.
        """
        return [self._news.popleft() for _ in range(len(self._news))]

    def sync(self) -> None:
        """Make everything kept here survive a loss of power."""
        if self._log is not None:
            self._log.sync()

    def close(self) -> None:
        """Release the file; idempotent."""
        if self._log is not None:
            self._log.close()


def count_reasons(path: Path, dtype: np.dtype[np.void]) -> tuple[dict[str, int], dict[bytes, int]]:
    """How many transitions a quarantine holds for each reason, and the number after the last one of each stream.

    Raises:
        InputError: The file is of another layout, damaged, or in use.
    """
    if not path.exists():
        return {}, {}
    kept = RecordLog.open(path, dtype)
    counts: Counter[str] = Counter()
    reason, cursors = "", dict[bytes, int]()
    for frame in kept.frames():
        if frame.kind is FrameKind.REPORT:
            reason = str(decode_report(frame.payload)["reason"])
        else:
            counts[reason] += frame.items
            cursors[frame.stream] = frame.end_sequence
    kept.close()
    return dict(counts), cursors


def _is_finite(name: str) -> _Check:
    return lambda records: np.isfinite(records[name])


def _is_within(name: str, low: NDArray[np.float32], high: NDArray[np.float32]) -> _Check:
    lowest, highest = (
        bound + sign * _ROUNDING * np.maximum(1.0, np.abs(bound)) for sign, bound in ((-1, low), (1, high))
    )

    def check(records: Records) -> NDArray[np.bool_]:
        values = records[name]
        return (values >= lowest) & (values <= highest)

    return check


def _is_less(name: str, kind: type[np.uint8], limit: int) -> _Check:
    return lambda records: records[name].view(kind) < limit


def _is_not_negative(name: str) -> _Check:
    return lambda records: np.greater_equal(records[name], 0)


def _rows(good: Any) -> NDArray[np.bool_]:
    """Whether all is good in a row, shape (N,)."""
    rows: NDArray[np.bool_] = good.all(axis=tuple(range(1, good.ndim)))
    return rows


def _runs(reasons: list[str]) -> Iterator[Run]:
    first = 0
    for row in range(1, len(reasons) + 1):
        if row == len(reasons) or reasons[row] != reasons[first]:
            yield Run(first, row, reasons[first])
            first = row
