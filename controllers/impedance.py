"""Impedance control: the arm behaves like a spring and damper around its target, so contact stays gentle.

Torques come without gravity and Coriolis compensation: the caller adds its bias. These laws run at 100 Hz to
1 kHz in Python, hence plain floats for three numbers and few numpy calls for seven.
"""

from math import inf, isfinite, sqrt

import numpy as np
from numpy.typing import NDArray

from controllers.config import Config, InputError
from controllers.limits import JointLimits
from controllers.rotations import error_components

Array = NDArray[np.float64]

# The null space of the Jacobian turns slowly, and finding it costs more than the rest of a tick.
_NULL_SPACE_TICKS = 10
_NEARLY_ONE = 0.9
# Row i: the six joints of seven that are left without joint i.
_OTHER_JOINTS = np.array([[joint for joint in range(7) if joint != left_out] for left_out in range(7)])
_ALTERNATING = np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0])
# Their length is the manipulability, about 0.1 in mid-workspace; near zero rounding decides the direction.
_LEAST_MINORS = 1e-6


class ImpedanceConfig(Config):
    """Gains of `CartesianImpedance`; the stiffnesses and dampings are those of SERL (arXiv:2401.16013).

    The clips bound what the springs can do however far the target is. By default: 40 N and 0.45 m/s per axis
    (stiffness * clip, and that over the damping).

    Attributes:
        translation_stiffness_n_m: Spring of the position.
        translation_damping_ns_m: Damper of the position.
        rotation_stiffness_nm_rad: Spring of the orientation.
        rotation_damping_nms_rad: Damper of the orientation.
        translation_clip_m: The position error counts at most this much, per axis.
        rotation_clip_rad: The orientation error counts at most this much, per axis.
        posture_rad: Joint configuration that the redundant joints are drawn to, shape (N,).
        posture_stiffness_nm_rad: Spring towards the posture, within the null space.
        posture_damping_nms_rad: Damper of the null-space motion.
    """

    translation_stiffness_n_m: float = 2000.0
    translation_damping_ns_m: float = 89.0
    rotation_stiffness_nm_rad: float = 150.0
    rotation_damping_nms_rad: float = 7.0
    translation_clip_m: float = 0.02
    rotation_clip_rad: float = 0.05
    posture_rad: tuple[float, ...] = (0.0, -0.785398, 0.0, -2.356194, 0.0, 1.570796, 0.785398)
    posture_stiffness_nm_rad: float = 10.0
    posture_damping_nms_rad: float = 5.0

    def __post_init__(self) -> None:
        """Refuse gains that would push the arm away from its target."""
        for name in self.__struct_fields__:
            if name != "posture_rad" and not 0.0 <= getattr(self, name) < inf:
                raise ValueError(f"impedance {name} {getattr(self, name)} must be finite and not negative")


