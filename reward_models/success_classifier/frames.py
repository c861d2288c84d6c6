"""Labelled frames of episodes, preprocessed, and their division by episodes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from reward_models.success_classifier.labels import LabelFile
from reward_models.success_classifier.preprocessing import Inputs, Preprocessing, View
from robot_env.episode import Episode
from robot_env.episodes import read_episode


@dataclass(frozen=True, slots=True)
class Frames:
    """N labelled frames.

    Attributes:
        inputs: What the classifier sees.
        success: The labels, bool, shape (N,).
        episode: Number of each frame's episode in `names`, shape (N,).
        step: Its step in there, shape (N,).
        names: Paths of the episodes.
    """

    inputs: Inputs
    success: NDArray[np.bool_]
    episode: NDArray[np.int64]
    step: NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.success)

    def take(self, chosen: NDArray[Any]) -> "Frames":
        """Those that `chosen`, indices or bool, picks."""
        inputs = Inputs(self.inputs.images[chosen], self.inputs.state[chosen])
        return Frames(inputs, self.success[chosen], self.episode[chosen], self.step[chosen], self.names)

    def counts(self) -> tuple[int, int]:
        """Number of successes and of failures."""
        successes = int(self.success.sum())
        return successes, len(self) - successes


def views_of(
    folders: Sequence[Path], cameras: Sequence[str], crops: Mapping[str, tuple[int, int, int, int]]
) -> dict[str, View]:
    """The cameras to fit for, as the first labelled episode has them.

    Args:
        folders: Where labelled episodes are.
        cameras: Names; all that there are if empty.
        crops: By camera: top, left, height, width in pixels.

    Raises:
        InputError: There is no labelled episode, or it lacks a camera.
    """
    path, _ = _labelled(folders)[0]
    shapes = {n: v.shape[1:] for n, v in read_episode(path).observations.items() if n != "state"}
    wanted = list(cameras) or sorted(shapes)
    unknown = [name for name in wanted if name not in shapes]
    if unknown or not wanted:
        raise InputError(
            f"Episode {path} has no camera{f' {unknown[0]!r}' if unknown else ''}; there are "
            f"{', '.join(sorted(shapes)) or 'none: record with task.cameras'}."
        )
    idle = sorted(set(crops) - set(wanted))
    if idle:
        raise InputError(
            f"A crop is given for camera {idle[0]!r}, which is not among {', '.join(wanted)}; leave it out."
        )
    try:
        return {
            name: View(height=shapes[name][0], width=shapes[name][1], crop=crops.get(name)) for name in wanted
        }
    except ValueError as error:
        raise InputError(f"A crop does not fit episode {path}: {error}.") from None


def read_frames(folders: Sequence[Path], preprocessing: Preprocessing) -> Frames:
    """Every frame that is labelled success or failure.

    Raises:
        InputError: There is none, an episode is damaged, or it has other cameras.
    """
    parts: list[tuple[Inputs, list[bool], list[int]]] = []
    names = []
    for path, verdicts in _labelled(folders):
        episode = read_episode(path)
        steps = [step for step in sorted(verdicts) if verdicts[step] != "skip"]
        if not steps:
            continue
        _check_steps(path, episode, steps)
        shapes = {name: v.shape[1:] for name, v in episode.observations.items() if name != "state"}
        state_names = episode.metadata.state_names
        preprocessing.check_source(shapes, state_names, f"episode {path}")
        chosen = {name: values[steps] for name, values in episode.observations.items()}
        parts.append(
            (preprocessing.prepare(chosen, state_names), [verdicts[s] == "success" for s in steps], steps)
        )
        names.append(str(path))
    if not parts:
        raise InputError(f"Every label in {_list(folders)} says skip; label successes and failures.")
    return Frames(
        Inputs(*(np.concatenate(arrays) for arrays in zip(*(inputs for inputs, _, _ in parts), strict=True))),
        np.concatenate([np.array(success) for _, success, _ in parts]),
        np.concatenate([np.full(len(steps), number) for number, (_, _, steps) in enumerate(parts)]),
        np.concatenate([np.array(steps) for _, _, steps in parts]),
        tuple(names),
    )


def sample(frames: Frames, successes: int, failures: int, rng: np.random.Generator) -> Frames:
    """At most so many frames of each class, at random; 0 means all."""
    chosen = []
    for verdict, limit in ((True, successes), (False, failures)):
        indices = np.flatnonzero(frames.success == verdict)
        chosen.append(rng.permutation(indices)[: limit or None])
    return frames.take(np.sort(np.concatenate(chosen)))


def split_by_episode(frames: Frames, share: float, rng: np.random.Generator) -> tuple[Frames, Frames]:
    """Divide into what is fitted and what is held out.

    Frames of one episode look alike: on both sides they would let the classifier remember instead of see. Episodes
    with a success are divided apart from those without.

    Args:
        frames: Of several episodes.
        share: Of the episodes that is held out, in (0, 1).
        rng: Source of randomness.

    Raises:
        InputError: One side would lack successes or failures.
    """
    present = np.unique(frames.episode)
    with_success = np.unique(frames.episode[frames.success])
    held_out: list[int] = []
    for group in (with_success, np.setdiff1d(present, with_success)):
        count = max(0, min(max(1, round(share * len(group))), len(group) - 1))
        held_out += rng.permutation(group)[:count].tolist()
    is_held_out = np.isin(frames.episode, held_out)
    fitted, rest = frames.take(~is_held_out), frames.take(is_held_out)
    for name, side in (("fitted", fitted), ("held out", rest)):
        for verdict, count in zip(("success", "failure"), side.counts(), strict=True):
            if count == 0:
                raise InputError(
                    f"Of {len(present)} labelled episodes, {len(with_success)} have a success, and among the frames "
                    f"{name} is no {verdict}: label both classes, each in at least two episodes."
                )
    return fitted, rest


def _labelled(folders: Sequence[Path]) -> list[tuple[Path, dict[int, str]]]:
    """Episodes with labels, each with its labels by step."""
    found: dict[Path, dict[int, str]] = {}
    for folder in folders:
        for (episode, step), label in LabelFile(folder).read().items():
            found.setdefault(folder / episode, {})[step] = label.label
    if not found:
        raise InputError(f"There are no labels in {_list(folders)}; make some with `journeyman label`.")
    return sorted(found.items())


def _check_steps(path: Path, episode: Episode, steps: Sequence[int]) -> None:
    last = len(episode.actions)
    if steps[0] < 0 or steps[-1] > last:
        raise InputError(
            f"The labels of {path} name step {steps[-1] if steps[-1] > last else steps[0]}, but it has 0 to {last}; "
            "they belong to another episode of that name."
        )


def _list(folders: Sequence[Path]) -> str:
    return ", ".join(map(str, folders))
