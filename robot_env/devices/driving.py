"""From what a device says to actions of a task: one teleoperator for everything that says how fast and where to."""

import time
from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Literal, Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from controllers.config import Config, InputError
from controllers.rotations import conjugate, multiply, rotate
from controllers.state import RobotState
from robot_env.devices.bindings import GRIPPER_WORDS, ROTATIONS
from robot_env.devices.reading import Grip, GripperRequest, Reading, beyond, is_finite
from robot_env.robot import RobotUnavailableError
from robot_env.task import ActionConfig
from robot_env.teleoperator import Event

Array = NDArray[np.float64]

# Deflections are parts of the full way. What is far beyond was never meant.
_ABSURD = 10.0

_Config = TypeVar("_Config", bound=Config)


class DriveConfig(Config):
    """How a hand drives a task.

    Attributes:
        translation_scale: Full deflection as a part of the task's full translation.
        rotation_scale: Likewise of its rotation.
        dead_zone: Deflections up to this count as none; above, speed grows from zero.
        frame: Axes of the device: the robot's base, the tool, or the tool as it was when the episode began.
        linger_s: A device without a deadman may rest for this long before the arm is let go, or a hand that turns
            back would let it go.
    """

    translation_scale: float = 1.0
    rotation_scale: float = 1.0
    dead_zone: float = 0.0
    frame: Literal["base", "end_effector", "episode_start"] = "base"
    linger_s: float = 0.3

    def __post_init__(self) -> None:
        """Refuse what drives nothing, or faster than the task allows."""
        for name in ("translation_scale", "rotation_scale"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"{name} {getattr(self, name)} must lie in (0, 1]")
        if not 0.0 <= self.dead_zone < 1.0 or not 0.0 <= self.linger_s < inf:
            raise ValueError(
                f"dead_zone {self.dead_zone} must lie in [0, 1) and linger_s {self.linger_s} must not be negative"
            )


class Device(Protocol):
    """What a hand deflects. No call may wait.

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

    def read(self) -> Reading | None:
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


class ReadingTeleoperator:
    """Drives a task by a device's deflections. Implements `robot_env.teleoperator.Teleoperator`.

    The gripper stays as it was last told to be while the hand was on, and begins as it was when the hand came.

    Args:
        device: What is deflected.
        config: How it drives.
        action: What an action of the task means.
        now_s: Time of the hand, which is not the robot's: a simulation may be faster.
    """

    def __init__(
        self,
        device: Device,
        config: DriveConfig,
        action: ActionConfig,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device = device
        self._config = config
        self._action = action
        self._now_s = now_s
        self._grip = Grip(config.linger_s)
        self._gripper = 0.0
        self._start_quaternion = np.array((0.0, 0.0, 0.0, 1.0))

    @property
    def help(self) -> Mapping[str, str]:
        """What keys and buttons do, as far as the task has it."""
        action, without = self._action, set[str]()
        if action.rotation_rad == 0.0:
            without |= ROTATIONS
        if not action.gripper:
            without |= GRIPPER_WORDS
        return {key: what for key, what in self._device.help.items() if what not in without}

    @property
    def notice(self) -> str:
        """What is wrong with what the device says."""
        return self._device.problem

    def connect(self) -> None:
        """Open the device."""
        self._device.open()

    def restart(self, state: RobotState) -> None:
        """An episode begins in `state`. What the hand holds from before must be let go first."""
        self._grip.restart()
        self._start_quaternion = state.ee_quaternion_xyzw

    def get_action(self, state: RobotState, last_action: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """What the hand wants now; see `Teleoperator`."""
        was_on = self._grip.is_on
        try:
            reading = self._device.read()
        except RobotUnavailableError:
            self._grip.silence()
            raise
        if reading is None or not _is_sound(reading):
            self._grip.silence()
            if was_on:
                raise gone(self._device.name, reading is None, self._device.problem, self._device.hint)
            return None
        linear, angular = (beyond(self._config.dead_zone, v) for v in (reading.linear, reading.angular))
        is_moved = bool(linear.any() or angular.any() or reading.gripper is not None)
        if not self._grip.update(is_moved, reading.deadman, self._now_s()):
            return None
        if not was_on:
            self._gripper = float(last_action[-1])
        self._gripper = asked(reading.gripper, self._gripper)
        turn = device_in_action_frame(self._config.frame, self._action, state, self._start_quaternion)
        return action_of(
            self._action,
            self._config.translation_scale * rotate(turn, linear),
            self._config.rotation_scale * rotate(turn, angular),
            self._gripper,
        )

    def get_events(self) -> tuple[Event, ...]:
        """What was said since the last call, oldest first."""
        return self._device.get_events()

    def disconnect(self) -> None:
        """Close the device."""
        self._device.close()


def gone(name: str, is_silent: bool, problem: str, hint: str) -> RobotUnavailableError:
    """What is raised where a device cannot be believed while a hand is on it."""
    fault = "is silent" if is_silent else "says what cannot be"
    return RobotUnavailableError(
        f"The arm rests because {name} {fault} while a hand was on it: {problem or f'{hint}.'}"
    )


def device_in_action_frame(frame: str, action: ActionConfig, state: RobotState, start: Array) -> Array:
    """The rotation that takes a vector in the device's axes to the same vector in the axes of the task's actions.

    Translation and rotation vector turn alike: both are of the tool centre point, so that no lever arm mixes them.

    Args:
        frame: The device's, see `DriveConfig`.
        action: Says in which axes actions are.
        state: The newest measurement.
        start: Orientation of the tool when the episode began, shape (4,).
    """
    tool = state.ee_quaternion_xyzw
    in_base = {"base": np.array((0.0, 0.0, 0.0, 1.0)), "end_effector": tool, "episode_start": start}[frame]
    return multiply(conjugate(tool), in_base) if action.frame == "end_effector" else in_base


def action_of(action: ActionConfig, linear: Array, angular: Array, gripper: float) -> NDArray[np.float32]:
    """An action of the task from its parts, shape (A,); parts that the task has not are left out."""
    parts = [linear]
    if action.rotation_rad > 0.0:
        parts.append(angular)
    if action.gripper:
        parts.append(np.array([gripper]))
    return np.clip(np.concatenate(parts), -1.0, 1.0).astype(np.float32)


def asked(request: GripperRequest | None, gripper: float) -> float:
    """The gripper entry of an action after a request; `gripper` was the one before."""
    if request is None:
        return gripper
    if request is GripperRequest.TOGGLE:
        return -1.0 if gripper > 0.0 else 1.0
    return 1.0 if request is GripperRequest.OPEN else -1.0


def read_device_config(kind: type[_Config], config: Mapping[str, Any]) -> _Config:
    """The `device.config` of a run as one of the classes here.

    Raises:
        InputError: A key or value is unknown.
    """
    try:
        return msgspec.convert(dict(config), kind, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(sorted(kind.__struct_fields__))
        raise InputError(f"device.config: {error}; known are {known}.") from None


def _is_sound(reading: Reading) -> bool:
    return is_finite(reading) and bool(np.abs([reading.linear, reading.angular]).max() <= _ABSURD)
