"""What is learned from several steps of an episode at once: returns of n steps, and chunks of actions.

Both are readers (`agent.reading`): they make transitions of rows that lie in the replay step by step. What they make
has a field `discount`, shape (N,): what the value of the next observation counts for, gamma to the number of steps.
Returns of n steps: Sutton, 1988, uncorrected for how the policy has changed since. Chunks in reinforcement learning:
Q-chunking, Li et al., arXiv:2507.07969; in imitation: ACT, Zhao et al., arXiv:2304.13705.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agent.reading import Fields, Rows

_LATER = ("next_observation.", "terminated")
"""Fields, by how their names begin, that are those of the last of several steps."""


class NStepReader:
    """Rewards of up to n steps, and what was seen after them. Everything else is the first step's.

    Of steps that do not follow, because the episode is over or because they are not known yet, the return does without:
    it then counts fewer rewards and a nearer next observation.

    Args:
        steps: n, at least 1.
        discount: Gamma.
    """

    def __init__(self, steps: int, discount: float) -> None:
        self._steps, self._discount = steps, discount

    def __call__(self, replay: Rows, names: Sequence[str], rows: NDArray[np.int64]) -> Fields:
        """The fields `names`, and `discount`."""
        return _summed(replay, names, replay.path(rows, self._steps), self._discount)


class ChunkReader:
    """Actions that were executed one after the other as one action, their rewards, and what was seen after the last.

    A chunk that a termination cuts short is filled up with its last action. Nothing follows a termination, so what
    fills it up changes no return; a command that is held is like what actors do, and zeros may be like nothing.
    A chunk that is cut by a time-out, or by what is not known yet, has no such excuse: other actions would have led
    elsewhere. Such rows are replaced by others of the same draw. Only if there are none, as in the very first steps of
    a run, they are filled up, too, and the next observation is the last one known.

    Args:
        chunk: Actions in one, at least 1.
        discount: Gamma of a step.
    """

    def __init__(self, chunk: int, discount: float) -> None:
        self._chunk, self._discount = chunk, discount

    def __call__(self, replay: Rows, names: Sequence[str], rows: NDArray[np.int64]) -> Fields:
        """The fields `names`, and `discount`; `action` has the shape (N, chunk * A)."""
        path = _whole(replay, replay.path(rows, self._chunk))
        fields = _summed(replay, [name for name in names if name != "action"], path, self._discount)
        if "action" in names:
            actions = replay.take("action", np.where(path < 0, _last(path)[:, None], path).ravel())
            fields["action"] = actions.reshape(len(path), -1)
        return fields


def _last(path: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the last steps that are known, shape (N, K) -> (N,)."""
    return path[np.arange(len(path)), (path >= 0).sum(1) - 1]


def _whole(replay: Rows, path: NDArray[np.int64]) -> NDArray[np.int64]:
    """The paths with others in the place of those that end before they are whole, shape (N, K)."""
    whole = np.flatnonzero((path[:, -1] >= 0) | replay.take("terminated", _last(path)))
    if len(whole) in (0, len(path)):
        return path
    places = np.arange(len(path))
    cut = np.setdiff1d(places, whole)
    places[cut] = np.resize(whole, len(cut))
    return path[places]


def _summed(replay: Rows, names: Sequence[str], path: NDArray[np.int64], discount: float) -> Fields:
    """A transition of each path, shape (N, K), from its first step to its last."""
    first, last, known = path[:, 0], _last(path), path >= 0
    fields = {name: replay.take(name, last if name.startswith(_LATER) else first) for name in names}
    # Of the rewards between, but not of observations, which may be images.
    rewards = replay.take("reward", np.where(known, path, first[:, None]).ravel()).reshape(path.shape)
    weights = np.where(known, discount ** np.arange(path.shape[1]), 0.0)
    fields["reward"] = (rewards * weights).sum(1).astype(np.float32)
    fields["discount"] = (discount ** known.sum(1)).astype(np.float32)
    return fields
