"""From rows of a replay to what is learned from: as they were stored, or made from what followed them."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from agent.priorities import Priorities

ROW, WEIGHT = "row", "weight"
"""Fields of a batch that is drawn by priority: which transition it was, and how much it counts in a loss."""

Fields = dict[str, NDArray[Any]]
"""Values by field name, each of shape (N, ...)."""


class Rows(Protocol):
    """What a reader asks of a replay, see `agent.replay.ReplayBuffer`."""

    priorities: Priorities | None
    """What rows are drawn by; None where each is as likely."""

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

    def random(self, count: int) -> NDArray[np.float64]:
        """Uniform in [0, 1), shape (count,), from the random state that checkpoints keep."""
        ...


class Reader(Protocol):
    """Makes N transitions to learn from of N rows."""

    def __call__(self, replay: Rows, names: Sequence[str], rows: NDArray[np.int64]) -> Fields:
        """At least the fields `names`."""
        ...


@runtime_checkable
class TaughtReader(Reader, Protocol):
    """One whose fields `row` and `weight` depend on how wrong the critics were the last time."""

    def learn(self, rows: NDArray[np.int64], errors: NDArray[np.float32]) -> None:
        """Take in how wrong they were about what the field `row` names; shape (N,) each."""
        ...


def read_steps(replay: Rows, names: Sequence[str], rows: NDArray[np.int64]) -> Fields:
    """As they were stored."""
    return {name: replay.take(name, rows) for name in names}
