"""What the values of an episode may be. Every refusal names file, field, step, what is allowed and what to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from controllers.state import RobotState
from robot_env.contracts import Observation
from robot_env.episode import MEASUREMENTS, PROVENANCES, Episode

_LONGEST_EPISODE_S = 86_400.0
_SIZES = {"ee_quaternion_xyzw": (4,), "ee_wrench": (6,), "gripper_width_m": ()}
# Measured together or not at all: they share a message.
_PAIRS = (
    ("ee_position_m", "ee_quaternion_xyzw"),
    ("ee_linear_velocity_m_s", "ee_angular_velocity_rad_s"),
)


def refuse(source: str, field: str, step: int, found: object, allowed: str) -> NoReturn:
    """Raise the InputError for one bad value: where it is, what is allowed, what to do."""
    raise InputError(
        f"{source}: {field} at step {step} is {found}, but must be {allowed}; repair what produces it and record "
        "the episode again."
    )


def check_finite(source: str, field: str, values: NDArray[Any], first_step: int = 0) -> None:
    """Refuse NaN and infinities.

    Args:
        source: The file, for the message.
        field: The quantity, for the message.
        values: One row per step.
        first_step: Number of the first row.

    Raises:
        InputError: Naming field and step.
    """
    bad = ~np.isfinite(values)
    if bad.any():
        where = tuple(np.argwhere(bad)[0])
        refuse(source, _entry(field, where), first_step + int(where[0]), values[where], "a finite number")


def check_actions(source: str, actions: NDArray[Any], size: int, first_step: int = 0) -> None:
    """Refuse actions, one row per step, that are not `size` numbers in [-1, 1]. See `check_finite`."""
    if actions.shape[1:] != (size,):
        refuse(source, "action", first_step, f"of shape {list(actions.shape[1:])}", f"of shape [{size}]")
    bad = ~(np.abs(actions) <= 1.0)  # Negated, because every comparison with NaN is false.
    if bad.any():
        where = tuple(np.argwhere(bad)[0])
        refuse(source, _entry("action", where), first_step + int(where[0]), actions[where], "within [-1, 1]")


def _entry(field: str, where: tuple[int, ...]) -> str:
    """The field with the indices behind the step, for example `action[2]`."""
    return field + "".join(f"[{index}]" for index in where[1:])


@dataclass(frozen=True)
class StepCheck:
    """Refuses, while an episode is recorded, what does not fit how it began.

    Attributes:
        source: The episode's file.
        state_size: Number of entries of `observation["state"]`.
        action_size: Number of entries of an action.
        image_shapes: Shape (height, width, 3) of every image of the observation.
        joints: Number of arm joints.
        start_s: Stamp of the first robot state.
    """

    source: str
    state_size: int
    action_size: int
    image_shapes: Mapping[str, tuple[int, ...]]
    joints: int
    start_s: float

    def action(self, action: NDArray[Any], step: int) -> NDArray[np.float32]:
        """The action as float32."""
        # Judged before the conversion, which would pass a number just above one.
        row = np.asarray(action, np.float64)[None]
        check_actions(self.source, row, self.action_size, step)
        return row[0].astype(np.float32)

    def observation(self, observation: Observation, step: int) -> Observation:
        """The observation with `state` as float32."""
        wanted = {"state", *self.image_shapes}
        if observation.keys() != wanted:
            refuse(self.source, "observation", step, f"{sorted(observation)}", f"{sorted(wanted)}")
        with np.errstate(over="ignore"):  # An overflow becomes infinite, and that is refused.
            state = np.asarray(observation["state"], np.float32)
        self._shape("observation.state", state, (self.state_size,), step)
        check_finite(self.source, "observation.state", state[None], step)
        for key, shape in self.image_shapes.items():
            image = observation[key]
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                found = f"{image.dtype} of shape {list(image.shape)}"
                refuse(self.source, f"observation.{key}", step, found, "uint8 of shape [height, width, 3]")
            self._shape(f"observation.{key}", image, shape, step)
        return {**observation, "state": state}

    def robot_state(self, state: RobotState, not_before_s: float, step: int) -> None:
        """Refuse measurements that are not finite, of the wrong size, or older than the one before."""
        if not not_before_s <= state.stamp_s < self.start_s + _LONGEST_EPISODE_S:
            allowed = f"at least {not_before_s} and less than a day after the start"
            refuse(self.source, "robot_state.stamp_s", step, state.stamp_s, allowed)
        for field in MEASUREMENTS:
            value = np.asarray(getattr(state, field), np.float64)
            name = f"robot_state.{field}"
            check_finite(self.source, name, value[None], step)
            self._shape(name, value, _shape_of(field, self.joints), step)

    def _shape(self, field: str, value: NDArray[Any], shape: tuple[int, ...], step: int) -> None:
        if value.shape != shape:
            found, allowed = f"of shape {list(value.shape)}", f"of shape {list(shape)}"
            refuse(self.source, field, step, found, allowed)


def check_episode(source: str, episode: Episode) -> None:
    """Refuse an episode that no learner may see: sizes that do not fit together, values that make no sense.

    Raises:
        InputError: Naming file, field and step.
    """
    metadata, steps = episode.metadata, len(episode.actions)
    state = episode.observations["state"]
    _check_shape(source, "observation.state", state, (steps + 1, len(metadata.state_names)))
    check_finite(source, "observation.state", state)
    for key, images in episode.observations.items():
        if key != "state" and (images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3):
            found = f"{images.dtype} of shape {list(images.shape[1:])}"
            refuse(source, f"observation.{key}", 0, found, "uint8 of shape [height, width, 3]")
        _check_length(source, f"observation.{key}", images, steps + 1)
    _check_robot(source, episode)
    check_actions(source, episode.actions, metadata.action_size)
    for name in ("rewards", "terminated", "truncated", "intervened", "provenance"):
        _check_shape(source, name, getattr(episode, name), (steps,))
    check_finite(source, "reward", episode.rewards)
    for step, who in enumerate(episode.provenance):
        if who not in PROVENANCES:
            refuse(source, "provenance", step, repr(str(who)), f"one of {', '.join(PROVENANCES)}")
    early = np.flatnonzero((episode.terminated | episode.truncated)[:-1])
    if early.size:
        refuse(source, "terminated or truncated", int(early[0]), "true", "false before the last step")


def _check_robot(source: str, episode: Episode) -> None:
    measured = set(episode.metadata.measured)
    if measured != episode.robot.keys() or not measured <= set(MEASUREMENTS):
        refuse(
            source, "measured", 0, f"{sorted(measured)}", f"what the file holds, of {', '.join(MEASUREMENTS)}"
        )
    for pair in _PAIRS:
        if len(measured.intersection(pair)) == 1:
            refuse(source, "measured", 0, f"only one of {' and '.join(pair)}", "both or neither")
    for name, values in episode.robot.items():
        shape = _shape_of(name, len(episode.metadata.joint_names))
        _check_shape(source, name, values, (len(episode.actions) + 1, *shape))
        check_finite(source, name, values)
    _check_stamps(source, episode.elapsed_s, len(episode.actions) + 1)


def _check_stamps(source: str, stamps_s: NDArray[np.float64], length: int) -> None:
    _check_shape(source, "elapsed_s", stamps_s, (length,))
    check_finite(source, "elapsed_s", stamps_s)
    backwards = np.flatnonzero(np.diff(stamps_s) < 0.0)
    if backwards.size:
        step = int(backwards[0]) + 1
        allowed = f"at least {stamps_s[step - 1]}, as at the step before"
        refuse(source, "elapsed_s", step, stamps_s[step], allowed)
    if stamps_s[0] != 0.0 or stamps_s[-1] >= _LONGEST_EPISODE_S:
        found = f"{stamps_s[0]} to {stamps_s[-1]}"
        refuse(source, "elapsed_s", 0, found, "from 0 to less than a day")


def _shape_of(field: str, joints: int) -> tuple[int, ...]:
    """Shape of a field of RobotState."""
    return (joints,) if field.startswith("joint_") else _SIZES.get(field, (3,))


def _check_shape(source: str, field: str, values: NDArray[Any], shape: tuple[int, ...]) -> None:
    _check_length(source, field, values, shape[0])
    if values.shape[1:] != shape[1:]:
        refuse(source, field, 0, f"of shape {list(values.shape[1:])}", f"of shape {list(shape[1:])}")


def _check_length(source: str, field: str, values: NDArray[Any], length: int) -> None:
    if len(values) != length:
        refuse(
            source,
            field,
            min(len(values), length),
            f"one of {len(values)}",
            f"one of {length}, the others' number",
        )
