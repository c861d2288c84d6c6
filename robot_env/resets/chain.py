"""Resets that are tried one after the other, each verified, until one works or a person has helped."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from controllers.config import InputError
from robot_env.clock import Clock
from robot_env.contracts import (
    Activity,
    KeepGoing,
    ResetAttempt,
    ResetPolicy,
    ResetResult,
    Verifier,
    always,
)
from robot_env.program import ThreadDiedError
from robot_env.resets.operator import HumanHelp
from robot_env.resets.verify import RestartedVerifier
from robot_env.robot import Robot, RobotError, RobotUnavailableError

OPERATOR = "operator"
"""The policy of attempts that a person made."""

_PLEASE = "Put the scene into a start state."


class Link(NamedTuple):
    """One way to reset.

    Attributes:
        name: In a word, for people and reports.
        policy: Does it.
        budget_s: Longest time for it, on the robot's clock.
    """

    name: str
    policy: ResetPolicy
    budget_s: float


class BudgetOverError(Exception):
    """A reset took too long."""


class ResetChain:
    """Implements `robot_env.contracts.ResetPolicy`: tries its links in order, and goes by what is seen after each.

    The first is announced as `resetting`, whatever follows as `recovering`. When none has worked, the robot rests and a
    person is asked; once they say that it is done, and it is still not right, the links are tried again, and the person
    is asked again.

    Args:
        robot: Stopped whenever a link ends other than well.
        links: At least one.
        verifier: Sees whether the scene is in a start state.
        human: Whom to ask in the end; without, a chain whose links all fail has failed.
        ask_always: Whether to ask even if all that can be seen is right: for scenes in which that is not much.

    Raises:
        InputError: There is no link.
    """

    def __init__(
        self,
        robot: Robot,
        links: Sequence[Link],
        verifier: Verifier,
        human: HumanHelp | None = None,
        ask_always: bool = False,
    ) -> None:
        if not links:
            raise InputError("A chain of resets must have at least one link.")
        self._robot, self._links, self._verifier, self._human = robot, tuple(links), verifier, human
        self._ask_always = ask_always

    def reset(self, rng: np.random.Generator, keep_going: KeepGoing = always) -> ResetResult:
        """Try until the scene is in a start state, as far as can be seen.

        Returns:
            All that was tried, in `attempts`; the person under `operator`.

        Raises:
            RobotUnavailableError: The robot, or something that must be observed, is gone. It was stopped.
            Exception: What `keep_going` raised; the robot was stopped.
        """
        asked = _Asked(keep_going, self._robot.clock)
        try:
            return self._reset(rng, asked)
        except BaseException:
            self._robot.stop()
            raise

    def _reset(self, rng: np.random.Generator, asked: "_Asked") -> ResetResult:
        if isinstance(self._verifier, RestartedVerifier):
            self._verifier.restart()
        attempts: list[ResetAttempt] = []
        must_ask = self._ask_always and self._human is not None
        while True:
            result = self._try_links(rng, asked, attempts)
            if result.success and not must_ask:
                break
            if self._human is None:
                return ResetResult(False, result.reason, tuple(attempts))
            self._human.wait(_question(result), asked)
            result, must_ask = self._verified(), False
            attempts.append(ResetAttempt(OPERATOR, result.success, result.reason))
            if result.success:
                break
        if self._human is not None:
            self._human.withdraw()
        return ResetResult(True, attempts=tuple(attempts))

    def _try_links(
        self, rng: np.random.Generator, asked: "_Asked", attempts: list[ResetAttempt]
    ) -> ResetResult:
        """All links in order, until one works; what was tried is added to `attempts`."""
        result = ResetResult(False)
        for link in self._links:
            asked.begin(link, attempts[-1].reason if attempts else "")
            result = self._attempt(link, rng, asked)
            if result.success:
                result = self._verified()
            attempts.append(ResetAttempt(link.name, result.success, result.reason))
            if result.success:
                break
        return result

    def _attempt(self, link: Link, rng: np.random.Generator, asked: "_Asked") -> ResetResult:
        try:
            return link.policy.reset(rng, asked)
        except (RobotUnavailableError, ThreadDiedError):
            raise
        except Exception as error:
            if error is asked.raised:
                raise
            # Also a defect: the robot rests, and the next way, in the end a person, is told of it.
            self._robot.stop()
            return ResetResult(False, str(error) or type(error).__name__)

    def _verified(self) -> ResetResult:
        try:
            return self._verifier.verify()
        except RobotUnavailableError:
            raise
        except RobotError as error:
            return ResetResult(False, str(error))


class _Asked:
    """The `KeepGoing` of a chain: says what is tried, ends what takes too long, and knows what it raised."""

    def __init__(self, keep_going: KeepGoing, clock: Clock) -> None:
        self.raised: Exception | None = None
        self._keep_going, self._clock = keep_going, clock
        self._activity, self._why = Activity.RESETTING, ""
        self._deadline_s = self._budget_s = np.inf
        self._is_first = True

    def begin(self, link: Link, why: str) -> None:
        """A link begins, because of what went wrong before."""
        self._activity = Activity.RESETTING if self._is_first else Activity.RECOVERING
        self._why, self._is_first = why, False
        self._budget_s, self._deadline_s = link.budget_s, self._clock.now_s() + link.budget_s

    def __call__(self, activity: Activity = Activity.RESETTING, why: str = "") -> None:
        waits = activity is Activity.WAITING_FOR_HUMAN
        try:
            self._keep_going(*((activity, why) if waits else (self._activity, self._why)))
        except Exception as error:
            self.raised = error
            raise
        if not waits and self._clock.now_s() > self._deadline_s:
            raise BudgetOverError(f"it took longer than {self._budget_s:g} s")


def _question(result: ResetResult) -> str:
    if result.success or not result.reason:
        return _PLEASE
    return f"{_PLEASE} What is wrong: {result.reason}."