class CartesianImpedance:
    """Holds the end effector at a pose by a spring and damper of six directions, with the error clipped.

    tau = J^T (K clip(x* - x) - D J q') + N (k (q0 - q) - d q'), cut off at the torque limits, with N the
    orthogonal projector onto the null space of J.

    Args:
        config: Gains.
        limits: Gives the number of joints N and their torque limits.

    Raises:
        InputError: The posture has another number of joints than the limits.
    """

    def __init__(self, config: ImpedanceConfig, limits: JointLimits) -> None:
        if len(config.posture_rad) != limits.joints:
            raise InputError(
                f"The impedance posture_rad has {len(config.posture_rad)} entries for an arm of "
                f"{limits.joints} joints; give one per joint."
            )
        self.config = config
        # One damping for each row of the extended Jacobian below.
        self._damping = np.repeat(
            [
                config.translation_damping_ns_m,
                config.rotation_damping_nms_rad,
                config.posture_damping_nms_rad,
            ],
            [3, 3, max(0, limits.joints - 6)],
        )
        self._posture = np.array(config.posture_rad)
        self._torque_limits = _both_signs(limits.effort_nm)
        # The Jacobian, and below it a basis of its null space: one product serves both springs and dampers.
        extended = np.zeros((self._damping.size, limits.joints))
        self._extended_jacobian, self._task_rows, self._null_rows = extended, extended[:6], extended[6:]
        self._posture_rows = np.zeros_like(self._null_rows)  # The null space times the posture's stiffness.
        self._target: tuple[list[float], list[float]] | None = None
        self.restart()

    def restart(self) -> None:
        """Find the null space anew at the next tick: the arm was moved by something else in between.

        After it, torques depend on nothing older, so episodes of a twin stay reproducible.
        """
        self._ticks_to_refresh = 0
        self._null_rows[:] = 0.0

    def set_target(self, position_m: Array, quaternion_xyzw: Array) -> None:
        """Go to this pose from the next tick on.

        Args:
            position_m: In the base frame, shape (3,).
            quaternion_xyzw: Unit length, shape (4,).
        """
        self._target = position_m.tolist(), quaternion_xyzw.tolist()

    def torque(
        self,
        jacobian: Array,
        joint_position_rad: Array,
        joint_velocity_rad_s: Array,
        ee_position_m: Array,
        ee_quaternion_xyzw: Array,
    ) -> Array:
        """Joint torques of this tick.

        Args:
            jacobian: Geometric Jacobian of the end effector in the base frame, translation rows first,
                shape (6, N).
            joint_position_rad: Shape (N,).
            joint_velocity_rad_s: Shape (N,).
            ee_position_m: Shape (3,).
            ee_quaternion_xyzw: Shape (4,).

        Returns:
            Torques in Nm without gravity and Coriolis compensation, within the torque limits, shape (N,).

        Raises:
            RuntimeError: No target was set.
            ArithmeticError: The measurements hold a NaN or an infinity.
        """
        self._task_rows[:] = jacobian
        if self._ticks_to_refresh == 0 and len(self._null_rows):
            self._null_rows[:] = _null_space(jacobian, self._null_rows)
            np.multiply(self._null_rows, self.config.posture_stiffness_nm_rad, out=self._posture_rows)
            self._ticks_to_refresh = _NULL_SPACE_TICKS
        self._ticks_to_refresh -= 1
        push = self._spring(joint_position_rad, ee_position_m, ee_quaternion_xyzw)
        brake = self._extended_jacobian.dot(joint_velocity_rad_s)
        brake *= self._damping
        push -= brake
        return _limited(push.dot(self._extended_jacobian), *self._torque_limits)

    def _spring(self, joint_position_rad: Array, ee_position_m: Array, ee_quaternion_xyzw: Array) -> Array:
        """Forces and torques on the end effector, then torques along the null space, shape (max(6, N),)."""
        if self._target is None:
            raise RuntimeError("torque() before set_target(): give the controller a target first.")
        (tx, ty, tz), target_quaternion = self._target
        x, y, z = ee_position_m.tolist()
        x, y, z = tx - x, ty - y, tz - z
        u, v, w = error_components(target_quaternion, ee_quaternion_xyzw.tolist())
        config = self.config
        stiffness, clip = config.translation_stiffness_n_m, config.translation_clip_m
        turn_stiffness, turn_clip = config.rotation_stiffness_nm_rad, config.rotation_clip_rad
        pull = self._posture_rows.dot(self._posture - joint_position_rad).tolist()
        # Written out: six calls would take as long as the rest of this function.
        return np.array(
            (
                stiffness * (clip if x > clip else -clip if x < -clip else x),
                stiffness * (clip if y > clip else -clip if y < -clip else y),
                stiffness * (clip if z > clip else -clip if z < -clip else z),
                turn_stiffness * (turn_clip if u > turn_clip else -turn_clip if u < -turn_clip else u),
                turn_stiffness * (turn_clip if v > turn_clip else -turn_clip if v < -turn_clip else v),
                turn_stiffness * (turn_clip if w > turn_clip else -turn_clip if w < -turn_clip else w),
                *pull,
            )
        )


