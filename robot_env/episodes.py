"""Episodes as MCAP files of ROS 2 messages: Foxglove and `ros2 bag` open them, no ROS installation is needed.

One file per episode. It appears under its name when it is whole; what a crash interrupted stays beside it as
`*.partial`, can be read up to its last whole step, and is never taken for an episode.

Topics per observation, at the stamp of the robot's measurement: `/joint_states`, `/gripper/joint_states`,
`/current_pose`, `/current_twist`, `/wrench`, `/observation/state`, `/observation/<camera>/compressed`; per step
also `/action`, `/reward`, `/terminated`, `/truncated`, `/intervened`, `/provenance`; at the end `/success`. The
sequence number of a message is the step, 0 for the start. The metadata record `journeyman.episode` holds
`EpisodeMetadata`. What protects which part is told in docs/episodes.md.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from controllers.config import InputError
from robot_env.episode import Episode, EpisodeMetadata
from robot_env.episode_copy import write_episode
from robot_env.episode_reader import decode_episode, read_episode, read_episode_log
from robot_env.episode_writer import EpisodeWriter

__all__ = [
    "Episode",
    "EpisodeMetadata",
    "EpisodeWriter",
    "decode_episode",
    "list_episodes",
    "load_demonstrations",
    "read_episode",
    "read_episode_log",
    "write_episode",
]


def list_episodes(folder: Path) -> list[Path]:
    """The files of all whole episodes in `folder`, by name; none if it does not exist."""
    return sorted(path for path in folder.glob("*.mcap") if path.is_file())


def load_demonstrations(
    folder: Path,
    state_names: Sequence[str],
    action_size: int,
    image_shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> list[Episode]:
    """Every episode in `folder`, known to fit a task.

    Args:
        folder: Where the episodes are.
        state_names: Names of the entries of the task's `state` vector, in order.
        action_size: Number of entries of the task's actions.
        image_shapes: Shape (height, width, 3) of each image that the task observes; more in a file do no harm.

    Raises:
        InputError: There is none, or one is damaged or belongs to another observation or action space; nothing
            is used then.
    """
    paths = list_episodes(folder)
    if not paths:
        raise InputError(
            f"There are no episodes (*.mcap) in {folder}; record some with `journeyman collect`, or give the folder "
            "that has them."
        )
    episodes = [read_episode(path) for path in paths]
    for path, episode in zip(paths, episodes, strict=True):
        _check_fit(path, episode, tuple(state_names), action_size, image_shapes or {})
    return episodes


def _check_fit(
    path: Path,
    episode: Episode,
    state_names: tuple[str, ...],
    action_size: int,
    image_shapes: Mapping[str, tuple[int, ...]],
) -> None:
    """Refuse an episode of another task."""
    found = episode.metadata
    advice = "use demonstrations that were recorded with this task, or record new ones"
    if found.action_size != action_size:
        raise InputError(
            f"Episode {path} has actions of {found.action_size} entries, but the task's have {action_size}; {advice}."
        )
    if found.state_names != state_names:
        difference = _difference(found.state_names, state_names)
        raise InputError(
            f"Episode {path} has another observation.state than the task: {difference}; {advice}."
        )
    for key, shape in image_shapes.items():
        image = episode.observations.get(key)
        if image is None or image.shape[1:] != tuple(shape):
            have = (
                f"no observation.{key}"
                if image is None
                else f"observation.{key} of shape {list(image.shape[1:])}"
            )
            raise InputError(f"Episode {path} has {have}, but the task needs shape {list(shape)}; {advice}.")


def _difference(found: tuple[str, ...], wanted: tuple[str, ...]) -> str:
    """The first entry that differs."""
    for index, (ours, theirs) in enumerate(zip(found, wanted, strict=False)):
        if ours != theirs:
            return f"entry {index} is {ours!r} instead of {theirs!r}"
    return f"it has {len(found)} entries instead of {len(wanted)}"
