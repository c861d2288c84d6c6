"""`journeyman train`: learner and actor as two processes of this machine, watched, restarted and reported on."""

import argparse
import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from agent.journal import Journal
from journeyman.config import RunConfig
from journeyman.learner import open_or_create, record_missing_demonstrations
from journeyman.live import LiveView
from journeyman.process import child_environment, last_line, raise_interrupt, when_input_ends
from journeyman.report import write_report
from journeyman.run_directory import RunDirectory
from journeyman.run_log import run_log
from robot_env.devices.terminal import TerminalState, terminal_here
from robot_env.program import INTERRUPTED, NEEDS_HUMAN, WRONG_INPUT

_MAX_RESTARTS = 5
_STOP_TIMEOUT_S = 30.0
_FAREWELL_S = 10.0
_RESTART_WINDOW_S = 600.0


def run(options: argparse.Namespace) -> int:
    """Train, or go on with `run=DIR`, then evaluate and report."""
    if getattr(options, "supervised", False):
        when_input_ends(lambda: os.kill(os.getpid(), signal.SIGTERM))  # As a service manager would.
    config, directory = open_or_create(options.overrides)
    with run_log(directory.logs, "train"):
        return _train(config, directory)


def _train(config: RunConfig, directory: RunDirectory) -> int:
    started_s = time.monotonic()
    print(f"Run {directory.path}", flush=True)
    _say_if_complete(config, directory)
    record_missing_demonstrations(config, directory)
    code = _supervise(config, directory)
    _note_costs(directory, started_s)
    has_policy = directory.has_policies(config.practice.agents)
    if not is_evaluated(config, code, has_policy):
        if has_policy:
            print(f"The robot rests: no evaluation. Later: journeyman report run={directory.path}")
        return code
    print(f"Evaluating the newest policy over {config.evaluation.episodes} episodes ...", flush=True)
    try:
        summary = write_report(config, directory)
    except KeyboardInterrupt:
        print(f"No report. Write it with: journeyman report run={directory.path}")
        return INTERRUPTED
    print(summary)
    return code


def _say_if_complete(config: RunConfig, directory: RunDirectory) -> None:
    """Who goes on with a run that has all its steps may have wanted more of them."""
    wanted = config.learner.max_environment_steps
    newest = [directory.agent(name).checkpoints().newest() for name in config.practice.agents]
    taken = sum(int(path.name) for path in newest if path is not None)
    if 0 < wanted <= taken:
        print(
            f"It has taken {taken:,} environment steps, and was to take {wanted:,}. "
            "For more of them say learner.max_environment_steps=N.",
            flush=True,
        )


def is_evaluated(config: RunConfig, code: int, has_policy: bool) -> bool:
    """Whether a run that ended with this exit code is evaluated.

    One that was stopped or failed is only where the robot is simulated: whoever stopped a real one may be about to
    reach into the scene, and what failed may have been the robot.
    """
    return code == 0 or (has_policy and config.robot.simulated_time)


