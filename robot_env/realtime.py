"""Priority of control loops over everything else on a machine."""

import contextlib
import os
import resource
from pathlib import Path

_PRIORITY = 10
_PRIORITY_BESIDE_THE_ARM = 20
_LONGEST_RUN_S = 5


def prefer_control_loop(beside_the_arm: bool = False) -> bool:
    """Let this process preempt ordinary work, where this user may: a busy machine must not delay the robot.

    All its threads, and those they start: a thread of ordinary priority that is put aside while it holds the
    interpreter's lock holds up the control loop, and one that receives messages holds up what the loop is to see.
    A thread that runs for 5 s without once waiting for anything would block the machine; the system ends the process.

    Args:
        beside_the_arm: Whether it watches over the arm, or is its driver: a policy that loads its libraries must not
            hold that up either.

    Returns:
        Whether it runs under real-time scheduling now. Processes that it starts do, too.
    """
    if not hasattr(os, "sched_setscheduler"):
        return False
    if hasattr(resource, "RLIMIT_RTTIME"):
        _, hard = resource.getrlimit(resource.RLIMIT_RTTIME)
        longest_us = _LONGEST_RUN_S * 1_000_000
        if hard == resource.RLIM_INFINITY or hard > longest_us:
            resource.setrlimit(resource.RLIMIT_RTTIME, (longest_us, hard))
    priority = os.sched_param(_PRIORITY_BESIDE_THE_ARM if beside_the_arm else _PRIORITY)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, priority)
    except PermissionError:
        return False
    for thread in Path("/proc/self/task").iterdir():
        # Threads may end meanwhile.
        with contextlib.suppress(ProcessLookupError):
            os.sched_setscheduler(int(thread.name), os.SCHED_FIFO, priority)
    return True
