"""The last word before the motor: every command passes here, on the robot's side of any network.

What leaves is finite, fresh, slow enough, and inside the workspace and the joint limits, whatever comes in.
docs/safety.md says what this cannot promise, and how a human releases an emergency stop.
"""

from collections import Counter
from math import hypot, inf, isfinite
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controllers.limits import SafetyLimits
from controllers.state import JointCommand, PoseCommand, RobotCommand, RobotState
from controllers.target_limits import JointLimiter, Measured, PoseLimiter

Array = NDArray[np.float64]

# A command may carry a stamp this far ahead: two threads read one clock.
_CLOCK_TOLERANCE_S = 0.01
# Joints measured slower than this do not count as moving: sensor noise.
_RESTING_RAD_S = 0.02
_UNIT_TOLERANCE = 5e-4
# Nothing measured or wanted is this large, and squares of what is smaller are still finite.
_TOO_LONG = 1e150

_shape_of = attrgetter("shape")


class FilterResult(NamedTuple):
    """What may go to the motor.

    Attributes:
        command: The very object that came in if no limit was hit.
        hits: Names of the limits that changed or refused it.
    """

    command: RobotCommand
    hits: tuple[str, ...]


class SafetyFilter:
    """Limits or refuses commands; a refused command becomes a hold where the arm stands.

    Call it with the newest command at every control tick: a command that grows older than its limit then
    turns into a hold by itself, and a far target is approached at the speed limit.

    Args:
        limits: What is allowed.

    Attributes:
        hits: How often each limit changed or refused a command.
    """

    def __init__(self, limits: SafetyLimits) -> None:
        self.hits: Counter[str] = Counter()
        self._limits = limits
        self._pose_limiter = PoseLimiter(limits)
        self._joint_limiter = JointLimiter(limits)
        joints = limits.joints
        self._joint_table = list(zip(joints.min_rad, joints.max_rad, joints.velocity_rad_s, strict=True))
        self._joint_shape = (joints.joints,)
        self._state_shapes = (*[self._joint_shape] * 3, *[(3,)] * 3, (6,), (4,))
        self._emergency_stop_reason: str | None = None
        self.restart()

    def restart(self) -> None:
        """Forget what came before, as when a twin is put elsewhere. Counts and an emergency stop stay."""
        self._pose_limiter.restart()
        self._joint_limiter.restart()
        self._measured: Measured | None = None
        self._hold: Measured | None = None
        self._width_m: float | None = None
        self._sent_s = -inf

    @property
    def emergency_stop_reason(self) -> str | None:
        """Why the emergency stop is latched; None when it is not."""
        return self._emergency_stop_reason

    def emergency_stop(self, reason: str) -> None:
        """Turn every command into a hold until `reset_emergency_stop`. Any thread may call it."""
        self._emergency_stop_reason = reason

    def reset_emergency_stop(self) -> None:
        """Let commands pass again. Only for a human's explicit act: no program calls this by itself."""
        self._emergency_stop_reason = None

    def filter(self, command: RobotCommand, state: RobotState, now_s: float) -> FilterResult:
        """Judge one command.

        Args:
            command: What is wanted.
            state: The newest measurement.
            now_s: Time on the robot's clock.

        Returns:
            What may be sent, and the limits it met.

        Raises:
            RuntimeError: The command is refused and no measurement ever said where to hold: send nothing.
            ValueError: `now_s` is no time: send nothing.
        """
        if not isfinite(now_s):
            raise ValueError(f"now_s is {now_s}: the robot's clock is broken, send nothing.")
        # A commander that was silent for long must not be allowed one long jump.
        dt_s = min(max(now_s - self._sent_s, 0.0), self._limits.max_command_age_s)
        self._sent_s = now_s
        hits: list[str] = []
        refusal = self._refusal(command, state, now_s)
        if refusal or self._measured is None:
            self.hits[refusal] += 1
            return FilterResult(self._hold_command(command, now_s), (refusal,))
        self._hold = None
        allowed = self._limit(command, self._measured, dt_s, hits)
        self._width_m = allowed.gripper_width_m
        for name in hits:
            self.hits[name] += 1
        return FilterResult(allowed, tuple(hits))

    def _refusal(self, command: RobotCommand, state: RobotState, now_s: float) -> str:
        """Why the command is not even looked at; empty if it is."""
        state_fault = self._state_fault(state, now_s)
        if not state_fault:
            self._measured = Measured(
                state.ee_position_m.tolist(),
                state.ee_quaternion_xyzw.tolist(),
                state.joint_position_rad.tolist(),
                state.ee_wrench.tolist(),
                state.gripper_width_m,
            )
        if self._emergency_stop_reason is not None:
            return "emergency_stop"
        return state_fault or self._command_fault(command, now_s) or self._arm_fault(command, state)

    def _state_fault(self, state: RobotState, now_s: float) -> str:
        quaternion = state.ee_quaternion_xyzw
        vectors = (
            state.joint_position_rad,
            state.joint_velocity_rad_s,
            state.joint_effort_nm,
            state.ee_position_m,
            state.ee_linear_velocity_m_s,
            state.ee_angular_velocity_rad_s,
            state.ee_wrench,
            quaternion,
        )
        # One look at all of the numbers: this costs less than one at each vector.
        if (
            tuple(map(_shape_of, vectors)) != self._state_shapes
            or not hypot(*np.concatenate(vectors).tolist(), state.gripper_width_m) < _TOO_LONG
            or not _is_unit(quaternion)
        ):
            return "bad_state"
        # Written so that a NaN stamp fails.
        fresh = -_CLOCK_TOLERANCE_S <= now_s - state.stamp_s <= self._limits.max_state_age_s
        return "" if fresh else "stale_state"

    def _command_fault(self, command: RobotCommand, now_s: float) -> str:
        if isinstance(command, PoseCommand):
            sound = _is_sound(command.ee_position_m, (3,)) and _is_unit(command.ee_quaternion_xyzw)
        else:
            sound = _is_sound(command.joint_position_rad, self._joint_shape)
        if not sound or not isfinite(command.gripper_width_m):
            return "bad_command"
        fresh = -_CLOCK_TOLERANCE_S <= now_s - command.stamp_s <= self._limits.max_command_age_s
        return "" if fresh else "stale_command"

    def _arm_fault(self, command: RobotCommand, state: RobotState) -> str:
        """Why the arm in its present state must not follow this kind of command."""
        margin = self._limits.joint_margin_rad
        is_pose = isinstance(command, PoseCommand)
        positions, velocities = state.joint_position_rad.tolist(), state.joint_velocity_rad_s.tolist()
        for q, qd, (low, high, fastest) in zip(positions, velocities, self._joint_table, strict=True):
            if abs(qd) > fastest:
                return "joint_overspeed"
            # Without inverse kinematics nobody knows where a pose leads a joint. So: not farther into the
            # margin, and from its half next to the end of the joint only a joint command leads back.
            gap, outward = (q - low, -qd) if q - low < high - q else (high - q, qd)
            if is_pose and gap < margin and (outward > _RESTING_RAD_S or gap < 0.5 * margin):
                return "joint_margin"
        if not is_pose and hypot(*state.ee_wrench.tolist()[:3]) > self._limits.contact_force_n:
            return "contact_force"
        return ""

    def _limit(self, command: RobotCommand, measured: Measured, dt_s: float, hits: list[str]) -> RobotCommand:
        """The command pulled in to the limits; the same object if there is nothing to pull in."""
        width_m = min(max(command.gripper_width_m, 0.0), self._limits.gripper_max_m)
        if width_m != command.gripper_width_m:
            hits.append("gripper_width")
        if isinstance(command, PoseCommand):
            self._joint_limiter.restart()
            position = self._pose_limiter.limit_position(command.ee_position_m.tolist(), measured, dt_s, hits)
            quaternion = self._pose_limiter.limit_orientation(
                command.ee_quaternion_xyzw.tolist(), measured, dt_s, hits
            )
            if not hits:
                return command
            return PoseCommand(command.stamp_s, np.array(position), np.array(quaternion), width_m)
        self._pose_limiter.restart()
        target = self._joint_limiter.limit(command.joint_position_rad, measured, dt_s, hits)
        return JointCommand(command.stamp_s, target, width_m) if hits else command

    def _hold_command(self, command: RobotCommand, now_s: float) -> RobotCommand:
        """Stay where the arm stood at the first refusal in a row: holds that follow the arm would drift."""
        self._pose_limiter.restart()
        self._joint_limiter.restart()
        self._hold = hold = self._hold or self._measured
        if hold is None:
            raise RuntimeError(
                "There is no trustworthy measurement to hold the arm at: send nothing, check it."
            )
        # The commanded width, not the measured one: a hold must not let go of what is grasped.
        width_m = hold.gripper_width_m if self._width_m is None else self._width_m
        if isinstance(command, PoseCommand):
            return PoseCommand(now_s, np.array(hold.position_m), np.array(hold.quaternion_xyzw), width_m)
        return JointCommand(now_s, np.array(hold.joint_position_rad), width_m)


def _is_sound(array: Array, shape: tuple[int, ...]) -> bool:
    # Written so that a NaN fails. Faster than numpy's isfinite.
    return array.shape == shape and hypot(*array.tolist()) < _TOO_LONG


def _is_unit(quaternion: Array) -> bool:
    return quaternion.shape == (4,) and abs(hypot(*quaternion.tolist()) - 1.0) < _UNIT_TOLERANCE
