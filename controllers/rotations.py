"""Unit quaternions in ROS order x, y, z, w, and rotation vectors in radians.

A rotation vector points along the axis and is as long as the angle. These functions run at up to 1 kHz on
single vectors, so they compute with plain floats: for four numbers that is several times faster than numpy.
NaN goes in and comes out as NaN; refusing it is the safety filter's job.
"""

from math import atan2, cos, hypot, sin, sqrt

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def multiply(a: Array, b: Array) -> Array:
    """The Hamilton product a * b: the rotation `b` first, then `a`, both in fixed axes."""
    ax, ay, az, aw = a.tolist()
    bx, by, bz, bw = b.tolist()
    return np.array(
        (
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        )
    )


def conjugate(q: Array) -> Array:
    """The opposite rotation."""
    x, y, z, w = q.tolist()
    return np.array((-x, -y, -z, w))


def normalize(q: Array) -> Array:
    """`q` scaled to unit length.

    Raises:
        ValueError: `q` is zero, which is no rotation.
    """
    x, y, z, w = q.tolist()
    norm = sqrt(x * x + y * y + z * z + w * w)
    if norm == 0.0:
        raise ValueError("A quaternion of length zero is no rotation.")
    return np.array((x / norm, y / norm, z / norm, w / norm))


def rotate(q: Array, v: Array) -> Array:
    """The vector `v`, shape (3,), turned by `q`."""
    x, y, z, w = q.tolist()
    vx, vy, vz = v.tolist()
    # v + 2 w (u x v) + 2 u x (u x v) with u the vector part.
    tx = 2.0 * (y * vz - z * vy)
    ty = 2.0 * (z * vx - x * vz)
    tz = 2.0 * (x * vy - y * vx)
    return np.array(
        (
            vx + w * tx + y * tz - z * ty,
            vy + w * ty + z * tx - x * tz,
            vz + w * tz + x * ty - y * tx,
        )
    )


def from_rotation_vector(rotation_vector: Array) -> Array:
    """The quaternion of a rotation vector of any length."""
    x, y, z = rotation_vector.tolist()
    angle = hypot(x, y, z)
    scale = sin(0.5 * angle) / angle if angle != 0.0 else 0.5
    return np.array((x * scale, y * scale, z * scale, cos(0.5 * angle)))


def to_rotation_vector(q: Array) -> Array:
    """The shortest rotation vector of `q`, its length in [0, pi]. `q` and `-q` give the same one."""
    return np.array(_shortest_rotation_vector(*q.tolist()))


def error(target: Array, current: Array) -> Array:
    """The rotation vector, in the base frame, that turns `current` into `target` on the shortest way.

    `multiply(from_rotation_vector(error(target, current)), current)` is `target` up to its sign.
    """
    return np.array(error_components(target.tolist(), current.tolist()))


def error_components(target: list[float], current: list[float]) -> tuple[float, float, float]:
    """`error` in plain floats, for the impedance controller, which runs it at every tick."""
    ax, ay, az, aw = target
    bx, by, bz, bw = current
    # target * conjugate(current), written out.
    return _shortest_rotation_vector(
        ax * bw - aw * bx - ay * bz + az * by,
        ay * bw - aw * by + ax * bz - az * bx,
        az * bw - aw * bz - ax * by + ay * bx,
        aw * bw + ax * bx + ay * by + az * bz,
    )


def slerp(a: Array, b: Array, fraction: float) -> Array:
    """The rotation `fraction` of the shortest way from `a` (0) to `b` (1), at constant angular speed."""
    return multiply(from_rotation_vector(fraction * error(b, a)), a)


def _shortest_rotation_vector(x: float, y: float, z: float, w: float) -> tuple[float, float, float]:
    if w < 0.0:
        x, y, z, w = -x, -y, -z, -w
    half_sine = hypot(x, y, z)
    scale = 2.0 * atan2(half_sine, w) / half_sine if half_sine != 0.0 else 2.0
    return x * scale, y * scale, z * scale
