"""D4RL's HDF5 files: one array for each field with all episodes in a row (Fu et al., arXiv:2004.07219).

Fields: observations (or a group of them, by key), actions, terminals, timeouts, and optionally rewards and
next_observations. A terminal ends an episode for good, a time-out only cuts it, so they are never taken for each other.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.config import InputError
from journeyman.episodes.formats.hdf5 import Hdf5File, Tree
from journeyman.offline.steps import FLAT, Steps, as_column, as_flags, field_name

_REWARDS = "rewards"  # Whether they are needed is not known here.
_NEEDED = ("observations", "actions", _REWARDS, "terminals", "timeouts")
_OPTIONAL = "next_observations"


def read_steps(path: Path) -> Steps:
    """All steps of a file.

    Where it does not hold next observations, the one of a step is that of the following row within its episode, and of
    the last step of an episode it is not known.

    Raises:
        InputError: There is no such file, it is damaged, lacks a field, or its fields do not fit each other.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}: give the path of an HDF5 file in D4RL's layout.")
    with Hdf5File(path) as file:
        _refuse_without_fields(path, file.names("/"))
        tree = file.tree("/", only=(*_NEEDED, _OPTIONAL))
    observations = _by_key(path, tree, "observations")
    terminated, truncated = (as_flags(*_array(path, tree, name)) for name in ("terminals", "timeouts"))
    ends = terminated | truncated
    if _OPTIONAL in tree.arrays or _OPTIONAL in tree.groups:
        following = _by_key(path, tree, _OPTIONAL)
        _refuse_other_keys(path, observations, following)
        known = np.ones(len(ends), bool)
    else:
        following = {key: _shifted(values, ends) for key, values in observations.items()}
        known = ~ends
        known[-1:] = False
    steps = Steps(
        source=str(path),
        observations=observations,
        next_observations=following,
        next_known=known,
        actions=_array(path, tree, "actions")[0],
        rewards=as_column(*_array(path, tree, _REWARDS)) if _REWARDS in tree.arrays else None,
        terminated=terminated,
        truncated=truncated,
        # An episode begins behind an end.
        episode=np.cumsum(np.concatenate([[False], ends[:-1]])).astype(np.int64)[: len(ends)],
        bounds=None,
        place=lambda row: f"row {row}",
    )
    _refuse_other_lengths(steps)
    return steps


def _refuse_without_fields(path: Path, held: list[str]) -> None:
    missing = [name for name in _NEEDED if name not in held]
    if not {*missing} - {_REWARDS}:
        return
    advice = "write them into it (zeros where a step ends nothing)"
    if "data" in held or any(name.startswith("episode_") for name in held):
        advice = "files of robomimic go through `journeyman episodes convert`, of Minari's data sets give the folder"
    raise InputError(
        f"{path} has no field {', '.join(repr(name) for name in missing)}, but {sorted(held)}: {advice}."
    )


def _by_key(path: Path, tree: Tree, name: str) -> dict[str, NDArray[Any]]:
    """Observations, which may be one array or a group of them."""
    if name in tree.arrays:
        return {FLAT: _array(path, tree, name)[0]}
    group = tree.groups[name]
    if group.groups or not group.arrays:
        raise InputError(
            f"{path}: group {name} must hold one array for each key, and no groups such as {sorted(group.groups)}."
        )
    return {key: _array(path, group, key, f"{name}/")[0] for key in group.arrays}


def _array(path: Path, tree: Tree, name: str, group: str = "") -> tuple[NDArray[Any], str]:
    """An array with a row for each step, and what it is called in messages."""
    called = f"{path}: {group}{name}"
    if name not in tree.arrays or not tree.arrays[name].ndim:
        raise InputError(f"{called} must be an array with a row for each step.")
    return tree.arrays[name], called


def _shifted(values: NDArray[Any], ends: NDArray[np.bool_]) -> NDArray[Any]:
    """The following row within an episode, and the last row of one again."""
    following = np.concatenate([values[1:], values[-1:]])
    if len(following) == len(ends):  # Else it is refused, with both lengths.
        following[ends] = values[ends]
    return following


def _refuse_other_keys(path: Path, observations: Mapping[str, Any], following: Mapping[str, Any]) -> None:
    if observations.keys() != following.keys():
        raise InputError(
            f"{path}: observations hold {sorted(observations)}, but next_observations {sorted(following)}; they must "
            "hold the same."
        )


def _refuse_other_lengths(steps: Steps) -> None:
    lengths = {field_name(key): len(values) for key, values in steps.observations.items()}
    lengths |= {f"next_{field_name(key)}": len(values) for key, values in steps.next_observations.items()}
    lengths |= {"actions": len(steps.actions)}
    if steps.rewards is not None:
        lengths |= {_REWARDS: len(steps.rewards)}
    lengths |= {"terminals": len(steps.terminated), "timeouts": len(steps.truncated)}
    if len(set(lengths.values())) != 1:
        raise InputError(f"{steps.source}: its fields differ in their number of steps: {lengths}.")
    if not len(steps.actions):
        raise InputError(f"{steps.source} holds no step; give one that does.")
