"""Trouble of the arm and its fingers: it does not follow, it presses, they do not move.

FastRLAP's car ends an attempt by itself where it crashed or is stuck, and goes on from there (arXiv:2304.09831). An arm
that manipulates is in contact all the time, which its compliant controller bounds (SERL, arXiv:2401.16013): only force
that lasts, or a blow, is trouble.
"""

import numpy as np

from robot_env.task import Task
from robot_env.trouble.detector import Detector, DetectorConfig, Moment, Window

_PRESSING = 1 / 3


class StuckConfig(DetectorConfig):
    """The tool centre point does not come forward although it is told to; it may slide along what is in its way.

    Attributes:
        progress_m: So far it must come where the actions lead, all in all.
        duration_s: In this time.
        asked: Length that the mean of the actions' translations has at least, in units of the longest along an axis.
            A policy that trembles asks for nothing.
    """

    progress_m: float = 0.01
    duration_s: float = 2.0
    asked: float = 0.3

    def detector(self, task: Task) -> Detector:
        """See the class."""
        return Stuck(self)


class Stuck:
    """See `StuckConfig`."""

    def __init__(self, config: StuckConfig) -> None:
        self._config = config
        self._window = Window(config.duration_s)

    def restart(self) -> None:
        """Forget the episode before."""
        self._window.clear()

    def look(self, moment: Moment) -> str:
        """Compare what was asked for with where the arm went."""
        config, state = self._config, moment.state
        rows = self._window.add(state.stamp_s, (*state.ee_position_m, *moment.asked))
        if rows is None:
            return ""
        direction = rows[:, 3:].mean(axis=0)
        asked = np.linalg.norm(direction)
        if not asked >= config.asked:
            return ""
        progress_m = (rows[-1, :3] - rows[0, :3]) @ direction / asked
        if progress_m > config.progress_m:
            return ""
        return (
            f"the arm is stuck: in {config.duration_s:g} s it came {1000 * progress_m:.0f} mm forward although it was "
            "told to move"
        )


class ContactConfig(DetectorConfig):
    """The arm presses on something, or bumps into it. Without a measured wrench nothing is seen.

    Attributes:
        force_n: External force that must not last.
        duration_s: It lasts where more than a third of what was measured in so long lies above it: the safety filter
            lets go of a contact that is too hard, and a policy that does not care leans on it again.
        peak_force_n: External force that must not be measured even once. The default lets pass what the twin's hard
            table gives for an instant when it is touched briskly; an arm whose estimate is filtered wants less.
    """

    force_n: float = 25.0
    duration_s: float = 1.0
    peak_force_n: float = 400.0

    def __post_init__(self) -> None:
        """Refuse a peak that lies below what must not last."""
        super().__post_init__()
        if self.peak_force_n < self.force_n:
            raise ValueError(f"peak_force_n {self.peak_force_n} must not lie below force_n {self.force_n}")

    def detector(self, task: Task) -> Detector:
        """See the class."""
        return Contact(self)


class Contact:
    """See `ContactConfig`."""

    def __init__(self, config: ContactConfig) -> None:
        self._config = config
        self._window = Window(config.duration_s)

    def restart(self) -> None:
        """Forget the episode before."""
        self._window.clear()

    def look(self, moment: Moment) -> str:
        """See how hard the arm presses."""
        config = self._config
        force_n = float(np.linalg.norm(moment.state.ee_wrench[:3]))
        if force_n > config.peak_force_n:
            return f"the arm bumped into something with {force_n:.0f} N"
        forces_n = self._window.add(moment.state.stamp_s, (force_n,))
        if forces_n is None or (forces_n > config.force_n).mean() <= _PRESSING:
            return ""
        return f"the arm has pressed on something with more than {config.force_n:g} N for {config.duration_s:g} s"


class GripperJammedConfig(DetectorConfig):
    """The fingers do not go where they are told.

    To close short of the command is normal with something between the fingers: it is trouble only where objects are
    observed, and none is near.

    Attributes:
        difference_m: The fingers are off by more than this on average, and moved by less.
        duration_s: For so long.
        clear_m: An object that is farther than this from the tool centre point is not between the fingers.
    """

    difference_m: float = 0.01
    duration_s: float = 2.0
    clear_m: float = 0.1

    def detector(self, task: Task) -> Detector:
        """See the class."""
        return GripperJammed(self)


class GripperJammed:
    """See `GripperJammedConfig`."""

    def __init__(self, config: GripperJammedConfig) -> None:
        self._config = config
        self._window = Window(config.duration_s)

    def restart(self) -> None:
        """Forget the episode before."""
        self._window.clear()

    def look(self, moment: Moment) -> str:
        """Compare what was asked for with what the fingers did."""
        config, state, asked_m = self._config, moment.state, moment.asked_width_m
        if asked_m is None:
            return ""
        row = asked_m, state.gripper_width_m, self._is_empty(moment)
        rows = self._window.add(state.stamp_s, row)
        if rows is None:
            return ""
        asked, width, is_empty = rows.T
        if np.ptp(width) > config.difference_m:
            return ""
        missing_m = float((asked - width).mean())
        if missing_m > config.difference_m:
            verb = "open"
        elif missing_m < -config.difference_m and is_empty.all():
            verb = "close"
        else:
            return ""
        return (
            f"the gripper is jammed: for {config.duration_s:g} s its fingers stayed {1000 * width[-1]:.0f} mm apart "
            f"although they were told to {verb}"
        )

    def _is_empty(self, moment: Moment) -> bool:
        """Whether nothing can be between the fingers, as far as is known."""
        tool_m = moment.state.ee_position_m
        ways_m = [np.linalg.norm(place_m - tool_m) for place_m in moment.objects.values()]
        return bool(ways_m) and all(way_m > self._config.clear_m for way_m in ways_m)
