"""Driving an arm by hand: from what a device says to the next command. Knows no ROS, and no device."""

from math import hypot, inf
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from controllers.config import Config
from controllers.rotations import error, from_rotation_vector, multiply, normalize, rotate
from controllers.state import PoseCommand, RobotCommand, RobotState
from robot_env.devices.reading import Grip, GripperRequest, Reading, beyond, is_finite

Array = NDArray[np.float64]

# Fingers that are this near to where they should be count as being there.
_WIDTH_TOLERANCE_M = 0.005


class TeleopConfig(Config):
    """How a hand drives an arm.

    Attributes:
        linear_speed_m_s: Of the target at full deflection, in whatever direction.
        angular_speed_rad_s: Likewise.
        dead_zone: Deflections up to this count as none; above, speed grows from zero.
        frame: Axes of the velocities: the robot's base, or the tool.
        leash_m: Longest distance between target and measured position: an arm that is held up is not pushed harder.
        leash_rad: Largest angle between target and measured orientation.
        linger_s: A device without a deadman may rest for this long before the arm is let go, or a hand that turns
            back would let it go.
        longest_step_s: After a longer pause of the control loop the target moves as after this one.
    """

    linear_speed_m_s: float = 0.1
    angular_speed_rad_s: float = 0.5
    dead_zone: float = 0.0
    frame: Literal["base", "end_effector"] = "base"
    leash_m: float = 0.03
    leash_rad: float = 0.2
    linger_s: float = 0.3
    longest_step_s: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what drives nothing, or anywhere."""
        for name in ("linear_speed_m_s", "angular_speed_rad_s", "leash_m", "leash_rad", "longest_step_s"):
            if not 0.0 < getattr(self, name) < inf:
                raise ValueError(f"{name} {getattr(self, name)} must be positive and finite")
        if not 0.0 <= self.dead_zone < 1.0 or not 0.0 <= self.linger_s < inf:
            raise ValueError(
                f"dead_zone {self.dead_zone} must lie in [0, 1) and linger_s {self.linger_s} must not be negative"
            )


class TeleopMapping:
    """From readings to targets.

    The target starts where the arm is, then moves from target to target: one made of each measurement would creep,
    because an arm never stands exactly where it was told to.

    Motion begins with an act of the hand: see `Grip`.

    Args:
        config: See there.
        max_gripper_width_m: Distance of the fully opened fingers.
    """

    def __init__(self, config: TeleopConfig, max_gripper_width_m: float) -> None:
        self._config = config
        self._max_width_m = max_gripper_width_m
        self._grip = Grip(config.linger_s)
        # Position and quaternion; None while the arm is let go.
        self._target: tuple[Array, Array] | None = None
        self._width_m: float | None = None
        self._measured_width_m = 0.0
        self._now_s = -inf

    def next_command(self, reading: Reading | None, state: RobotState, now_s: float) -> PoseCommand | None:
        """What the arm is told now.

        Args:
            reading: Of the device; None if it is silent.
            state: The newest measurement.
            now_s: Time on the robot's clock.

        Returns:
            None if the arm is to be at rest.
        """
        step_s = min(max(now_s - self._now_s, 0.0), self._config.longest_step_s)
        self._now_s = now_s
        if reading is None or not is_finite(reading):
            self._grip.silence()
            self._target = None
            return None
        linear, angular = (beyond(self._config.dead_zone, v) for v in (reading.linear, reading.angular))
        is_moved = bool(linear.any() or angular.any() or reading.gripper is not None)
        if not self._grip.update(is_moved, reading.deadman, now_s):
            self._target = None
            return None
        if self._target is None:
            self._begin(state)
            step_s = 0.0
        self._target = self._leashed(*self._advanced(linear * step_s, angular * step_s), state)
        return PoseCommand(now_s, *self._target, self._wanted_width_m(reading.gripper, state))

    def sent(self, command: RobotCommand) -> None:
        """Go on from what was really sent: a target that a limit holds back must not run ahead of it."""
        if self._target is not None and isinstance(command, PoseCommand):
            self._target = command.ee_position_m, command.ee_quaternion_xyzw

    def restart(self) -> None:
        """The robot was gone: nothing moves before the hand has let go."""
        self._grip.restart()
        self._target = None

    def _begin(self, state: RobotState) -> None:
        self._target = state.ee_position_m, state.ee_quaternion_xyzw
        wanted, before, here = self._width_m, self._measured_width_m, state.gripper_width_m
        if wanted is None:
            self._width_m = here
            return
        # Fingers that hold something never come to where they were told to; to take their measured distance would be
        # to let it fall. But where somebody else moved them they stay.
        low, high = min(wanted, before) - _WIDTH_TOLERANCE_M, max(wanted, before) + _WIDTH_TOLERANCE_M
        if not low <= here <= high:
            self._width_m = here

    def _wanted_width_m(self, request: GripperRequest | None, state: RobotState) -> float:
        width_m = self._width_m
        assert width_m is not None
        if request is GripperRequest.TOGGLE:
            is_open = width_m > 0.5 * self._max_width_m
            request = GripperRequest.CLOSE if is_open else GripperRequest.OPEN
        if request is not None:
            width_m = self._max_width_m if request is GripperRequest.OPEN else 0.0
        self._width_m, self._measured_width_m = width_m, state.gripper_width_m
        return width_m

    def _advanced(self, linear: Array, angular: Array) -> tuple[Array, Array]:
        """The target, moved by parts of the highest speeds times seconds."""
        assert self._target is not None
        position, quaternion = self._target
        way = linear * self._config.linear_speed_m_s
        turn = from_rotation_vector(angular * self._config.angular_speed_rad_s)
        if self._config.frame == "end_effector":
            return position + rotate(quaternion, way), multiply(quaternion, turn)
        return position + way, multiply(turn, quaternion)

    def _leashed(self, position: Array, quaternion: Array, state: RobotState) -> tuple[Array, Array]:
        """The target, no farther from the measured pose than the leash."""
        leash_m, leash_rad = self._config.leash_m, self._config.leash_rad
        away = position - state.ee_position_m
        distance = hypot(*away.tolist())
        if distance > leash_m:
            position = state.ee_position_m + away * (leash_m / distance)
        turned = error(quaternion, state.ee_quaternion_xyzw)
        angle = hypot(*turned.tolist())
        if angle > leash_rad:
            quaternion = multiply(
                from_rotation_vector(turned * (leash_rad / angle)), state.ee_quaternion_xyzw
            )
        return position, normalize(quaternion)
