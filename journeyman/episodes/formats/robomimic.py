"""robomimic's HDF5: `data/demo_N` with observations, next observations, actions, rewards and dones.

Layout: https://robomimic.github.io/docs/datasets/overview.html. Ours adds the group `journeyman` to every demo, which
robomimic does not look at.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from journeyman.episodes.formats import Format, NamedEpisode, NoOptions
from journeyman.episodes.formats.adoption import episode_of
from journeyman.episodes.formats.foreign import ForeignOptions, Recording, chosen_task
from journeyman.episodes.formats.hdf5 import MAGIC, Hdf5File, Tree, starts_with, text_of, write_arrays
from journeyman.episodes.formats.homecoming import KEPT, came_home, kept_arrays
from journeyman.episodes.formats.keepsake import MARK, VERSION, keepsake_of
from journeyman.episodes.formats.libraries import library
from journeyman.episodes.formats.report import Report
from robot_env.episodes import Episode

# robomimic's number for environments that gymnasium makes.
_GYM_TYPE = 2
_IMAGE = "_image"


def write(target: Path, episodes: Iterator[NamedEpisode], options: NoOptions, report: Report) -> None:
    """One file. Images are named `<camera>_image`, as robomimic's robosuite data name them."""
    total = 0
    with library("h5py").File(target, "w") as file:
        data = file.create_group("data")
        data.attrs[MARK] = VERSION
        for number, (name, episode) in enumerate(episodes):
            demo = data.create_group(f"demo_{number}")
            _write_demo(demo, episode)
            total += len(episode.actions)
            if not number:
                data.attrs["env_args"] = json.dumps(
                    {
                        "env_name": f"journeyman/{episode.metadata.task.get('name', 'unknown')}",
                        "type": _GYM_TYPE,
                        "env_kwargs": {},
                    }
                )
            report.keep(f"{name} as demo_{number}", len(episode.actions), bool(episode.success))
        data.attrs["total"] = total


def _write_demo(demo: Any, episode: Episode) -> None:
    steps = len(episode.actions)
    demo.attrs["num_samples"] = steps
    named = {key if key == "state" else key + _IMAGE: values for key, values in episode.observations.items()}
    write_arrays(demo.create_group("obs"), {key: values[:-1] for key, values in named.items()})
    write_arrays(demo.create_group("next_obs"), {key: values[1:] for key, values in named.items()})
    arrays: dict[str, NDArray[Any]] = {
        "actions": episode.actions,
        "rewards": episode.rewards,
        "dones": (episode.terminated | episode.truncated).astype(np.int64),
        # A simulator's states, to play a demo back; a recording of a robot has none.
        "states": np.zeros((steps, 0)),
    }
    write_arrays(demo, arrays)
    kept = demo.create_group(KEPT)
    write_arrays(kept, kept_arrays(episode))
    kept.attrs[KEPT] = keepsake_of(episode)


def read(source: Path, options: ForeignOptions, report: Report) -> Iterator[NamedEpisode]:
    """Every demo, ours or others'.

    Raises:
        InputError: The file is none of robomimic's.
    """
    task = chosen_task(options)
    with Hdf5File(source) as file:
        attributes = file.attributes("data")
        for name in sorted(file.names("data"), key=_number):
            try:
                demo = file.tree(f"data/{name}")
                if MARK in attributes or KEPT in demo.groups:
                    episode = _exported(name, demo, options.accept_changes)
                else:
                    recording = _recording(name, demo, text_of(attributes.get("env_args")))
                    episode = episode_of(name, recording, options, task, report)
            except InputError as error:
                report.drop(str(error))
            else:
                yield NamedEpisode(name, episode)


def _number(name: str) -> tuple[int, str]:
    """demo_10 comes after demo_9."""
    digits = name.rpartition("_")[2]
    return (int(digits) if digits.isascii() and digits.isdigit() else 0), name


def _exported(name: str, demo: Tree, accept_changes: bool) -> Episode:
    if KEPT not in demo.groups:
        raise InputError(f"{name}: its journeyman record is missing; export it again.")
    observations = {key.removesuffix(_IMAGE): values for key, values in _observations(name, demo).items()}
    native = {key: _array(name, demo, key) for key in ("actions", "rewards")}
    return came_home(name, demo.groups[KEPT], observations, native, accept_changes)


def _recording(name: str, demo: Tree, env_args: str | None) -> Recording:
    if "next_obs" in demo.groups:
        observations = _observations(name, demo)
    else:
        observations = demo.groups["obs"].arrays if "obs" in demo.groups else {}
    if not observations:
        raise InputError(
            f"{name}: it has no observations (obs); make them with robomimic's dataset_states_to_obs.py."
        )
    return Recording(
        observations={key.removesuffix(_IMAGE): values for key, values in observations.items()},
        actions=_array(name, demo, "actions"),
        rewards=demo.arrays.get("rewards"),
        task=_task_name(env_args),
    )


def _task_name(env_args: str | None) -> str:
    try:
        return str(json.loads(env_args or "{}").get("env_name", ""))
    except (ValueError, AttributeError):
        return ""


def _observations(name: str, demo: Tree) -> dict[str, NDArray[Any]]:
    """T + 1 rows: all of obs and the last of next_obs, which must say the same where they overlap."""
    before, after = (demo.groups.get(key, Tree()).arrays for key in ("obs", "next_obs"))
    if before.keys() != after.keys() or not before:
        raise InputError(
            f"{name}: obs holds {sorted(before)}, but next_obs {sorted(after)}; they must hold the same."
        )
    for key, values in before.items():
        later = after[key]
        if not len(values) or values.shape != later.shape or values.dtype != later.dtype:
            raise InputError(f"{name}: obs and next_obs differ in the shape of {key}; they must be the same.")
        jumps = (values[1:] != later[:-1]).any(axis=tuple(range(1, values.ndim)))
        if jumps.any():
            step = int(np.flatnonzero(jumps)[0])
            raise InputError(
                f"{name}: next_obs of step {step} is not obs of step {step + 1} in {key}, so there is a hole in the "
                "recording; leave this demo out."
            )
    return {key: np.concatenate([values, after[key][-1:]]) for key, values in before.items()}


def _array(name: str, demo: Tree, key: str) -> NDArray[Any]:
    if key not in demo.arrays or not demo.arrays[key].ndim:
        raise InputError(f"{name}: it has no {key}; leave this demo out.")
    return demo.arrays[key]


def _recognises(path: Path) -> bool:
    return starts_with(path, MAGIC)


FORMAT = Format(
    about="a robomimic HDF5 file",
    recognises=_recognises,
    read=read,
    read_options=ForeignOptions,
    write=write,
)
