"""Inverse kinematics on a MuJoCo model: the joint configuration of an end-effector pose.

For resets, and for arms that take joint targets only. The differential steps come from mink; where mink is
missing or does not fit the installed MuJoCo, from damped least squares.
"""

from typing import Any, Literal

import mujoco
import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from controllers.ik_steps import PositionFirstStepper, Stepper, make_stepper
from controllers.rotations import error

Array = NDArray[np.float64]

_POSITION_TOLERANCE_M = 1e-4
_ROTATION_TOLERANCE_RAD = 1e-3
# No joint turns farther in one iteration: the linearisation holds no farther.
_MAX_STEP_RAD = 0.3
# Orientations that come second count as met as well as possible when nothing moves any more.
_SETTLED_RAD = 1e-4


class UnreachableError(RuntimeError):
    """No joint configuration within the limits was found for a pose."""


class InverseKinematics:
    """Finds joint configurations of the arm that carries a site.

    The joints are the hinges between the world and the site, in that order; the rest of the model stays put.
    Positions are in the world frame of the model, which must be the base frame of the arm.

    Args:
        model: A `mujoco.MjModel`.
        site_name: The tool centre point.
        backend: `auto` takes mink if it works.
        position_first: Reach the position, and with what freedom is left the orientation as well as possible, by
            least squares: for arms with fewer than six joints.
        max_iterations: The search gives up after as many; one takes about 0.1 ms.

    Raises:
        InputError: There is no such site, its chain is not made of hinges, or the backend cannot put the position
            first.
    """

    def __init__(
        self,
        model: Any,
        site_name: str,
        backend: Literal["auto", "mink", "least_squares"] = "auto",
        position_first: bool = False,
        max_iterations: int = 200,
    ) -> None:
        if position_first and backend == "mink":
            raise InputError(
                "backend 'mink' cannot put the position first: choose 'auto' or 'least_squares'."
            )
        self._model = model
        self._data = mujoco.MjData(model)
        self._site = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, site_name)
        if self._site < 0:
            names = [model.site(i).name for i in range(model.nsite)]
            raise InputError(f"The model has no site {site_name!r}; choose from {names}.")
        joints = hinges_to(model, self._site)
        self._qpos = model.jnt_qposadr[joints]
        limited = model.jnt_limited[joints].astype(bool)
        self._min_rad = np.where(limited, model.jnt_range[joints, 0], -np.inf)
        self._max_rad = np.where(limited, model.jnt_range[joints, 1], np.inf)
        self._position_first = position_first
        self._max_iterations = max_iterations
        dofs = model.jnt_dofadr[joints]
        self._stepper: Stepper = (
            PositionFirstStepper(model, self._site, dofs, self._qpos, (self._min_rad, self._max_rad))
            if position_first
            else make_stepper(backend, model, self._site, site_name, dofs)
        )

    @property
    def backend(self) -> str:
        """Name of the solver in use: `mink` or `least_squares`."""
        return self._stepper.name

    def solve(self, position_m: Array, quaternion_xyzw: Array, start_joint_position_rad: Array) -> Array:
        """The configuration near `start_joint_position_rad` that puts the site at a pose.

        Args:
            position_m: Shape (3,).
            quaternion_xyzw: Unit length, shape (4,).
            start_joint_position_rad: Where the search starts, and what redundant joints stay close to,
                shape (N,).

        Returns:
            Joint positions within the model's limits, shape (N,); the pose is met to 0.1 mm and 1 mrad, or its
            position to 0.1 mm where that comes first.

        Raises:
            UnreachableError: The search did not get there.
        """
        posture = np.clip(start_joint_position_rad, self._min_rad, self._max_rad)
        joints = posture.copy()
        self._stepper.restart()
        for _ in range(self._max_iterations):
            away = self._error(joints, position_m, quaternion_xyzw)
            miss_m, miss_rad = np.linalg.norm(away[:3]), np.linalg.norm(away[3:])
            if miss_m < _POSITION_TOLERANCE_M and miss_rad < _ROTATION_TOLERANCE_RAD:
                return joints
            step = self._stepper.step(self._data, away, (position_m, quaternion_xyzw), posture - joints)
            step *= min(1.0, _MAX_STEP_RAD / max(np.abs(step).max(), 1e-12))
            before, joints = joints, np.clip(joints + step, self._min_rad, self._max_rad)
            has_settled = np.abs(joints - before).max() < _SETTLED_RAD
            if self._position_first and has_settled and miss_m < _POSITION_TOLERANCE_M:
                return before
        if self._position_first and miss_m < _POSITION_TOLERANCE_M:
            return before
        raise UnreachableError(
            f"No joint configuration puts the tool at {np.round(position_m, 3).tolist()} m with orientation "
            f"{np.round(quaternion_xyzw, 3).tolist()}: {100 * miss_m:.1f} cm and {miss_rad:.2f} rad remain. "
            "Choose a pose within reach, or a start nearer to it."
        )

    def _error(self, joints: Array, position_m: Array, quaternion_xyzw: Array) -> Array:
        """Translation in m and rotation vector in rad that are missing at `joints`, shape (6,)."""
        data = self._data
        data.qpos[self._qpos] = joints
        mujoco.mj_kinematics(self._model, data)
        mujoco.mj_comPos(self._model, data)
        wxyz = np.empty(4)
        mujoco.mju_mat2Quat(wxyz, data.site_xmat[self._site])
        turn = error(quaternion_xyzw, np.roll(wxyz, -1))
        return np.concatenate([position_m - data.site_xpos[self._site], turn])


def hinges_to(model: Any, site: int) -> list[int]:
    """The joints between the world and a site, the one next to the world first."""
    joints: list[int] = []
    body = int(model.site_bodyid[site])
    while body != 0:
        first = int(model.body_jntadr[body])
        joints = [*range(first, first + int(model.body_jntnum[body])), *joints]
        body = int(model.body_parentid[body])
    if not joints or any(int(model.jnt_type[j]) != int(mujoco.mjtJoint.mjJNT_HINGE) for j in joints):
        raise InputError(f"The chain to site {model.site(site).name!r} must consist of hinge joints.")
    return joints
