"""Camera frames of a replay memory, each kept once: half of what a transition's two observations would take."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_REUSE_WINDOW = 256
_EPISODES = 64

Numbers = NDArray[np.int64]
Frames = Mapping[str, NDArray[Any]]
"""By observation key: images, (N, H, W, 3) of uint8, or what stands for them, (N, ...)."""
Convert = Callable[[Frames], Frames]


class FrameStore:
    """A ring of camera frames, numbered in the order of arrival; a frame is all cameras of one moment.

    What follows one transition is nearly always what the next one begins with. It is stored once, but only if the two
    are equal byte by byte: whatever order transitions of several actors come in, and wherever an episode was broken
    off, a transition gets back exactly the frames that it brought.

    Args:
        shapes: (H, W, 3) by observation key.
        capacity: Frames kept.
        convert: What is kept instead of an image, such as the features of an encoder that never changes.

    Attributes:
        total: Frames stored since the beginning; the next one's number.
    """

    def __init__(
        self, shapes: Mapping[str, tuple[int, ...]], capacity: int, convert: Convert | None = None
    ) -> None:
        self.total = 0
        self._convert = convert or (lambda frames: frames)
        sample = self._convert({key: np.zeros((1, *shape), np.uint8) for key, shape in shapes.items()})
        # The system hands out memory as it is written to.
        self._rings = {key: np.zeros((capacity, *kept.shape[1:]), kept.dtype) for key, kept in sample.items()}
        self._capacity = capacity
        # Newest frame of each of the newest episodes, with its number: where their next transition is looked up.
        self._newest: OrderedDict[int, tuple[int, dict[str, NDArray[np.uint8]]]] = OrderedDict()

    @classmethod
    def for_transitions(
        cls, shapes: Mapping[str, tuple[int, ...]], transitions: int, convert: Convert | None = None
    ) -> "FrameStore":
        """Room for so many transitions in episodes of eight steps or more; of many shorter ones, for fewer."""
        return cls(shapes, transitions + transitions // 8 + 2 * _REUSE_WINDOW, convert)

    def add(self, records: Any) -> tuple[Numbers, Numbers]:
        """Store the frames of transitions, oldest first.

        Args:
            records: Structured array of shape (N,), see `TransitionSpec`.

        Returns:
            Numbers of their frames and of those that followed, each of shape (N,).
        """
        before, after = np.zeros(len(records), np.int64), np.zeros(len(records), np.int64)
        new: list[dict[str, NDArray[np.uint8]]] = []
        first = self.total
        for row, record in enumerate(records):
            episode = int(record["episode"])
            frame, following = (self._frame(record, prefix) for prefix in ("observation", "next_observation"))
            known = self._newest.pop(episode, None)
            if known is not None and self._is_same(known, frame):
                before[row] = known[0]
            else:
                before[row] = self.total
                new.append(frame)
                self.total += 1
            after[row] = self.total
            new.append(following)
            self.total += 1
            # A copy: the records may lie in a buffer that their owner reuses.
            self._newest[episode] = (self.total - 1, {key: image.copy() for key, image in following.items()})
            if len(self._newest) > _EPISODES:
                self._newest.popitem(last=False)
        if new:
            self._keep(first, new)
        return before, after

    def take(self, key: str, numbers: Numbers) -> NDArray[Any]:
        """What is kept of one camera's frames, shape (N, ...), copied."""
        # Not by [] with a list of numbers: of large rows `take` copies twice as fast.
        return self._rings[key].take(numbers % self._capacity, axis=0)

    def keeps(self, after: Numbers) -> NDArray[np.bool_]:
        """Whether transitions whose next observation has these numbers have all their frames.

        True from one transition on for all later ones, because no frame is reused that is older than a window.
        """
        return after - _REUSE_WINDOW >= self.total - self._capacity

    def _frame(self, record: Any, prefix: str) -> dict[str, NDArray[np.uint8]]:
        return {key: record[f"{prefix}.{key}"] for key in self._rings}

    def _is_same(self, known: tuple[int, Frames], frame: Frames) -> bool:
        number, images = known
        if number < self.total - _REUSE_WINDOW:
            return False
        return all(np.array_equal(images[key], image) for key, image in frame.items())

    def _keep(self, first: int, new: list[dict[str, NDArray[np.uint8]]]) -> None:
        slots = np.arange(first, first + len(new)) % self._capacity
        kept = self._convert({key: np.stack([frame[key] for frame in new]) for key in self._rings})
        for key, ring in self._rings.items():
            # Of more frames than there is room for only the last are of use; the buffer asks for no others.
            ring[slots[-self._capacity :]] = kept[key][-self._capacity :]
