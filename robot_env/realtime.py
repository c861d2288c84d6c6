"""Priority of control loops over everything else on a machine."""

import contextlib
import os


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
