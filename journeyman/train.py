"""`journeyman train`: learner and actor as two processes of this machine, watched, restarted and reported on."""

import argparse
import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from agent.journal import Journal
from journeyman.collect import record_demonstrations
from journeyman.config import RunConfig
from journeyman.learner import open_or_create
from journeyman.live import LiveView
from journeyman.report import write_report
from journeyman.run_directory import RunDirectory

_MAX_RESTARTS = 5
_STOP_TIMEOUT_S = 30.0
_WRONG_INPUT = 2


def run(options: argparse.Namespace) -> int:
    """Train, or go on with `run=DIR`, then evaluate and report."""
    config, directory = open_or_create(options.overrides)
    started_s = time.monotonic()
    _record_demonstrations(config, directory)
    print(f"Run {directory.path}", flush=True)
    code = _supervise(config, directory)
    _note_costs(directory, started_s)
    if code == _WRONG_INPUT:
        return code
    try:
        summary = write_report(config, directory)
    except KeyboardInterrupt:
        print(f"No report. Write it with: journeyman report run={directory.path}")
        return 130
    print(summary)
    return code


def _record_demonstrations(config: RunConfig, directory: RunDirectory) -> None:
    """Let the scripted expert record what the configuration asks for and does not name a folder of."""
    wanted = config.demonstrations
    if wanted.episodes and wanted.folder is None:
        record_demonstrations(config, directory.demonstrations, wanted.episodes)


@dataclass
class _Child:
    """A supervised process. Its log gathers its output over all restarts."""

    verb: str
    command: list[str]
    log: Path
    restarts: int = 0
    process: subprocess.Popen[bytes] | None = None
    exits: list[int] = field(default_factory=list)

    def start(self) -> None:
        """Start, or start again."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            # A session of its own: Ctrl-C reaches the supervisor only, which stops the actor before the learner.
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
            )

    def ended(self) -> int | None:
        """Exit code, or None while it runs."""
        assert self.process is not None
        return self.process.poll()

    def stop(self) -> None:
        """Ask it to end, wait, and insist."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_words(self) -> str:
        """The last line of its log."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def _supervise(config: RunConfig, directory: RunDirectory) -> int:
    """Keep both processes alive until the learner says that the run is complete, or a person stops it."""
    address = config.transport.address
    if address == "auto":
        address = f"tcp://127.0.0.1:{_free_port()}"
    children = [_child(verb, directory, address) for verb in ("learner", "actor")]
    learner, actor = children
    view = LiveView(config, directory)
    code = 0
    # A terminal's hang-up and a service manager's stop mean the same as Ctrl-C.
    signal.signal(signal.SIGTERM, _raise_interrupt)
    try:
        with view:
            for child in children:
                child.start()
            while learner.ended() != 0:
                for child in children:
                    _restart_if_ended(child, view)
                view.refresh()
                time.sleep(0.25)
            view.refresh()
            _wait_for_exit(actor)
    except KeyboardInterrupt:
        print(f"Stopping. Go on later with: journeyman train run={directory.path}", flush=True)
        code = 130
    except _ChildFailed as failure:
        print(f"journeyman train: {failure}", file=sys.stderr)
        code = failure.code
    finally:
        # The actor first, so that the learner can store and acknowledge its last transitions.
        for child in (actor, learner):
            if child.process is not None:
                child.stop()
    return code


class _ChildFailed(Exception):  # noqa: N818 - carries an exit code, is no error of ours
    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def _child(verb: str, directory: RunDirectory, address: str) -> _Child:
    command = [sys.executable, "-m", "journeyman", verb, "--supervised"]
    command += [f"run={directory.path}", f"transport.address={address}"]
    return _Child(verb, command, directory.path / "logs" / f"{verb}.log")


def _restart_if_ended(child: _Child, view: LiveView) -> None:
    """A process that ended with an error is started again: it resumes from what is on disk."""
    code = child.ended()
    if code is None or code == 0:
        return
    if code == _WRONG_INPUT:
        raise _ChildFailed(child.last_words(), _WRONG_INPUT)
    if child.restarts >= _MAX_RESTARTS:
        raise _ChildFailed(f"The {child.verb} failed {_MAX_RESTARTS + 1} times; see {child.log}.", 1)
    child.restarts += 1
    reason = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}: {child.last_words()}"
    view.message(f"The {child.verb} ended by {reason}; restart {child.restarts} of {_MAX_RESTARTS}.")
    child.start()


def _wait_for_exit(child: _Child) -> None:
    assert child.process is not None
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.process.wait(_STOP_TIMEOUT_S)


def _raise_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _note_costs(directory: RunDirectory, started_s: float) -> None:
    """Time of this session; the report adds up all sessions of a run."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    journal = Journal(directory.journal)
    journal.write(
        "session",
        {"wall_s": time.monotonic() - started_s, "cpu_s": sum(u.ru_utime + u.ru_stime for u in used)},
    )
    journal.close()
