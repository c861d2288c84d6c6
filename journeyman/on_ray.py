"""Commands as tasks of a Ray cluster: Ray places them, starts again what dies, and ends them with the one who asked.

What they say to each other is none of Ray's business: actors and learners have a transport of their own.
"""

import contextlib
import importlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from agent.config import Config, InputError
from journeyman.options import read_options
from journeyman.process import child_environment, last_line, raise_interrupt
from robot_env.program import INTERRUPTED, NEEDS_HUMAN, WRONG_INPUT

_STOP_TIMEOUT_S = 75.0  # `journeyman train` gives its actor 30 s, and then its learner.
_LOOK_EVERY_S = 0.1
_FINAL = (0, WRONG_INPUT, NEEDS_HUMAN, INTERRUPTED)
_OBJECT_STORE_BYTES = 80 << 20  # The least that Ray takes; results are two words.


class RayConfig(Config):
    """Where commands run, and what each of them takes.

    Attributes:
        ray: `local` for this machine alone, `auto` for the cluster that this machine belongs to, or its address.
        cpus: Cores that Ray sets aside for each.
        gpus: GPUs, of which several may share one.
        folder: Where each works on its machine, and has its `runs`; made if it is not there.
        restarts: How often one that dies is started again.
    """

    ray: str = "local"
    cpus: float = 1.0
    gpus: float = 0.0
    folder: str = "."
    restarts: int = 5

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not 0 < self.cpus <= 1024 or not 0 <= self.gpus <= 64:
            raise ValueError(
                f"cpus {self.cpus} must be positive and gpus {self.gpus} must not be negative; at most 1024 and 64"
            )
        if self.restarts < 0:
            raise ValueError(f"restarts {self.restarts} must not be negative")


class Command(NamedTuple):
    """One to run.

    Attributes:
        name: For people; names its log, too.
        arguments: Of this Python.
    """

    name: str
    arguments: tuple[str, ...]


class Ended(NamedTuple):
    """How one ended: its exit code, and the last line that it said."""

    code: int
    last_words: str


_Options = TypeVar("_Options", bound=RayConfig)


def split_options(kind: type[_Options], words: Sequence[str], verb: str) -> tuple[_Options, list[str]]:
    """A verb's own options, and what is left for the commands."""
    own = [word for word in words if word.partition("=")[0] in kind.__struct_fields__]
    return read_options(kind, own, verb), [word for word in words if word not in own]


def exit_code_of(ended: Mapping[str, Ended]) -> int:
    """Of who ran them all: 0 if all are done, otherwise that of the first one which is not."""
    return next((one.code for one in ended.values() if one.code), 0)


def run_all(
    commands: Sequence[Command],
    config: RayConfig,
    tell: Callable[[str], None] = print,
) -> dict[str, Ended]:
    """Run all, as many at a time as there is room for; end all of them on Ctrl-C, SIGTERM or SIGHUP.

    What each says is in `runs/logs/NAME.log` of its folder.

    Args:
        commands: What to run.
        config: Where.
        tell: What happens, in sentences.

    Returns:
        How each ended that was not stopped, by name; of one that died too often its last words.

    Raises:
        InputError: Ray is not installed, or there is no such cluster.
        KeyboardInterrupt: Somebody stopped it; all have ended then.
    """
    ray = _ray()
    with _connected(ray, config, len(commands)):
        drive = ray.remote(
            num_cpus=config.cpus,
            num_gpus=config.gpus,
            max_retries=config.restarts,
            retry_exceptions=True,
        )(_drive)
        folder = str(Path(config.folder).absolute())
        running = {drive.remote(command, folder): command.name for command in commands}
        try:
            return _gather(ray, running, tell)
        except BaseException:
            _stop(ray, list(running))
            raise


def _gather(ray: Any, running: Mapping[Any, str], tell: Callable[[str], None]) -> dict[str, Ended]:
    """Wait for all. Ray says itself when it starts one again."""
    ended: dict[str, Ended] = {}
    waiting = list(running)
    while waiting:
        done, waiting = ray.wait(waiting, num_returns=1, timeout=1.0)
        for task in done:
            name = running[task]
            try:
                ended[name] = Ended(*ray.get(task))
            except ray.exceptions.RayError as error:
                reason = getattr(error, "cause", None) or error
                ended[name] = Ended(1, " ".join(str(reason).split())[-300:])
            code, words = ended[name]
            tell(f"{name} is done." if code == 0 else f"{name} ended with {code}: {words}")
    return ended


def _stop(ray: Any, tasks: Sequence[Any]) -> None:
    """End all: what is asked to, and does not, ends with its worker, when the connection to Ray is given up."""
    for task in tasks:
        with contextlib.suppress(Exception):
            ray.cancel(task)
    with contextlib.suppress(Exception):
        ray.wait(list(tasks), num_returns=len(tasks), timeout=_STOP_TIMEOUT_S)


def _drive(command: Command, folder: str) -> tuple[int, str]:
    """On a worker: run a command to its end; what ends this ends the command, too.

    The command has `--supervised`, so it ends when its standard input does. Ray, where it kills this worker, kills what
    the worker started as well.

    Raises:
        RuntimeError: It died; Ray tries again.
    """
    path = Path(folder) / f"runs/logs/{command.name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *command.arguments],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=child_environment(),
        )
    try:
        while (code := process.poll()) is None:
            time.sleep(_LOOK_EVERY_S)  # Short, so that a cancellation is noticed.
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_TIMEOUT_S)
            process.kill()
            process.wait()
    words = last_line(path)
    if code not in _FINAL:
        raise RuntimeError(f"{command.name} died ({code}): {words}; see {path}")
    return code, words


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Whose runs these are is nobody's business.
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise InputError(
            "This takes Ray, which is not installed here: pip install 'journeyman[scale]', on every machine."
        ) from None


@contextlib.contextmanager
def _connected(ray: Any, config: RayConfig, commands: int) -> Iterator[None]:
    """A cluster, which ends with the block if it is only for this."""
    room: dict[str, Any] = {}
    if config.ray == "local":
        room = {
            "num_cpus": math.ceil(min(commands * config.cpus, max(config.cpus, os.cpu_count() or 1))),
            "object_store_memory": _OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
    try:
        ray.init(address=config.ray, logging_level="warning", log_to_driver=False, **room)
    except Exception as error:  # Of a node that does not start it raises just that.
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"There is no Ray cluster at ray={config.ray} ({reason}): choose local, or auto where ray start "
            "was run."
        ) from None
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, raise_interrupt)
        yield
    finally:
        ray.shutdown()
