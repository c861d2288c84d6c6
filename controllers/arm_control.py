"""When an arm follows its commander, when it is held, and when it is told nothing: decided anew at every tick.

States, in the order in which they win:

- `e_stop`: somebody said stop; held until a human releases it.
- `fault`: something cannot be trusted; held, or told nothing where the measurement is what cannot be trusted, until a
  human says `recover`. Nothing recovers by itself.
- `disabled`: told nothing, because something else moves it.
- `tracking`: follows the newest command. Each must be sound and fresh; silence ends it, and is no fault.
- `idle`: held where it came to rest.
"""

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from msgspec.structs import replace

from controllers.braking import Brake, StopBy, brake, stands, stay, stay_at
from controllers.commanders import Commanders
from controllers.incoming import GripperCommand, Incoming, as_of, judge
from controllers.limits import SafetyLimits
from controllers.safety_filter import SafetyFilter
from controllers.state import RobotCommand, RobotState

# What the safety filter says of the arm, not of a command.
_FAULTS = {
    "bad_state": "the measured state is not finite, or no state of this arm: check its sensors",
    "stale_state": "the measured state is too old, or from the future: check the driver and the clocks",
    "joint_overspeed": "a joint moves faster than its limit: look at what drives it",
}
_UNTRUSTED = {"bad_state", "stale_state"}


class State(StrEnum):
    """See the module."""

    DISABLED = "disabled"
    IDLE = "idle"
    TRACKING = "tracking"
    FAULT = "fault"
    E_STOP = "e_stop"


