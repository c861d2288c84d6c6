"""What learner and actor have in common as processes: stop politely on a signal, or when the supervisor is gone."""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from robot_env.devices.terminal import TERMINAL_VARIABLE, terminal_here
from robot_env.program import when_signalled


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
