"""Minari's HDF5 datasets: a folder with `metadata.json` and `main_data.hdf5`, one group per episode.

Layout: https://minari.farama.org/content/dataset_standards/. The official package writes the description; the arrays
are written here in its layout, because it leaves them without compression and checksums. Ours adds the group
`journeyman` to every episode, which Minari does not look at.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import gymnasium
import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from journeyman.episodes.formats import Format, NamedEpisode, NoOptions
from journeyman.episodes.formats.adoption import episode_of
from journeyman.episodes.formats.foreign import ForeignOptions, Recording, chosen_task
from journeyman.episodes.formats.hdf5 import Hdf5File, Tree, write_arrays
from journeyman.episodes.formats.homecoming import KEPT, came_home, kept_arrays
from journeyman.episodes.formats.keepsake import MARK, VERSION, keepsake_of
from journeyman.episodes.formats.libraries import library, refusing
from journeyman.episodes.formats.report import Report
from robot_env.episodes import Episode

_DESCRIPTION, _DATA = "metadata.json", "main_data.hdf5"
_NATIVE = {"terminated": "terminations", "truncated": "truncations"}


def write(target: Path, episodes: Iterator[NamedEpisode], options: NoOptions, report: Report) -> None:
    """One dataset. Images are kept without loss."""
    first = next(episodes, None)
    if first is None:
        return
    storage = _new_storage(target, first.episode)
    steps = count = 0
    with library("h5py").File(target / _DATA, "a") as file:
        file.attrs[MARK] = VERSION
        for name, episode in _chained(first, episodes):
            _write_episode(file.create_group(f"episode_{count}"), count, episode)
            report.keep(f"{name} as episode_{count}", len(episode.actions), bool(episode.success))
            steps, count = steps + len(episode.actions), count + 1
    task = re.sub(r"[^\w]+", "-", str(first.episode.metadata.task.get("name", "unknown")))
    storage.update_metadata(
        {
            "total_steps": steps,
            "total_episodes": count,
            "dataset_size": float(storage.get_size()),
            "dataset_id": f"journeyman/{task}-v0",
            "minari_version": library("minari").__version__,
            MARK: VERSION,
        }
    )


def _chained(first: NamedEpisode, rest: Iterator[NamedEpisode]) -> Iterator[NamedEpisode]:
    yield first
    yield from rest


def _new_storage(target: Path, episode: Episode) -> Any:
    """An empty dataset for episodes like this one."""
    boxes = {
        key: gymnasium.spaces.Box(-np.inf, np.inf, values.shape[1:], np.float32)
        if key == "state"
        else gymnasium.spaces.Box(0, 255, values.shape[1:], np.uint8)
        for key, values in episode.observations.items()
    }
    return library(
        "minari.dataset.minari_storage"
    ).MinariStorage.new(
        target.absolute(),  # Of a relative path the package miscounts the size.
        observation_space=gymnasium.spaces.Dict(boxes),
        action_space=gymnasium.spaces.Box(-1.0, 1.0, episode.actions.shape[1:], np.float32),
        jpeg_encoding=False,
    )


def _write_episode(group: Any, number: int, episode: Episode) -> None:
    steps = len(episode.actions)
    group.attrs["id"] = number
    group.attrs["total_steps"] = steps
    if episode.metadata.seed is not None:
        group.attrs["seed"] = episode.metadata.seed
    write_arrays(group.create_group("observations"), episode.observations)
    arrays: dict[str, NDArray[Any]] = {"actions": episode.actions, "rewards": episode.rewards}
    write_arrays(group, arrays | {theirs: getattr(episode, ours) for ours, theirs in _NATIVE.items()})
    # One row per observation, as Minari keeps what `reset` and `step` say besides.
    success = np.zeros(steps + 1, bool)
    success[-1] = bool(episode.success)
    infos = {"intervened": np.concatenate([[False], episode.intervened]), "success": success}
    write_arrays(group.create_group("infos"), infos)
    kept = group.create_group(KEPT)
    write_arrays(kept, {key: values for key, values in kept_arrays(episode).items() if key not in _NATIVE})
    kept.attrs[KEPT] = keepsake_of(episode)


def read(source: Path, options: ForeignOptions, report: Report) -> Iterator[NamedEpisode]:
    """Every episode of a dataset, ours or others'.

    Raises:
        InputError: It is none of Minari's, or its description cannot be read.
    """
    task = chosen_task(options)
    description = _read_description(source)
    with Hdf5File(source / _DATA) as file:
        ours = MARK in description or MARK in file.attributes("/")
        for name, is_held in _names(file, description).items():
            try:
                tree = _tree(file, name, is_held)
                if ours or KEPT in tree.groups:
                    episode = _exported(name, tree, options.accept_changes)
                else:
                    episode = episode_of(name, _recording(name, tree, description), options, task, report)
            except InputError as error:
                report.drop(str(error))
            else:
                yield NamedEpisode(name, episode)


def recordings(source: Path) -> Iterator[tuple[str, Recording]]:
    """Every episode of a dataset as it was recorded, ours or others', with its name; for who needs no `Episode`.

    Raises:
        InputError: It is none of Minari's, or anything in it cannot be read.
    """
    description = _read_description(source)
    with Hdf5File(source / _DATA) as file:
        for name, is_held in _names(file, description).items():
            yield name, _recording(name, _tree(file, name, is_held), description)


def _read_description(source: Path) -> dict[str, Any]:
    """metadata.json, with the spaces as gymnasium's.

    Nothing is imported or made for its sake: an `env_spec` names code, and data must not choose what runs.
    """
    path = source / _DESCRIPTION if source.is_dir() else source.parent / _DESCRIPTION
    deserialize = library("minari.serialization").deserialize_space
    with refusing(path, "the description"):
        description = dict(json.loads(path.read_text()))
        if description.get("data_format", "hdf5") != "hdf5":
            raise InputError(
                f"{path}: its data_format is {description['data_format']!r}, but only 'hdf5' can be read."
            )
        for key in ("observation_space", "action_space"):
            if key not in description:
                raise InputError(f"{path}: it does not give its {key}; write the dataset with it.")
            description[key] = deserialize(description[key])
        description["total_episodes"] = int(description.get("total_episodes", 0))
    return description


def _names(file: Hdf5File, description: dict[str, Any]) -> dict[str, bool]:
    """Names of the episodes that the description counts or the file holds, in order, and whether it holds them."""
    # A damaged number must not make us count to it.
    counted = {f"episode_{i}" for i in range(min(description["total_episodes"], 100_000))}
    held = {name for name in file.names("/") if name.startswith("episode_")}
    return {name: name in held for name in sorted(counted | held, key=lambda name: (len(name), name))}


def _tree(file: Hdf5File, name: str, is_held: bool) -> Tree:
    if not is_held:
        raise InputError(f"{name}: {_DESCRIPTION} counts it, but {_DATA} does not hold it.")
    return file.tree(name)


def _exported(name: str, tree: Tree, accept_changes: bool) -> Episode:
    if KEPT not in tree.groups or "observations" not in tree.groups:
        raise InputError(f"{name}: its journeyman record or its observations are missing; export it again.")
    native = {ours: _array(name, tree, theirs) for ours, theirs in _NATIVE.items()}
    native |= {key: _array(name, tree, key) for key in ("actions", "rewards")}
    return came_home(name, tree.groups[KEPT], tree.groups["observations"].arrays, native, accept_changes)


def _recording(name: str, tree: Tree, description: dict[str, Any]) -> Recording:
    space = description["observation_space"]
    jpeg = bool(description.get("jpeg_encoding", True))
    if "observations" in tree.arrays:
        observations = {"observation": _decoded(name, tree.arrays["observations"], space, jpeg)}
    elif "observations" in tree.groups:
        observations = dict(_flattened(name, tree.groups["observations"], space, jpeg))
    else:
        raise InputError(f"{name}: it has no observations.")
    bounds = description["action_space"]
    infos = tree.groups.get("infos", Tree()).arrays
    success = infos.get("success")
    return Recording(
        observations=observations,
        actions=_array(name, tree, "actions"),
        rewards=_array(name, tree, "rewards"),
        terminated=_array(name, tree, "terminations"),
        truncated=_array(name, tree, "truncations"),
        success=bool(success.flat[-1]) if success is not None and success.size else None,
        task=str(description.get("dataset_id", "")),
        action_bounds=_finite_bounds(bounds),
        seed=int(tree.attributes["seed"]) if isinstance(tree.attributes.get("seed"), np.integer) else None,
    )


def _finite_bounds(space: Any) -> tuple[NDArray[Any], NDArray[Any]] | None:
    if not isinstance(space, gymnasium.spaces.Box) or not space.is_bounded():
        return None
    return space.low.astype(np.float64), space.high.astype(np.float64)


def _flattened(
    name: str, tree: Tree, space: Any, jpeg: bool, prefix: str = ""
) -> Iterator[tuple[str, NDArray[Any]]]:
    """The leaves of nested observations, by names such as `robot.arm`."""
    parts = getattr(space, "spaces", {})
    if isinstance(parts, tuple | list):
        parts = {f"_index_{index}": part for index, part in enumerate(parts)}
    for key, values in tree.arrays.items():
        yield prefix + key, _decoded(f"{name}.{key}", values, parts.get(key), jpeg)
    for key, group in tree.groups.items():
        yield from _flattened(name, group, parts.get(key), jpeg, f"{prefix}{key}.")


def _decoded(name: str, values: NDArray[Any], space: Any, jpeg: bool) -> NDArray[Any]:
    """Numbers or images; images that Minari stored as JPEG are decoded."""
    if space is not None and jpeg and library("minari.dataset.minari_storage").is_image_space(space):
        images = [cv2.imdecode(np.asarray(row, np.uint8), cv2.IMREAD_COLOR) for row in values if len(row)]
        if len(images) != len(values) or any(image is None or image.shape != space.shape for image in images):
            raise InputError(
                f"{name}: an image is damaged, or not of the shape {list(space.shape)} that is announced."
            )
        values = np.stack([cv2.cvtColor(image, cv2.COLOR_BGR2RGB) for image in images])
    if values.dtype.kind not in "biuf":
        raise InputError(f"{name}: its observations are {values.dtype}, but must be numbers or images.")
    return values


def _array(name: str, tree: Tree, key: str) -> NDArray[Any]:
    if key not in tree.arrays or not tree.arrays[key].ndim:
        raise InputError(f"{name}: it has no {key}.")
    return tree.arrays[key]


def _recognises(path: Path) -> bool:
    return (path / _DESCRIPTION).is_file() and (path / _DATA).is_file()


FORMAT = Format(
    about="a Minari dataset",
    recognises=_recognises,
    read=read,
    read_options=ForeignOptions,
    write=write,
)
