"""What is in a data set, and what in it is suspicious, before anything learns from it."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from agent.trajectories import episode_ends
from agent.transition import Records, TransitionSpec

_QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
# Share of the range of an action's entry from which on it counts as at its limit.
_AT_LIMIT = 1e-3


@dataclass(frozen=True)
class OfflineReport:
    """Figures about a data set.

    Attributes:
        transitions: How many there are.
        episodes: How many there are; see `agent.trajectories.episode_ends`.
        terminated_share: Share of transitions that terminate.
        truncated_share: Share of transitions that cut an episode.
        timeout_share: Share of episodes that end without a termination.
        successes: Episodes that seem to succeed, see `count_successes`.
        dropped: Steps of the data set that are no transitions, for nobody knows what they led to.
        clipped: Transitions whose action was beyond its bounds by rounding.
        action_low: Lowest value of each entry of the action.
        action_high: Highest value of each.
        action_at_limits: Share of transitions in which each is at a bound of the action space.
        reward_low: Lowest reward.
        reward_high: Highest reward.
        returns: Undiscounted return of an episode by quantile: "0" lowest, "0.5" median, "1" highest.
        constant: Observations that never change: entries such as `state[3]`, and cameras.
        duplicates: Episodes that are the same as an earlier one.
        warnings: One sentence each.
    """

    transitions: int
    episodes: int
    terminated_share: float
    truncated_share: float
    timeout_share: float
    successes: int
    dropped: int
    clipped: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    action_at_limits: tuple[float, ...]
    reward_low: float
    reward_high: float
    returns: dict[str, float]
    constant: tuple[str, ...]
    duplicates: int
    warnings: tuple[str, ...]


def check_offline(
    records: Records, spec: TransitionSpec, dropped: int = 0, clipped: int = 0
) -> OfflineReport:
    """Look at all of a data set.

    Args:
        records: Of the layout `spec`, in order, at least one; shape (N,).
        spec: Whose action space says where the limits are.
        dropped: See `OfflineData`.
        clipped: See `OfflineData`.
    """
    ends = episode_ends(records)
    starts = _starts(ends)
    returns = np.add.reduceat(records["reward"].astype(np.float64), starts)
    actions = records["action"].reshape(len(records), -1)
    rewards = records["reward"]
    return OfflineReport(
        transitions=len(records),
        episodes=len(starts),
        terminated_share=float(records["terminated"].mean()),
        truncated_share=float(records["truncated"].mean()),
        timeout_share=float((~records["terminated"][ends]).mean()),
        successes=count_successes(records),
        dropped=dropped,
        clipped=clipped,
        action_low=tuple(actions.min(axis=0).tolist()),
        action_high=tuple(actions.max(axis=0).tolist()),
        action_at_limits=tuple(_at_limits(actions, spec).tolist()),
        reward_low=float(rewards.min()),
        reward_high=float(rewards.max()),
        returns={f"{q:g}": float(np.quantile(returns, q)) for q in _QUANTILES},
        constant=tuple(_constant(records, spec)),
        duplicates=_count_duplicates(records, spec, starts),
        warnings=tuple(warnings_of(records)),
    )


def count_successes(records: Records) -> int:
    """Episodes that end for good with a reward that says so, as far as rewards can say it.

    That is a positive one, or one above the lowest of all: where every step costs 1, success is paid 0.
    """
    if not len(records):
        return 0
    least = min(float(records["reward"].min()), 0.0)
    return int((records["terminated"] & (records["reward"] > least)).sum())


def warnings_of(records: Records) -> Iterator[str]:
    """What makes learning from these rewards hopeless, one sentence each.

    Nothing is said of no transitions, nor where rewards are missing, which only those may learn from who need none.
    """
    rewards = records["reward"]
    if not len(records) or np.isnan(rewards).any():
        return
    if rewards.min() == rewards.max():
        yield f"All rewards are {rewards[0]:g}: they do not tell good from bad."
    if not count_successes(records):
        yield (
            "No episode succeeds (none terminates with a positive reward, or one above the lowest): what learns from "
            "these rewards learns only what fails."
        )


def _starts(ends: NDArray[np.bool_]) -> NDArray[np.intp]:
    """First transition of each episode, shape (episodes,)."""
    return np.flatnonzero(np.concatenate([[True], ends[:-1]]))


def _at_limits(actions: NDArray[np.float32], spec: TransitionSpec) -> NDArray[np.float64]:
    """Share of transitions in which each entry of the action is at a bound, shape (A,)."""
    low, high = (bound.reshape(-1) for bound in (spec.action_space.low, spec.action_space.high))
    margin = np.where(np.isfinite(high - low), _AT_LIMIT * (high - low), 0.0)
    at: NDArray[np.float64] = ((actions <= low + margin) | (actions >= high - margin)).mean(axis=0)
    return at


def _constant(records: Records, spec: TransitionSpec) -> Iterator[str]:
    for key in spec.observation_keys:
        values = records[f"observation.{key}"].reshape(len(records), -1)
        same = (values == values[0]).all(axis=0)
        if key in spec.image_keys:
            if same.all():
                yield key
        else:
            yield from (f"{key}[{entry}]" for entry in np.flatnonzero(same))


def _count_duplicates(records: Records, spec: TransitionSpec, starts: NDArray[np.intp]) -> int:
    """Episodes whose observations, actions and rewards are those of an earlier one."""
    names = [f"observation.{key}" for key in spec.observation_keys] + ["action", "reward"]
    fields = [np.ascontiguousarray(records[name]) for name in names]
    seen = set()
    for start, end in zip(starts, [*starts[1:], len(records)], strict=True):
        content = blake2b(digest_size=16)
        for field in fields:
            content.update(field[start:end].tobytes())
        seen.add(content.digest())
    return len(starts) - len(seen)
