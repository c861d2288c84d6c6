"""Whether a data set fits the layout of a run: keys, shapes, types, bounds of actions, finite numbers."""

import numpy as np
from numpy.typing import NDArray

from agent.config import InputError
from agent.transition import TransitionSpec
from journeyman.offline.steps import FLAT, Steps, field_name

# Bounds are met up to rounding; what is further outside was recorded in another unit.
_ROUNDING = 1e-3


def matched(steps: Steps, spec: TransitionSpec) -> dict[str, str]:
    """Our key of the observation -> theirs.

    Raises:
        InputError: Keys, shapes or types are not those of the layout.
    """
    names = {key: key for key in spec.observation_keys}
    if set(steps.observations) == {FLAT} and len(names) == 1:
        names = dict.fromkeys(names, FLAT)
    wanted = {field_name(names[key]): list(spec.dtype[f"observation.{key}"].shape) for key in names}
    held = {field_name(key): list(values.shape[1:]) for key, values in steps.observations.items()}
    if held.keys() != wanted.keys() or any(held[name] != shape for name, shape in wanted.items()):
        raise InputError(
            f"{steps.source} holds per step {_listed(held)}, but the observations are {_listed(wanted)}: choose "
            "another data set, or a task that observes this."
        )
    shape = list(spec.dtype["action"].shape)
    if list(steps.actions.shape[1:]) != shape:
        raise InputError(
            f"{steps.source} holds per step actions {list(steps.actions.shape[1:])}, but the actions are {shape}: "
            "choose another data set, or a task with such actions."
        )
    return names


def _listed(shapes: dict[str, list[int]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in sorted(shapes.items()))


def finite(
    values: NDArray[np.generic], dtype: np.dtype[np.generic], name: str, steps: Steps
) -> NDArray[np.generic]:
    """Values in the type of the layout.

    Raises:
        InputError: They are not numbers, no images where those are wanted, or not finite.
    """
    if values.dtype.kind not in "biuf" or (dtype == np.uint8 and values.dtype != np.uint8):
        raise InputError(f"{steps.source}: {name} has type {values.dtype}, but must be {dtype}; convert it.")
    with np.errstate(over="ignore"):  # It is infinite then.
        values = values.astype(dtype, copy=False)
    if dtype != np.uint8:
        is_finite = np.isfinite(values).reshape(len(values), -1)
        bad = ~is_finite.all(axis=1)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            value = values[row].flat[int(is_finite[row].argmin())]
            raise InputError(
                f"{steps.source}: {name} holds {value} in {steps.place(row)} ({bad.sum()} of {len(bad)} steps are not "
                "finite): leave these episodes out."
            )
    return values


def within_bounds(
    actions: NDArray[np.generic], spec: TransitionSpec, steps: Steps
) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
    """Actions between the bounds, and which steps had to be clipped for it, shape (N,).

    Raises:
        InputError: One is beyond them by more than rounding.
    """
    low, high = spec.action_space.low, spec.action_space.high
    beyond = np.maximum(low - actions, actions - high).reshape(len(actions), -1)
    outside = (beyond > _ROUNDING).any(axis=1)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        entry = int(beyond[row].argmax())
        raise InputError(
            f"{steps.source}: actions hold {actions[row].flat[entry]:.6g} (entry {entry}) in {steps.place(row)}, "
            f"outside of [{low.flat[entry]:g}, {high.flat[entry]:g}], as {outside.sum()} of {len(actions)} steps do: "
            "scale them to these bounds first."
        )
    return np.clip(actions, low, high), (beyond > 0).any(axis=1)


def refuse_other_bounds(steps: Steps, spec: TransitionSpec) -> None:
    """Actions mean something else where their bounds do, also if all of them happen to fit.

    Raises:
        InputError: The data set announces other bounds than those of the layout.
    """
    if steps.bounds is None:
        return
    low, high = (np.asarray(bound, np.float32) for bound in steps.bounds)
    if not (np.allclose(low, spec.action_space.low) and np.allclose(high, spec.action_space.high)):
        raise InputError(
            f"{steps.source}: its action_space is from {low.tolist()} to {high.tolist()}, but actions here lie from "
            f"{spec.action_space.low.tolist()} to {spec.action_space.high.tolist()}: make episodes of it with "
            "`journeyman episodes convert`, which scales them."
        )
