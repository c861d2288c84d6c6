"""How far the next target may lie from where the arm is and from where it was told to go.

Used by `controllers.safety_filter`, which decides whether a command is looked at in the first place. Both
limiters measure a step from the nearest point between the arm and its previous target. So going back towards
the arm is always allowed, and it does not matter whether a commander starts from the measured pose or from
its own last target.

The allowed target positions form a convex set that holds the measured one, so limits applied one after
another never undo each other. Plain floats throughout: this runs for every command.
"""

from math import hypot
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controllers.limits import SafetyLimits
from controllers.rotations import error_components, from_rotation_vector, multiply

Array = NDArray[np.float64]

# Lets a target that was limited pass untouched the next time, in spite of rounding.
_ROUNDING = 1e-9


class Measured(NamedTuple):
    """Where the arm stands: a copy of the part of a `RobotState` that limits and holds are built on."""

    position_m: list[float]
    quaternion_xyzw: list[float]
    joint_position_rad: list[float]
    wrench: list[float]
    gripper_width_m: float


class PoseLimiter:
    """Limits target poses: workspace, contact, speed, acceleration, distance from the measured pose.

    Args:
        limits: What is allowed.
    """

    def __init__(self, limits: SafetyLimits) -> None:
        self._limits = limits
        self._box = list(zip(limits.workspace_min_m, limits.workspace_max_m, strict=True))
        self.restart()

    def restart(self) -> None:
        """Forget the previous target: the next step starts at rest from the measured pose."""
        self._position_m: list[float] | None = None
        self._quaternion_xyzw: list[float] | None = None
        self._velocity_m_s = [0.0, 0.0, 0.0]
        self._angular_velocity_rad_s = [0.0, 0.0, 0.0]

    def limit_position(
        self, desired: list[float], measured: Measured, dt_s: float, hits: list[str]
    ) -> list[float]:
        """The allowed target position nearest to `desired` in the sense of the limits.

        Args:
            desired: Wanted target in m, 3 numbers.
            measured: Where the arm stands.
            dt_s: Time since the previous command.
            hits: Names of the limits hit are appended.
        """
        limits = self._limits
        here = measured.position_m
        target = [min(max(x, low), high) for x, (low, high) in zip(desired, self._box, strict=True)]
        if target != desired:
            hits.append("workspace")
        before = self._position_m or here
        force = measured.wrench[:3]
        if hypot(*force) > limits.contact_force_n:
            # What was commanded before may lie inside the obstacle.
            before = here
            if _dot(force, _minus(target, here)) < -_ROUNDING * hypot(*force):
                hits.append("contact_force")
                target = self._slide(target, here, force)
        start = _nearest_between(target, here, before)
        wanted = _minus(target, start)
        bounds = limits.linear_speed_m_s, limits.linear_acceleration_m_s2
        step = _limit_step(wanted, self._velocity_m_s, bounds, dt_s, "linear", hits)
        if step is not wanted:
            target = _plus(start, step)
        target = _shorten(target, here, limits.translation_error_m, hits)
        if dt_s > 0.0:
            self._velocity_m_s = _times(_minus(target, before), 1.0 / dt_s)
        self._position_m = target
        return target

    def limit_orientation(
        self, desired: list[float], measured: Measured, dt_s: float, hits: list[str]
    ) -> list[float]:
        """The allowed target orientation nearest to `desired` in the sense of the limits.

        Args:
            desired: Wanted target, quaternion x, y, z, w.
            measured: Where the arm stands.
            dt_s: Time since the previous command.
            hits: Names of the limits hit are appended.
        """
        limits = self._limits
        here = measured.quaternion_xyzw
        before = here if self._quaternion_xyzw is None else self._quaternion_xyzw
        away = _turn(desired, here)
        torque = measured.wrench[3:]
        if hypot(*torque) > limits.contact_torque_nm:
            before = here
            if _dot(torque, away) < -_ROUNDING * hypot(*torque):
                hits.append("contact_torque")
                desired, away = here, [0.0, 0.0, 0.0]
        start, wanted = here, away
        turn = _turn(desired, before)
        if hypot(*turn) < hypot(*away):
            start, wanted = before, turn
        bounds = limits.angular_speed_rad_s, limits.angular_acceleration_rad_s2
        step = _limit_step(wanted, self._angular_velocity_rad_s, bounds, dt_s, "angular", hits)
        if step is not wanted:
            desired = _turned(start, step)
            away = _turn(desired, here)
            turn = _turn(desired, before)
        angle = hypot(*away)
        if angle > limits.rotation_error_rad + _ROUNDING:
            hits.append("rotation_error")
            desired = _turned(here, _times(away, limits.rotation_error_rad / angle))
            turn = _turn(desired, before)
        if dt_s > 0.0:
            self._angular_velocity_rad_s = _times(turn, 1.0 / dt_s)
        self._quaternion_xyzw = desired
        return desired

    def _slide(self, target: list[float], here: list[float], force: list[float]) -> list[float]:
        """Drop the part of the way that pushes against `force`; stay if that leads out of the workspace."""
        way = _minus(target, here)
        slid = _plus(here, _minus(way, _times(force, _dot(force, way) / _dot(force, force))))
        inside = all(low <= x <= high for x, (low, high) in zip(slid, self._box, strict=True))
        return slid if inside else here


