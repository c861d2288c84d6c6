"""One folder per run: everything needed to resume, evaluate and report it."""

import json
import platform
from datetime import datetime
from importlib import metadata
from pathlib import Path

from agent.checkpoint import Checkpoints
from agent.config import InputError
from journeyman import __version__
from journeyman.config import RunConfig, read_config, write_config

FORMAT_VERSION = 1
_LIBRARIES = ("torch", "numpy", "mujoco", "gymnasium", "pyzmq", "msgspec", "safetensors", "hydra-core")


class RunDirectory:
    """Names of the parts of a run on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.versions = path / "versions.json"
        self.journal = path / "journal.jsonl"
        self.replay_log = path / "replay.log"
        self.demonstrations = path / "demonstrations"
        self.report = path / "report"

    def spool(self, actor: str) -> Path:
        """Where an actor of this machine keeps what is not yet acknowledged."""
        return self.path / "spool" / actor

    def spools(self) -> list[Path]:
        """The spools of all actors of this machine."""
        return sorted((self.path / "spool").glob("*"))

    def checkpoints(self, keep: int = 3) -> Checkpoints:
        """The run's checkpoints."""
        return Checkpoints(self.path / "checkpoints", keep)

    @classmethod
    def create(cls, config: RunConfig, root: Path = Path("runs")) -> "RunDirectory":
        """Make the folder of a new run, named by time, task and seed, and point `latest` at it.

        Raises:
            InputError: The folder cannot be written.
        """
        stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        name = f"{stamp}_{config.task.name}_{config.algorithm.name}_seed{config.seed}"
        try:
            root.mkdir(parents=True, exist_ok=True)
            path = _unused(root / name)
            path.mkdir()
            run = cls(path)
            write_config(config, run.config)
            run.versions.write_text(json.dumps(versions(), indent=1))
            _point(root / "latest", path)
        except OSError as error:
            raise InputError(f"No run can be written below {root.absolute()}: {error.strerror}.") from None
        return run

    @classmethod
    def open(cls, path: Path, overrides: list[str]) -> tuple["RunDirectory", RunConfig]:
        """Find the folder of an earlier run.

        Raises:
            InputError: It is none, or was written by an incompatible version.
        """
        run = cls(path.resolve())
        config_error = None
        try:
            written = json.loads(run.versions.read_text())
        except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
            config_error = f"{path} is not a run directory: versions.json is missing; choose one below runs/."
        if config_error:
            raise InputError(config_error)
        if written.get("format_version") != FORMAT_VERSION:
            raise InputError(
                f"Run {path} was written in format {written.get('format_version')} by journeyman "
                f"{written.get('journeyman')}; this is journeyman {__version__}, which reads format {FORMAT_VERSION}: "
                "resume it with the version that wrote it."
            )
        return run, read_config(run.config, overrides)


def versions() -> dict[str, str | int]:
    """What wrote a run."""
    libraries = {name: metadata.version(name) for name in _LIBRARIES}
    return {
        "format_version": FORMAT_VERSION,
        "journeyman": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **libraries,
    }


def _unused(path: Path) -> Path:
    """`path`, or with a number behind it: two runs may start in the same second."""
    candidates = (path if n == 1 else path.with_name(f"{path.name}_{n}") for n in range(1, 1000))
    return next(p for p in candidates if not p.exists())


def _point(link: Path, target: Path) -> None:
    """Let a symbolic link point at a run, atomically."""
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target.name)
    fresh.replace(link)
