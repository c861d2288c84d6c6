"""From rows of a replay to what is learned from: as they were stored, or made from what followed them."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Fields = dict[str, NDArray[Any]]
"""Values by field name, each of shape (N, ...)."""


class Rows(Protocol):
    """What a reader asks of a replay, see `agent.replay.ReplayBuffer`."""

    def take(self, name: str, rows: NDArray[np.int64]) -> Any:
        """Values of one field, shape (N, ...), copied."""
        ...

    def remaining(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many transitions follow in the same episode, shape (N,); -1 while it is not over."""
        ...

    def path(self, rows: NDArray[np.int64], steps: int) -> NDArray[np.int64]:
        """Rows of the transitions and of what is known to follow each, shape (N, steps); -1 where nothing is."""
        ...

    def later(self, rows: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the transitions `steps` later in the same episode, shape (N,), at most its last."""
        ...


class Reader(Protocol):
    """Makes N transitions to learn from of N rows."""

    def __call__(self, replay: Rows, names: Sequence[str], rows: NDArray[np.int64]) -> Fields:
        """At least the fields `names`."""
        ...


def read_steps(replay: Rows, names: Sequence[str], rows: NDArray[np.int64]) -> Fields:
    """As they were stored."""
    return {name: replay.take(name, rows) for name in names}
