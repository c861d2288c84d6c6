"""What a recorded policy earned: Monte-Carlo returns of transitions that stand in order."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agent.config import InputError
from agent.transition import Records


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


def monte_carlo_returns(
    records: Records, discount: float, of_cut: Literal["partial", "unknown"] = "partial"
) -> NDArray[np.float32]:
    """Discounted sum of the rewards from each transition to the end of its episode.

    Cal-QL (Nakamoto et al., arXiv:2303.05479, section 5) bounds the values of sampled actions from below by them, as
    values of the policy that made the data.

    What an episode that was cut (truncated, or its data end) would have earned beyond the cut nobody knows. The sum up
    to the cut is a lower bound of the return where no reward is negative; with a reward of -1 per step it is too high.

    Args:
        records: Transitions of one actor in the order they were made, shape (N,); see `episode_ends`.
        discount: Of the reward of the next step, in [0, 1].
        of_cut: For transitions of an episode that was cut: `partial` gives the sum up to the cut, `unknown` gives
            -inf, which bounds nothing (Cal-QL is then CQL).

    Returns:
        Shape (N,).

    Raises:
        InputError: The discount is no discount.
    """
    if not 0.0 <= discount <= 1.0:
        raise InputError(f"discount {discount} must lie between 0 and 1.")
    ends = episode_ends(records)
    returns = np.empty(len(records), np.float64)
    to_go = 0.0
    # Plain numbers: a sum that runs backwards costs a loop over steps, and on arrays one of their calls each.
    backwards = zip(reversed(records["reward"].tolist()), reversed(ends.tolist()), strict=True)
    for row, (reward, is_end) in zip(range(len(records) - 1, -1, -1), backwards, strict=True):
        to_go = reward if is_end else reward + discount * to_go
        returns[row] = to_go
    if of_cut == "unknown":
        last = np.flatnonzero(ends)
        cut = ~records["terminated"][last]
        returns[np.repeat(cut, np.diff(last, prepend=-1))] = -np.inf
    return returns.astype(np.float32)
