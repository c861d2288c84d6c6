"""Pickles of SERL and HIL-SERL: a list of transitions in the order in which they happened. They are only read.

A transition is a dict of observations, actions, next_observations, rewards, masks (0: no bootstrap), dones and, in
HIL-SERL, infos (https://github.com/rail-berkeley/hil-serl, examples/record_demos.py).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from journeyman.episodes.formats import Format, NamedEpisode
from journeyman.episodes.formats.adoption import episode_of
from journeyman.episodes.formats.foreign import ForeignOptions, Recording, chosen_task
from journeyman.episodes.formats.pickled import load_pickle
from journeyman.episodes.formats.report import Report

Seen = dict[str, NDArray[Any]]
_PARTS = ("observations", "actions", "next_observations", "rewards", "dones")


class SerlOptions(ForeignOptions, kw_only=True):
    """Options of SERL's pickles.

    Attributes:
        max_gb: Larger files are refused; a file is read into memory as a whole.
    """

    max_gb: float = 4.0


def read(source: Path, options: SerlOptions, report: Report) -> Iterator[NamedEpisode]:
    """Every episode of a file, or of all `*.pkl` in a folder.

    Raises:
        InputError: There is no pickle.
    """
    paths = _paths(source)
    if not paths:
        raise InputError(
            f"There are no pickles (*.pkl) in {source}; give the folder that has them, or one file."
        )
    task = chosen_task(options)
    for path in paths:
        try:
            transitions = _transitions(path, load_pickle(path, round(options.max_gb * 1e9)))
        except InputError as error:
            report.drop(str(error))
            continue
        for number, episode in enumerate(_split(path, transitions, report)):
            name = f"{path.name}[{number}]"
            try:
                yield NamedEpisode(name, episode_of(name, _recording(name, episode), options, task, report))
            except InputError as error:
                report.drop(str(error))


class _Transition:
    """One step, its observations flat and without their leading stack dimension."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.before = dict(_flat(raw["observations"]))
        self.after = dict(_flat(raw["next_observations"]))
        self.action = np.asarray(raw["actions"])
        self.reward = float(raw["rewards"])
        self.done = bool(raw["dones"])
        self.terminated = self.done and float(raw.get("masks", 0.0)) == 0.0
        infos = raw.get("infos") or {}
        if not isinstance(infos, dict):
            raise ValueError(f"its infos are a {type(infos).__name__}")
        self.intervened = "intervene_action" in infos
        self.succeeded = bool(infos["succeed"]) if "succeed" in infos else None
        if self.before.keys() != self.after.keys():
            raise ValueError("observations and next_observations do not hold the same")

    def leads_to(self, other: "_Transition") -> bool:
        """Whether the other one begins where this one ended."""
        return self.after.keys() == other.before.keys() and all(
            values.shape == other.before[key].shape and np.array_equal(values, other.before[key])
            for key, values in self.after.items()
        )


def _flat(observation: Any, prefix: str = "") -> Iterator[tuple[str, NDArray[Any]]]:
    """Arrays by name. Of stacked observations the newest: images of 4 dimensions, other arrays of 2 and more."""
    if isinstance(observation, dict):
        for key, value in observation.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
        return
    values = np.asarray(observation)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{prefix or 'an observation'} is {values.dtype}")
    single = 3 if values.dtype == np.uint8 and values.ndim >= 3 else 1
    while values.ndim > single:
        values = values[-1]
    yield prefix or "observation", values


def _transitions(path: Path, found: Any) -> list[_Transition]:
    """The list in a file.

    Raises:
        InputError: It holds something else; the message says which entry.
    """
    if not isinstance(found, list) or not found:
        raise InputError(f"{path} holds no list of transitions; give a file that SERL or HIL-SERL wrote.")
    transitions = []
    for index, raw in enumerate(found):
        missing = [part for part in _PARTS if not isinstance(raw, dict) or part not in raw]
        if missing:
            raise InputError(f"{path}: entry {index} is no transition of SERL, as it has no {missing[0]}.")
        try:
            transitions.append(_Transition(raw))
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise InputError(f"{path}: entry {index} is no transition of SERL ({error}).") from None
    return transitions


def _split(path: Path, transitions: Sequence[_Transition], report: Report) -> Iterator[list[_Transition]]:
    """Episodes: they end with `dones`, and where the next observation is not what a step led to."""
    episode: list[_Transition] = []
    for index, transition in enumerate(transitions):
        if episode and not episode[-1].leads_to(transition):
            report.note(
                f"{path.name}: an episode ends before entry {index} without being done; it counts as truncated."
            )
            yield episode
            episode = []
        episode.append(transition)
        if transition.done:
            yield episode
            episode = []
    if episode:
        report.note(f"{path.name}: the last episode ends without being done; it counts as truncated.")
        yield episode


def _recording(name: str, episode: list[_Transition]) -> Recording:
    last = episode[-1]
    steps = np.arange(len(episode)) == len(episode) - 1
    seen: Seen = {}
    try:
        for key in last.after:
            seen[key] = np.stack([*(step.before[key] for step in episode), last.after[key]])
        actions = np.stack([step.action for step in episode])
    except ValueError as error:
        raise InputError(f"{name}: its steps differ in shape ({error}).") from None
    return Recording(
        observations=seen,
        actions=actions,
        rewards=np.array([step.reward for step in episode]),
        terminated=steps & last.terminated,
        truncated=steps & (not last.terminated),
        intervened=np.array([step.intervened for step in episode]),
        success=last.succeeded,
    )


def _paths(path: Path) -> list[Path]:
    return sorted(path.glob("*.pkl")) if path.is_dir() else [path]


def _recognises(path: Path) -> bool:
    return (path.is_file() and path.suffix in (".pkl", ".pickle")) or (path.is_dir() and bool(_paths(path)))


FORMAT = Format(
    about="SERL's or HIL-SERL's pickled transitions",
    recognises=_recognises,
    read=read,
    read_options=SerlOptions,
)
