"""What a detector of trouble is, what it is shown after every step, and what it remembers of earlier ones."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from controllers.config import Config
from robot_env.robot import RobotState
from robot_env.task import Task

Array = NDArray[np.float64]
Frames = Mapping[str, NDArray[np.uint8]]

ROUNDING_S = 1e-6
"""Times that differ by less are the same."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What is known when a step is over.

    Attributes:
        state: What was measured then.
        asked: Translation that the action asked for, in units of the longest along an axis, shape (3,). What leads out
            of the workspace is left out: to lean on its walls is no trouble.
        asked_width_m: Distance that the fingers were to have; None where the task holds them.
        objects: Position in the base frame by name, each of shape (3,).
        frames: What the cameras of the observation saw, by name.
        terms: Named parts of the reward.
    """

    state: RobotState
    asked: Array
    asked_width_m: float | None
    objects: Mapping[str, Array]
    frames: Frames
    terms: Mapping[str, float]


class Detector(Protocol):
    """Sees one kind of trouble. It moves nothing, and raises nothing."""

    def restart(self) -> None:
        """Forget what was seen: an episode begins."""
        ...

    def look(self, moment: Moment) -> str:
        """What is wrong, in words that fit behind a colon; empty while all is well."""
        ...


class DetectorConfig(Config):
    """When something is trouble. All numbers are positive and finite."""

    def __post_init__(self) -> None:
        """Refuse limits that everything or nothing exceeds."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, int | float) and not 0.0 < value < inf:
                raise ValueError(f"{name} {value} must be positive and finite")

    def detector(self, task: Task) -> Detector:
        """What sees it."""
        raise NotImplementedError


class Window:
    """Rows of numbers of the last seconds.

    Args:
        duration_s: How long.
    """

    def __init__(self, duration_s: float) -> None:
        self._duration_s = duration_s
        self._rows: deque[tuple[float, Any]] = deque()

    def clear(self) -> None:
        """Forget everything."""
        self._rows.clear()

    def add(self, time_s: float, row: Any) -> Array | None:
        """Take in the newest row, shape (C,).

        Returns:
            All rows of the last `duration_s`, oldest first, shape (N, C); None until that long was looked at.
        """
        rows = self._rows
        if rows and time_s < rows[-1][0]:
            rows.clear()  # The clock jumped back.
        rows.append((time_s, row))
        begin_s = time_s - self._duration_s + ROUNDING_S
        while len(rows) > 1 and rows[1][0] <= begin_s:
            rows.popleft()
        return np.array([row for _, row in rows]) if rows[0][0] <= begin_s else None


class Lasting:
    """How long something has been so without a break.

    Args:
        duration_s: From how long on it counts.
    """

    def __init__(self, duration_s: float) -> None:
        self._duration_s = duration_s
        self._since_s: float | None = None

    def clear(self) -> None:
        """Nothing is known."""
        self._since_s = None

    def holds(self, time_s: float, is_so: bool) -> bool:
        """Whether it has been so for long enough, given whether it is so now."""
        if not is_so:
            self._since_s = None
            return False
        if self._since_s is None or time_s < self._since_s:  # The clock may jump back.
            self._since_s = time_s
        return time_s - self._since_s >= self._duration_s - ROUNDING_S
