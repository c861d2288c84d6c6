"""Differential steps of inverse kinematics: how the joints move a little nearer to a pose."""

from typing import Any, Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Keeps steps sane where a turn is hardly possible.
_LEAST_DAMPING = 1e-2
_LEAST_FRACTION = 0.01


class Stepper(Protocol):
    """One differential step towards a pose."""

    name: str

    def restart(self) -> None:
        """A new search begins."""
        ...

    def step(self, data: Any, away: Array, target: tuple[Array, Array], to_posture: Array) -> Array:
        """Change of the arm's joints, shape (N,), at the configuration in `data`."""
        ...


class MinkStepper:
    """A quadratic program: frame task, weak posture task, joint limits as inequalities."""

    name = "mink"

    def __init__(self, model: Any, site_name: str, dofs: Array) -> None:
        import mink
        import qpsolvers

        self._mink = mink
        self._dofs = dofs
        self._configuration = mink.Configuration(model)
        self._frame = mink.FrameTask(
            site_name, "site", position_cost=1.0, orientation_cost=1.0, lm_damping=0.1
        )
        self._posture = mink.PostureTask(model, cost=1e-3)
        self._limits = [mink.ConfigurationLimit(model)]
        available = qpsolvers.available_solvers
        self._solver = "daqp" if "daqp" in available else available[0]

    def restart(self) -> None:
        """It remembers nothing."""

    def step(self, data: Any, away: Array, target: tuple[Array, Array], to_posture: Array) -> Array:
        """Solve the program."""
        mink = self._mink
        position_m, (x, y, z, w) = target
        rotation = mink.SO3(np.array([w, x, y, z]))
        self._frame.set_target(mink.SE3.from_rotation_and_translation(rotation, position_m))
        self._configuration.update(data.qpos.copy())
        wanted = data.qpos.copy()
        mujoco.mj_integratePos(self._configuration.model, wanted, self._spread(to_posture), 1.0)
        self._posture.set_target(wanted)
        tasks = [self._frame, self._posture]
        return mink.solve_ik(self._configuration, tasks, 1.0, self._solver, 1e-6, limits=self._limits)[
            self._dofs
        ]

    def _spread(self, to_posture: Array) -> Array:
        full = np.zeros(self._configuration.nv)
        full[self._dofs] = to_posture
        return full


class LeastSquaresStepper:
    """Damped least squares with the posture in the null space.

    The damping grows with the squared error (Sugihara, Solvability-Unconcerned Inverse Kinematics, 2011): steps
    stay sane far from the target and near singularities, and converge fast close to it.
    """

    name = "least_squares"

    def __init__(self, model: Any, site: int, dofs: Array) -> None:
        self._model = model
        self._site = site
        self._dofs = dofs
        self._jacobian = np.zeros((6, model.nv))

    def restart(self) -> None:
        """It remembers nothing."""

    def step(self, data: Any, away: Array, target: tuple[Array, Array], to_posture: Array) -> Array:
        """Invert the Jacobian."""
        mujoco.mj_jacSite(self._model, data, self._jacobian[:3], self._jacobian[3:], self._site)
        jacobian = self._jacobian[:, self._dofs]
        damped = jacobian @ jacobian.T + (0.1 * away @ away + 1e-6) * np.eye(6)
        posture = 0.1 * to_posture
        return posture + jacobian.T @ np.linalg.solve(damped, away - jacobian @ posture)


