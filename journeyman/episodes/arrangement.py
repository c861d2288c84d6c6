"""Episodes from several folders into new ones: which there are, which are the same, and how folders appear whole."""

import hashlib
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from controllers.config import InputError
from journeyman.episodes.recordings import PARTIAL_SUFFIX, Recording, read_all
from journeyman.recording import episode_path
from reward_models.success_classifier.labels import Label, LabelFile
from robot_env.episode_file import sync_folder


@dataclass(frozen=True, slots=True)
class Source:
    """A whole episode in its old place.

    Attributes:
        path: Its file.
        same: Files that hold the same recording, `path` among them.
        success: Whether it succeeded.
        steps: Its length.
    """

    path: Path
    same: tuple[Path, ...]
    success: bool
    steps: int


@dataclass(frozen=True, slots=True)
class Gathering:
    """What was found.

    Attributes:
        sources: Every recording once, in the order of folders and names.
        faulty: Files that are no whole episodes.
    """

    sources: list[Source]
    faulty: list[Recording]


def gather(paths: Sequence[Path], action: str) -> Gathering:
    """Read every file in `paths`, and see which hold the same recording.

    Raises:
        InputError: A path does not exist, or no episode is whole.
    """
    whole, faulty = read_all(paths, action)
    found: dict[tuple[object, ...], list[Recording]] = {}
    for recording in whole:
        found.setdefault(_identity(recording), []).append(recording)
    return Gathering([_source(recordings) for recordings in found.values()], faulty)


def assemble(parts: Mapping[Path, Sequence[Source]]) -> None:
    """Make folders of episodes `0000.mcap` and so on, with their labels. Files are linked, or copied where links fail.

    Each folder is made beside its place, under a name with a dot before and `.partial` behind, and renamed when it is
    whole and on disk: what a crash leaves can be told from what is done.

    Raises:
        InputError: A folder is there already and not empty, cannot be made, or labels cannot be read. No folder
            is there then.
    """
    for target in parts:
        _refuse_overwriting(target)
    labels = {target: _labels(sources) for target, sources in parts.items()}
    staged = {
        target: target.with_name(f".{target.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}") for target in parts
    }
    try:
        for target, sources in parts.items():
            _fill(staged[target], sources, labels[target])
        for target, partial in staged.items():
            partial.rename(target)
            sync_folder(target.parent)
    except OSError as error:
        raise InputError(
            f"{error.filename} cannot be written: {error.strerror}; choose another place."
        ) from None
    finally:
        for partial in staged.values():
            shutil.rmtree(partial, ignore_errors=True)


def _identity(recording: Recording) -> tuple[object, ...]:
    """By what two files are the same recording, even if one was packed anew.

    Start, seed and robot alone would not do: what was converted from elsewhere may have them all alike.
    """
    episode = recording.episode
    assert episode is not None
    content = hashlib.sha256(episode.actions.tobytes())
    content.update(episode.observations["state"].tobytes())
    metadata = episode.metadata
    return metadata.recorded_at, metadata.seed, metadata.robot, content.digest()


def _source(recordings: Sequence[Recording]) -> Source:
    episode = recordings[0].episode
    assert episode is not None
    same = tuple(recording.path for recording in recordings)
    return Source(same[0], same, bool(episode.success), len(episode.actions))


def _refuse_overwriting(target: Path) -> None:
    if target.is_symlink() or (target.exists() and not (target.is_dir() and not any(target.iterdir()))):
        raise InputError(
            f"{target} is there already; choose a new folder (to add to one, merge it with the others into a new one)."
        )


def _labels(sources: Sequence[Source]) -> list[Label]:
    """Labels of the episodes under their new names, in the order in which they were said: the last word counts."""
    names = {path: episode_path(Path(), n).name for n, source in enumerate(sources) for path in source.same}
    found = [
        msgspec.structs.replace(label, episode=names[folder / label.episode])
        for folder in sorted({path.parent for path in names})
        for label in LabelFile(folder).read().values()
        if folder / label.episode in names
    ]
    return sorted(found, key=lambda label: label.when)


def _fill(folder: Path, sources: Sequence[Source], labels: Sequence[Label]) -> None:
    folder.mkdir(parents=True)
    for number, source in enumerate(sources):
        _place(source.path.resolve(), episode_path(folder, number))
    if labels:
        LabelFile(folder).append(labels)
    sync_folder(folder)


def _place(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # Another file system, or one without links.
        shutil.copyfile(source, target)
        with target.open("rb") as stream:
            os.fsync(stream.fileno())
