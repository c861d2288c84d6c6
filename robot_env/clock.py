"""Time as the control loop sees it: a clock to sleep on and a rate held by absolute deadlines."""

import time
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Clock(Protocol):
    """A monotonic clock. A twin's clock advances its physics while one sleeps on it."""

    def now_s(self) -> float:
        """Monotonic time in seconds."""
        ...

    def sleep_until(self, deadline_s: float) -> None:
        """Return at `deadline_s`, or at once when that has passed."""
        ...


class WallClock:
    """The machine's monotonic clock."""

    def now_s(self) -> float:
        """Monotonic time in seconds."""
        return time.monotonic()

    def sleep_until(self, deadline_s: float) -> None:
        """Sleep until `deadline_s`."""
        remaining_s = deadline_s - time.monotonic()
        if remaining_s > 0:
            time.sleep(remaining_s)


# Upper edges in units of one period; the last bin of each histogram is open.
LATENESS_EDGES = np.array([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0])
PERIOD_EDGES = np.array([0.5, 0.9, 0.97, 0.99, 1.01, 1.03, 1.1, 1.5, 2.0])
# Looked at in every step, for which an array is slow.
_LATENESS_EDGES: list[float] = LATENESS_EDGES.tolist()
_PERIOD_EDGES: list[float] = PERIOD_EDGES.tolist()


@dataclass
class RateStatistics:
    """Counts of how well a rate was held. Histograms are in units of one period.

    Attributes:
        lateness: Counts per bin of `LATENESS_EDGES`, shape (8,).
        period: Counts per bin of `PERIOD_EDGES`, shape (10,).
        ticks: Number of deadlines.
        missed: Deadlines passed by more than one period.
        worst_lateness_s: The latest wake-up.
    """

    lateness: NDArray[np.int64] = field(default_factory=lambda: np.zeros(LATENESS_EDGES.size + 1, np.int64))
    period: NDArray[np.int64] = field(default_factory=lambda: np.zeros(PERIOD_EDGES.size + 1, np.int64))
    ticks: int = 0
    missed: int = 0
    worst_lateness_s: float = 0.0


class Rate:
    """Holds a rate by absolute deadlines, so that one late tick does not shift the following ones.

    After a tick that is more than one period late the schedule starts anew from now: catching up would mean
    driving the robot in a burst.
    """

    def __init__(self, clock: Clock, rate_hz: float) -> None:
        self.period_s = 1.0 / rate_hz
        self.statistics = RateStatistics()
        self._clock = clock
        self.restart()

    def restart(self) -> None:
        """Begin the schedule now, for example after a reset."""
        self._last_s = self._clock.now_s()
        self._deadline_s = self._last_s + self.period_s

    def wait(self) -> float:
        """Sleep until the next deadline.

        Returns:
            Lateness in seconds, zero or more.
        """
        if self._deadline_s - self._clock.now_s() > 2.0 * self.period_s:
            self.restart()  # The clock jumped back: nobody waits for an old deadline.
        self._clock.sleep_until(self._deadline_s)
        now_s = self._clock.now_s()
        lateness_s = max(0.0, now_s - self._deadline_s)
        self._record(now_s, lateness_s)
        self._deadline_s += self.period_s
        if lateness_s > self.period_s:
            self._deadline_s = now_s + self.period_s
        self._last_s = now_s
        return lateness_s

    def _record(self, now_s: float, lateness_s: float) -> None:
        statistics = self.statistics
        statistics.ticks += 1
        statistics.missed += lateness_s > self.period_s
        statistics.worst_lateness_s = max(statistics.worst_lateness_s, lateness_s)
        # 1e-9: a simulated clock reaches its deadline up to rounding.
        statistics.lateness[bisect_left(_LATENESS_EDGES, lateness_s / self.period_s - 1e-9)] += 1
        statistics.period[bisect_left(_PERIOD_EDGES, (now_s - self._last_s) / self.period_s)] += 1