class JointImpedanceConfig(Config):
    """Gains of `JointImpedance`, one entry per joint.

    Attributes:
        stiffness_nm_rad: Springs.
        damping_nms_rad: Dampers.
        clip_rad: The error of a joint counts at most this much.
    """

    stiffness_nm_rad: tuple[float, ...] = (400.0, 400.0, 400.0, 400.0, 200.0, 100.0, 50.0)
    damping_nms_rad: tuple[float, ...] = (40.0, 40.0, 40.0, 40.0, 20.0, 10.0, 5.0)
    clip_rad: float = 0.2

    def __post_init__(self) -> None:
        """Refuse gains that would push the arm away from its target."""
        gains = (*self.stiffness_nm_rad, *self.damping_nms_rad, self.clip_rad)
        if not all(0.0 <= gain < inf for gain in gains):
            raise ValueError(f"joint impedance gains {gains} must be finite and not negative")


class JointImpedance:
    """Holds a joint configuration by a spring and damper per joint, as resets need.

    Args:
        config: Gains.
        limits: Gives the number of joints N and their torque limits.

    Raises:
        InputError: The gains have another number of joints than the limits.
    """

    def __init__(self, config: JointImpedanceConfig, limits: JointLimits) -> None:
        for name in ("stiffness_nm_rad", "damping_nms_rad"):
            if len(getattr(config, name)) != limits.joints:
                raise InputError(
                    f"The joint impedance {name} has {len(getattr(config, name))} entries for an arm of "
                    f"{limits.joints} joints; give one per joint."
                )
        self._stiffness = np.array(config.stiffness_nm_rad)
        self._damping = np.array(config.damping_nms_rad)
        self._clip = config.clip_rad
        self._torque_limits = _both_signs(limits.effort_nm)
        self._target: Array | None = None

    def set_target(self, joint_position_rad: Array) -> None:
        """Go to this configuration, shape (N,), from the next tick on."""
        self._target = joint_position_rad.copy()

    def torque(self, joint_position_rad: Array, joint_velocity_rad_s: Array) -> Array:
        """Joint torques of this tick in Nm, without gravity compensation, within the limits, shape (N,).

        Raises:
            RuntimeError: No target was set.
            ArithmeticError: The measurements hold a NaN or an infinity.
        """
        if self._target is None:
            raise RuntimeError("torque() before set_target(): give the controller a target first.")
        away = np.minimum(np.maximum(self._target - joint_position_rad, -self._clip), self._clip)
        return _limited(self._stiffness * away - self._damping * joint_velocity_rad_s, *self._torque_limits)


def _null_space(jacobian: Array, before: Array) -> Array:
    """Orthonormal joint motions that leave the end effector where it is, shape (N - 6, N).

    Args:
        jacobian: Shape (6, N).
        before: The same a while ago, shape (N - 6, N); zeros if there is none.
    """
    if jacobian.shape == (6, 7):
        # What was no motion of the end effector then, less what is one now: exact, for there is one direction only.
        # A third of the time of the minors below.
        (motion,) = before
        try:
            motion = motion - np.linalg.solve(jacobian.dot(jacobian.T), jacobian.dot(motion)).dot(jacobian)
        except np.linalg.LinAlgError:
            motion = np.zeros(7)
        length = sqrt(motion.dot(motion))
        if _NEARLY_ONE < length < 1.0 / _NEARLY_ONE:  # False for a NaN, and after a singularity or a restart.
            return (motion / length)[np.newaxis]
        # One motion: the cross product of the rows, made of minors. Takes half the time of
        # the decomposition below.
        motion = _ALTERNATING * np.linalg.det(jacobian.T[_OTHER_JOINTS])
        length = sqrt(motion.dot(motion))
        if length > _LEAST_MINORS:
            return (motion / length)[np.newaxis]
    try:
        return np.linalg.svd(jacobian).Vh[6:]
    except np.linalg.LinAlgError:
        raise ArithmeticError("The Jacobian is not finite: stop the arm, check its sensors.") from None


def _both_signs(limit: tuple[float, ...]) -> tuple[Array, Array]:
    return -np.array(limit), np.array(limit)


def _limited(torque: Array, lowest: Array, highest: Array) -> Array:
    """`torque` cut off at the limits; a torque that is no number never reaches a motor."""
    if not isfinite(torque.dot(torque)):
        raise ArithmeticError(f"The torques {torque} are not finite: stop the arm, check its sensors.")
    # np.clip has several times the overhead of its two halves.
    return np.minimum(np.maximum(torque, lowest), highest)
