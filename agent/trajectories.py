"""Which transitions follow each other, in a stream to which several actors add."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from agent.transition import Records, TransitionSpec

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
        self._key = next(key for key in spec.observation_keys if key not in spec.image_keys)
        self._open: dict[_Follower, list[int]] = {}

    def follow(self, records: Records, first: int) -> Iterator[NDArray[np.int64]]:
        """Take in transitions whose numbers are `first` and up.

        Yields:
            The numbers of the transitions, in order, of each episode that is over with one of them.
        """
        episodes, steps = records["episode"].tolist(), records["step"].tolist()
        over = (records["terminated"] | records["truncated"]).tolist()
        here = records[f"observation.{self._key}"]
        following = records[f"next_observation.{self._key}"]
        for row, (episode, step) in enumerate(zip(episodes, steps, strict=True)):
            numbers = self._open.pop((episode, step, here[row].tobytes()), [])
            numbers.append(first + row)
            if over[row]:
                yield np.array(numbers)
            else:
                self._open[episode, step + 1, following[row].tobytes()] = numbers
        while len(self._open) > _MOST_OPEN:  # Episodes that were dropped on the way never end.
            del self._open[next(iter(self._open))]


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
