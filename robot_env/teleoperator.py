"""The contract of what a person drives and judges by: a keyboard, a gamepad, a leader arm, a scripted expert.

The names are those of LeRobot's `Teleoperator`: `connect`, `get_action`, `disconnect`.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from controllers.state import RobotState


class Event(StrEnum):
    """What a person says besides driving. The first two are verdicts on an episode, the others are for the session."""

    SUCCESS = "success"
    FAILURE = "failure"
    DISCARD = "discard"
    UNDO = "undo"
    QUIT = "quit"


VERDICTS = (Event.SUCCESS, Event.FAILURE)


class Teleoperator(Protocol):
    """Acts for the policy while a hand is on it.

    All calls come from the thread of the control loop, and none may wait.
    """

    def connect(self) -> None:
        """Open the device; does nothing where it is open.

        Raises:
            InputError: It is missing, or may not be opened; the sentence says which package or udev rule helps.
        """
        ...

    def restart(self, state: RobotState) -> None:
        """An episode begins in `state`. What the hand holds from before must be let go first."""
        ...

    def get_action(self, state: RobotState, last_action: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """What the hand wants now.

        Args:
            state: The newest measurement.
            last_action: The action executed before, shape (A,); at the start of an episode no motion, with the
                gripper as it is. Who takes over begins with its gripper entry, or would let fall what is held.

        Returns:
            An action of the task in [-1, 1], shape (A,); None while no hand is on it.

        Raises:
            RobotUnavailableError: The device is gone: the arm rests until it is back.
        """
        ...

    def get_events(self) -> tuple[Event, ...]:
        """What was said since the last call, oldest first."""
        ...

    def disconnect(self) -> None:
        """Close the device; idempotent."""
        ...


@runtime_checkable
class ExplainedTeleoperator(Teleoperator, Protocol):
    """One that says how it is used, and why it does not drive."""

    @property
    def help(self) -> Mapping[str, str]:
        """Key or button -> what it does, in a word or two, in the order to be shown."""
        ...

    @property
    def notice(self) -> str:
        """What keeps the hand from driving now, in a sentence; empty if nothing does."""
        ...
