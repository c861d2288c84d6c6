"""Our own episodes: a folder of `*.mcap` files, or one of them."""

from collections.abc import Iterator
from pathlib import Path

from controllers.config import InputError
from journeyman.episodes.formats import Format, NamedEpisode, NoOptions
from journeyman.episodes.formats.report import Report
from journeyman.recording import episode_path
from robot_env.episodes import list_episodes, read_episode, write_episode


def read(source: Path, options: NoOptions, report: Report) -> Iterator[NamedEpisode]:
    """Every whole episode; damaged ones are dropped.

    Raises:
        InputError: There is no episode.
    """
    paths = _paths(source)
    if not paths:
        raise InputError(
            f"There are no episodes (*.mcap) in {source}; give the folder that has them, or one file."
        )
    for path in paths:
        try:
            yield NamedEpisode(path.name, read_episode(path))
        except InputError as error:
            report.drop(f"{path.name}: {error}")


def write(target: Path, episodes: Iterator[NamedEpisode], options: NoOptions, report: Report) -> None:
    """A folder with one file per episode: 0000.mcap and so on."""
    target.mkdir()
    for number, (name, episode) in enumerate(episodes):
        path = episode_path(target, number)
        write_episode(path, episode)
        report.keep(f"{name} as {path.name}", len(episode.actions), bool(episode.success))


def _paths(path: Path) -> list[Path]:
    return list_episodes(path) if path.is_dir() else [path]


FORMAT = Format(
    about="journeyman's own, a folder of MCAP files",
    read=read,
    write=write,
)
