"""What can be seen of whether a reset worked. Nothing here moves anything."""

from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from robot_env.contracts import (
    Observation,
    ResetResult,
    RestartedRewardModel,
    RewardModel,
    Scene,
    Verifier,
)
from robot_env.resets.region import Region
from robot_env.robot import Robot, RobotError, RobotUnavailableError

Look = Callable[[], Observation]
"""A fresh observation of the environment."""

_OK = ResetResult(True)


@runtime_checkable
class RestartedVerifier(Verifier, Protocol):
    """A verifier that compares with how things were before the reset."""

    def restart(self) -> None:
        """A reset begins: remember how things are."""
        ...


class AllOf:
    """Everything must be right; what is not is told of together. Implements `RestartedVerifier`.

    Args:
        verifiers: Asked in order.
    """

    def __init__(self, verifiers: Iterable[Verifier]) -> None:
        self._verifiers = tuple(verifiers)

    def restart(self) -> None:
        """A reset begins."""
        for verifier in self._verifiers:
            if isinstance(verifier, RestartedVerifier):
                verifier.restart()

    def verify(self) -> ResetResult:
        """Ask all of them.

        Raises:
            RobotUnavailableError: What would have to be looked at is not there now.
        """
        reasons = [reason for verifier in self._verifiers if (reason := _reason(verifier))]
        return ResetResult(False, "; ".join(reasons)) if reasons else _OK


class ArmAtStart:
    """The tool centre point is where episodes start, and rests.

    Args:
        robot: Observed.
        start: Where that is.
        tolerance_m: An arm this far outside is still there.
        still_m_s: Slower than this it rests.
    """

    def __init__(
        self, robot: Robot, start: Region, tolerance_m: float = 0.02, still_m_s: float = 0.05
    ) -> None:
        self._robot, self._start = robot, start
        self._tolerance_m, self._still_m_s = tolerance_m, still_m_s

    def verify(self) -> ResetResult:
        """Whether it does."""
        state = self._robot.observe()
        outside_m = self._start.distance_m(state.ee_position_m)
        speed_m_s = float(np.linalg.norm(state.ee_linear_velocity_m_s))
        if not outside_m <= self._tolerance_m:  # Written so that a NaN fails, here and below.
            return ResetResult(False, f"the arm is {outside_m:.3f} m outside its start region")
        if not speed_m_s <= self._still_m_s:
            return ResetResult(False, f"the arm still moves with {speed_m_s:.2f} m/s")
        return _OK


class GripperAt:
    """The fingers are as far apart as they were told to be: the gripper answers, and holds nothing.

    Args:
        robot: Observed.
        width_m: What they were told.
        tolerance_m: This much off is still there.
    """

    def __init__(self, robot: Robot, width_m: float, tolerance_m: float) -> None:
        self._robot, self._width_m, self._tolerance_m = robot, width_m, tolerance_m

    def verify(self) -> ResetResult:
        """Whether they are."""
        measured_m = self._robot.observe().gripper_width_m
        if abs(measured_m - self._width_m) <= self._tolerance_m:
            return _OK
        return ResetResult(
            False,
            f"the gripper does not answer: {measured_m:.3f} m between its fingers, not {self._width_m:.3f}",
        )


class ObjectAtStart:
    """An object lies in its region, at rest, and not in the gripper.

    Args:
        robot: Its clock passes between two looks, and its tool centre point is not where the object is.
        scene: Observes `<name>_position`.
        name: Of the object.
        region: Where it is to lie, x and y.
        tolerance_m: An object this far outside is still there.
        rest_s: Time between two looks.
        still_m: An object that moves less meanwhile is at rest.
        held_m: An object this near to the tool centre point may be held.
    """

    def __init__(
        self,
        robot: Robot,
        scene: Scene,
        name: str,
        region: Region,
        tolerance_m: float = 0.02,
        rest_s: float = 0.2,
        still_m: float = 0.005,
        held_m: float = 0.03,
    ) -> None:
        self._robot, self._scene, self._name, self._region = robot, scene, name, region
        self._tolerance_m, self._rest_s = tolerance_m, rest_s
        self._still_m, self._held_m = still_m, held_m

    def verify(self) -> ResetResult:
        """Whether it does."""
        clock = self._robot.clock
        before_m, _ = self._look()
        clock.sleep_until(clock.now_s() + self._rest_s)
        position_m, tool_m = self._look()
        outside_m = self._region.distance_m(position_m[:2])
        moved_m = float(np.linalg.norm(position_m - before_m))
        if not outside_m <= self._tolerance_m:
            x, y, z = position_m.tolist()
            where = f"at {x:.2f}, {y:.2f}, {z:.2f} m"
            return ResetResult(False, f"{self._name} is {outside_m:.3f} m outside its start region, {where}")
        if not moved_m <= self._still_m:
            return ResetResult(False, f"{self._name} does not rest")
        if not np.linalg.norm(position_m - tool_m) > self._held_m:
            return ResetResult(False, f"{self._name} is in the gripper")
        return _OK

    def _look(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        tool_m = self._robot.observe().ee_position_m
        return self._scene.observe()[f"{self._name}_position"], tool_m


class CamerasAlive:
    """No camera shows, to the byte, the picture from before the reset, if the arm has moved meanwhile.

    Where nothing moves a good camera may well give the same picture twice: a twin's always does.

    Args:
        robot: Tells whether it moved.
        look: Gives the pictures.
        names: Of the cameras that would see the arm move.
        moved_m: From here on they should have seen it.
    """

    def __init__(self, robot: Robot, look: Look, names: Iterable[str], moved_m: float = 0.03) -> None:
        self._robot, self._look, self._names = robot, look, tuple(names)
        self._moved_m = moved_m
        self._before: tuple[NDArray[np.float64], Observation] | None = None

    def restart(self) -> None:
        """Remember the pictures, if there are any."""
        self._before = None
        try:
            self._before = self._robot.observe().ee_position_m, self._look()
        except RobotUnavailableError:
            raise
        except RobotError:
            return  # What is wrong now the reset may put right.

    def verify(self) -> ResetResult:
        """Whether they show something else."""
        if self._before is None:
            return _OK
        place_m, before = self._before
        if np.linalg.norm(self._robot.observe().ee_position_m - place_m) < self._moved_m:
            return _OK
        now = self._look()
        frozen = [name for name in self._names if np.array_equal(now[name], before[name])]
        if not frozen:
            return _OK
        return ResetResult(
            False, f"camera {', '.join(frozen)} shows the same picture as before the arm moved"
        )


class NotDone:
    """Nobody who judges says that the task is done already.

    Args:
        look: What they judge.
        judges: Those of the environment at that time.
    """

    def __init__(self, look: Look, judges: Callable[[], Iterable[RewardModel]]) -> None:
        self._look, self._judges = look, judges

    def verify(self) -> ResetResult:
        """Ask them."""
        observation = self._look()
        for judge in self._judges():
            if isinstance(judge, RestartedRewardModel):
                judge.restart()  # Of the last episode nothing counts.
            if judge.reward(observation).success:
                return ResetResult(False, "the task is judged to be done before it has begun")
        return _OK


def _reason(verifier: Verifier) -> str:
    """What is wrong; empty if nothing is."""
    try:
        result = verifier.verify()
    except RobotUnavailableError:
        raise
    except RobotError as error:
        return str(error)
    return "" if result.success else result.reason
