"""Episode files as they are found: whole, unfinished, damaged or something else, each with its reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from controllers.config import InputError
from robot_env.episode import Episode
from robot_env.episode_topics import camera_of
from robot_env.episodes import decode_episode, list_episodes, read_episode_log
from robot_env.mcap_file import BREAKS_OFF, MessageLog

PARTIAL_SUFFIX = ".partial"
_NEVER_RENAMED = "whole, but it did not get its name, as another file had it; rename it to a free *.mcap"


@dataclass(frozen=True, slots=True)
class Recording:
    """One file.

    Attributes:
        path: Of the file.
        log: Its messages, as far as they can be read.
        episode: What is whole of it; None if that is nothing.
        fault: Why it is not a whole episode; empty if it is one.
    """

    path: Path
    log: MessageLog
    episode: Episode | None
    fault: str

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras that were recorded."""
        return tuple(sorted(camera for camera in map(camera_of, self.log.messages) if camera))


def find_files(paths: Sequence[Path], action: str) -> list[Path]:
    """Episode files, whole or left by a crash (`*.partial`), in the order of `paths` and of their names.

    Args:
        paths: Folders and files.
        action: For messages.

    Raises:
        InputError: There are no paths, or one does not exist.
    """
    if not paths:
        raise InputError(f"journeyman episodes {action} needs a folder of episodes; name one, or several.")
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted([*list_episodes(path), *path.glob(f"*.mcap.*{PARTIAL_SUFFIX}")])
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"There is nothing at {path}; check the path.")
    return found


def examine(path: Path, *, images: bool = False) -> Recording:
    """Read a file, whatever state it is in.

    Args:
        path: Of the file.
        images: Decode the images too.
    """
    try:
        log = read_episode_log(path)
    except InputError as error:
        return Recording(path, MessageLog(), None, _reason(path, error))
    try:
        episode = decode_episode(str(path), log, allow_unfinished=True, images=images)
    except InputError as error:
        return Recording(path, log, None, _reason(path, error))
    if episode.success is not None:
        lost_name = path.suffix == PARTIAL_SUFFIX
        return Recording(path, log, episode, _NEVER_RENAMED if lost_name else "")
    known = {"": "its end is missing", BREAKS_OFF: BREAKS_OFF}
    reason = known.get(log.damage, f"damaged ({log.damage})")
    return Recording(path, log, episode, f"{reason}; {len(episode.actions)} whole steps can be read")


def read_all(paths: Sequence[Path], action: str) -> tuple[list[Recording], list[Recording]]:
    """All recordings without their images: whole episodes, and the rest.

    Raises:
        InputError: See `find_files`, or no episode is whole.
    """
    recordings = [examine(path) for path in find_files(paths, action)]
    whole = [one for one in recordings if not one.fault]
    faulty = [one for one in recordings if one.fault]
    if not whole:
        why = f" ({faulty[0].path}: {faulty[0].fault})" if faulty else ""
        raise InputError(
            f"There is no whole episode in {', '.join(map(str, paths))}{why}; record some with `journeyman collect`."
        )
    return whole, faulty


def _reason(path: Path, error: InputError) -> str:
    """What an error says, without the file that it begins with: that stands before it wherever it is shown."""
    return str(error).removeprefix("Episode ").removeprefix(str(path)).lstrip(": ")
