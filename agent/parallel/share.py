"""What one of several processes has of every batch."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Share:
    """One of equal parts of every batch.

    Attributes:
        index: Which part, from 0 on.
        of: How many there are.
        rows: Transitions of a part.
    """

    index: int = 0
    of: int = 1
    rows: int = 0

    def own(self, whole: Tensor) -> Tensor:
        """Its part of what belongs to whole batches, shape (N * of * rows, ...); returns shape (N * rows, ...).

        So random numbers that are drawn for whole batches in every process are the same ones as in a single process.
        """
        if self.of == 1:
            return whole
        return whole.unflatten(0, (-1, self.of, self.rows))[:, self.index].flatten(0, 1)


WHOLE = Share()
"""Of a process that learns alone."""
