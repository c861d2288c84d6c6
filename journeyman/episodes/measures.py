"""What can be counted and measured of episodes. Every definition is stated in docs/episodes.md."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_env.episode import Episode

Array = NDArray[np.float64]

# An action entry this near its bound counts as saturated.
_SATURATED = 0.999
# An instant is late after one and a half periods: neither jitter nor a whole period lost.
_LATE = 1.5
# Slower than all of these, the arm idles.
_IDLE_M_S, _IDLE_RAD_S, _IDLE_GRIPPER_M_S = 0.005, 0.05, 0.005


class Gap(NamedTuple):
    """A hole in time: the instant `step` came `seconds` after the one before."""

    step: int
    seconds: float


def gaps(elapsed_s: Array, period_s: float) -> list[Gap]:
    """Instants that came more than one and a half periods after the one before."""
    waits_s = np.diff(elapsed_s)
    return [Gap(int(k) + 1, float(waits_s[k])) for k in np.flatnonzero(waits_s > _LATE * period_s)]


def repeated(elapsed_s: Array) -> int:
    """Instants that have the stamp of the one before: the robot's state was not measured anew."""
    return int((np.diff(elapsed_s) == 0.0).sum())


def saturation(actions: NDArray[np.float32]) -> Array:
    """Share of steps at which each entry of the action is at a bound; shape (A,)."""
    return (np.abs(actions) >= _SATURATED).mean(0)


def idle_share(episode: Episode, period_s: float) -> float | None:
    """Share of steps in which neither arm nor gripper moved; None where the robot's state was not recorded."""
    robot = episode.robot
    names = "ee_position_m", "ee_quaternion_xyzw", "gripper_width_m"
    if not all(name in robot for name in names):
        return None
    position_m, quaternion, width_m = (robot[name] for name in names)
    # Of stamps that repeat, the period says how long a step took.
    waits_s = np.diff(episode.elapsed_s)
    waits_s = np.where(waits_s > 0.0, waits_s, period_s)
    speed_m_s = np.linalg.norm(np.diff(position_m, axis=0), axis=1) / waits_s
    cosine = np.abs((quaternion[1:] * quaternion[:-1]).sum(1))
    turn_rad_s = 2.0 * np.arccos(np.clip(cosine, 0.0, 1.0)) / waits_s
    gripper_m_s = np.abs(np.diff(width_m)) / waits_s
    idle = (speed_m_s < _IDLE_M_S) & (turn_rad_s < _IDLE_RAD_S) & (gripper_m_s < _IDLE_GRIPPER_M_S)
    return float(idle.mean())


class Smoothness(NamedTuple):
    """How smoothly the end effector moved.

    Attributes:
        jerk_rms_m_s3: Root mean square of its jerk.
        log_dimensionless_jerk: Does not depend on how long and how fast a motion is; nearer zero is smoother.
    """

    jerk_rms_m_s3: float
    log_dimensionless_jerk: float


def smoothness(episode: Episode, period_s: float) -> Smoothness | None:
    """Smoothness by the recorded velocity, differentiated twice.

    The second measure is -ln(T^3 / v_peak^2 * integral of |d^2v/dt^2|^2 dt), the log dimensionless jerk of
    Balasubramanian et al., "On the analysis of movement smoothness", J. NeuroEng. Rehabil. 12:112 (2015).

    Returns:
        None where there is no velocity, no motion, or fewer than four instants.
    """
    velocity_m_s = episode.robot.get("ee_linear_velocity_m_s")
    if velocity_m_s is None or len(velocity_m_s) < 4:
        return None
    peak_m_s = float(np.linalg.norm(velocity_m_s, axis=1).max())
    # By the period, as stamps that repeat or jump would make infinite jerk of a late message.
    jerk_m_s3 = np.gradient(np.gradient(velocity_m_s, period_s, axis=0), period_s, axis=0)
    squared = (jerk_m_s3**2).sum(1)
    duration_s = period_s * (len(velocity_m_s) - 1)
    dimensionless = duration_s**3 / max(peak_m_s, 1e-9) ** 2 * float(np.trapezoid(squared, dx=period_s))
    if peak_m_s < _IDLE_M_S or dimensionless <= 0.0:
        return None
    return Smoothness(float(np.sqrt(squared.mean())), -float(np.log(dimensionless)))


def takeovers(intervened: NDArray[np.bool_]) -> int:
    """How often a human took over."""
    return int((np.diff(intervened.astype(np.int8), prepend=0) == 1).sum())


def trajectory_quality(mean_return: float, lowest: float, highest: float) -> float | None:
    """TQ of arXiv:2111.04714, section 3: (mean return - lowest) / (highest - lowest); None if those are equal."""
    return None if highest == lowest else (mean_return - lowest) / (highest - lowest)


def pairs_of(episodes: Sequence[Episode]) -> Array:
    """Every state with the action that was taken in it, one row each, shape (N, S + A)."""
    return np.concatenate([np.hstack([e.observations["state"][:-1], e.actions]) for e in episodes]).astype(
        np.float64
    )


def unique_pairs(pairs: Array, low: Array, high: Array, bins: int) -> int:
    """Number of different cells of a grid that `pairs` lie in.

    Args:
        pairs: Shape (N, D).
        low: Lower end of the grid in each dimension, shape (D,).
        high: Upper end.
        bins: Cells per dimension.
    """
    width = np.where(high > low, high - low, 1.0)
    cells = np.clip(np.floor((pairs - low) / width * bins), 0, bins - 1).astype(np.int64)
    return len(np.unique(cells, axis=0))
