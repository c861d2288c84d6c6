"""Minari's data sets, as folders and in Minari's own store; nothing is fetched, and nothing that they name is run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.config import InputError
from journeyman.episodes.formats.foreign import Recording
from journeyman.episodes.formats.libraries import library
from journeyman.episodes.formats.minari import FORMAT, recordings
from journeyman.offline.steps import Steps, as_column, as_flags, field_name

STORED = "minari:"
"""Begins the path of a data set in Minari's own store, such as `minari:D4RL/door/human-v2`."""


def folder_of(path: Path) -> Path | None:
    """Where the files of a data set are, in `path` or in `data/` below it; None if it is none of Minari's."""
    return next((folder for folder in (path / "data", path) if FORMAT.recognises(folder)), None)


def folder_in_store(path: Path) -> Path:
    """Where Minari keeps the data set that a path such as `minari:ID` names.

    Raises:
        InputError: Minari is not installed, ID cannot be one, or the data set is not in the store.
    """
    identifier = str(path).removeprefix(STORED)
    parse = library("minari.dataset.minari_dataset").parse_dataset_id
    try:
        parse(identifier)
    except (ValueError, TypeError):  # It takes the number of a version for given.
        raise InputError(
            f"{path} cannot name a data set of Minari; write it as minari:D4RL/door/human-v2."
        ) from None
    home = Path(library("minari.storage.datasets_root_dir").get_dataset_path(identifier))
    folder = folder_of(home)
    if folder is None:
        raise InputError(
            f"Minari's store has no data set {identifier} ({home}): fetch it with `minari download {identifier}`, "
            "or see what is there with `minari list local`."
        )
    return folder


def read_steps(folder: Path) -> Steps:
    """All steps of a data set.

    Raises:
        InputError: It is damaged, or its episodes differ in what they hold.
    """
    found = list(recordings(folder))
    if not any(len(recording.actions) for _, recording in found):
        raise InputError(f"{folder} holds no step; give a data set that does.")
    for name, recording in found:
        _refuse_misfit(folder, name, recording, found[0][1])
    lengths = [len(recording.actions) for _, recording in found]
    keys = found[0][1].observations.keys()
    parts = [recording for _, recording in found]
    bounds, actions = parts[0].action_bounds, np.concatenate([recording.actions for recording in parts])
    if bounds is not None and bounds[0].shape != actions.shape[1:]:
        raise InputError(
            f"{folder}: its action_space has shape {list(bounds[0].shape)}, but its actions {list(actions.shape[1:])}."
        )
    return Steps(
        source=str(folder),
        observations=_joined(keys, parts, lambda values, steps: values[:steps]),
        next_observations=_joined(keys, parts, _following),
        next_known=np.concatenate([_known(recording) for recording in parts]),
        actions=actions,
        rewards=_column(found, "rewards"),
        terminated=as_flags(_column(found, "terminated"), f"{folder}: terminations"),
        truncated=as_flags(_column(found, "truncated"), f"{folder}: truncations"),
        episode=np.repeat(np.arange(len(found)), lengths),
        bounds=bounds,
        place=_place([name for name, _ in found], lengths),
    )


def _joined(
    keys: Any, parts: Sequence[Recording], rows: Callable[[NDArray[Any], int], NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Rows of the observations of all episodes, by key."""
    return {key: np.concatenate([rows(p.observations[key], len(p.actions)) for p in parts]) for key in keys}


def _following(values: NDArray[Any], steps: int) -> NDArray[Any]:
    """What the steps of an episode led to; the last observation again where nobody recorded the last."""
    following = values[1 : steps + 1]
    return following if len(following) == steps else np.concatenate([following, values[-1:]])


def _known(recording: Recording) -> NDArray[np.bool_]:
    """Whether the observation after each step of an episode was recorded."""
    rows = min(len(values) for values in recording.observations.values())
    return np.arange(len(recording.actions)) + 1 < rows


def _column(found: Sequence[tuple[str, Recording]], name: str) -> NDArray[Any]:
    return np.concatenate([as_column(getattr(recording, name), f"{n}: {name}") for n, recording in found])


def _place(names: Sequence[str], lengths: Sequence[int]) -> Callable[[int], str]:
    starts = np.cumsum([0, *lengths])

    def place(row: int) -> str:
        number = int(np.searchsorted(starts, row, "right")) - 1
        return f"step {row - starts[number]} of {names[number]}"

    return place


def _refuse_misfit(folder: Path, name: str, recording: Recording, first: Recording) -> None:
    """Every episode must hold the same as the first, and one row for each step; observations may have one more."""
    steps = len(recording.actions)
    rows = {key: [len(getattr(recording, key))] for key in ("rewards", "terminated", "truncated")}
    rows |= {field_name(key): [len(v), len(v) - 1] for key, v in recording.observations.items()}
    for key, lengths in rows.items():
        if steps not in lengths:
            raise InputError(
                f"{folder}: {name} has {steps} actions, but of {key} {lengths[0]} rows; leave it out."
            )
    ours, theirs = _shapes(recording), _shapes(first)
    if ours != theirs:
        raise InputError(
            f"{folder}: {name} holds {ours}, but the first episode {theirs}; leave one of them out."
        )


def _shapes(recording: Recording) -> dict[str, list[int]]:
    """Of one row, by field."""
    arrays = {field_name(key): values for key, values in recording.observations.items()}
    return {key: list(values.shape[1:]) for key, values in {**arrays, "actions": recording.actions}.items()}