class PositionFirstStepper:
    """Damped least squares for the position, and for the orientation in the null space of the position.

    Two priorities after Siciliano and Slotine, A General Framework for Managing Multiple Tasks, 1991. Where joints come
    to their ends, the others do without them: else an orientation out of reach would spoil the position.
    """

    name = "least_squares"

    def __init__(
        self, model: Any, site: int, dofs: Array, qpos: Array, ends_rad: tuple[Array, Array]
    ) -> None:
        self._model = model
        self._site = site
        self._dofs = dofs
        self._qpos = qpos
        self._min_rad, self._max_rad = ends_rad
        self._jacobian = np.zeros((6, model.nv))
        self.restart()

    def restart(self) -> None:
        """Trust the linearisation of the orientation again."""
        self._damping, self._miss_rad = _LEAST_DAMPING, np.inf

    def step(self, data: Any, away: Array, target: tuple[Array, Array], to_posture: Array) -> Array:
        """Shift, then turn with the freedom that is left. The posture comes last: nowhere."""
        mujoco.mj_jacSite(self._model, data, self._jacobian[:3], self._jacobian[3:], self._site)
        shift, turn = self._jacobian[:3, self._dofs], self._jacobian[3:, self._dofs]
        ends = self._min_rad - data.qpos[self._qpos], self._max_rad - data.qpos[self._qpos]
        # Where the orientation cannot be met, full steps may leap to and fro around the best one.
        miss_rad = float(np.linalg.norm(away[3:]))
        factor = 0.5 if miss_rad < self._miss_rad else 4.0
        self._damping, self._miss_rad = max(_LEAST_DAMPING, factor * self._damping), miss_rad
        first, moving = _shift_within(ends, shift, away[:3])
        return _turn_within(ends, turn, away[3:], shift, self._damping, first, moving)


def _shift_within(ends: tuple[Array, Array], shift: Array, away_m: Array) -> tuple[Array, Bools]:
    """The joint step that moves by `away_m`, and which joints it does not bring to their ends; shapes (N,)."""
    low, high = ends
    step, moving = np.zeros(len(low)), np.ones(len(low), bool)
    while moving.any():
        step[moving] = _shift_by(shift[:, moving], away_m - shift[:, ~moving] @ step[~moving])
        ended = moving & ((step < low) | (step > high))
        if not ended.any():
            break
        step[ended] = np.clip(step, low, high)[ended]
        moving &= ~ended
    return step, moving


def _turn_within(
    ends: tuple[Array, Array],
    turn: Array,
    away_rad: Array,
    shift: Array,
    damping: float,
    first: Array,
    moving: Bools,
) -> Array:
    """The step `first` and on top of it, by the joints that are `moving`, what turns by `away_rad`; shape (N,)."""
    low, high = ends
    away_rad = away_rad - turn @ first
    while moving.any():
        second = np.zeros(len(first))
        second[moving] = _turn_by(turn[:, moving], away_rad, shift[:, moving], damping)
        room = np.where(second > 0.0, high - first, first - low) / np.maximum(np.abs(second), 1e-12)
        # As far as the first joint that comes to its end; one that is there already does not take part.
        fraction = min(1.0, float(room[moving].min()))
        if fraction > _LEAST_FRACTION:
            return first + fraction * second
        moving = moving & (room > _LEAST_FRACTION)
    return first


def _shift_by(shift: Array, away_m: Array) -> Array:
    """The joint step that moves by `away_m`, shape (3,)."""
    damping = 0.1 * away_m @ away_m + 1e-6
    return shift.T @ np.linalg.solve(shift @ shift.T + damping * np.eye(3), away_m)


def _turn_by(turn: Array, away_rad: Array, shift: Array, damping: float) -> Array:
    """The joint step that turns by `away_rad`, shape (3,), as far as possible without moving."""
    _, sizes, rows = np.linalg.svd(shift, full_matrices=False)
    # Undamped: what a damped null space lets through keeps the position from converging near singularities.
    used = rows[sizes > 1e-6]
    free = turn - turn @ used.T @ used
    return free.T @ np.linalg.solve(free @ free.T + damping * np.eye(3), away_rad)


def make_stepper(backend: str, model: Any, site: int, site_name: str, dofs: Array) -> Stepper:
    """The stepper of a backend; `auto` takes mink if it works."""
    if backend != "least_squares":
        try:
            return MinkStepper(model, site_name, dofs)
        # AttributeError: a mink that was made for another MuJoCo.
        except (ImportError, AttributeError):
            if backend == "mink":
                raise
    return LeastSquaresStepper(model, site, dofs)
