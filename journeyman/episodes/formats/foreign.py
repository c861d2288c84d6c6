"""Recordings that know less than our episodes: what they hold, and what one has to say about them besides."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal

from numpy.typing import NDArray

from controllers.config import Config
from robot_env.episode import PROVENANCES
from robot_env.task import Task


class ForeignOptions(Config):
    """What one may have to say about recordings of others.

    Attributes:
        task: Name of a task; the recordings must then fit it, and its scales are applied to the state.
        control_rate_hz: Steps per second, where neither the recordings nor the task say it.
        robot: Name of the robot, where the recordings do not say it.
        operator: Who acted.
        provenance: Who produced the steps, one of `PROVENANCES`.
        state: What makes the `state` vector, in order: name in the recordings -> our name. All numbers if empty.
        cameras: Images: name in the recordings -> our camera. All images if empty.
        action_low: What is -1 in our actions, one number for all entries or one for each; where the recordings do not
            say it, -1.
        action_high: What is +1.
        success: Whether all episodes succeeded, where the recordings do not say it.
        last_observation: Where nobody recorded what the last action led to: `drop` that action, or `repeat` the
            observation before it.
        accept_changes: Take exported episodes that were edited since.
    """

    task: str = ""
    control_rate_hz: float | None = None
    robot: str = "unknown"
    operator: str = ""
    provenance: str = "demonstration"
    state: dict[str, str] = {}
    cameras: dict[str, str] = {}
    action_low: float | tuple[float, ...] | None = None
    action_high: float | tuple[float, ...] | None = None
    success: bool | None = None
    last_observation: Literal["drop", "repeat"] = "drop"
    accept_changes: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.provenance not in PROVENANCES:
            raise ValueError(
                f"provenance {self.provenance!r} does not exist; choose from {', '.join(PROVENANCES)}"
            )
        if self.control_rate_hz is not None and not 0.0 < self.control_rate_hz < inf:
            raise ValueError(f"control_rate_hz {self.control_rate_hz} must be positive and finite")
        if (self.action_low is None) != (self.action_high is None):
            raise ValueError("action_low and action_high must be given together")


@dataclass
class Recording:
    """What another format holds of one episode.

    Attributes:
        observations: By name: numbers, shape (T + 1, ...), or images, uint8, shape (T + 1, H, W, 3). With T rows
            nobody knows what the last action led to; then `measured` and `elapsed_s` have T as well.
        actions: Shape (T, A), in their own units.
        rewards: Shape (T,), if known.
        terminated: Shape (T,), if known.
        truncated: Shape (T,), if known.
        intervened: Shape (T,), if known.
        success: If known.
        control_rate_hz: If known.
        robot: The robot's name, if known.
        task: The task's name, if known.
        names: Names of the entries of observations, where they have any.
        elapsed_s: Shape (T + 1,), if known.
        measured: Fields of `RobotState`, shape (T + 1, ...).
        joint_names: Of `measured`.
        action_bounds: What is -1 and what is +1 in our actions, shapes (A,), if known.
        seed: Of the reset, if known.
    """

    observations: dict[str, NDArray[Any]]
    actions: NDArray[Any]
    rewards: NDArray[Any] | None = None
    terminated: NDArray[Any] | None = None
    truncated: NDArray[Any] | None = None
    intervened: NDArray[Any] | None = None
    success: bool | None = None
    control_rate_hz: float | None = None
    robot: str = ""
    task: str = ""
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    elapsed_s: NDArray[Any] | None = None
    measured: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    joint_names: tuple[str, ...] = ()
    action_bounds: tuple[NDArray[Any], NDArray[Any]] | None = None
    seed: int | None = None


def chosen_task(options: ForeignOptions) -> Task | None:
    """The task that is named, if one is.

    Raises:
        InputError: There is none of that name.
    """
    if not options.task:
        return None
    from journeyman.config import compose  # With Hydra, which only this option needs.

    return compose([f"task={options.task}"]).task
