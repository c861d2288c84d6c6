"""What the metadata of an episode say about its numbers: names, units, groups, the control period.

The description of the task is plain data that another program may have written, so nothing in it is relied on.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_env.episode import Episode, EpisodeMetadata

# Of what every robot can be asked for (`robot_env.env`); a scene's observables say theirs by their names, if at all.
_UNITS = {
    "joint_position": "rad",
    "joint_velocity": "rad/s",
    "joint_effort": "Nm",
    "ee_linear_velocity": "m/s",
    "ee_angular_velocity": "rad/s",
    "ee_wrench": "N, Nm",
    "gripper_width": "m",
}


def task_name(metadata: EpisodeMetadata) -> str:
    """The task's name; empty if it has none."""
    return str(metadata.task.get("name", ""))


def period_s(episode: Episode) -> float:
    """The control period: the task's, or else the median of what was recorded."""
    rate_hz = episode.metadata.task.get("control_rate_hz")
    if isinstance(rate_hz, int | float) and 0.0 < rate_hz < np.inf:
        return 1.0 / rate_hz
    return float(np.median(np.diff(episode.elapsed_s)))


def action_names(metadata: EpisodeMetadata) -> tuple[str, ...]:
    """Names of the entries of an action, such as `x` or `gripper`; numbers where the task does not tell."""
    action = metadata.task.get("action")
    if isinstance(action, Mapping):
        turns = bool(action.get("rotation_rad"))
        names = ["x", "y", "z", *(["turn x", "turn y", "turn z"] if turns else [])]
        names += ["gripper"] if action.get("gripper", True) else []
        if len(names) == metadata.action_size:
            return tuple(names)
    return tuple(f"action.{index}" for index in range(metadata.action_size))


def state_groups(metadata: EpisodeMetadata) -> dict[str, list[int]]:
    """Observables in order, each with the entries of `state` that it has: `ee_position` has `ee_position.0` to `.2`."""
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(metadata.state_names):
        groups.setdefault(name.rpartition(".")[0] or name, []).append(index)
    return groups


def state_scales(metadata: EpisodeMetadata) -> NDArray[np.float64]:
    """What the entries of `state` were divided by, as the task says, shape (S,); ones where it does not tell."""
    scales = np.ones(len(metadata.state_names))
    parts = metadata.task.get("observation")
    known = {
        part.get("name"): part.get("scale", 1.0)
        for part in (parts if isinstance(parts, list | tuple) else ())
        if isinstance(part, Mapping)
    }
    for name, entries in state_groups(metadata).items():
        scale: Any = known.get(name, 1.0)
        scales[entries] = scale if isinstance(scale, int | float) else 1.0
    return scales


def state_in_units(episode: Episode) -> NDArray[np.float64]:
    """The `state` vectors in the observables' own units, as stored times the scales; shape (T + 1, S)."""
    return np.asarray(episode.observations["state"], np.float64) * state_scales(episode.metadata)


def unit_of(observable: str) -> str:
    """The unit of an observable's values; empty where it is not known."""
    is_place = observable.endswith(("_position", "_from_ee"))
    return _UNITS.get(observable, "m" if is_place else "")


def short_name(name: str, size: int) -> str:
    """What an entry is called within its observable of `size` entries, for legends."""
    number = name.rpartition(".")[2]
    axes = {3: "xyz", 4: "xyzw" if "quaternion" in name else ""}.get(size, "")
    return axes[int(number)] if number.isdigit() and int(number) < len(axes) else number


def outcome(episode: Episode) -> str:
    """`success`, `failure`, or `unknown` for what has no end."""
    return {True: "success", False: "failure", None: "unknown"}[episode.success]
