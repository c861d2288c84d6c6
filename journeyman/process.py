"""What the processes of a run have in common: when they stop, and that what they cannot print does not stop them."""

import io
import os
import resource
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from robot_env.devices.terminal import TERMINAL_VARIABLE, terminal_here
from robot_env.program import when_signalled

# A connection that says nothing is closed after 5 s: over 3,000 new ones a second.
_MOST_DESCRIPTORS = 1 << 14


def on_stop(stop: Callable[[], None], supervised: bool) -> None:
    """Call `stop` on SIGINT or SIGTERM, and if `supervised` also when standard input closes.

    A supervisor keeps the other end of standard input open, so that its death, however sudden, is noticed.
    """
    when_signalled(stop)
    if supervised:
        when_input_ends(stop)


def when_input_ends(stop: Callable[[], None]) -> None:
    """Call `stop` from another thread when standard input closes."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        stop()

    threading.Thread(target=wait, daemon=True).start()


def never_fail_to_print() -> None:
    """What is printed onto a full disk, or for a reader that went away, is lost, and ends no process of a run.

    Nor does it change the exit code, by which others decide whether to start it again. Every process with a `run_log`
    has this; to be called before by one that may print earlier. Streams that somebody has replaced stay as they are.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__") and stream is not None:
            with suppress(OSError):
                stream.flush()
            lossy = io.BufferedWriter(_Lossy(stream.fileno()))
            text = io.TextIOWrapper(lossy, stream.encoding, errors="replace", line_buffering=True)
            setattr(sys, name, text)


def take_descriptors() -> None:
    """Have room for many open files and connections, as many as this user may without asking.

    The usual 1,024 are soon taken by a stranger who does nothing but connect, and then no checkpoint can be opened.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class _Lossy(io.RawIOBase):
    """A file that takes everything, and keeps what it can."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, content: Any) -> int:
        data = memoryview(content).cast("B")
        try:
            return os.write(self._descriptor, data)
        except OSError:
            return len(data)


def raise_interrupt(*_: object) -> None:
    """As a handler of signals: they mean the same as Ctrl-C."""
    raise KeyboardInterrupt


def last_line(log: Path) -> str:
    """What a process said last, by its log."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def child_environment() -> dict[str, str]:
    """For child processes: this very package, whatever folders the user's directory holds; one thread each.

    They have no terminal of their own; a keyboard is read from that of the person who started this one.
    """
    package = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    terminal = terminal_here()
    keys = {TERMINAL_VARIABLE: terminal} if terminal else {}
    return {"OMP_NUM_THREADS": "1", **os.environ, **keys, "PYTHONSAFEPATH": "1", "PYTHONPATH": path}


def yield_to_control_loop() -> None:
    """Take the processor only when nobody else wants it: for a learner that shares a machine with the robot."""
    os.setpriority(os.PRIO_PROCESS, 0, 19)
