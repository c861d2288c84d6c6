"""What an episode is: its metadata and its arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controllers.config import Config
from controllers.state import RobotState

# Names of the MCAP metadata records at the two ends of an episode.
START_RECORD = "journeyman.episode"
END_RECORD = "journeyman.episode_end"
SCHEMA_VERSION = 1
PROVENANCES = ("robot", "twin", "human", "demonstration")
# What a RobotState says besides when.
MEASUREMENTS = tuple(field for field in RobotState.__struct_fields__ if field != "stamp_s")


class EpisodeMetadata(Config, omit_defaults=True):
    """What one must know to use an episode.

    Attributes:
        schema_version: Version of the file's contents.
        task: The task's description, as in its YAML.
        robot: Name of the robot or twin.
        joint_names: Names of the N arm joints.
        state_names: Names of the entries of the `state` vector.
        action_size: Number of entries A of an action.
        operator: The person, expert or policy that acted.
        seed: What the episode's reset was seeded with.
        recorded_at: Start, ISO 8601, UTC.
        software: Versions of what recorded it, by name.
        judge: Name of the reward model that paid and said success; `task` is the robot's own.
        measured: Fields of `RobotState` that the file holds. Ours hold all; imported recordings may know fewer, and
            what was never measured is not made up.
    """

    schema_version: int
    task: dict[str, Any]
    robot: str
    joint_names: tuple[str, ...]
    state_names: tuple[str, ...]
    action_size: int
    operator: str
    seed: int | None
    recorded_at: str
    software: dict[str, str]
    judge: str = "task"
    measured: tuple[str, ...] = MEASUREMENTS


class EpisodeEnd(Config):
    """What is known when an episode is whole.

    Attributes:
        success: Whether the task was done.
        steps: T, the number of steps.
    """

    success: bool
    steps: int


@dataclass(frozen=True, slots=True)
class Episode:
    """T steps. Observation k + 1 is what action k led to, so there are T + 1 observations.

    Attributes:
        metadata: What is known beside the arrays.
        observations: `state`, float32, shape (T + 1, S), and per camera uint8 RGB, shape (T + 1, H, W, 3).
        actions: The executed ones, in [-1, 1], float32, shape (T, A).
        rewards: float64, shape (T,).
        terminated: bool, shape (T,); only the last may be true.
        truncated: bool, shape (T,); only the last may be true.
        intervened: Whether a human acted, bool, shape (T,).
        provenance: Who produced each step, one of `PROVENANCES`, shape (T,).
        robot: The measured fields of `RobotState`, float64, shape (T + 1, ...).
        elapsed_s: Stamps of the observations since the first, float64, shape (T + 1,).
        success: Whether the task was done; None in an unfinished recording.
    """

    metadata: EpisodeMetadata
    observations: Mapping[str, NDArray[Any]]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    intervened: NDArray[np.bool_]
    provenance: NDArray[np.str_]
    robot: Mapping[str, NDArray[np.float64]]
    elapsed_s: NDArray[np.float64]
    success: bool | None
