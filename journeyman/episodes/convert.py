"""`journeyman episodes convert SOURCE TARGET to=FORMAT`: from our episodes to a format of others, or back."""

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from controllers.config import InputError
from journeyman.episodes.formats import MODULES, OURS, Format, NamedEpisode, load_format, recognise
from journeyman.episodes.formats.report import Report
from journeyman.options import read_options
from robot_env.episode_file import sync_folder
from robot_env.episodes import Episode
from robot_env.program import DONE, FAILED

_VERB = "episodes convert"
_USAGE = "write journeyman episodes convert SOURCE TARGET to=FORMAT"


def run(words: list[str]) -> int:
    """Convert.

    Args:
        words: SOURCE, TARGET, `to=FORMAT`, perhaps `from=FORMAT`, and options of the foreign format as key=value.

    Returns:
        0 if everything was converted, 1 if something was dropped, which the report says.

    Raises:
        InputError: A word makes no sense, or there is nothing to convert; then there is no target.
    """
    source, target, names, rest = _understood(words)
    if not source.exists():
        raise InputError(f"There is nothing at {source}; check the path.")
    if target.exists() or target.is_symlink():
        raise InputError(f"{target} exists; choose a new name or remove it.")
    if not target.parent.is_dir():
        raise InputError(f"There is no folder {target.parent} to write {target.name} into; make it first.")
    reads, writes = (load_format(name) for name in _both(source, *names))
    report = Report()
    _convert(source, target, reads, writes, rest, report)
    dropped = f"; {len(report.dropped)} things were dropped, see above" if report.dropped else ""
    print(f"{report.kept} episodes are in {target}{dropped}.")
    return FAILED if report.dropped else DONE


def _understood(words: Sequence[str]) -> tuple[Path, Path, tuple[str, str], list[str]]:
    """Source, target, names of the formats (from, to; empty if not given) and the words that are left."""
    paths = [word for word in words if "=" not in word]
    if len(paths) != 2:
        raise InputError(f"{_VERB} takes one source and one target, not {paths}; {_USAGE}.")
    keys = dict(word.split("=", 1) for word in words if word.startswith(("from=", "to=")))
    if not keys.get("to"):
        raise InputError(f"{_VERB} does not know what to convert to; {_USAGE}, one of {', '.join(MODULES)}.")
    rest = [word for word in words if "=" in word and not word.startswith(("from=", "to="))]
    return Path(paths[0]), Path(paths[1]), (keys.get("from", ""), keys["to"]), rest


def _both(source: Path, from_name: str, to_name: str) -> tuple[str, str]:
    """Names of the two formats, one of which is ours."""
    for name in filter(None, (from_name, to_name)):
        load_format(name)
    if to_name != OURS:
        from_name = from_name or OURS
    elif not from_name:
        from_name = recognise(source)
    if (from_name == OURS) == (to_name == OURS):
        raise InputError(
            f"from={from_name} to={to_name} cannot be done in one go; one of the two must be {OURS}, the other not."
        )
    return from_name, to_name


def _convert(
    source: Path, target: Path, reads: Format, writes: Format, words: list[str], report: Report
) -> None:
    """Write beside the target and rename, so that the target exists if and only if it is whole."""
    if reads.read is None or writes.write is None:
        only = f"{reads.about} is only written" if reads.read is None else f"{writes.about} is only read"
        raise InputError(f"{source} cannot be converted: {only}; choose another format.")
    to_ours = writes is load_format(OURS)
    read_with = read_options(reads.read_options, words if to_ours else [], _VERB)
    write_with = read_options(writes.write_options, [] if to_ours else words, _VERB)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        episodes = reads.read(source, read_with, report)
        writes.write(partial, episodes if to_ours else _alike(episodes, report), write_with, report)
        if not report.kept:
            raise InputError(
                f"Of {source} no episode could be kept, so there is no {target}; see what was dropped."
            )
        _publish(partial, target)
    finally:
        _remove(partial)


def _alike(episodes: Iterator[NamedEpisode], report: Report) -> Iterator[NamedEpisode]:
    """Those that have the sizes of the first: other formats describe all their episodes at once."""
    first: NamedEpisode | None = None
    for name, episode in episodes:
        slashed = [key for key in episode.observations if "/" in key]
        if slashed:
            report.drop(
                f"{name}: the name of its camera {slashed[0]!r} has a slash, which other formats cannot keep."
            )
            continue
        first = first or NamedEpisode(name, episode)
        ours, theirs = _sizes(episode), _sizes(first.episode)
        different = [key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)]
        if different:
            key = min(different)
            report.drop(
                f"{name}: its {key} is {ours.get(key, 'absent')}, but {theirs.get(key, 'absent')} in {first.name}; "
                "convert it with others like it."
            )
        else:
            yield NamedEpisode(name, episode)


def _sizes(episode: Episode) -> dict[str, object]:
    """What must be the same in all episodes of one target."""
    metadata = episode.metadata
    images = {f"camera {k}": v.shape[1:] for k, v in episode.observations.items() if k != "state"}
    return {
        "action_size": metadata.action_size,
        "control_rate_hz": metadata.task.get("control_rate_hz"),
        "joint_names": metadata.joint_names,
        "measured": metadata.measured,
        "state_names": metadata.state_names,
        **images,
    }


def _publish(partial: Path, target: Path) -> None:
    """Let what is whole appear under its name, and survive a loss of power."""
    for path in [partial, *partial.rglob("*")]:
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
    if target.exists():
        raise InputError(f"{target} has appeared meanwhile; choose a new name or remove it.")
    partial.replace(target)
    sync_folder(target.parent)


def _remove(partial: Path) -> None:
    if partial.is_dir():
        shutil.rmtree(partial)
    else:
        partial.unlink(missing_ok=True)
