"""Smooth joint motion for resets."""

import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from controllers.limits import JointLimits

Array = NDArray[np.float64]

# Highest speed and acceleration of the motion x(s) = 10 s^3 - 15 s^4 + 6 s^5 of length one and duration one.
_PEAK_SPEED = 15.0 / 8.0
_PEAK_ACCELERATION = 10.0 / 3.0**0.5


class MinimumJerk:
    """The motion from rest to rest with the least jerk: a quintic (Flash & Hogan 1985).

    Args:
        start_rad: Shape (N,).
        goal_rad: Shape (N,).
        duration_s: Time for the motion; see `minimum_duration_s`.

    Raises:
        InputError: The duration is negative or not finite.
    """

    def __init__(self, start_rad: Array, goal_rad: Array, duration_s: float) -> None:
        if not 0.0 <= duration_s < np.inf:
            raise InputError(f"A motion cannot last {duration_s} s: give a finite time of zero or more.")
        self.duration_s = duration_s
        self._start_rad = np.array(start_rad, np.float64)
        self._way_rad = np.array(goal_rad, np.float64) - self._start_rad

    def at(self, time_s: float) -> tuple[Array, Array]:
        """Position in rad and velocity in rad/s, each of shape (N,), `time_s` after the start.

        Before the start it rests there, and after the end at the goal.
        """
        if time_s >= self.duration_s:
            return self._start_rad + self._way_rad, np.zeros_like(self._way_rad)
        s = max(0.0, time_s / self.duration_s)
        position = s**3 * (10.0 - 15.0 * s + 6.0 * s**2)
        speed = 30.0 * s**2 * (1.0 - s) ** 2 / self.duration_s
        return self._start_rad + position * self._way_rad, speed * self._way_rad


def minimum_duration_s(
    start_rad: Array, goal_rad: Array, limits: JointLimits, fraction: float = 0.5
) -> float:
    """The shortest duration of a minimum-jerk motion within the limits.

    Args:
        start_rad: Shape (N,).
        goal_rad: Shape (N,).
        limits: Of the joints.
        fraction: Part of the velocity and acceleration limits to use, in (0, 1].

    Returns:
        Seconds; zero if start and goal are the same.
    """
    way_rad = np.abs(np.asarray(goal_rad) - start_rad)
    by_speed_s = _PEAK_SPEED * way_rad / (fraction * np.array(limits.velocity_rad_s))
    by_acceleration_s = np.sqrt(
        _PEAK_ACCELERATION * way_rad / (fraction * np.array(limits.acceleration_rad_s2))
    )
    return float(max(by_speed_s.max(), by_acceleration_s.max()))