@dataclass
class _Child:
    """A supervised process. Its log gathers its output over all restarts."""

    verb: str
    command: list[str]
    log: Path
    terminal: TerminalState
    restarts_s: list[float] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, or start again."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.terminal.restore()  # One that was killed while it listened to keys left it silent.
        with self.log.open("ab") as output:
            # A session of its own: Ctrl-C reaches the supervisor only, which stops the actor before the learner.
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=child_environment(),
            )

    def ended(self) -> int | None:
        """Exit code, or None while it runs."""
        assert self.process is not None
        return self.process.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Exit code once it has ended, or None if it runs on."""
        assert self.process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(timeout_s)
        return None

    def stop(self) -> None:
        """Ask it to end, wait, and insist. Nothing happens where it has ended or never started."""
        if self.process is None:
            return
        self.process.terminate()
        if self.wait(_STOP_TIMEOUT_S) is None:
            self.process.kill()
            self.process.wait()

    def last_words(self) -> str:
        """The last line of its log."""
        return last_line(self.log)


def _supervise(config: RunConfig, directory: RunDirectory) -> int:
    """Keep both processes alive until the learner says that the run is complete, or a person stops it."""
    # A terminal's hang-up and a service manager's stop mean the same as Ctrl-C. Under nohup a hang-up is ignored.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, raise_interrupt)
    with tempfile.TemporaryDirectory(prefix="journeyman-") as private:
        address = config.transport.address
        if address == "auto":
            address = f"ipc://{private}/learner"  # Only this user may open the folder.
        terminal = TerminalState(terminal_here())
        learner, actor = (_child(verb, directory, address, terminal) for verb in ("learner", "actor"))
        try:
            with LiveView(config, directory) as view:
                if config.learner.max_environment_steps == 0:
                    _watch_alone(learner, view)  # The robot has nothing to do.
                else:
                    _watch(learner, actor, view)
        except KeyboardInterrupt:
            print(f"Stopping. Go on later with: journeyman train run={directory.path}", flush=True)
            return INTERRUPTED
        except _ChildFailed as failure:
            print(f"journeyman train: {failure}", file=sys.stderr)
            return failure.code
        finally:
            # The actor first, so that the learner can store and acknowledge its last transitions.
            for child in (actor, learner):
                child.stop()
            terminal.restore()
    return 0


def _watch(learner: _Child, actor: _Child, view: LiveView) -> None:
    """Return when the run is complete and both have ended.

    Raises:
        _ChildFailed: A process cannot do its work.
    """
    learner.start()
    actor.start()
    while learner.ended() != 0:
        _restart_if_ended(learner, view)
        # An actor that ended well was told to by a learner that is about to end, or by somebody else's signal.
        if actor.ended() == 0 and learner.wait(_STOP_TIMEOUT_S) == 0:
            break
        _restart_if_ended(actor, view)
        view.refresh()
        time.sleep(0.25)
    view.refresh()
    actor.wait(_FAREWELL_S)


def _watch_alone(learner: _Child, view: LiveView) -> None:
    """As `_watch`, of a run in which nobody acts."""
    learner.start()
    while learner.wait(0.25) != 0:
        _restart_if_ended(learner, view)
        view.refresh()
    view.refresh()


class _ChildFailed(Exception):  # noqa: N818 - carries an exit code, is no error of ours
    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def _child(verb: str, directory: RunDirectory, address: str, terminal: TerminalState) -> _Child:
    command = [sys.executable, "-m", "journeyman", verb, "--supervised"]
    command += [f"run={directory.path}", f"transport.address={address}"]
    return _Child(verb, command, directory.logs / f"{verb}.log", terminal)


def _restart_if_ended(child: _Child, view: LiveView) -> None:
    """A process that ended before the run is complete is started again: it resumes from what is on disk."""
    code = child.ended()
    if code is None:
        return
    if code in (WRONG_INPUT, NEEDS_HUMAN):
        raise _ChildFailed(child.last_words(), code)
    reason = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}: {child.last_words()}"
    now_s = time.monotonic()
    child.restarts_s = [at_s for at_s in child.restarts_s if now_s - at_s < _RESTART_WINDOW_S]
    if len(child.restarts_s) >= _MAX_RESTARTS:
        raise _ChildFailed(f"The {child.verb} keeps failing, last by {reason}; see {child.log}.", 1)
    child.restarts_s.append(now_s)
    view.message(
        f"The {child.verb} ended by {reason}; restart {len(child.restarts_s)} of {_MAX_RESTARTS}.",
        child=child.verb,
        code=code,
        restart=len(child.restarts_s),
    )
    child.start()


def _note_costs(directory: RunDirectory, started_s: float) -> None:
    """Time of this session; the report adds up all sessions of a run."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    journal = Journal(directory.journal)
    journal.write(
        "session",
        {"wall_s": time.monotonic() - started_s, "cpu_s": sum(u.ru_utime + u.ru_stime for u in used)},
    )
    journal.close()
