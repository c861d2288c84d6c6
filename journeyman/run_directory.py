"""One folder per run: everything needed to resume, evaluate and report it."""

import json
import os
import platform
import re
import secrets
import time
from collections.abc import Iterable
from datetime import datetime
from importlib import metadata
from pathlib import Path

from agent.checkpoint import Checkpoints
from agent.config import InputError
from agent.record_log import lock
from agent.storage import make_folder, sync, write_atomically
from journeyman import __version__
from journeyman.config import RunConfig, read_config, write_config

FORMAT_VERSION = 1
_LOOKED_AT_S = 0.05  # `journeyman runs` holds the lock for a moment, to see whether it can.
_LIBRARIES = ("torch", "numpy", "mujoco", "gymnasium", "pyzmq", "msgspec", "safetensors", "hydra-core")


class RunDirectory:
    """Names of the parts of a run on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.versions = path / "versions.json"
        self.run_id = path / "run_id"
        self.journal = path / "journal.jsonl"
        self.replay_log = path / "replay.log"
        self.quarantine = path / "quarantine.log"
        self.demonstrations = path / "demonstrations"
        self.episodes = path / "episodes"
        self.report = path / "report"
        self.logs = path / "logs"

    def identity(self) -> bytes:
        """16 bytes by which actors tell this run from others.

        Raises:
            InputError: The file that holds them is missing or damaged.
        """
        try:
            digits = self.run_id.read_text().strip()
        except (OSError, UnicodeDecodeError):
            digits = ""
        if not re.fullmatch("[0-9a-f]{32}", digits):
            raise InputError(
                f"{self.run_id} is missing or does not hold 32 hexadecimal digits; restore it from a copy, "
                "or begin a new run."
            )
        return bytes.fromhex(digits)

    def agent(self, name: str) -> "RunDirectory":
        """Where one of several agents has its replay, checkpoints and spools; the run itself for the only one."""
        return RunDirectory(self.path / "agents" / name) if name else self

    def has_policies(self, agents: Iterable[str]) -> bool:
        """Whether each of these agents has a checkpoint."""
        return all(self.agent(name).checkpoints().newest() is not None for name in agents)

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
            make_folder(root)
            path = _make_unused(root / name)
            sync(root)
            run = cls(path)
            write_config(config, run.config)
            write_atomically(run.run_id, secrets.token_hex(16).encode())
            write_atomically(run.versions, json.dumps(versions(), indent=1).encode())
            _point(root / "latest", path)
        except OSError as error:
            raise InputError(f"No run can be written below {root.absolute()}: {error.strerror}.") from None
        return run

    def hold(self) -> None:
        """Keep the run to this process until it ends: two learners of one run would spoil it.

        Raises:
            InputError: Another process has it.
        """
        path = self.path / "lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            lock(descriptor, path)
        except InputError:
            time.sleep(_LOOKED_AT_S)
            lock(descriptor, path)

    @classmethod
    def open(cls, path: Path, overrides: list[str]) -> tuple["RunDirectory", RunConfig]:
        """Find the folder of an earlier run.

        Raises:
            InputError: It is none, or was written by an incompatible version.
        """
        run = cls(path.resolve())
        try:
            written = dict(json.loads(run.versions.read_text()))
        except (OSError, ValueError, TypeError):
            raise InputError(
                f"{path} is not a run directory: its versions.json is missing or damaged; choose one below runs/."
            ) from None
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


def _make_unused(path: Path) -> Path:
    """Make `path`, or with a number behind it: two runs may start in the same second."""
    number = 1
    while True:
        candidate = path if number == 1 else path.with_name(f"{path.name}_{number}")
        try:
            candidate.mkdir()
        except FileExistsError:
            number += 1
        else:
            return candidate


def _point(link: Path, target: Path) -> None:
    """Let a symbolic link point at a run, atomically."""
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target.name)
    fresh.replace(link)
