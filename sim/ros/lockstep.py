"""Simulated time that waits for whoever drives the arm."""

import time
from collections.abc import Callable

_LEAD_S = 0.05
"""Simulated. Half of what the arm, or the check of a measurement's age, waits for a message."""
_GIVE_UP_S = 2.0
_REFRESH_S = 0.2  # A clock that is silent for longer than a second counts as stopped.
_LOOK_S = 0.001


class Lockstep:
    """Holds simulated time up while commands that came regularly are missing.

    On a busy computer the process of the controller may stand still for tenths of a second. Beside a real arm that is a
    fault, for the arm moved on meanwhile. In simulated time it need not be one: the physics stands still as well.

    Args:
        now_s: Simulated time.
        look: Takes the commands that came, and calls `heard` for them.
        refresh: Says again what time it is.
    """

    def __init__(
        self, now_s: Callable[[], float], look: Callable[[], None], refresh: Callable[[], None]
    ) -> None:
        self._now_s, self._look, self._refresh = now_s, look, refresh
        self._heard_s: float | None = None

    def heard(self) -> None:
        """A command came."""
        self._heard_s = self._now_s()

    def wait(self, is_over: Callable[[], bool]) -> None:
        """Return when time may pass: at once if nobody drives, and after 2 s of the wall's if somebody ceased to.

        Args:
            is_over: Asked meanwhile; no more is waited for if it is true.
        """
        if not self._is_ahead():
            return
        began_s = refreshed_s = time.monotonic()
        while self._is_ahead() and not is_over():
            time.sleep(_LOOK_S)
            self._look()
            now_s = time.monotonic()
            if now_s - began_s > _GIVE_UP_S:
                self._heard_s = None
            elif now_s - refreshed_s > _REFRESH_S:
                self._refresh()
                refreshed_s = now_s

    def _is_ahead(self) -> bool:
        return self._heard_s is not None and self._now_s() - self._heard_s > _LEAD_S
