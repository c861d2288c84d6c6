"""What a data set of others holds, before anybody knows whether it fits a task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from agent.config import InputError
from agent.transition import TransitionSpec

FLAT = "observation"
"""Key of observations that have none: one array and not several by name."""


@dataclass(frozen=True)
class Steps:
    """Steps in the order in which they were made, N rows in every array, as they stand in the file.

    Attributes:
        source: The data set, for messages.
        observations: By key, `FLAT` if there are no keys; shape (N, ...).
        next_observations: What the steps led to, with the same keys; the observation again where that is not known.
        next_known: Whether it is known, shape (N,).
        actions: Shape (N, ...).
        rewards: Shape (N,); None where nobody recorded any.
        terminated: Ends of an episode beyond which there is nothing to earn, shape (N,).
        truncated: Ends that only cut it, as far as the file says so, shape (N,).
        episode: Of which episode, numbers that never fall, shape (N,).
        bounds: Lowest and highest action, shapes (...), where the data set announces finite ones.
        place: Says where a row stands in the file, such as "row 17".
    """

    source: str
    observations: Mapping[str, NDArray[Any]]
    next_observations: Mapping[str, NDArray[Any]]
    next_known: NDArray[np.bool_]
    actions: NDArray[Any]
    rewards: NDArray[Any] | None
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    episode: NDArray[np.int64]
    bounds: tuple[NDArray[Any], NDArray[Any]] | None
    place: Callable[[int], str]


def field_name(key: str) -> str:
    """What the file calls the observations of a key."""
    return "observations" if key == FLAT else f"observations/{key}"


def as_flags(values: NDArray[Any], name: str) -> NDArray[np.bool_]:
    """Marks of steps, shape (N,), from truth values or numbers that are 0 or 1.

    Args:
        values: Shape (N,) or (N, 1).
        name: For messages: the file and the field.

    Raises:
        InputError: They are something else.
    """
    values = as_column(values, name)
    if not np.isin(values, (0, 1)).all():
        odd = values[~np.isin(values, (0, 1))][0]
        raise InputError(f"{name} holds {odd}, but marks a step with 1 and the others with 0; repair it.")
    return values.astype(bool)


def as_column(values: NDArray[Any], name: str) -> NDArray[Any]:
    """One number for each step, shape (N,), from shape (N,) or (N, 1).

    Raises:
        InputError: It is no such column.
    """
    if values.dtype.kind not in "biuf" or values.shape not in ((values.size,), (values.size, 1)):
        raise InputError(
            f"{name} has type {values.dtype} and shape {list(values.shape)}, but must be one number for each step."
        )
    return values.reshape(-1)


def spec_of(steps: Steps) -> TransitionSpec:
    """The layout of a data set that no task is known of.

    Observations without a key are the `state`. Actions lie between the bounds that the data set announces, or else
    between -1 and 1 as those of every task do.
    """
    observations = {
        "state" if key == FLAT else key: _box_of(values) for key, values in steps.observations.items()
    }
    shape = steps.actions.shape[1:]
    low, high = steps.bounds or (np.full(shape, -1.0), np.full(shape, 1.0))
    actions = gymnasium.spaces.Box(low.astype(np.float32), high.astype(np.float32), shape, np.float32)
    return TransitionSpec.of(gymnasium.spaces.Dict(observations), actions)


def _box_of(values: NDArray[Any]) -> gymnasium.spaces.Box:
    shape = values.shape[1:]
    if values.dtype == np.uint8 and values.ndim == 4:
        return gymnasium.spaces.Box(0, 255, shape, np.uint8)
    return gymnasium.spaces.Box(-np.inf, np.inf, shape, np.float32)
