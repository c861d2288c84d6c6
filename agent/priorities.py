"""Drawing in proportion to priorities that keep changing."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class _Tree:
    """A binary tree over numbered leaves, each node of which holds what a function makes of the two below it.

    Args:
        leaves: How many.
        join: Of two nodes.
        nothing: What a leaf holds that counts for nothing.
    """

    def __init__(self, leaves: int, join: np.ufunc, nothing: float) -> None:
        self.depth = max(1, (leaves - 1).bit_length())
        self.first = 1 << self.depth  # Of the leaves; the root is 1.
        self.nodes = np.full(2 * self.first, nothing)
        self._join = join

    def of(self, leaves: NDArray[np.int64]) -> NDArray[np.float64]:
        """Their values, shape (N,)."""
        return self.nodes[leaves + self.first]

    def set(self, leaves: NDArray[np.int64], values: Any) -> None:
        """Give leaves other values."""
        nodes = leaves + self.first
        self.nodes[nodes] = values
        while (nodes := np.unique(nodes >> 1)).any():
            self.nodes[nodes] = self._join(self.nodes[2 * nodes], self.nodes[2 * nodes + 1])


class Priorities:
    """Draws rows in proportion to their priorities, in logarithmic time.

    A row that is new has the greatest priority there was, so that each is soon learned from once.

    Attributes:
        held: How many rows have any.

    Args:
        places: Rows are less than this.
    """

    def __init__(self, places: int) -> None:
        self._sums, self._least = _Tree(places, np.add, 0.0), _Tree(places, np.minimum, np.inf)
        self.held = 0
        self._places = places
        self._greatest = 1.0
        self._taken = np.zeros(places, np.int64)  # How often a row was given to another transition.

    def add(self, rows: NDArray[np.int64]) -> None:
        """Other transitions are there now; each row once."""
        self._taken[rows] += 1
        self.held += int((self._sums.of(rows) == 0.0).sum())
        self.assign(rows, self._greatest)

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Nothing is there any more; each row once."""
        self._taken[rows] += 1
        self.held -= int((self._sums.of(rows) > 0.0).sum())
        self._sums.set(rows, 0.0)
        self._least.set(rows, np.inf)

    def assign(self, rows: NDArray[np.int64], priorities: Any) -> None:
        """Give rows other priorities, each more than 0; of a row that is named twice the last one stays."""
        self._sums.set(rows, priorities)
        self._least.set(rows, priorities)

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Rows, shape (count,), each drawn for itself.

        Not one from each of `count` equal parts of the whole, as in the paper: the slices of a block of updates would
        get different parts.
        """
        sums, nodes = self._sums.nodes, np.ones(count, np.int64)
        below = rng.random(count) * sums[1]
        for _ in range(self._sums.depth):
            nodes *= 2
            # Where rounding leaves too much for both, the last one that has any is it.
            right = (below >= sums[nodes]) & (sums[nodes + 1] > 0.0)
            below -= np.where(right, sums[nodes], 0.0)
            nodes += right
        return nodes - self._sums.first

    def weights(self, rows: NDArray[np.int64], beta: float) -> NDArray[np.float64]:
        """How many times less than uniformly rows are drawn, to the power of beta, shape (N,).

        These are the weights of section 3.4 of arXiv:1511.05952, not yet divided by the greatest.
        """
        return (self.held * self._sums.of(rows) / self._sums.nodes[1]) ** -beta

    def greatest_weight(self, beta: float) -> float:
        """Of all rows; 0 where there are none."""
        least = self._least.nodes[1]
        return float((self.held * least / self._sums.nodes[1]) ** -beta) if self.held else 0.0

    def state(self) -> tuple[NDArray[np.float64], float]:
        """Of every place, shape (places,), 0 where nothing is; and the greatest there was."""
        return self._sums.of(np.arange(self._places)), self._greatest

    def restore(
        self,
        rows: NDArray[np.int64],
        priorities: NDArray[np.float64],
        newer: NDArray[np.int64],
        greatest: float,
    ) -> None:
        """Go back to a `state`.

        Args:
            rows: Where the same transitions are as then.
            priorities: Of them, shape (rows,).
            newer: Where others are.
            greatest: Of then.
        """
        self._greatest = greatest
        self.assign(rows, priorities)
        self.assign(newer, greatest)

    def marks(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """What tells the transitions that are there now from those that will be there later, shape (N,)."""
        return rows + self._places * self._taken[rows]

    def learn(self, marks: NDArray[np.int64], priorities: NDArray[np.float64]) -> None:
        """Take in priorities of transitions, each more than 0; those that are gone are passed over."""
        rows = marks % self._places
        there = self.marks(rows) == marks
        if there.any():
            self.assign(rows[there], priorities[there])
            self._greatest = max(self._greatest, float(priorities[there].max()))
