"""Brings an arm to rest by its target. What does that best depends on what makes the arm follow.

A stiff arm follows its target at once: the target goes on, ever slower and never past its goal, and stays. An arm
behind a spring and a damper feels its mass: with its target at rest it swings for half a second. It needs a target
behind it until it stands; or, where its controller takes joint positions as well, those that it has just now, because
dampers in the joints are far stronger than the one of the end effector.
"""

from enum import StrEnum
from typing import Protocol

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from controllers.limits import SafetyLimits
from controllers.rotations import error, from_rotation_vector, multiply
from controllers.state import JointCommand, PoseCommand, RobotCommand, RobotState

Array = NDArray[np.float64]

# A spring and a damper draw an arm after its target at a distance of speed * damping / stiffness: 45 ms with the gains
# of `ImpedanceConfig`. What a target is ahead of that is way that an arm would go on for nothing.
_LAG_S = 0.045
# Nearer than this a target stays where it is, whatever the speed: an arm that carries something hangs below its target.
_NEAR_M = 0.005
_NEAR_RAD = 0.02
# How far behind the arm a target brakes it, per speed. On the twin (13 kg as felt at its tool) from 0.5 m/s: at rest
# 0.13 s after the target stops leading; more would shake arms of 4 kg whose state is 30 ms old.
_BEHIND_S = 0.05
# More has no effect on an arm whose controller clips its error there, and too much on one that does not.
_BEHIND_M = 0.02
_STANDING_M_S = 0.03
_STANDING_RAD_S = 0.1
_LONGEST_BRAKING_S = 0.3
# A joint that is told to stay needs a little way to come to rest, or it springs back.
_JOINT_WAY_S = 0.03


def stands(state: RobotState) -> bool:
    """Whether the arm does not move, but for noise."""
    return bool(
        np.linalg.norm(state.ee_linear_velocity_m_s) < _STANDING_M_S
        and np.linalg.norm(state.ee_angular_velocity_rad_s) < _STANDING_RAD_S
    )


class StopBy(StrEnum):
    """How an arm is brought to rest best; see the module.

    `TARGET` suits stiff arms and harms none. `DAMPING` is for Cartesian impedance, `JOINTS` for arms whose controller
    takes joint positions in place of a pose at any time, and damps joints.
    """

    TARGET = "target"
    DAMPING = "damping"
    JOINTS = "joints"


class Brake(Protocol):
    """A target that brings the arm to rest."""

    def at_rest(self, now_s: float) -> bool:
        """Whether the target has come to where it stays."""
        ...

    def target(self, state: RobotState, now_s: float) -> RobotCommand:
        """The target at a time, stamped with it. To be asked in order of time.

        Args:
            state: The newest measurement.
            now_s: Now.
        """
        ...


class SlowingTarget:
    """A target that comes to rest between `start` and `goal`. Implements `Brake`.

    Args:
        start: Where the target is.
        goal: Where it was going; of the same kind. Never passed.
        speeds: Of the target: in m/s and rad/s, shape (2,), for a pose; of the joints, shape (N,), otherwise.
        decelerations: The same per second.
        now_s: Time of `start`.
    """

    def __init__(
        self, start: RobotCommand, goal: RobotCommand, speeds: Array, decelerations: Array, now_s: float
    ) -> None:
        self._start = start
        self._goal = goal
        self._speeds = speeds
        self._decelerations = decelerations
        self._started_s = now_s
        self._durations_s = speeds / decelerations

    def at_rest(self, now_s: float) -> bool:
        """Whether the target has come to where it stays."""
        return now_s - self._started_s >= float(self._durations_s.max())

    def target(self, state: RobotState, now_s: float) -> RobotCommand:
        """Where it is by now."""
        start, goal = self._start, self._goal
        if not self._speeds.any():
            return replace(start, stamp_s=now_s)
        passed_s = np.clip(now_s - self._started_s, 0.0, self._durations_s)
        travelled = (self._speeds - 0.5 * self._decelerations * passed_s) * passed_s
        if isinstance(start, JointCommand):
            assert isinstance(goal, JointCommand)
            way_rad = goal.joint_position_rad - start.joint_position_rad
            position = start.joint_position_rad + np.clip(way_rad, -travelled, travelled)
            return replace(start, stamp_s=now_s, joint_position_rad=position)
        assert isinstance(goal, PoseCommand)
        travelled_m, travelled_rad = travelled.tolist()
        way_m = _shortened(goal.ee_position_m - start.ee_position_m, travelled_m)
        turn = _shortened(error(goal.ee_quaternion_xyzw, start.ee_quaternion_xyzw), travelled_rad)
        return PoseCommand(
            now_s,
            start.ee_position_m + way_m,
            multiply(from_rotation_vector(turn), start.ee_quaternion_xyzw),
            start.gripper_width_m,
        )


