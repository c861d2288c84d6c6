"""LeRobotDataset, codebase version v3.0: a folder of parquet, JSON and, if one likes, MP4.

A row is an observation and the action that followed; the last observation of an episode has no row. It lies with
what else LeRobot has no place for in `journeyman/episodes.parquet`, which LeRobot does not look at.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from controllers.config import Config, InputError
from journeyman.episodes.formats import Format, NamedEpisode, lerobot_layout
from journeyman.episodes.formats.adoption import episode_of
from journeyman.episodes.formats.foreign import ForeignOptions, chosen_task
from journeyman.episodes.formats.lerobot_reader import LerobotReader
from journeyman.episodes.formats.lerobot_writer import LerobotWriter
from journeyman.episodes.formats.report import Report


class LerobotOptions(Config):
    """Options of writing a LeRobotDataset.

    Attributes:
        images: `png` in the tables, without loss; `h264` in videos, small, with loss; `h264_lossless` in videos,
            without loss, which few players show.
    """

    images: Literal["png", "h264", "h264_lossless"] = "png"


def write(target: Path, episodes: Iterator[NamedEpisode], options: LerobotOptions, report: Report) -> None:
    """One dataset."""
    writer: LerobotWriter | None = None
    for number, (name, episode) in enumerate(episodes):
        if writer is None:
            writer = LerobotWriter(target, episode, options.images)
        writer.add(episode)
        report.keep(f"{name} as episode {number}", len(episode.actions), bool(episode.success))
    if writer is None:
        return
    writer.close()
    if options.images == "h264":
        report.note("Images lose a little in videos of images=h264; the last of each episode does not.")


def read(source: Path, options: ForeignOptions, report: Report) -> Iterator[NamedEpisode]:
    """Every episode of a dataset.

    Raises:
        InputError: It is none, or its description cannot be read.
    """
    task = chosen_task(options)
    reader = LerobotReader(source)
    if reader.is_ours and not options.accept_changes:
        reader.check_videos()
    for number, row in enumerate(reader.episodes):
        try:
            name, recording = reader.recording(row)
            if reader.is_ours:
                episode = reader.exported(name, number, recording, options.accept_changes)
            else:
                episode = episode_of(name, recording, options, task, report)
        except InputError as error:
            report.drop(str(error))
        else:
            yield NamedEpisode(name, episode)


def _recognises(path: Path) -> bool:
    return (path / lerobot_layout.INFO).is_file()


FORMAT = Format(
    about="a LeRobotDataset",
    recognises=_recognises,
    read=read,
    read_options=ForeignOptions,
    write=write,
    write_options=LerobotOptions,
)
