"""Hindsight: what an episode came to may have been what it was meant to come to (HER, arXiv:1707.01495).

An episode that misses its goal says nothing about the goal, but everything about how to get where it got. So of the
transitions that are drawn most get another goal, one that was achieved later in the same episode, and the reward that
it would have paid. What is stored stays as it was; each time a transition is drawn it may get another goal.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from agent.reading import Fields, Rows, read_steps
from agent.trajectories import RETURN


class Pay(Protocol):
    """What the step to an achieved goal earns where another one is desired."""

    def __call__(
        self, achieved: NDArray[Any], desired: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Rewards and terminations, each of shape (N,), for goals of shape (N, G)."""
        ...


class GoalPart(NamedTuple):
    """Where a goal is in an observation.

    Attributes:
        key: Of the observation: a vector.
        entries: Of that vector; all of them where the goal has a key of its own.
    """

    key: str
    entries: slice = slice(None)


class Goals(NamedTuple):
    """The goals of a task, for a gymnasium `GoalEnv` under keys of their own, otherwise parts of some vector.

    Attributes:
        achieved: What the state amounts to, G entries.
        desired: What it is to amount to, in the same units, G entries. Nothing else that a policy sees may tell it.
        pay: Judges.
    """

    achieved: GoalPart
    desired: GoalPart
    pay: Pay


class HindsightReader:
    """Gives k of k + 1 transitions another goal: one achieved later in their episode (`future`, section 4.5).

    Later means: by this very step, or by any one after it, each as likely. What a step achieves is in its *next*
    observation, as it is that which the step is paid for. So the last state of an episode counts, and the first does
    not. An episode that is not over keeps its goal: what it will come to is not known.

    Args:
        goals: Of the task.
        k: How many get another goal for each that keeps its own; the paper's best is 4.
    """

    def __init__(self, goals: Goals, k: int) -> None:
        self._goals = goals
        self._share = k / (k + 1)

    def __call__(self, replay: Rows, names: Sequence[str], rows: NDArray[np.int64]) -> Fields:
        """As stored, but for the goal, the reward and the termination of those that got another one."""
        fields = read_steps(replay, names, rows)
        remaining = replay.remaining(rows)
        chosen = np.flatnonzero((replay.random(len(rows)) < self._share) & (remaining >= 0))
        steps = (replay.random(len(chosen)) * (remaining[chosen] + 1)).astype(np.int64)
        achieved, desired, pay = self._goals
        name = f"next_observation.{achieved.key}"
        new = replay.take(name, replay.later(rows[chosen], steps))[:, achieved.entries]
        for prefix in ("observation", "next_observation"):
            fields[f"{prefix}.{desired.key}"][chosen, desired.entries] = new
        fields["reward"][chosen], fields["terminated"][chosen] = pay(
            fields[name][chosen, achieved.entries], new
        )
        if RETURN in fields:
            fields[RETURN][chosen] = -np.inf  # What followed was earned for the old goal: nothing is known.
        return fields
