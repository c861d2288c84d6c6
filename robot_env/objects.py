"""What a task may observe of a tracked object, whoever tracks it: a twin, tags on a camera image, a motion capture.

An object named `cube` gives `cube_position`, `cube_from_ee` (both in the base frame), `cube_quaternion`, and
`cube_yaw`: cosine and sine of four times its rotation about the vertical, as quarter turns of a box look the same.
"""

from collections.abc import Iterable, Mapping
from math import atan2, cos, sin

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_SIZES = {"position": 3, "from_ee": 3, "quaternion": 4, "yaw": 2}


def object_of(observable: str) -> str | None:
    """The object whose observable this is; None if it is not one."""
    for kind in _SIZES:
        name = observable.removesuffix(f"_{kind}")
        if name and name != observable:
            return name
    return None


def observables_of(objects: Iterable[str]) -> dict[str, int]:
    """Name and size of everything that can be observed of these objects."""
    return {f"{name}_{kind}": size for name in objects for kind, size in _SIZES.items()}


def observe_object(
    name: str, position_m: Array, quaternion_xyzw: Array, ee_position_m: Array
) -> Mapping[str, Array]:
    """The values of an object's observables.

    Args:
        name: Of the object.
        position_m: In the base frame, shape (3,).
        quaternion_xyzw: Shape (4,).
        ee_position_m: Where the tool centre point is, shape (3,).
    """
    x, y, z, w = quaternion_xyzw.tolist()
    yaw = 4.0 * atan2(2.0 * (x * y + z * w), 1.0 - 2.0 * (y * y + z * z))
    return {
        f"{name}_position": position_m,
        f"{name}_from_ee": position_m - ee_position_m,
        f"{name}_quaternion": quaternion_xyzw,
        f"{name}_yaw": np.array((cos(yaw), sin(yaw))),
    }
