"""Which transitions follow each other, in a stream to which several actors add."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from agent.transition import Records, TransitionSpec

RETURN = "mc_return"
"""Field of what an episode earned from a transition on."""
_MOST_OPEN = 256
_Follower = tuple[int, int, bytes]
"""Episode, step and observation of the transition that would go on an episode."""


class EpisodeTracker:
    """Follows episodes through a stream, until they end.

    The number of an episode is one actor's, so two actors may use the same. What goes on an episode is known by its
    observation, too, which is the last transition's next one.

    Args:
        spec: Layout of a transition.
    """

    def __init__(self, spec: TransitionSpec) -> None:
        self._key = _telling_key(spec)
        self._open: dict[_Follower, list[int]] = {}

    def follow(
        self, records: Records, first: int, before: NDArray[np.int64] | None = None
    ) -> Iterator[NDArray[np.int64]]:
        """Take in transitions whose numbers are `first` and up.

        Args:
            records: Shape (N,).
            first: Number of the first.
            before: If given, shape (N,), gets the number of the transition that each goes on; it is left alone where
                there is none.

        Yields:
            The numbers of the transitions, in order, of each episode that is over with one of them.
        """
        episodes, steps = records["episode"].tolist(), records["step"].tolist()
        over = (records["terminated"] | records["truncated"]).tolist()
        here = records[f"observation.{self._key}"]
        following = records[f"next_observation.{self._key}"]
        for row, (episode, step) in enumerate(zip(episodes, steps, strict=True)):
            numbers = self._open.pop((episode, step, here[row].tobytes()), [])
            if numbers and before is not None:
                before[row] = numbers[-1]
            numbers.append(first + row)
            if over[row]:
                yield np.array(numbers)
            else:
                self._open[episode, step + 1, following[row].tobytes()] = numbers
        while len(self._open) > _MOST_OPEN:  # Episodes that were dropped on the way never end.
            del self._open[next(iter(self._open))]


def _telling_key(spec: TransitionSpec) -> str:
    """Of the observation by which transitions are told to follow each other."""
    vectors = [key for key in spec.observation_keys if key not in spec.image_keys]
    return (vectors or spec.observation_keys)[0]  # Vectors tell as much, and are smaller.


def count_breaks(records: Records, spec: TransitionSpec) -> int:
    """How often an episode is not followed, because a transition leads elsewhere than where the next one begins.

    Args:
        records: Of one recorder in the order they were made, shape (N,).
        spec: Their layout.
    """
    key = _telling_key(spec)
    led_to, begins = records[f"next_observation.{key}"][:-1], records[f"observation.{key}"][1:]
    elsewhere = (led_to != begins).any(axis=tuple(range(1, led_to.ndim)))
    return int((elsewhere & ~episode_ends(records)[:-1]).sum())


class EpisodeIndex:
    """Which transition of a ring comes how much later in the same episode.

    How long an episode is, is known once it is over; what follows next, at once.

    Args:
        capacity: Of the ring.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        # Numbers, episode after episode. Of those that the ring holds fewer than twice its capacity can lie between
        # two that belong to one episode: newer ones, and older ones whose episodes were over later.
        self._order = np.zeros(2 * capacity, np.int64)
        self._placed = 0
        self._place = np.full(capacity, -1, np.int64)
        self._last = np.full(capacity, -1, np.int64)
        self._next = np.full(capacity, -1, np.int64)

    def forget(self, slots: NDArray[np.int64]) -> None:
        """Others are there now, whose episodes are not over."""
        self._place[slots] = self._next[slots] = -1

    def link(self, before: NDArray[np.int64], numbers: NDArray[np.int64]) -> None:
        """Transitions `numbers` go on from those of `before`, which the ring still holds."""
        self._next[before % self._capacity] = numbers % self._capacity

    def add(self, numbers: NDArray[np.int64]) -> None:
        """An episode is over; `numbers` are those of its transitions that the ring still holds, in order."""
        places = self._placed + np.arange(len(numbers))
        self._order[places % len(self._order)] = numbers
        self._placed += len(numbers)
        slots = numbers % self._capacity
        self._place[slots], self._last[slots] = places, self._placed - 1

    def remaining(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many transitions follow in the same episode, shape (N,); -1 while it is not over."""
        place = self._place[slots]
        return np.where(place < 0, -1, self._last[slots] - place)

    def path(self, slots: NDArray[np.int64], steps: int) -> NDArray[np.int64]:
        """Slots of the transitions and of what follows each, shape (N, steps); -1 after the last that is known."""
        path = np.full((steps, len(slots)), -1, np.int64)
        path[0] = slots
        for here, there in pairwise(path):
            there[here >= 0] = self._next[here[here >= 0]]
        return path.T

    def later(self, slots: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Slots of the transitions `steps` later, shape (N,): at most the last; themselves while it is not over."""
        place = self._place[slots]
        there = np.minimum(place + steps, self._last[slots])
        return np.where(place < 0, slots, self._order[there % len(self._order)] % self._capacity)


def returns_to_go(rewards: NDArray[np.float32], discount: float) -> NDArray[np.float32]:
    """Discounted sum of the rewards from each step to the end of an episode, shape (T,) -> (T,)."""
    values, value = np.zeros(len(rewards), np.float32), 0.0
    for step in reversed(range(len(rewards))):
        value = float(rewards[step]) + discount * value
        values[step] = value
    return values


def episode_ends(records: Records) -> NDArray[np.bool_]:
    """Which transitions are the last of their episode, shape (N,).

    One that terminated or was truncated is, also where its episode's number goes on; so is the last of all.

    Args:
        records: Transitions of one actor in the order they were made, shape (N,).
    """
    ends: NDArray[np.bool_] = records["terminated"] | records["truncated"]
    if len(records):
        ends[:-1] |= records["episode"][1:] != records["episode"][:-1]
        ends[-1] = True
    return ends
