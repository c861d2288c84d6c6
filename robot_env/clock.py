"""Time as the control loop sees it: a clock to sleep on and a rate held by absolute deadlines."""

import time
from dataclasses import dataclass, field
from typing import Protocol

from robot_env.age import AgeStatistics


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


@dataclass
class RateStatistics:
    """Counts of how well a rate was held.

    Attributes:
        lateness: Of every wake-up.
        ticks: Number of deadlines.
        missed: Deadlines passed by more than one period.
        worst_lateness_s: The latest wake-up.
    """

    lateness: AgeStatistics = field(default_factory=AgeStatistics)
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
        self._deadline_s = self._clock.now_s() + self.period_s

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
        self._record(lateness_s)
        self._deadline_s += self.period_s
        if lateness_s > self.period_s:
            self._deadline_s = now_s + self.period_s
        return lateness_s

    def _record(self, lateness_s: float) -> None:
        statistics = self.statistics
        statistics.ticks += 1
        statistics.missed += lateness_s > self.period_s
        statistics.worst_lateness_s = max(statistics.worst_lateness_s, lateness_s)
        statistics.lateness.add(lateness_s)
