"""Exported episodes that come back from HDF5: what the format itself holds, and the keepsake beside it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from journeyman.episodes.formats.hdf5 import Tree, text_of
from journeyman.episodes.formats.keepsake import check_unchanged, read_keepsake
from robot_env.episode_checks import check_episode
from robot_env.episodes import Episode

# Group with the arrays that a format has no place for; its attribute of this name holds the keepsake.
KEPT = "journeyman"


def kept_arrays(episode: Episode) -> dict[str, NDArray[Any]]:
    """What goes into the group `KEPT`."""
    return {
        "terminated": episode.terminated,
        "truncated": episode.truncated,
        "intervened": episode.intervened,
        "provenance": episode.provenance,
        "elapsed_s": np.asarray(episode.elapsed_s, np.float64),
        **{f"robot.{name}": values for name, values in episode.robot.items()},
    }


def came_home(
    name: str,
    kept: Tree,
    observations: Mapping[str, NDArray[Any]],
    native: Mapping[str, NDArray[Any]],
    accept_changes: bool,
) -> Episode:
    """The episode that was exported.

    Args:
        name: For messages.
        kept: The group `KEPT`.
        observations: From the format itself, as `Episode` has them.
        native: `actions`, `rewards` and whatever else of an Episode the format has a place for.
        accept_changes: Whether they may differ from what was exported.

    Raises:
        InputError: Something is missing or was changed.
    """
    text = text_of(kept.attributes.get(KEPT))
    if text is None:
        raise InputError(f"{name}: its journeyman record is missing; export it again.")
    keepsake = read_keepsake(name, text)
    arrays = {**kept.arrays, **native}
    needed = ["actions", "rewards", "terminated", "truncated", "intervened", "provenance", "elapsed_s"]
    missing = [
        key for key in (*needed, *(f"robot.{m}" for m in keepsake.metadata.measured)) if key not in arrays
    ]
    if missing:
        raise InputError(f"{name}: {missing[0]} is missing beside its journeyman record; export it again.")
    try:
        provenance = np.array([bytes(who).decode() for who in arrays["provenance"]], "U16")
    except (UnicodeDecodeError, TypeError, ValueError):
        raise InputError(f"{name}: who produced its steps cannot be read; export it again.") from None
    episode = Episode(
        metadata=keepsake.metadata,
        observations=dict(observations),
        actions=arrays["actions"],
        rewards=arrays["rewards"],
        terminated=arrays["terminated"],
        truncated=arrays["truncated"],
        intervened=arrays["intervened"],
        provenance=provenance,
        robot={key: arrays[f"robot.{key}"] for key in keepsake.metadata.measured},
        elapsed_s=arrays["elapsed_s"],
        success=keepsake.success,
    )
    if not accept_changes:
        check_unchanged(name, keepsake, episode)
    check_episode(name, episode)
    return episode