class JointLimiter:
    """Limits joint targets: ends of the joints, distance from the arm, speed, acceleration.

    Args:
        limits: What is allowed.
    """

    def __init__(self, limits: SafetyLimits) -> None:
        joints = limits.joints
        self._min_rad = np.array(joints.min_rad) + limits.joint_margin_rad
        self._max_rad = np.array(joints.max_rad) - limits.joint_margin_rad
        self._error_rad = limits.joint_error_rad
        self._speed_rad_s = limits.joint_speed_fraction * np.array(joints.velocity_rad_s)
        self._acceleration_rad_s2 = np.array(joints.acceleration_rad_s2)
        self.restart()

    def restart(self) -> None:
        """Forget the previous target: the next step starts at rest from the measured configuration."""
        self._position_rad: Array | None = None
        self._velocity_rad_s = np.zeros(self._min_rad.size)

    def limit(self, desired: Array, measured: Measured, dt_s: float, hits: list[str]) -> Array:
        """The allowed joint target nearest to `desired`, joint by joint.

        Args:
            desired: Wanted target in rad, shape (N,).
            measured: Where the arm stands.
            dt_s: Time since the previous command.
            hits: Names of the limits hit are appended.
        """
        here = np.array(measured.joint_position_rad)
        before = here if self._position_rad is None else self._position_rad
        low, high = np.minimum(here, before), np.maximum(here, before)
        inside = np.clip(desired, self._min_rad, self._max_rad)
        near = np.clip(inside, here - self._error_rad, here + self._error_rad)
        reach = dt_s * self._speed_rad_s
        slow = np.clip(near, low - reach, high + reach)
        gain = dt_s * self._acceleration_rad_s2
        down = dt_s * (np.maximum(-self._velocity_rad_s, 0.0) + gain)
        up = dt_s * (np.maximum(self._velocity_rad_s, 0.0) + gain)
        target = np.clip(slow, low - down, high + up)
        stages = (
            ("joint_position", desired, inside),
            ("joint_error", inside, near),
            ("joint_speed", near, slow),
        )
        for name, wanted, allowed in (*stages, ("joint_acceleration", slow, target)):
            if (np.abs(wanted - allowed) > _ROUNDING).any():
                hits.append(name)
        if dt_s > 0.0:
            self._velocity_rad_s = (target - before) / dt_s
        self._position_rad = target
        return target


def _limit_step(
    step: list[float],
    velocity: list[float],
    bounds: tuple[float, float],
    dt_s: float,
    name: str,
    hits: list[str],
) -> list[float]:
    """Shorten `step` to what speed and acceleration allow, keeping its direction.

    Acceleration bounds how fast the speed grows in the direction of the step; braking is always allowed.

    Args:
        step: Wanted change.
        velocity: Of the previous target.
        bounds: Highest speed and acceleration.
        dt_s: Time for the step.
        name: First part of the names of the limits.
        hits: Names of the limits hit are appended.

    Returns:
        The step; the same object if it is allowed.
    """
    length = hypot(*step)
    if length <= _ROUNDING:
        return step
    speed, acceleration = bounds
    gained = max(0.0, _dot(velocity, step) / length) + acceleration * dt_s
    allowed = dt_s * min(speed, gained)
    if length <= allowed + _ROUNDING:
        return step
    hits.append(f"{name}_speed" if speed <= gained else f"{name}_acceleration")
    return _times(step, allowed / length)


def _shorten(target: list[float], here: list[float], longest: float, hits: list[str]) -> list[float]:
    """Pull `target` towards `here` until it is no farther than `longest`."""
    away = _minus(target, here)
    distance = hypot(*away)
    if distance <= longest + _ROUNDING:
        return target
    hits.append("translation_error")
    return _plus(here, _times(away, longest / distance))


def _nearest_between(point: list[float], a: list[float], b: list[float]) -> list[float]:
    """The point nearest to `point` on the segment from `a` to `b`."""
    along = _minus(b, a)
    squared = _dot(along, along)
    if squared == 0.0:
        return a
    fraction = _dot(_minus(point, a), along) / squared
    return _plus(a, _times(along, min(max(fraction, 0.0), 1.0)))


def _turn(target: list[float], start: list[float]) -> list[float]:
    """The shortest rotation vector from one quaternion to another."""
    return list(error_components(target, start))


def _turned(start: list[float], turn: list[float]) -> list[float]:
    """The quaternion `start` turned by a rotation vector in the base frame."""
    return multiply(from_rotation_vector(np.array(turn)), np.array(start)).tolist()


def _plus(a: list[float], b: list[float]) -> list[float]:
    return [a[0] + b[0], a[1] + b[1], a[2] + b[2]]


def _minus(a: list[float], b: list[float]) -> list[float]:
    return [a[0] - b[0], a[1] - b[1], a[2] - b[2]]


def _times(a: list[float], factor: float) -> list[float]:
    return [a[0] * factor, a[1] * factor, a[2] * factor]


def _dot(a: list[float], b: list[float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
