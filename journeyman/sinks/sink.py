"""The contract of a sink, and the thread that each of them gets to itself."""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from agent.storage import is_storage_error

Values = Mapping[str, float]
"""By name: `kind/name`, or `kind.agent/name` where there are several agents, such as `learner/updates`."""

_MOST_WAITING = 1000
_CLOSE_TIMEOUT_S = 5.0
_AGAIN_AFTER_S = 30.0


class Sink(Protocol):
    """Takes figures. All methods are called on one thread, which is this sink's alone: it may take its time.

    Making one reads its configuration and does nothing else. What any method raises ends the sink, not the run; but one
    whose disk is full or fails is opened again later.
    """

    def open(self) -> None:
        """Import what is needed; open files and connections. What was open before, if anything was, is of no use."""

    def write(self, step: int, values: Values) -> None:
        """Take figures as of an environment step of the run; never empty."""

    def close(self) -> None:
        """Let nothing get lost that was written."""


class _Point(NamedTuple):
    step: int
    values: Values


class Outlet:
    """Feeds one sink from a thread of its own: who writes never waits, however slow or broken the sink is.

    A sink that raises is told about once, on standard error, and gets nothing any more, unless a disk is to blame:
    then it is tried again, with what waits. One that lags behind loses the oldest points.

    Args:
        name: For people.
        sink: What takes the figures.
        tell: Takes the sentence about a failure; by default it goes to standard error.
    """

    def __init__(self, name: str, sink: Sink, tell: Callable[[str], object] | None = None) -> None:
        self._name = name
        self._sink = sink
        self._tell = tell or _print
        self._changed = threading.Condition()
        self._waiting: deque[_Point] = deque(maxlen=_MOST_WAITING)
        self._closing = self._in_trouble = False
        self._thread = threading.Thread(target=self._run, name=f"sink-{name}", daemon=True)
        self._thread.start()

    def write(self, step: int, values: Values) -> None:
        """Hand over figures; returns at once."""
        with self._changed:
            self._waiting.append(_Point(step, values))
            self._changed.notify()

    def close(self, until_s: float) -> None:
        """Let the sink take what waits, and close it; no longer than until then on the monotonic clock."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(max(0.0, until_s - time.monotonic()))
        if self._thread.is_alive():
            self._tell(f"Sink {self._name} does not end; it may lack the last figures.")

    def _run(self) -> None:
        try:
            while not self._feed():
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, _AGAIN_AFTER_S)
        except Exception as error:
            self._tell(f"Sink {self._name} is off from here on: {_reason(error)}. The run goes on.")

    def _feed(self) -> bool:
        """Open the sink and feed it to the end. False if a disk is to blame that it did not get there."""
        last_try = self._closing
        try:
            self._sink.open()
            while (point := self._next()) is not None:
                try:
                    self._sink.write(point.step, point.values)
                except OSError:
                    self._put_back(point)
                    raise
                self._over()
            self._sink.close()
        except OSError as error:
            if last_try or not is_storage_error(error):
                raise
            if not self._in_trouble:
                self._in_trouble = True
                self._tell(
                    f"Sink {self._name} lacks some figures: {_reason(error)}. It is tried again; the run goes on."
                )
            return False
        return True

    def _over(self) -> None:
        if self._in_trouble:
            self._in_trouble = False
            self._tell(f"Sink {self._name} takes figures again.")

    def _put_back(self, point: _Point) -> None:
        with self._changed:
            if len(self._waiting) < _MOST_WAITING:  # Else the newest would go for it.
                self._waiting.appendleft(point)

    def _next(self) -> _Point | None:
        """The oldest point; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            return self._waiting.popleft() if self._waiting else None


class Outlets:
    """All sinks that a process feeds.

    Args:
        sinks: By name.
        tell: See `Outlet`.
    """

    def __init__(self, sinks: Mapping[str, Sink], tell: Callable[[str], object] | None = None) -> None:
        self._outlets = [Outlet(name, sink, tell) for name, sink in sinks.items()]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._outlets)

    def write(self, step: int, values: Values) -> None:
        """Hand figures to all; returns at once."""
        if values:
            for outlet in self._outlets:
                outlet.write(step, values)

    def close(self) -> None:
        """Let all end; a sink that hangs is left behind after a few seconds."""
        until_s = time.monotonic() + _CLOSE_TIMEOUT_S
        for outlet in self._outlets:
            outlet.close(until_s)


def _reason(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"the package {error.name} is not installed here"
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(".")


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
