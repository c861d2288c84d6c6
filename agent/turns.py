"""When an actor may move its robot: not while a person, the learner or the robot itself says no."""

import logging
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum, auto
from typing import Any, NamedTuple

from agent.config import InputError
from agent.transport.clients import ClientGroup
from agent.transport.messages import Report

Faults = type[Exception] | tuple[type[Exception], ...]

_LOOK_EVERY_S = 0.1

log = logging.getLogger(__name__)


class ActorState(StrEnum):
    """What an actor does. In the last four, and while it waits, the robot rests."""

    WAITING_FOR_POLICY = auto()
    LEARNING = auto()
    """The policy acts, and what it does is learned from."""
    TELEOP = auto()
    """A person acts, and what they do is learned from."""
    EVALUATING = auto()
    RESETTING = auto()
    RECOVERING = auto()
    """The reset that usually works did not."""
    WAITING_FOR_HUMAN = auto()
    """The scene needs a hand."""
    PAUSED = auto()
    """A person said so."""
    FAULT = auto()
    """The robot cannot be driven."""
    PARKED = auto()
    """The learner is gone, or there is no room for what the robot does."""
    STOPPED = auto()
    """It has ended."""


_ROUTINE = (ActorState.LEARNING, ActorState.RESETTING, ActorState.EVALUATING)
"""Entered again and again while all is well."""


class Observer:
    """Is told what an actor does, on the thread of its control loop: return at once. This one prints events."""

    def on_state(self, state: ActorState, why: str) -> None:
        """It does something else now; `why` is for people, and may be empty."""

    def on_event(self, text: str) -> None:
        """Something that a person wants to know, in a sentence or two."""
        print(text, flush=True)

    def on_episode(self, report: dict[str, Any]) -> None:
        """An episode is over; `report` is what the learner writes into its journal."""


class _Rest(NamedTuple):
    """Why the robot rests: for how long, in words, and what is said at its end."""

    state: ActorState
    why: str
    over: str


class Interrupted(Exception):  # noqa: N818 - not an error
    """A stop was requested: nothing is begun any more."""


class BrokenOff(Exception):  # noqa: N818 - not an error
    """A person paused: what was being done is to be done again."""


