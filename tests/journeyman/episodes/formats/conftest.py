"""Episodes on disk, and the conversion as the command line runs it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from journeyman.cli import main
from robot_env.episodes import list_episodes, read_episode, write_episode


class Outcome(NamedTuple):
    """What `journeyman episodes convert` did: exit code, and what it said."""

    code: int
    out: str
    err: str

    def lines(self, word: str) -> list[str]:
        """The sentences of the report that begin with a word."""
        return [line.removeprefix(word).strip() for line in self.out.splitlines() if line.startswith(word)]


@pytest.fixture
def convert(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run it. Never a traceback, always a sentence, nothing half-written."""

    def run(source: Path, target: Path, *words: str) -> Outcome:
        existed = target.exists()
        capsys.readouterr()
        code = main(["episodes", "convert", str(source), str(target), *words])
        outcome = Outcome(code, *capsys.readouterr())
        assert "Traceback" not in outcome.out + outcome.err
        assert outcome.err.count("\n") == (code > 1), outcome.err
        assert existed or target.exists() == (code < 2)
        assert not list(target.parent.glob(".*.partial"))
        return outcome

    return run


@pytest.fixture
def write_folder(tmp_path: Path) -> Callable[..., Path]:
    """A folder of our episodes."""

    def write(*episodes: Any, name: str = "ours") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for number, episode in enumerate(episodes):
            write_episode(folder / f"{number:04d}.mcap", episode)
        return folder

    return write


@pytest.fixture(scope="session")
def read_folder() -> Callable[[Path], list[Any]]:
    """All episodes of a folder."""
    return lambda folder: [read_episode(path) for path in list_episodes(folder)]
