"""Clocks of programs that speak ROS: their own monotonic time, and the ROS time of message stamps."""

import threading
import time
from typing import Any, Protocol

from robot_env.clock import Clock
from robot_env.ros.runtime import Inbox

FUTURE_S = 0.02
"""Clocks of two machines may differ by this much without anybody's fault: a message from farther ahead is refused."""

_NS = 1e-9
_LONGEST_SLEEP_S = 0.05
_SHORTEST_SLEEP_S = 0.0003
# How much faster or slower the system's clock may be made to run while it is corrected bit by bit (adjtime: 0.0005).
_LARGEST_SLEW = 1e-3
_ATTEMPTS = 5


class RosClock(Clock, Protocol):
    """A control loop's clock that can also read and write message stamps.

    Attributes:
        patience_s: Time of the wall for which a reader waits for a message that is late. None beside a real arm, which
            moves on. A simulation on a busy computer delivers `/clock` before what it is the time of.
    """

    patience_s: float

    def stamp_ns(self) -> int:
        """ROS time now, for the stamp of a message."""
        ...

    def local_s(self, stamp_ns: int) -> float:
        """When a message was stamped, as `now_s` would have said it then."""
        ...

    def fault(self) -> str:
        """What happened to the clock since the last call, in a sentence; empty if it ran evenly."""
        ...


class WallRosClock:
    """Monotonic time for the loop, the system's clock for stamps. Implements `RosClock`.

    Args:
        longest_jump_s: The system's clock may be corrected by this much at once.
    """

    patience_s = 0.0

    def __init__(self, longest_jump_s: float = 0.05) -> None:
        self._longest_jump_s = longest_jump_s
        self._offset_s, self._looked_s = self._measure_offset_s(), time.monotonic()

    def now_s(self) -> float:
        """Monotonic time in seconds."""
        return time.monotonic()

    def sleep_until(self, deadline_s: float) -> None:
        """Sleep until `deadline_s`."""
        remaining_s = deadline_s - time.monotonic()
        if remaining_s > 0:
            time.sleep(remaining_s)

    def stamp_ns(self) -> int:
        """The system's time."""
        return time.time_ns()

    def local_s(self, stamp_ns: int) -> float:
        """When a message was stamped, in monotonic seconds."""
        return time.monotonic() - (time.time_ns() - stamp_ns) * _NS

    def fault(self) -> str:
        """Whether the system's clock was set since the last call."""
        offset_s, now_s = self._measure_offset_s(), time.monotonic()
        jump_s, passed_s = offset_s - self._offset_s, now_s - self._looked_s
        self._offset_s, self._looked_s = offset_s, now_s
        if abs(jump_s) <= self._longest_jump_s + _LARGEST_SLEW * passed_s:
            return ""
        return f"the system's clock jumped by {jump_s:+.3f} s, so stamps of messages cannot be trusted"

    def _measure_offset_s(self) -> float:
        # Held up between two readings, a thread on a busy machine would see a jump that was none.
        for _ in range(_ATTEMPTS):
            before_s, wall_s, after_s = time.monotonic(), time.time(), time.monotonic()
            if after_s - before_s < 0.1 * self._longest_jump_s:
                break
        return wall_s - 0.5 * (before_s + after_s)


class SimulatedRosClock:
    """Time of the `/clock` topic, at whatever speed it passes. Implements `RosClock`.

    Args:
        node: Subscribes; if it is not there yet, see `attach`.
        longest_silence_s: Wall time without a message after which the clock counts as stopped.
    """

    patience_s = 0.5

    def __init__(self, node: Any = None, longest_silence_s: float = 1.0) -> None:
        self._inbox: Inbox[Any] | None = None
        self._longest_silence_s = longest_silence_s
        self._now_ns = 0
        self._heard_s = time.monotonic()
        self._speed = 1.0
        self._fault = ""
        self._lock = threading.Lock()  # Two threads that read out of turn would see time go back.
        if node is not None:
            self.attach(node)

    def attach(self, node: Any) -> None:
        """Subscribe. Before it, it is always 0 o'clock."""
        from rosgraph_msgs.msg import Clock as ClockMessage

        self._inbox = Inbox(node, ClockMessage, "/clock", depth=1)
        self._heard_s = time.monotonic()

    def now_s(self) -> float:
        """Simulated time in seconds."""
        self._read()
        return self._now_ns * _NS

    def sleep_until(self, deadline_s: float) -> None:
        """Sleep until the simulation has come to `deadline_s`, or has stopped or jumped."""
        # A clock that jumped back would be waited for very long.
        while (remaining_s := deadline_s - self.now_s()) > 0.0 and not self._fault and not self._is_silent():
            wall_s = remaining_s / max(self._speed, 0.1)
            time.sleep(min(max(wall_s, _SHORTEST_SLEEP_S), _LONGEST_SLEEP_S))

    def stamp_ns(self) -> int:
        """Simulated time."""
        self._read()
        return self._now_ns

    def local_s(self, stamp_ns: int) -> float:
        """Stamps are simulated time already."""
        return stamp_ns * _NS

    def fault(self) -> str:
        """Whether the simulation's time jumped or stopped since the last call."""
        self._read()
        fault, self._fault = self._fault, ""
        if not fault and self._is_silent():
            return (
                f"/clock is silent for {time.monotonic() - self._heard_s:.1f} s: is the simulation running?"
            )
        return fault

    def _is_silent(self) -> bool:
        return time.monotonic() - self._heard_s > self._longest_silence_s

    def _read(self) -> None:
        with self._lock:
            for received in self._inbox.take() if self._inbox is not None else ():
                stamp = received.message.clock
                self._set(stamp.sec * 1_000_000_000 + stamp.nanosec)

    def _set(self, now_ns: int) -> None:
        heard_s = time.monotonic()
        passed_s, wall_s = (now_ns - self._now_ns) * _NS, heard_s - self._heard_s
        if self._now_ns == 0:
            pass  # The first message says when, not how fast.
        elif passed_s < 0.0 or passed_s > 100.0 * max(wall_s, 0.05):
            self._fault = f"/clock jumped by {passed_s:+.3f} s"
        elif wall_s > 1e-3:
            self._speed += 0.1 * (passed_s / wall_s - self._speed)
        self._now_ns, self._heard_s = now_ns, heard_s
