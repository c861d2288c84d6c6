"""Data sets of others as transitions, checked against the layout of the run that learns from them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.config import InputError
from agent.transition import Provenance, Records, TransitionSpec
from journeyman.offline import d4rl, minari
from journeyman.offline.fitting import finite, matched, refuse_other_bounds, within_bounds
from journeyman.offline.steps import Steps, field_name, spec_of

_SUFFIXES = (".hdf5", ".h5")


@dataclass(frozen=True)
class OfflineData:
    """A data set as transitions.

    Attributes:
        records: Shape (N,).
        spec: Their layout.
        dropped: Steps that were left out, for nobody knows what they led to.
        clipped: Steps whose action was beyond the bounds by rounding.
    """

    records: Records
    spec: TransitionSpec
    dropped: int
    clipped: int


def is_data_set(path: Path) -> bool:
    """Whether a path is for `read_offline`: `minari:ID`, an HDF5 file, or a folder of Minari's."""
    return (
        str(path).startswith(minari.STORED)
        or (path.suffix in _SUFFIXES and not path.is_dir())
        or minari.folder_of(path) is not None
    )


def read_offline(
    path: Path, spec: TransitionSpec, rewards_needed: bool = True, ends_stand: bool = True
) -> Records:
    """The transitions of a data set, in its order, marked as demonstrations.

    Terminals and time-outs stay apart: beyond the one there is nothing to earn, the other only cuts an episode, as does
    the end of the data. Where nobody knows what the last step of a cut episode led to, it is left out, and the one
    before is truncated in its place. What a terminal led to matters to nobody, as long as it stays one: where it is not
    known the observation stands in for it.

    Args:
        path: An HDF5 file in D4RL's layout, a folder of Minari's, or `minari:ID` for one in Minari's store.
        spec: Layout of the transitions. A data set with one array of observations fits a layout with one key of that
            shape; else the keys must be the same.
        rewards_needed: Whether there must be rewards. Else those that are absent, or not finite, are not numbers.
        ends_stand: Whether a terminal is one for the learner, too. Else something is expected to come after it, so that
            one of which nobody knows what it led to is left out as well.

    Returns:
        Shape (N,). `episode` counts from 0, `step` within an episode.

    Raises:
        InputError: There is no such data set, it is damaged or lacks a field, does not fit the layout, has an action
            beyond the bounds or a number that is not finite; the message names the field and the row.
    """
    return load_offline(path, spec, rewards_needed, ends_stand).records


def load_offline(
    path: Path, spec: TransitionSpec | None = None, rewards_needed: bool = True, ends_stand: bool = True
) -> OfflineData:
    """The same with what was left out and clipped; without a layout, in that of the data set itself.

    Raises:
        InputError: See `read_offline`.
    """
    steps = _read_steps(path)
    spec = spec_of(steps) if spec is None else spec
    names = matched(steps, spec)
    refuse_other_bounds(steps, spec)
    kept = steps.next_known | (steps.terminated if ends_stand else False)
    if not kept.any():
        raise InputError(
            f"{steps.source} has no step of which it is known what it led to: give longer episodes, or "
            "next_observations."
        )
    records = np.zeros(np.count_nonzero(kept), spec.dtype)
    for ours, theirs in names.items():
        for prefix, group in (("", steps.observations), ("next_", steps.next_observations)):
            name = f"{prefix}observation.{ours}"
            records[name] = finite(group[theirs], spec.dtype[name].base, prefix + field_name(theirs), steps)[
                kept
            ]
    actions = finite(steps.actions, np.dtype(np.float32), "actions", steps)
    actions, clipped = within_bounds(actions, spec, steps)
    records["action"] = actions[kept]
    records["reward"] = _rewards(steps, rewards_needed)[kept]
    records["terminated"], records["truncated"] = steps.terminated[kept], steps.truncated[kept]
    records["provenance"] = Provenance.DEMONSTRATION
    _number(records, steps.episode[kept])
    return OfflineData(records, spec, dropped=int((~kept).sum()), clipped=int(clipped[kept].sum()))


def _read_steps(path: Path) -> Steps:
    if str(path).startswith(minari.STORED):
        return minari.read_steps(minari.folder_in_store(path))
    folder = minari.folder_of(path)
    if folder is not None:
        return minari.read_steps(folder)
    if path.is_dir() and any(path.glob("*.mcap")):
        raise InputError(
            f"{path} holds recorded episodes, not a data set of others: they are checked by journeyman episodes "
            f"inspect {path}, and journeyman episodes stats {path}."
        )
    if not is_data_set(path):
        raise InputError(
            f"{path} is no data set: give an HDF5 file in D4RL's layout (.hdf5, .h5), a folder of Minari's (with "
            "metadata.json and main_data.hdf5), or minari:ID for one in Minari's store."
        )
    return d4rl.read_steps(path)


def _rewards(steps: Steps, needed: bool) -> NDArray[np.generic]:
    """Shape (N,), finite if they are needed."""
    if steps.rewards is None and needed:
        raise InputError(
            f"{steps.source} has no field 'rewards': choose an algorithm that needs none, such as algorithm=explore, "
            "or write them into it."
        )
    if steps.rewards is None:
        return np.full(len(steps.actions), np.nan, np.float32)
    if needed:
        return finite(steps.rewards, np.dtype(np.float32), "rewards", steps)
    return np.where(np.isfinite(steps.rewards), steps.rewards, np.nan).astype(np.float32)


def _number(records: Records, episode: NDArray[np.int64]) -> None:
    """Number episodes from 0 and their steps, and truncate those whose end nobody marked."""
    begins = np.concatenate([[True], episode[1:] != episode[:-1]])
    records["episode"] = np.cumsum(begins) - 1
    starts = np.flatnonzero(begins)
    records["step"] = np.arange(len(records)) - starts[records["episode"]]
    ends = np.roll(begins, -1)
    records["truncated"] |= ends & ~records["terminated"]
