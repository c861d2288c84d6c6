"""How old or how late something was: counted in bins, so that a run of hours stays small."""

from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

EDGES_S = np.geomspace(1e-4, 10.0, 101)
"""Edges between bins: 20 per decade, so a percentile is known to 12 %."""
_EDGES_S: list[float] = EDGES_S.tolist()  # Looked at in every step, for which an array is slow.


@dataclass
class AgeStatistics:
    """A histogram of ages.

    Attributes:
        counts: Per bin between `EDGES_S`, the first and last open; shape (102,).
    """

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(EDGES_S.size + 1, np.int64))

    def add(self, age_s: float) -> None:
        """Count one age."""
        self.counts[bisect_left(_EDGES_S, age_s)] += 1

    def clear(self) -> None:
        """Begin anew."""
        self.counts[:] = 0

    def percentile_s(self, percent: float) -> float | None:
        """Upper edge of the bin that holds this percentile; None before the first age."""
        total = int(self.counts.sum())
        if total == 0:
            return None
        index = int(np.searchsorted(np.cumsum(self.counts), percent / 100.0 * total))
        return float(EDGES_S[min(index, EDGES_S.size - 1)])

    def summary(self) -> dict[str, float]:
        """Median and 99th percentile in s; empty before the first age."""
        median_s, p99_s = self.percentile_s(50.0), self.percentile_s(99.0)
        return {} if median_s is None or p99_s is None else {"median_s": median_s, "p99_s": p99_s}
