"""What a device says, and whether a hand is on it. Knows no device, and no arm."""

from enum import Enum, StrEnum
from math import hypot, inf, isfinite
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

AXES = ("x", "y", "z", "roll", "pitch", "yaw")


class GripperRequest(StrEnum):
    """What a button of the device asks for."""

    OPEN = "open"
    CLOSE = "close"
    TOGGLE = "toggle"


class Reading(NamedTuple):
    """What a device says now.

    Attributes:
        linear: Wanted velocity x, y, z as a part of the highest, each in [-1, 1], shape (3,).
        angular: Wanted turning about x, y, z, likewise.
        gripper: Asked for since the reading before; None if nothing was.
        deadman: Whether the button is held without which nothing moves; None if the device has none. Then it drives
            only while it is moved.
    """

    linear: Array
    angular: Array
    gripper: GripperRequest | None = None
    deadman: bool | None = None


def is_finite(reading: Reading) -> bool:
    """Whether every deflection is a number."""
    return all(map(isfinite, [*reading.linear.tolist(), *reading.angular.tolist()]))


def beyond(dead_zone: float, deflection: Array) -> Array:
    """Deflection beyond the dead zone, from 0; no longer than 1, so that diagonals are not faster. Shape (3,)."""
    clipped = np.clip(deflection, -1.0, 1.0)
    rest = np.sign(clipped) * np.maximum(np.abs(clipped) - dead_zone, 0.0) / (1.0 - dead_zone)
    return rest / max(1.0, hypot(*rest.tolist()))


class _Before(Enum):
    """What was seen of the device before it asked for motion."""

    UNKNOWN = 0
    SILENCE = 1
    REST = 2


class Grip:
    """Whether a hand is on the device.

    It begins with an act of the hand: a deadman that is held from the start, or was held while device or robot were
    gone, must be released first.

    Args:
        linger_s: A device without a deadman may rest for this long before the arm is let go, or a hand that turns
            back would let it go.

    Attributes:
        is_on: Whether a hand is on it.
    """

    def __init__(self, linger_s: float) -> None:
        self.is_on = False
        self._linger_s = linger_s
        self._before = _Before.SILENCE
        self._moved_s = -inf

    def update(self, is_moved: bool, deadman: bool | None, now_s: float) -> bool:
        """Take in a reading.

        Args:
            is_moved: Whether it asks for something.
            deadman: See `Reading`.
            now_s: Time of the reading, on any clock that is always the same.

        Returns:
            Whether a hand is on the device.
        """
        if is_moved:
            self._moved_s = now_s
        if not self._is_held(is_moved, deadman, now_s):
            self._let_go(_Before.REST)
        elif not self.is_on:
            self.is_on = self._may_begin(deadman)
        return self.is_on

    def silence(self) -> None:
        """The device says nothing, or nothing that can be believed."""
        self._let_go(_Before.SILENCE)

    def restart(self) -> None:
        """Nothing is known of the hand: nothing moves before it has let go."""
        self._let_go(_Before.UNKNOWN)

    def _let_go(self, before: _Before) -> None:
        self._before, self.is_on = before, False

    def _is_held(self, is_moved: bool, deadman: bool | None, now_s: float) -> bool:
        if deadman is not None:
            return deadman
        if not self.is_on:
            return is_moved
        return 0.0 <= now_s - self._moved_s <= self._linger_s  # A simulation's clock may be set back.

    def _may_begin(self, deadman: bool | None) -> bool:
        # For a device without a deadman, silence is rest: some speak only while they are moved.
        return self._before is _Before.REST or (self._before is _Before.SILENCE and deadman is None)
