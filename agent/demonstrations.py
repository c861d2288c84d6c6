"""What people showed: demonstrations recorded before the run, and interventions during it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.frames import Convert
from agent.replay import ReplayBuffer
from agent.transition import Records, TransitionSpec


class Demonstrations(ReplayBuffer):
    """A ring of interventions, and beside it recorded demonstrations, which stay; sampled as one.

    Args:
        spec: Layout of a transition.
        recorded: Demonstrations that no intervention pushes out, shape (N,).
        interventions: How many are kept.
        seed: Of the sampling.
        convert: What is kept instead of images, and given out under their names.
        returns_discount: See `ReplayBuffer`.
        follow_episodes: See `ReplayBuffer`.
    """

    def __init__(
        self,
        spec: TransitionSpec,
        recorded: Records,
        interventions: int,
        seed: int,
        convert: Convert | None = None,
        returns_discount: float | None = None,
        follow_episodes: bool = False,
    ) -> None:
        super().__init__(spec, interventions, seed, convert, returns_discount, follow_episodes)
        # Twice the room, for episodes of one step have two frames a step; what is not written to takes no memory.
        capacity = max(1, 2 * len(recorded))
        self._recorded = ReplayBuffer(spec, capacity, seed, convert, returns_discount, follow_episodes)
        self._recorded.append(recorded)

    def __len__(self) -> int:
        """Number of transitions held."""
        return len(self._recorded) + super().__len__()

    def rows(self) -> NDArray[np.int64]:
        """Indices of all transitions held, shape (N,)."""
        return np.concatenate([super().rows(), self.capacity + np.arange(len(self._recorded))])

    def draw(self, rows: int) -> NDArray[np.int64]:
        """Random indices, shape (rows,); those of recorded transitions follow the ring's."""
        if self.priorities is not None:
            return super().draw(rows)
        drawn = self._rng.integers(0, len(self), rows)
        intervention = drawn - len(self._recorded)
        return np.where(
            intervention < 0, self.capacity + drawn, (self._oldest + intervention) % self.capacity
        )

    def take(self, name: str, rows: NDArray[np.int64]) -> Any:
        """Values of one field, shape (rows, ...), copied."""
        recorded = rows >= self.capacity
        if recorded.all():  # Images are not copied a second time where nobody intervened.
            return self._recorded.take(name, rows - self.capacity)
        of_ring = super().take(name, rows[~recorded])
        values = np.empty((len(rows), *of_ring.shape[1:]), of_ring.dtype)
        values[~recorded] = of_ring
        values[recorded] = self._recorded.take(name, rows[recorded] - self.capacity)
        return values

    def remaining(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many transitions follow in the same episode, shape (N,); -1 while it is not over."""
        recorded, values = rows >= self.capacity, np.empty_like(rows)
        values[~recorded] = super().remaining(rows[~recorded])
        values[recorded] = self._recorded.remaining(rows[recorded] - self.capacity)
        return values

    def path(self, rows: NDArray[np.int64], steps: int) -> NDArray[np.int64]:
        """Rows of the transitions and of what follows each, shape (N, steps); -1 after the last that is known."""
        recorded, values = rows >= self.capacity, np.empty((len(rows), steps), np.int64)
        values[~recorded] = super().path(rows[~recorded], steps)
        there = self._recorded.path(rows[recorded] - self.capacity, steps)
        values[recorded] = np.where(there < 0, -1, self.capacity + there)
        return values

    def later(self, rows: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the transitions `steps` later in the same episode, shape (N,), at most its last."""
        recorded, values = rows >= self.capacity, np.empty_like(rows)
        values[~recorded] = super().later(rows[~recorded], steps[~recorded])
        there = self._recorded.later(rows[recorded] - self.capacity, steps[recorded])
        values[recorded] = self.capacity + there
        return values

    def _known_and_newer(self, total_added: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        known, newer = super()._known_and_newer(total_added)
        return np.concatenate([known, self.capacity + np.arange(len(self._recorded))]), newer

    @property
    def _places(self) -> int:
        return self.capacity + len(self._recorded)
