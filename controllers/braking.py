"""Brings a moving target to rest, for a stop that is neither a jerk nor long.

A target that freezes at once asks a stiff arm for any deceleration; one that jumps back to where the arm was measured
turns the arm around. So it goes on towards its goal, never past it, ever slower. First it gives up what it is ahead of
an arm that lags behind or is blocked: that way would only prolong the stop.
"""

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from controllers.limits import SafetyLimits
from controllers.rotations import error, from_rotation_vector, multiply
from controllers.state import JointCommand, PoseCommand, RobotCommand, RobotState

Array = NDArray[np.float64]

# A spring and a damper draw an arm after its target at a distance of speed * damping / stiffness: 45 ms with the gains
# of `ImpedanceConfig`.
_LAG_S = 0.045
# Nearer than this a target stays where it is, whatever the speed: an arm that carries something hangs below its target.
_NEAR_M = 0.005
_NEAR_RAD = 0.02


class Brake:
    """A target that comes to rest between `start` and `goal`.

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

    def target(self, now_s: float) -> RobotCommand:
        """The target at a time, stamped with it."""
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


def stay(target: RobotCommand, now_s: float) -> Brake:
    """A target at rest already."""
    return Brake(target, target, np.zeros(1 if isinstance(target, JointCommand) else 2), np.ones(1), now_s)


def stay_at(state: RobotState, now_s: float) -> Brake:
    """A target at rest where the arm was measured."""
    pose = PoseCommand(now_s, state.ee_position_m, state.ee_quaternion_xyzw, state.gripper_width_m)
    return stay(pose, now_s)


def brake(
    limits: SafetyLimits,
    goal: RobotCommand,
    sent: RobotCommand,
    before: RobotCommand | None,
    dt_s: float,
    state: RobotState,
    now_s: float,
) -> Brake:
    """Begin to stop.

    Args:
        limits: Their accelerations bound the deceleration, so that the arm is asked for nothing unusual.
        goal: What the arm was to follow; only looked at where it is of the same kind as `sent`.
        sent: The newest target that it was really told.
        before: The target before that; only looked at likewise.
        dt_s: Time between the two.
        state: The newest measurement.
        now_s: Now.
    """
    if type(goal) is not type(sent):
        goal = sent
    start = _near(sent, state)
    speeds, highest, decelerations = _motion(limits, sent, before)
    # A target may jump when it gives way towards the arm, but never moves faster than the limit otherwise.
    speeds = np.minimum(speeds / dt_s, highest) if dt_s > 0.0 else np.zeros_like(highest)
    return Brake(start, goal, speeds, decelerations, now_s)


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
