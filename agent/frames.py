"""Camera frames of a replay memory, each kept once: half of what a transition's two observations would take."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_REUSE_WINDOW = 256
_EPISODES = 64

Numbers = NDArray[np.int64]


class FrameStore:
    """A ring of camera frames, numbered in the order of arrival; a frame is all cameras of one moment.

    What follows one transition is nearly always what the next one begins with. It is stored once, but only if the two
    are equal byte by byte: whatever order transitions of several actors come in, and wherever an episode was broken
    off, a transition gets back exactly the frames that it brought.

    Args:
        shapes: (H, W, 3) by observation key.
        capacity: Frames kept.

    Attributes:
        total: Frames stored since the beginning; the next one's number.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], capacity: int) -> None:
        self.total = 0
        # The system hands out memory as it is written to.
        self._rings = {key: np.zeros((capacity, *shape), np.uint8) for key, shape in shapes.items()}
        self._capacity = capacity
        # Newest frame of each of the newest episodes, where their next transition is looked up.
        self._newest: OrderedDict[int, int] = OrderedDict()

    @classmethod
    def for_transitions(cls, shapes: Mapping[str, tuple[int, ...]], transitions: int) -> "FrameStore":
        """Room for so many transitions in episodes of eight steps or more; of many shorter ones, for fewer."""
        return cls(shapes, transitions + transitions // 8 + 2 * _REUSE_WINDOW)

    def add(self, records: Any) -> tuple[Numbers, Numbers]:
        """Store the frames of transitions, oldest first.

        Args:
            records: Structured array of shape (N,), see `TransitionSpec`.

        Returns:
            Numbers of their frames and of those that followed, each of shape (N,).
        """
        before, after = np.zeros(len(records), np.int64), np.zeros(len(records), np.int64)
        for row, record in enumerate(records):
            known = self._newest.pop(int(record["episode"]), None)
            same = known is not None and self._is_frame(known, record, "observation")
            before[row] = known if same else self._store(record, "observation")
            after[row] = self._store(record, "next_observation")
            self._newest[int(record["episode"])] = int(after[row])
            if len(self._newest) > _EPISODES:
                self._newest.popitem(last=False)
        return before, after

    def take(self, key: str, numbers: Numbers) -> NDArray[np.uint8]:
        """Frames of one camera, shape (N, H, W, 3), copied."""
        # Not by [] with a list of numbers: of large rows `take` copies twice as fast.
        return self._rings[key].take(numbers % self._capacity, axis=0)

    def keeps(self, after: Numbers) -> NDArray[np.bool_]:
        """Whether transitions whose next observation has these numbers have all their frames.

        True from one transition on for all later ones, because no frame is reused that is older than a window.
        """
        return after - _REUSE_WINDOW >= self.total - self._capacity

    def _is_frame(self, number: int, record: Any, prefix: str) -> bool:
        if number < self.total - _REUSE_WINDOW:
            return False
        slot = number % self._capacity
        return all(np.array_equal(ring[slot], record[f"{prefix}.{key}"]) for key, ring in self._rings.items())

    def _store(self, record: Any, prefix: str) -> int:
        slot = self.total % self._capacity
        for key, ring in self._rings.items():
            ring[slot] = record[f"{prefix}.{key}"]
        self.total += 1
        return self.total - 1
