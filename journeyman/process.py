"""What learner and actor have in common as processes: stop politely on a signal, or when the supervisor is gone."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable


def on_stop(stop: Callable[[], None], supervised: bool) -> None:
    """Call `stop` on SIGINT or SIGTERM, and if `supervised` also when standard input closes.

    A supervisor keeps the other end of standard input open, so that its death, however sudden, is noticed.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop())
    if supervised:
        threading.Thread(target=_stop_at_end_of_input, args=(stop,), daemon=True).start()


def _stop_at_end_of_input(stop: Callable[[], None]) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    stop()


def prefer_control_loop() -> bool:
    """Let the calling thread preempt ordinary work, where this user may: a busy machine must not delay the robot.

    Returns:
        Whether the thread runs under real-time scheduling now. Threads that it starts do not.
    """
    if not hasattr(os, "sched_setscheduler"):
        return False
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(10))
        return True
    return False


def yield_to_control_loop() -> None:
    """Take the processor only when nobody else wants it: for a learner that shares a machine with the robot."""
    os.setpriority(os.PRIO_PROCESS, 0, 19)
