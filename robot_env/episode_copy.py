"""Writes an episode that is already whole, as arrays: a converted, joined or cut one."""

from datetime import datetime
from pathlib import Path

import numpy as np

from controllers.config import InputError
from robot_env.episode import Episode
from robot_env.episode_checks import check_episode
from robot_env.episode_file import EpisodeFile


def write_episode(path: Path, episode: Episode) -> None:
    """Write an episode so that `read_episode` gives it back: every array bit for bit, metadata as they are.

    Its messages are stamped from `metadata.recorded_at` on, as the recording's were, to the millisecond. Like a
    recording, the file appears under its name when it is whole.

    Args:
        path: The new file, `*.mcap`; its folder must exist.
        episode: A finished one.

    Raises:
        InputError: The name is taken, the folder cannot be written, or no learner may see the episode.
    """
    check_episode(str(path), episode)
    start_ns = _start_ns(path, episode.metadata.recorded_at)
    if episode.success is None:
        raise InputError(
            f"Episode {path} has no end, so its success is not known; say which it is before writing it."
        )
    file = EpisodeFile(path)
    file.begin(episode.metadata)
    try:
        for k, elapsed_s in enumerate(episode.elapsed_s):
            stamp_ns = start_ns + round(float(elapsed_s) * 1e9)
            _add_instant(file, episode, k, stamp_ns)
        file.finish(stamp_ns, episode.success, len(episode.actions))
    finally:
        file.discard()


def _add_instant(file: EpisodeFile, episode: Episode, k: int, stamp_ns: int) -> None:
    robot = {name: values[k] for name, values in episode.robot.items()}
    file.seen(stamp_ns, k, robot, {key: values[k] for key, values in episode.observations.items()})
    if k:
        file.acted(
            stamp_ns,
            k,
            action=np.asarray(episode.actions[k - 1], np.float32),
            reward=float(episode.rewards[k - 1]),
            terminated=bool(episode.terminated[k - 1]),
            truncated=bool(episode.truncated[k - 1]),
            intervened=bool(episode.intervened[k - 1]),
            provenance=str(episode.provenance[k - 1]),
        )
    file.end_instant()


def _start_ns(path: Path, recorded_at: str) -> int:
    """Nanoseconds since the Unix epoch, whole milliseconds."""
    try:
        return round(datetime.fromisoformat(recorded_at).timestamp() * 1e3) * 1_000_000
    except (ValueError, OverflowError):
        raise InputError(
            f"Episode {path} was recorded at {recorded_at!r}; write a time such as 2026-01-31T12:00:00+00:00."
        ) from None
