"""K-of-N votes: one wrong verdict pays nothing."""

from collections import deque


class Votes:
    """Success when at least `needed` of the last `window` verdicts say so."""

    def __init__(self, needed: int, window: int) -> None:
        self._needed = needed
        self._verdicts: deque[bool] = deque(maxlen=window)

    def add(self, verdict: bool) -> bool:
        """Take in a verdict and judge."""
        self._verdicts.append(verdict)
        return self.count >= self._needed

    @property
    def count(self) -> int:
        """How many of the last verdicts are successes."""
        return sum(self._verdicts)

    def restart(self) -> None:
        """Forget all verdicts."""
        self._verdicts.clear()
