"""Streams at their own rates become steps at one: always the newest value before, never one after."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Stamps = NDArray[np.int64]
NONE = -1


class Piece(NamedTuple):
    """Consecutive ticks at which everything is known.

    Attributes:
        ticks_ns: Shape (T + 1,).
        indices: Stream -> number of its newest value at each tick, shape (T + 1,).
    """

    ticks_ns: Stamps
    indices: dict[str, NDArray[np.int64]]


class Gap(NamedTuple):
    """Ticks that were cut out, because a stream was silent.

    Attributes:
        stream: Which.
        start_ns: The first of them.
        end_ns: The last of them.
        silent_s: For how long it was, at most.
    """

    stream: str
    start_ns: int
    end_ns: int
    silent_s: float


def ticks(start_ns: int, end_ns: int, rate_hz: float) -> Stamps:
    """Instants from `start_ns` to `end_ns` at a rate; counted, so that rounding does not add up."""
    count = int((end_ns - start_ns) * 1e-9 * rate_hz + 1e-9) + 1
    return start_ns + np.rint(np.arange(max(count, 0)) * (1e9 / rate_hz)).astype(np.int64)


def newest(stamps_ns: Stamps, ticks_ns: Stamps) -> NDArray[np.int64]:
    """Number of the newest stamp at or before each tick; `NONE` where there is none yet."""
    return np.searchsorted(stamps_ns, ticks_ns, side="right") - 1


def resample(
    streams: Mapping[str, Stamps], ticks_ns: Stamps, max_gap_s: float
) -> tuple[list[Piece], list[Gap]]:
    """Cut ticks into pieces without gaps.

    Args:
        streams: Stamps of each stream, in order.
        ticks_ns: When values are wanted.
        max_gap_s: An older value counts as missing.

    Returns:
        The pieces, in order, and why the rest was cut.
    """
    found = {name: newest(stamps, ticks_ns) for name, stamps in streams.items()}
    ages_s = {
        name: np.where(index == NONE, np.inf, (ticks_ns - streams[name][np.maximum(index, 0)]) * 1e-9)
        for name, index in found.items()
    }
    known = np.all([age <= max_gap_s for age in ages_s.values()], axis=0)
    runs = np.split(np.arange(len(ticks_ns)), np.flatnonzero(np.diff(known)) + 1) if len(ticks_ns) else []
    pieces, gaps = [], []
    for run in runs:
        if known[run[0]]:
            pieces.append(Piece(ticks_ns[run], {name: index[run] for name, index in found.items()}))
        else:
            name = max(ages_s, key=lambda one: float(ages_s[one][run].max()))
            gaps.append(
                Gap(name, int(ticks_ns[run[0]]), int(ticks_ns[run[-1]]), float(ages_s[name][run].max()))
            )
    return pieces, gaps
