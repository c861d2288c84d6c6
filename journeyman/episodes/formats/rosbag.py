"""Recorded sessions of people who drive the arm: rosbag2, stored as MCAP or SQLite. They are only read."""

from collections.abc import Iterator
from pathlib import Path

from controllers.config import InputError
from journeyman.episodes.formats import Format, NamedEpisode
from journeyman.episodes.formats.adoption import episode_of
from journeyman.episodes.formats.bag_mapping import load_mapping
from journeyman.episodes.formats.bag_session import Session
from journeyman.episodes.formats.bag_streams import Bag
from journeyman.episodes.formats.foreign import ForeignOptions, chosen_task
from journeyman.episodes.formats.report import Report


class RosbagOptions(ForeignOptions, kw_only=True):
    """Options of recorded sessions; `task` must be given.

    Attributes:
        mapping: YAML file that says which topic holds what, see `BagMapping`.
    """

    mapping: str = ""


def read(source: Path, options: RosbagOptions, report: Report) -> Iterator[NamedEpisode]:
    """Every stretch of a session in which everything is known.

    Raises:
        InputError: Mapping or task are missing or do not fit the session, or it is damaged.
    """
    mapping = load_mapping(options.mapping)
    task = chosen_task(options)
    if task is None:
        raise InputError(
            "A recorded session needs task=NAME, which says what actions mean and what is observed."
        )
    session = Session(Bag(source), mapping, task, report)
    for name, piece in session.pieces(source.name):
        try:
            yield NamedEpisode(name, episode_of(name, session.recording(name, piece), options, task, report))
        except InputError as error:
            report.drop(str(error))


def _recognises(path: Path) -> bool:
    return (path / "metadata.yaml").is_file() or (path.is_file() and path.suffix in (".mcap", ".db3"))


FORMAT = Format(
    about="a recorded session (rosbag2)",
    recognises=_recognises,
    read=read,
    read_options=RosbagOptions,
)
