"""What every program of this project does at its end: one sentence for a person, one exit code for a supervisor."""

import signal
import sys
import time
import traceback
from collections.abc import Callable

DONE, FAILED, WRONG_INPUT, NEEDS_HUMAN, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes. Exceptions say theirs in an attribute `exit_code`; launch files restart after `FAILED` only."""

_LOOK_PERIOD_S = 0.05


class ThreadDiedError(RuntimeError):
    """A thread that the program cannot do without has ended; the cause says why."""

    exit_code = FAILED


class StopFlag:
    """Set by a signal. Takes no lock: a handler that sets a `threading.Event` may interrupt a wait that holds its."""

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        """Ask for the end."""
        self._is_set = True

    def is_set(self) -> bool:
        """Whether the end was asked for."""
        return self._is_set

    def wait(self, timeout_s: float) -> bool:
        """Sleep until it is set, at most `timeout_s`; returns whether it is."""
        deadline_s = time.monotonic() + timeout_s
        while not self._is_set and (left_s := deadline_s - time.monotonic()) > 0.0:
            time.sleep(min(left_s, _LOOK_PERIOD_S))
        return self._is_set


def when_signalled(act: Callable[[], object]) -> None:
    """Call `act` on SIGINT and SIGTERM, instead of what Python or ROS would do."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: act())


def run_program(name: str, body: Callable[[], int | None]) -> int:
    """Run `body` and say in one sentence on standard error what ended it, if that was no defect.

    Args:
        name: Of the program; the sentence begins with it.
        body: Returns an exit code, or None for `DONE`.

    Returns:
        0 done, 1 failed, 2 wrong input, 3 the robot needs a human, 130 interrupted.

    Raises:
        Exception: Anything without an `exit_code` but OSError: a defect, whose traceback is wanted.
    """
    try:
        return body() or DONE
    except KeyboardInterrupt:
        print(f"{name}: interrupted.", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        # A full disk, a folder that may not be written.
        code: int | None = getattr(error, "exit_code", FAILED if isinstance(error, OSError) else None)
        if code is None:
            raise
        if isinstance(error, ThreadDiedError) and error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        print(f"{name}: {error}", file=sys.stderr)
        return code