class Turns:
    """Rests the robot whenever it must not be moved, and says what is going on. All but requests: one thread.

    Attributes:
        state: What the actor does now.
    """

    def __init__(
        self,
        name: str,
        client: ClientGroup,
        observer: Observer,
        *,
        park: Callable[[], None],
        fault: Faults,
        lockstep: bool,
        park_after_s: float,
        fault_retry_s: float,
    ) -> None:
        """Nothing is paused, and the robot is taken to work.

        Args:
            name: Of the actor.
            client: The way to the learners.
            observer: Is told.
            park: Brings the robot to rest.
            fault: What the robot raises while it cannot be driven.
            lockstep: Wait for the learner's allowance before each step, and never park because it is gone.
            park_after_s: Without word from the learner for so long, the robot rests.
            fault_retry_s: Time between two attempts to drive a robot that cannot be driven.
        """
        self.state = ActorState.WAITING_FOR_POLICY
        self._entered_s = time.monotonic()
        self._name = name
        self._client = client
        self._observer = observer
        self._park = park
        self._faults = fault if isinstance(fault, tuple) else (fault,)
        self._lockstep = lockstep
        self._park_after_s = park_after_s
        self._fault_retry_s = fault_retry_s
        # Never waited for: a signal handler may set it on the very thread that waits.
        self._stop = threading.Event()
        self._paused = False
        self._lock = threading.Lock()  # Around `_paused`, and leaving a rest.
        self._complaints: set[str] = set()  # What has been said of a fault that lasts.

    def request_stop(self) -> None:
        """End after the current step; from any thread or signal handler."""
        self._stop.set()

    def request_pause(self) -> None:
        """Rest after the current step; from any thread. Once `state` says so, nothing moves before `request_resume`."""
        with self._lock:
            self._paused = True

    def request_resume(self) -> None:
        """Go on; from any thread."""
        with self._lock:
            self._paused = False

    def raise_if_stopping(self) -> None:
        """See that nobody has said stop.

        Raises:
            Interrupted: The learner or a person has.
        """
        self._client.raise_if_dead()
        if self._stop.is_set() or self._client.stop_requested:
            raise Interrupted

    def rest(self, then: ActorState) -> bool:
        """Keep the robot parked while a person wants it to, or what it does could not be kept for the learner.

        On hardware it is parked while the learner is gone, too.

        Args:
            then: What is about to be done. While the robot is not known to work again, that is an attempt, and the
                state remains `fault`.

        Returns:
            Whether it was parked. If so, the scene may have changed meanwhile.

        Raises:
            Interrupted: See `raise_if_stopping`.
        """
        rested: _Rest | None = None
        self.raise_if_stopping()
        while (reason := self._begin(then)) is not None:
            if reason != rested:
                self.park(reason.state, reason.why)
                self._observer.on_event(reason.why)
                rested = reason
            self._client.wait(timeout_s=_LOOK_EVERY_S)
            self.raise_if_stopping()
        if rested is not None:
            self._observer.on_event(rested.over)
        return rested is not None

    def wait_for_turn(self, then: ActorState) -> bool:
        """Wait until the next step of acting may be made; in lockstep with the learner for its allowance, too.

        Args:
            then: See `rest`.

        Returns:
            Whether the episode may go on: not after a rest.

        Raises:
            Interrupted: See `raise_if_stopping`.
        """
        rested = self.rest(then)
        while self._lockstep and self._client.known_steps >= self._client.step_allowance:
            self._client.wait(timeout_s=_LOOK_EVERY_S)
            rested = self.rest(then) or rested
        return not rested

    def robot_works(self, state: ActorState) -> None:
        """The robot took a step. Less is no proof: one that takes no command may still be observed and reset."""
        if self._complaints:
            self._complaints.clear()
            self._observer.on_event("The robot is back.")
        self._enter(state)

    def after_evaluation_step(self, _episode: int, _info: dict[str, Any]) -> None:
        """Only a person breaks an evaluation off: the learner's stop comes when the run is complete.

        Raises:
            Interrupted: See `heed_person`.
            BrokenOff: See `heed_person`.
        """
        self.robot_works(ActorState.EVALUATING)
        self.heed_person(ActorState.EVALUATING)

    def heed_person(self, activity: str = ActorState.RESETTING, why: str = "") -> None:
        """Where something takes longer than a step, see that it is still wanted.

        Args:
            activity: What is being done: the name of a state.
            why: In a sentence.

        Raises:
            Interrupted: A person wants the actor to end.
            BrokenOff: A person wants the robot to rest.
        """
        if self._stop.is_set():
            raise Interrupted
        if self._paused:
            raise BrokenOff
        state = ActorState(activity)
        is_question = state is ActorState.WAITING_FOR_HUMAN
        self._enter(state if is_question or not self._complaints else ActorState.FAULT, why)

    def robot_failed(self, complaint: str) -> bool:
        """Park a robot that cannot be driven. What it says is passed on once, whatever numbers are in it.

        Returns:
            Whether this is news: the robot worked until now.
        """
        self.park(ActorState.FAULT, complaint)
        is_news = not self._complaints
        words = re.sub(r"\d+", "", complaint)
        if words not in self._complaints:
            self._complaints.add(words)
            self._observer.on_event(f"{complaint} Trying again every {self._fault_retry_s:g} s.")
        return is_news

    def wait_to_retry(self) -> None:
        """Leave the robot alone for a while.

        Raises:
            Interrupted: See `raise_if_stopping`.
        """
        until_s = time.monotonic() + self._fault_retry_s
        while (remaining_s := until_s - time.monotonic()) > 0.0 and not self._paused:
            self.raise_if_stopping()
            self._client.wait(timeout_s=min(remaining_s, _LOOK_EVERY_S))

    def park(self, state: ActorState, why: str) -> None:
        """Bring the robot to rest, as far as it can be reached."""
        with suppress(*self._faults):
            self._park()
        self._enter(state, why)

    def _begin(self, state: ActorState) -> _Rest | None:
        """Enter `state` unless there is a reason to rest; returns that. Nobody can pause between the two."""
        with self._lock:
            reason = self._reason_to_rest()
            if reason is None:
                self._enter(ActorState.FAULT if self._complaints else state)
        return reason

    def _reason_to_rest(self) -> _Rest | None:
        if self._paused:
            return _Rest(
                ActorState.PAUSED, "Paused: the robot is parked until somebody says resume.", "Resumed."
            )
        if (no_room := self._client.no_room) is not None:
            why = f"{no_room} The robot is parked until there is room."
            return _Rest(ActorState.PARKED, why, "There is room for transitions again.")
        if not self._lockstep and self._client.seconds_since_contact > self._park_after_s:
            if (refusal := self._client.refusal) is not None:
                why = f"{refusal} The robot is parked until the learner takes this actor."
                return _Rest(ActorState.PARKED, why, "The learner takes this actor.")
            why = f"No word from the learner for {self._park_after_s:g} s: the robot is parked until it answers."
            return _Rest(ActorState.PARKED, why, "The learner answers again.")
        return None

    def _enter(self, state: ActorState, why: str = "") -> None:
        if state is self.state:
            return
        now_s = time.monotonic()
        report: Report = {
            "kind": "state",
            "actor": self._name,
            "state": str(state),
            "before": str(self.state),
            "seconds_before": round(now_s - self._entered_s, 3),
            "why": why,
        }
        # A sender that is dead ends the actor elsewhere; here it may be about to rest.
        with suppress(RuntimeError, InputError):
            self._client.report(report)
        self.state, self._entered_s = state, now_s
        level = logging.DEBUG if state in _ROUTINE else logging.INFO
        log.log(level, "%s is %s.", self._name, state, extra={"fields": report})
        self._observer.on_state(state, why)
