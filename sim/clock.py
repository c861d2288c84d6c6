"""The twin's clock: sleeping on it lets the physics pass."""

import time

from sim.twin import Twin

# How far the physics may be made up for after a pause: nobody waits for a minute of physics.
_MAX_CATCH_UP_S = 1.0


class TwinClock:
    """Simulated time, as fast as the physics can be computed. Implements `robot_env.clock.Clock`.

    Args:
        twin: Advanced by `sleep_until`.
    """

    def __init__(self, twin: Twin) -> None:
        self._twin = twin

    def now_s(self) -> float:
        """Simulated time in seconds."""
        return self._twin.now_s()

    def sleep_until(self, deadline_s: float) -> None:
        """Simulate to `deadline_s`, rounded to a control tick."""
        ticks = round((deadline_s - self._twin.now_s()) / self._twin.tick_s)
        if ticks > 0:
            self._twin.advance(ticks)

    def restart(self) -> None:
        """Begin an episode. Simulated time needs nothing for that."""


class PacedTwinClock:
    """Wall time; the physics keeps up with it. Implements `robot_env.clock.Clock`.

    Physics for the whole sleep is computed first, then the rest of it is slept. So a twin that is too slow
    comes late, as a busy robot would, and `Rate` reports it.

    Args:
        twin: Advanced by `sleep_until`.
    """

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        self._simulated_s = time.monotonic()

    def now_s(self) -> float:
        """Monotonic wall time in seconds."""
        return time.monotonic()

    def sleep_until(self, deadline_s: float) -> None:
        """Simulate what passes until `deadline_s`, then sleep until it."""
        self._simulated_s = max(self._simulated_s, deadline_s - _MAX_CATCH_UP_S)
        ticks = round((deadline_s - self._simulated_s) / self._twin.tick_s)
        if ticks > 0:
            self._twin.advance(ticks)
            self._simulated_s += ticks * self._twin.tick_s
        remaining_s = deadline_s - time.monotonic()
        if remaining_s > 0:
            time.sleep(remaining_s)

    def restart(self) -> None:
        """Begin an episode: the physics stands where the wall clock is."""
        self._simulated_s = time.monotonic()
