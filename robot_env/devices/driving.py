"""From what a device says to actions of a task: one teleoperator for everything that says how fast and where to."""

import time
from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from controllers.config import Config, read
from controllers.rotations import conjugate, multiply, rotate
from controllers.state import RobotState
from robot_env.devices.bindings import GRIPPER_WORDS, ROTATIONS
from robot_env.devices.hand import Device, HandTeleoperator
from robot_env.devices.reading import GripperRequest, Reading, beyond, is_finite
from robot_env.task import ActionConfig

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


class ReadingTeleoperator(HandTeleoperator[Reading]):
    """Drives a task by a device's deflections.

    Args:
        device: What is deflected.
        config: How it drives.
        action: See `HandTeleoperator`.
        now_s: Likewise.
    """

    def __init__(
        self,
        device: Device[Reading],
        config: DriveConfig,
        action: ActionConfig,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(device, config.linger_s, action, now_s)
        self._config = config

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

    def get_action(self, state: RobotState, last_action: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """What the hand wants now; see `Teleoperator`."""
        was_on = self._grip.is_on
        reading = self._hear()
        if reading is None:
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

    def _is_sound(self, said: Reading) -> bool:
        return is_finite(said) and bool(np.abs([said.linear, said.angular]).max() <= _ABSURD)


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
    return read(kind, config, "device.config")
