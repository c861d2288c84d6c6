"""Priority of control loops over everything else on a machine."""

import atexit
import contextlib
import functools
import gc
import os
import resource
import sys
from pathlib import Path

_PRIORITY = 10
_PRIORITY_BESIDE_THE_ARM = 20
_LONGEST_RUN_S = 5
_SWITCH_INTERVAL_S = 5e-4
"""A loop that wakes up waits so long for another thread of Python; by default for 5 ms, two periods at 500 Hz."""


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
    _hold_up_less()
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


@functools.cache
def _hold_up_less() -> None:
    """Let Python itself hold up the loop less: other threads hand over sooner, and what was loaded is never searched.

    A full collection looks at every object, which takes tens of ms in a process with ROS or torch. Those that are there
    by now stay to the end, so it need look at newer ones only. Once: what is thrown away later is to be collected.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    # At the end all is to be found again: who is not told that a node of ROS goes takes it for there for 20 s more.
    atexit.register(gc.unfreeze)
