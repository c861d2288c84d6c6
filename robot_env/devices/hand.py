"""What is common to all hands on a device: when one is on, and what follows where the device cannot be believed."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from controllers.state import RobotState
from robot_env.devices.reading import Grip
from robot_env.robot import RobotUnavailableError
from robot_env.task import ActionConfig
from robot_env.teleoperator import Event

Said = TypeVar("Said")
_Said = TypeVar("_Said", covariant=True)


class Device(Protocol[_Said]):
    """What a hand is on, which says where to or how fast: a `Reading` or a `HandPose`. No call may wait.

    Attributes:
        name: For messages, such as "the gamepad".
        hint: What a person does where it is silent, to end a sentence with.
        help: Key or button -> what it does; those that move are grouped as `w/s`.
        problem: What is wrong with what it says, in a sentence; empty if nothing is.
    """

    name: str
    hint: str
    help: Mapping[str, str]
    problem: str

    def open(self) -> None:
        """Begin to listen; does nothing where it is open.

        Raises:
            InputError: It is missing, or may not be opened.
        """
        ...

    def read(self) -> _Said | None:
        """What it says now; None if it is silent, or says what cannot be.

        Raises:
            RobotUnavailableError: It is gone.
        """
        ...

    def get_events(self) -> tuple[Event, ...]:
        """What was said since the last call, oldest first."""
        ...

    def close(self) -> None:
        """Let go of it; idempotent."""
        ...


class HandTeleoperator(ABC, Generic[Said]):
    """Opens, hears and closes a device. Implements `robot_env.teleoperator.Teleoperator` but for the action.

    The gripper stays as it was last told to be while the hand was on, and begins as it was when the hand came.

    Args:
        device: What the hand is on.
        linger_s: See `Grip`.
        action: What an action of the task means.
        now_s: Time of the hand, which is not the robot's: a simulation may be faster.
    """

    def __init__(
        self,
        device: Device[Said],
        linger_s: float,
        action: ActionConfig,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device = device
        self._action = action
        self._now_s = now_s
        self._grip = Grip(linger_s)
        self._gripper = 0.0
        self._start_quaternion = np.array((0.0, 0.0, 0.0, 1.0))

    @abstractmethod
    def get_action(self, state: RobotState, last_action: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """What the hand wants now; see `Teleoperator`."""

    @abstractmethod
    def _is_sound(self, said: Said) -> bool:
        """Whether what the device says can be believed."""

    def connect(self) -> None:
        """Open the device."""
        self._device.open()

    def restart(self, state: RobotState) -> None:
        """An episode begins in `state`. What the hand holds from before must be let go first."""
        self._grip.restart()
        self._start_quaternion = state.ee_quaternion_xyzw

    def get_events(self) -> tuple[Event, ...]:
        """What was said since the last call, oldest first."""
        return self._device.get_events()

    def disconnect(self) -> None:
        """Close the device."""
        self._device.close()

    def _hear(self) -> Said | None:
        """What the device says; None if that is nothing, or cannot be.

        Raises:
            RobotUnavailableError: It is gone, or cannot be believed while a hand is on it.
        """
        was_on = self._grip.is_on
        try:
            said = self._read()
        except RobotUnavailableError:
            self._lose()
            raise
        if said is not None and self._is_sound(said):
            return said
        self._lose()
        if was_on:
            device, fault = self._device, "is silent" if said is None else "says what cannot be"
            raise RobotUnavailableError(
                f"The arm rests because {device.name} {fault} while a hand was on it: "
                f"{device.problem or f'{device.hint}.'}"
            )
        return None

    def _read(self) -> Said | None:
        return self._device.read()

    def _lose(self) -> None:
        """The device says nothing, or nothing that can be believed."""
        self._grip.silence()