class ArmControl:
    """Decides what an arm is told. Knows no ROS and no threads.

    Args:
        limits: What the arm may do.
        process_bytes: See `Commanders`.
        max_lateness_s: A loop that was held up longer does not know what happened in between.
        stop_by: How the arm is brought to rest best.
    """

    def __init__(
        self,
        limits: SafetyLimits,
        process_bytes: int = 12,
        max_lateness_s: float = 0.2,
        stop_by: StopBy = StopBy.TARGET,
    ) -> None:
        self._limits = limits
        self._max_lateness_s = max_lateness_s
        self._stop_by = stop_by
        self._filter = SafetyFilter(limits)
        self._refusals: Counter[str] = Counter()
        self._commanders = Commanders(process_bytes)
        self._enabled = True
        self._fault = self._e_stop = self._note = ""
        # What is wrong with the arm right now; empty if nothing is.
        self._problem = "nothing was measured yet"
        self._stopped_s = -np.inf
        self._width_m: float | None = None
        self._now_s = self._sent_s = self._interval_s = 0.0
        self._measured: RobotState | None = None
        self._followed: RobotCommand | None = None
        self._brake: Brake | None = None  # Of what is held.
        self._sent: RobotCommand | None = None
        self._before: RobotCommand | None = None  # Sent before that.

    @property
    def state(self) -> State:
        """What the arm does."""
        if self._e_stop:
            return State.E_STOP
        if self._fault:
            return State.FAULT
        if not self._enabled:
            return State.DISABLED
        return State.IDLE if self._followed is None else State.TRACKING

    @property
    def message(self) -> str:
        """Why, in a few words."""
        if self.state is State.TRACKING:
            return "following commands"
        if self.state is State.DISABLED:
            return "told nothing until enabled"
        return self._e_stop or self._fault or self._note or "holding"

    @property
    def hits(self) -> Counter[str]:
        """How often each limit changed or refused a command."""
        return self._filter.hits + self._refusals

    @property
    def gripper_width_m(self) -> float | None:
        """The commanded distance between the fingers; None before the first command. A hold does not change it."""
        return self._width_m

    @property
    def at_rest(self) -> bool:
        """Whether the arm is held and stands, or there is nothing to hold it at."""
        if self._measured is None or self._brake is None:
            return self._followed is None
        return self._brake.at_rest(self._now_s) and stands(self._measured)

    def tick(
        self,
        incoming: Sequence[Incoming],
        measured: RobotState | str,
        now_s: float,
        lateness_s: float = 0.0,
        e_stop: str = "",
    ) -> RobotCommand | None:
        """Decide what the arm is told now.

        Args:
            incoming: Commands that came since the last tick, oldest first.
            measured: The newest measurement; or why there is none that can be trusted.
            now_s: Time on the robot's clock.
            lateness_s: How much too late this tick is.
            e_stop: Why the emergency stop is latched; empty if it is not.

        Returns:
            The target; None if the arm must be told nothing.
        """
        self._now_s = now_s
        self._measured = None if isinstance(measured, str) else as_of(measured, now_s)
        self._problem = measured if isinstance(measured, str) else ""
        self._e_stop = e_stop
        if self._problem:
            self._latch(self._problem)
        if lateness_s > self._max_lateness_s:
            self._latch(f"the control loop was held up for {lateness_s:.2f} s: find out by what")
        if e_stop:
            self._let_go("")
        for message in incoming:
            self._receive(message)
        self._notice_silence()
        return self._target()

    def stop(self) -> None:
        """Bring the arm to rest. Commands that are decided from now on are followed again."""
        self._stopped_s = self._now_s
        self._let_go("stopped when asked to")

    def enable(self, enabled: bool) -> str:
        """Begin or cease to tell the arm anything; afterwards it is held where it is found.

        Returns:
            Why not, in a sentence; empty if it was done.
        """
        if enabled and self._measured is None:
            return f"Not enabled: {self._problem}."
        if enabled != self._enabled:
            self._enabled = enabled
            self.restart("enabled, holding")
        return ""

    def recover(self) -> str:
        """Leave a fault whose cause is gone, and hold the arm where it is: for a human's explicit act only.

        Returns:
            Why not, in a sentence; empty if it was done.
        """
        problem = self._problem or self._commanders.conflict(self._now_s)
        if problem:
            return f"Not recovered: {problem}."
        if self._fault:
            self._fault, self._note = "", "recovered, holding"
            self._stopped_s = self._now_s
            self._forget()
        return ""

    def restart(self, note: str = "holding") -> None:
        """Something else moved the arm: hold it where it is found. Faults stay."""
        self._note = note
        self._width_m = None
        self._stopped_s = self._now_s
        self._forget()

    def fail(self, reason: str) -> None:
        """The arm could not be told; latch a fault."""
        self._latch(reason)

    def refuse_sent(self, name: str, reason: str) -> None:
        """What `tick` returned last could not be sent: stay at the target before, and count it as `name`."""
        self._refusals[name] += 1
        if self._followed is None or self._before is None:
            self._latch(reason)
            return
        self._followed = None
        self._note = f"stopped: {reason}"
        self._sent, self._brake = self._before, stay(self._before, self._now_s)

    def _receive(self, message: Incoming) -> None:
        self._commanders.hear(message.stream, message.publisher, self._now_s, alone=message.alone)
        conflict = self._commanders.conflict(self._now_s)
        if conflict:
            self._refusals["second_commander"] += 1
            self._latch(f"{conflict}: stop all but one")
        if self._fault or self._e_stop or not self._enabled:
            return
        name, problem = judge(message, self._now_s, self._limits.max_command_age_s)
        command = message.command
        if name:
            self._refusals[name] += 1
            self._let_go(f"stopped: {message.stream} {problem}")
        elif command is None or command.stamp_s <= self._stopped_s:
            return
        elif isinstance(command, GripperCommand):
            self._width_m = min(max(command.width_m, 0.0), self._limits.gripper_max_m)
            self._refusals["gripper_width"] += self._width_m != command.width_m
        else:
            self._followed, self._brake = replace(command, stamp_s=min(command.stamp_s, self._now_s)), None

    def _notice_silence(self) -> None:
        limit_s = self._limits.max_command_age_s
        # By its stamp, which was made no later than its arrival: so this is by the time of arrival, too.
        if self._followed is not None and self._now_s - self._followed.stamp_s > limit_s:
            self._let_go(f"stopped: no command for {limit_s:.2f} s")

    def _target(self) -> RobotCommand | None:
        """What is followed or held, after the safety filter."""
        measured, now_s = self._measured, self._now_s
        if measured is None or not self._enabled:
            # What becomes of the arm is not known.
            self._forget()
            return None
        wanted = self._followed
        # The first target is where the arm is: the filter lets a first step be as long as one after a pause.
        if wanted is None or self._sent is None:
            self._brake = self._brake or stay_at(measured, now_s, self._stop_by)
            wanted = self._brake.target(measured, now_s)
        # Where no width was commanded none is sent; the filter wants one nevertheless.
        wanted = replace(wanted, gripper_width_m=self._width_m or 0.0)
        try:
            allowed, hits = self._filter.filter(wanted, measured, now_s)
        except RuntimeError:  # The first measurement, and it is none.
            self._distrust("bad_state")
            return None
        for name in _FAULTS.keys() & set(hits):
            if name in _UNTRUSTED:
                self._distrust(name)
                return None
            self._problem = _FAULTS[name]
            self._latch(self._problem)
            self._brake = stay(allowed, now_s)
        self._before, self._interval_s = self._sent, now_s - self._sent_s
        self._sent, self._sent_s = allowed, now_s
        return allowed

    def _distrust(self, name: str) -> None:
        self._problem = _FAULTS[name]
        self._measured = None
        self._latch(self._problem)
        self._forget()

    def _latch(self, reason: str) -> None:
        if self._enabled and not self._fault:
            self._fault = reason
        self._let_go("")

    def _let_go(self, note: str) -> None:
        """Stop following, smoothly."""
        if self._followed is None:
            return
        goal, self._followed = self._followed, None
        self._note = note
        if self._measured is not None and self._sent is not None:
            self._brake = brake(
                self._limits,
                goal,
                self._sent,
                self._before,
                self._interval_s,
                self._measured,
                self._now_s,
                self._stop_by,
            )

    def _forget(self) -> None:
        """Nothing is known of targets: the arm is held where it is found."""
        self._followed = self._brake = self._sent = self._before = None
        self._filter.restart()
