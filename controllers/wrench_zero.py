"""Takes out of a measured wrench what a force sensor shows when nothing touches the arm."""

from collections import deque

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from controllers.rotations import conjugate, rotate
from controllers.state import RobotState

Array = NDArray[np.float64]

# Averaged to take out noise: 0.2 s at 100 Hz.
_SAMPLES = 20
# A moving arm feels its own inertia.
_RESTING_RAD_S = 0.05


class WrenchZero:
    """The offset of a force sensor. It turns with the sensor, so it is kept in the end effector's frame."""

    def __init__(self) -> None:
        self._offset = np.zeros(6)
        self._seen: deque[Array] = deque(maxlen=_SAMPLES)

    def apply(self, state: RobotState) -> RobotState:
        """The state with the offset taken out of its wrench."""
        if not np.abs(state.joint_velocity_rad_s).max() < _RESTING_RAD_S:
            self._seen.clear()
        else:
            self._seen.append(_turned(conjugate(state.ee_quaternion_xyzw), state.ee_wrench))
        if not self._offset.any():
            return state
        return replace(state, ee_wrench=state.ee_wrench - _turned(state.ee_quaternion_xyzw, self._offset))

    def zero(self) -> str:
        """Make what is felt now the new zero.

        Returns:
            Why not, in a sentence; empty if it was done.
        """
        if len(self._seen) < _SAMPLES:
            return f"Not zeroed: the arm must be at rest for {_SAMPLES} measurements, but was for {len(self._seen)}."
        offset = np.mean(self._seen, axis=0)
        if not np.isfinite(offset).all():
            return f"Not zeroed: the measured wrench {offset.tolist()} is not finite; check the sensor."
        self._offset = offset
        return ""


def _turned(quaternion: Array, wrench: Array) -> Array:
    return np.concatenate((rotate(quaternion, wrench[:3]), rotate(quaternion, wrench[3:])))
