"""Forward kinematics and Jacobian of an arm, from a MuJoCo model, a URDF or Denavit-Hartenberg rows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from controllers.config import Config

Array = NDArray[np.float64]


class KinematicsConfig(Config):
    """Where the kinematics come from: give `model` or `dh`.

    Attributes:
        model: Path of an MJCF or URDF file, or `package:path` inside an importable package, such as
            `sim:models/arm.xml`; its world is the arm's base frame.
        site: The tool centre point: a site of the MJCF, or a link of the URDF.
        dh: Modified Denavit-Hartenberg rows (a m, alpha rad, d m, theta offset rad), one per joint (Craig's
            convention: rotate and shift along the previous x axis, then along the own z axis).
        tool_position_m: From the last joint's frame to the tool centre point.
        tool_quaternion_xyzw: Orientation of the tool centre point in the last joint's frame.
    """

    model: str | None = None
    site: str | None = None
    dh: tuple[tuple[float, float, float, float], ...] | None = None
    tool_position_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    tool_quaternion_xyzw: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)


class Kinematics:
    """Pose and Jacobian of the tool centre point in the base frame.

    Args:
        config: Where they come from.
        joint_names: For the N joints of the arm in the order of every joint vector; checked against a model's.

    Raises:
        InputError: The model cannot be read, has no such site, or other joints.
    """

    def __init__(self, config: KinematicsConfig, joint_names: tuple[str, ...]) -> None:
        raise NotImplementedError

    @property
    def model(self) -> Any:
        """The `mujoco.MjModel`."""
        raise NotImplementedError

    @property
    def site_name(self) -> str:
        """Name of the tool centre point in the model."""
        raise NotImplementedError

    def pose(self, joint_position_rad: Array) -> tuple[Array, Array]:
        """Position, shape (3,), and quaternion x, y, z, w, shape (4,), of the tool centre point."""
        raise NotImplementedError

    def jacobian(self, joint_position_rad: Array) -> Array:
        """Geometric Jacobian, translation rows first, shape (6, N)."""
        raise NotImplementedError
