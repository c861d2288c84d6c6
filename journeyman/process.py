"""What learner and actor have in common as processes: stop politely on a signal, or when the supervisor is gone."""

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
