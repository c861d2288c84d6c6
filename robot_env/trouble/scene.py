"""Trouble of what is seen: an object is out of reach, a camera shows the past, nothing comes of it all."""

from collections.abc import Mapping

import numpy as np

from robot_env.task import Task
from robot_env.trouble.detector import ROUNDING_S, Array, Detector, DetectorConfig, Lasting, Moment

Corner = tuple[float, float, float]


class ObjectOutConfig(DetectorConfig):
    """An object that is observed has left the box in which the robot can do something about it, or fallen out of it.

    Attributes:
        min_m: Lower corner of the box in the base frame; null takes the task's workspace, widened.
        max_m: Upper corner; null takes the task's workspace, widened.
        margin_m: By how much the workspace is widened where it is taken.
        duration_s: For so long: one pose of a tracker may be wrong.
    """

    min_m: Corner | None = None
    max_m: Corner | None = None
    margin_m: float = 0.05
    duration_s: float = 0.3

    def __post_init__(self) -> None:
        """Refuse a box that holds nothing."""
        super().__post_init__()
        if self.min_m and self.max_m and not all(map(float.__lt__, self.min_m, self.max_m)):
            raise ValueError(f"min_m {self.min_m} must lie below max_m {self.max_m}")

    def detector(self, task: Task) -> "ObjectOut":
        """See the class."""
        return ObjectOut(self, task)

    def box(self, task: Task) -> tuple[Array, Array]:
        """Lower and upper corner, each of shape (3,)."""
        low = np.array(task.workspace.min_m) - self.margin_m if self.min_m is None else np.array(self.min_m)
        high = np.array(task.workspace.max_m) + self.margin_m if self.max_m is None else np.array(self.max_m)
        return low, high


class ObjectOut:
    """See `ObjectOutConfig`."""

    def __init__(self, config: ObjectOutConfig, task: Task) -> None:
        self._low_m, self._high_m = config.box(task)
        self._out = Lasting(config.duration_s)

    def restart(self) -> None:
        """Forget the episode before."""
        self._out.clear()

    def look(self, moment: Moment) -> str:
        """See where the objects have been for a while."""
        complaint = self.complain(moment.objects)
        return complaint if self._out.holds(moment.state.stamp_s, bool(complaint)) else ""

    def complain(self, objects: Mapping[str, Array]) -> str:
        """See where the objects are now."""
        for name, place_m in objects.items():
            # Written so that a NaN is outside.
            if not ((place_m >= self._low_m) & (place_m <= self._high_m)).all():
                where = ", ".join(f"{number:.2f}" for number in place_m)
                return f"{name} is out of reach at {where} m"
        return ""


class CameraFrozenConfig(DetectorConfig):
    """A camera gives the same frame again and again, byte for byte, although the arm moves before it or with it.

    Attributes:
        duration_s: For so long; longer than the camera's own period.
        moved_m: The tool centre point went at least this far meanwhile.
    """

    duration_s: float = 1.0
    moved_m: float = 0.02

    def detector(self, task: Task) -> Detector:
        """See the class."""
        return CameraFrozen(self)


class CameraFrozen:
    """See `CameraFrozenConfig`."""

    def __init__(self, config: CameraFrozenConfig) -> None:
        self._config = config
        self._views: dict[str, _View] = {}

    def restart(self) -> None:
        """Forget the episode before."""
        self._views.clear()

    def look(self, moment: Moment) -> str:
        """Compare what the cameras show with what they showed."""
        frozen = [name for name in moment.frames if self._is_frozen(name, moment)]
        if not frozen:
            return ""
        return f"camera {', '.join(frozen)} shows the same picture while the arm moves"

    def _is_frozen(self, name: str, moment: Moment) -> bool:
        tool_m, time_s = moment.state.ee_position_m, moment.state.stamp_s
        content, view = moment.frames[name].tobytes(), self._views.get(name)
        if view is None or view.content != content or time_s < view.since_s:
            self._views[name] = _View(content, tool_m, time_s)
            return False
        view.moved_m = max(view.moved_m, float(np.linalg.norm(tool_m - view.tool_m)))
        lasts = time_s - view.since_s >= self._config.duration_s - ROUNDING_S
        return lasts and view.moved_m > self._config.moved_m


class _View:
    """What a camera has shown unchanged: since when, where the arm was then, and how far it has been from there."""

    def __init__(self, content: bytes, tool_m: Array, since_s: float) -> None:
        self.content, self.tool_m, self.since_s = content, tool_m, since_s
        self.moved_m = 0.0


class NoProgressConfig(DetectorConfig):
    """The named terms of the reward do not rise. Without terms, as where success alone pays, nothing is seen.

    Attributes:
        duration_s: For so long.
        rise: The sum of the terms must rise above its best so far by this.
    """

    duration_s: float = 10.0
    rise: float = 0.02

    def detector(self, task: Task) -> Detector:
        """See the class."""
        return NoProgress(self)


class NoProgress:
    """See `NoProgressConfig`."""

    def __init__(self, config: NoProgressConfig) -> None:
        self._config = config
        self._waiting = Lasting(config.duration_s)
        self._best = -np.inf

    def restart(self) -> None:
        """Forget the episode before."""
        self._waiting.clear()
        self._best = -np.inf

    def look(self, moment: Moment) -> str:
        """See whether the terms rose."""
        total = sum(moment.terms.values())
        rose = total > self._best + self._config.rise
        if rose:
            self._best = total
        if not self._waiting.holds(moment.state.stamp_s, bool(moment.terms) and not rose):
            return ""
        return f"there was no progress for {self._config.duration_s:g} s"
