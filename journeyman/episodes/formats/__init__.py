"""Formats that episodes are converted from and to. Adding one is adding a module with a `FORMAT` and its line here."""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from controllers.config import Config, InputError
from journeyman.episodes.formats.report import Report
from robot_env.episodes import Episode

OURS = "mcap"
# Name -> module. Ours is on one side of every conversion.
MODULES = {
    OURS: "journeyman.episodes.formats.mcap",
    "lerobot": "journeyman.episodes.formats.lerobot",
    "minari": "journeyman.episodes.formats.minari",
    "robomimic": "journeyman.episodes.formats.robomimic",
    "rosbag": "journeyman.episodes.formats.rosbag",
    "serl": "journeyman.episodes.formats.serl",
}


class NamedEpisode(NamedTuple):
    """An episode and what it is called in its source, for people."""

    name: str
    episode: Episode


class NoOptions(Config):
    """For formats that leave no choice."""


# Reads what can be read, episode by episode; what cannot is said in the report. Raises InputError if nothing can.
Reader = Callable[[Path, Any, Report], Iterator[NamedEpisode]]
# Writes a file or folder that does not exist yet. The episodes have the same sizes, which `convert` sees to.
Writer = Callable[[Path, Iterator[NamedEpisode], Any, Report], None]


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        about: What it is, for people.
        recognises: Whether a path holds it, by names and first bytes alone.
        read: Reads it; None if it is only written.
        read_options: Options of `read`.
        write: Writes it; None if it is only read.
        write_options: Options of `write`.
    """

    about: str
    recognises: Callable[[Path], bool] = lambda path: False
    read: Reader | None = None
    read_options: type[Config] = NoOptions
    write: Writer | None = None
    write_options: type[Config] = NoOptions


def load_format(name: str) -> Format:
    """The format of a name.

    Raises:
        InputError: There is none.
    """
    if name not in MODULES:
        raise InputError(f"There is no format {name!r}; choose from {', '.join(MODULES)}.")
    return importlib.import_module(MODULES[name]).FORMAT


def recognise(source: Path) -> str:
    """The name of the foreign format that a path holds.

    Raises:
        InputError: Nothing that is known by sight.
    """
    others = [name for name in MODULES if name != OURS]
    for name in others:
        if load_format(name).recognises(source):
            return name
    raise InputError(
        f"{source} is in none of the formats that are known by sight; say which it is with from=NAME, one of "
        f"{', '.join(others)}."
    )