class Damper:
    """A target that brakes a moving arm, and stays where the arm then stands. Implements `Brake`.

    Until it stands a pose lies behind the arm, while joint positions stay a little ahead of where they were.

    Args:
        sent: The newest target that the arm was told; the brake is of its kind.
        state: The newest measurement.
        now_s: Now.
    """

    def __init__(self, sent: RobotCommand, state: RobotState, now_s: float) -> None:
        self._give_up_s = now_s + _LONGEST_BRAKING_S
        self._held = _near(sent, state) if stands(state) else None
        self._joints_rad: Array | None = None
        if isinstance(sent, JointCommand):
            self._joints_rad = state.joint_position_rad + _JOINT_WAY_S * state.joint_velocity_rad_s

    def at_rest(self, now_s: float) -> bool:
        """Whether the arm stood."""
        return self._held is not None

    def target(self, state: RobotState, now_s: float) -> RobotCommand:
        """What brakes the arm; from when it stands where that was."""
        if self._held is None and (stands(state) or now_s >= self._give_up_s):
            self._held = _joints_of(state, now_s) if self._joints_rad is not None else _pose_of(state, now_s)
        if self._held is not None:
            return replace(self._held, stamp_s=now_s)
        if self._joints_rad is not None:
            return JointCommand(now_s, self._joints_rad, state.gripper_width_m)
        behind_m = _shortened(_BEHIND_S * state.ee_linear_velocity_m_s, _BEHIND_M)
        return replace(_pose_of(state, now_s), ee_position_m=state.ee_position_m - behind_m)


def stay(target: RobotCommand, now_s: float) -> Brake:
    """A target at rest already."""
    return SlowingTarget(
        target, target, np.zeros(1 if isinstance(target, JointCommand) else 2), np.ones(1), now_s
    )


def stay_at(state: RobotState, now_s: float, stop_by: StopBy = StopBy.TARGET) -> Brake:
    """A target at rest where the arm was measured."""
    return stay(_joints_of(state, now_s) if stop_by is StopBy.JOINTS else _pose_of(state, now_s), now_s)


def brake(
    limits: SafetyLimits,
    goal: RobotCommand,
    sent: RobotCommand,
    before: RobotCommand | None,
    dt_s: float,
    state: RobotState,
    now_s: float,
    stop_by: StopBy = StopBy.TARGET,
) -> Brake:
    """Begin to stop.

    Args:
        limits: Their accelerations bound the deceleration of a target: a stiff arm is asked for nothing unusual.
        goal: What the arm was to follow; only looked at where it is of the same kind as `sent`.
        sent: The newest target that it was really told.
        before: The target before that; only looked at likewise.
        dt_s: Time between the two.
        state: The newest measurement.
        now_s: Now.
        stop_by: How.
    """
    if stop_by is StopBy.JOINTS and not isinstance(sent, JointCommand):
        sent = _joints_of(state, now_s)
    if stop_by is not StopBy.TARGET:
        return Damper(sent, state, now_s)
    if type(goal) is not type(sent):
        goal = sent
    # What a target is ahead of an arm that lags behind, or is blocked, it gives up first.
    start = _near(sent, state)
    speeds, highest, decelerations = _motion(limits, sent, before)
    # A target may jump when it gives way towards the arm, but never moves faster than the limit otherwise.
    speeds = np.minimum(speeds / dt_s, highest) if dt_s > 0.0 else np.zeros_like(highest)
    return SlowingTarget(start, goal, speeds, decelerations, now_s)


def _pose_of(state: RobotState, now_s: float) -> PoseCommand:
    return PoseCommand(now_s, state.ee_position_m, state.ee_quaternion_xyzw, state.gripper_width_m)


def _joints_of(state: RobotState, now_s: float) -> JointCommand:
    return JointCommand(now_s, state.joint_position_rad, state.gripper_width_m)


def _motion(
    limits: SafetyLimits, sent: RobotCommand, before: RobotCommand | None
) -> tuple[Array, Array, Array]:
    """How far a target went, and its highest speeds and accelerations: in m and rad, or of the joints."""
    if isinstance(sent, JointCommand):
        joints = limits.joints
        highest = limits.joint_speed_fraction * np.array(joints.velocity_rad_s)
        went = np.zeros_like(highest)
        if isinstance(before, JointCommand):
            went = np.abs(sent.joint_position_rad - before.joint_position_rad)
        return went, highest, np.array(joints.acceleration_rad_s2)
    went = np.zeros(2)
    if isinstance(before, PoseCommand):
        went[0] = np.linalg.norm(sent.ee_position_m - before.ee_position_m)
        went[1] = np.linalg.norm(error(sent.ee_quaternion_xyzw, before.ee_quaternion_xyzw))
    return (
        went,
        np.array((limits.linear_speed_m_s, limits.angular_speed_rad_s)),
        np.array((limits.linear_acceleration_m_s2, limits.angular_acceleration_rad_s2)),
    )


def _near(target: RobotCommand, state: RobotState) -> RobotCommand:
    """The target, no farther from the arm than an arm of its speed usually lags behind."""
    if isinstance(target, JointCommand):
        here = state.joint_position_rad
        reach = np.abs(state.joint_velocity_rad_s) * _LAG_S + _NEAR_RAD
        return replace(
            target, joint_position_rad=np.clip(target.joint_position_rad, here - reach, here + reach)
        )
    reach_m = float(np.linalg.norm(state.ee_linear_velocity_m_s)) * _LAG_S + _NEAR_M
    reach_rad = float(np.linalg.norm(state.ee_angular_velocity_rad_s)) * _LAG_S + _NEAR_RAD
    away_m = _shortened(target.ee_position_m - state.ee_position_m, reach_m)
    away_rad = _shortened(error(target.ee_quaternion_xyzw, state.ee_quaternion_xyzw), reach_rad)
    return replace(
        target,
        ee_position_m=state.ee_position_m + away_m,
        ee_quaternion_xyzw=multiply(from_rotation_vector(away_rad), state.ee_quaternion_xyzw),
    )


def _shortened(vector: Array, longest: float) -> Array:
    length = float(np.linalg.norm(vector))
    return vector if length <= longest else vector * (longest / length)
