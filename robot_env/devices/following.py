"""From where a hand is to actions of a task: one teleoperator for everything that says a pose."""

import time
from collections.abc import Callable, Mapping
from math import inf
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from controllers.config import Config
from controllers.rotations import conjugate, error, from_rotation_vector, multiply, rotate
from controllers.state import RobotState
from robot_env.devices.driving import action_of, asked, device_in_action_frame
from robot_env.devices.hand import Device, HandTeleoperator
from robot_env.devices.reading import GripperRequest
from robot_env.task import ActionConfig

Array = NDArray[np.float64]

_BASE = ActionConfig(translation_m=1.0)
_UNIT_TOLERANCE = 1e-2


class HandPose(NamedTuple):
    """Where a hand is now.

    Attributes:
        position_m: In axes of its own, shape (3,).
        quaternion_xyzw: Likewise, shape (4,).
        gripper: Asked for since the pose before, or where the gripper is to be, -1 closed to 1 open; None if neither.
        deadman: Whether the clutch is held; None if there is none. Then it drives only while it is moved.
    """

    position_m: Array
    quaternion_xyzw: Array
    gripper: GripperRequest | float | None = None
    deadman: bool | None = None


class FollowConfig(Config):
    """How an arm follows a hand.

    Attributes:
        mode: `relative`: the arm repeats what the hand does from where the clutch was pressed. `absolute`: the arm goes
            where the hand is, as with a leader arm of the same shape; it begins only near there.
        frame: Axes of the hand's: the robot's base, the tool as it is when the clutch is pressed, or the tool as it was
            when the episode began. For `relative`.
        motion_scale: Way of the arm per way of the hand. For `relative`.
        translation_scale: The arm follows by at most this part of the task's full translation per step.
        rotation_scale: Likewise of its rotation.
        linger_s: Without a clutch the hand may rest for so long before the arm is let go.
        begin_m: Without a clutch a hand that moved so far is on.
        begin_rad: Likewise.
        start_m: For `absolute`: it begins no farther than this from the arm.
        start_rad: Likewise.
        jump_m: A hand that is so far from where it was at the last look was not tracked well.
    """

    mode: Literal["relative", "absolute"] = "relative"
    frame: Literal["base", "end_effector", "episode_start"] = "base"
    motion_scale: float = 1.0
    translation_scale: float = 1.0
    rotation_scale: float = 1.0
    linger_s: float = 0.5
    begin_m: float = 0.01
    begin_rad: float = 0.05
    start_m: float = 0.05
    start_rad: float = 0.3
    jump_m: float = 0.2

    def __post_init__(self) -> None:
        """Refuse what moves nothing, or anything."""
        for name in ("translation_scale", "rotation_scale"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"{name} {getattr(self, name)} must lie in (0, 1]")
        for name in ("motion_scale", "linger_s", "begin_m", "begin_rad", "start_m", "start_rad", "jump_m"):
            if not 0.0 < getattr(self, name) < inf:
                raise ValueError(f"{name} {getattr(self, name)} must be positive and finite")


class _Began(NamedTuple):
    """Hand and arm when the hand took hold, and the turn from the hand's axes to the base."""

    hand: HandPose
    position_m: Array
    quaternion_xyzw: Array
    turn: Array


class PoseTeleoperator(HandTeleoperator[HandPose]):
    """Lets an arm follow a hand.

    Args:
        device: Tells where the hand is.
        config: How it is followed.
        action: See `HandTeleoperator`.
        now_s: Likewise.

    Attributes:
        notice: See `ExplainedTeleoperator`.
    """

    def __init__(
        self,
        device: Device[HandPose],
        config: FollowConfig,
        action: ActionConfig,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(device, config.linger_s, action, now_s)
        self._config = config
        self._before: HandPose | None = None
        self._rested: HandPose | None = None
        self._began: _Began | None = None
        self.notice = ""

    @property
    def help(self) -> Mapping[str, str]:
        """What keys and buttons do."""
        return self._device.help

    def get_action(self, state: RobotState, last_action: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """What the hand wants now; see `Teleoperator`."""
        was_on = self._grip.is_on
        hand = self._hear()
        if hand is None:
            return None
        self._before = hand
        is_moved = self._has_moved(hand)
        if not was_on and not self._may_begin(hand, state):
            self._grip.update(False, False, self._now_s())
            return None
        if not self._grip.update(is_moved, hand.deadman, self._now_s()):
            return None
        if not was_on:
            self._gripper = float(last_action[-1])
            turn = device_in_action_frame(self._config.frame, _BASE, state, self._start_quaternion)
            self._began = _Began(hand, state.ee_position_m, state.ee_quaternion_xyzw, turn)
        if isinstance(hand.gripper, float):
            self._gripper = hand.gripper
        else:
            self._gripper = asked(hand.gripper, self._gripper)
        return self._towards(*self._target(hand), state)

    def _read(self) -> HandPose | None:
        hand = super()._read()
        self.notice = self._device.problem
        return hand

    def _lose(self) -> None:
        super()._lose()
        self._before = self._rested = None

    def _is_sound(self, said: HandPose) -> bool:
        values = np.concatenate((said.position_m, said.quaternion_xyzw))
        gripper = said.gripper if isinstance(said.gripper, float) else 0.0
        if not np.isfinite(values).all() or not -1.0 <= gripper <= 1.0:
            return False
        if abs(float(np.linalg.norm(said.quaternion_xyzw)) - 1.0) > _UNIT_TOLERANCE:
            return False
        return self._before is None or _apart(said, self._before)[0] <= self._config.jump_m

    def _has_moved(self, hand: HandPose) -> bool:
        """Whether the hand asks for something: left where it last rested, or asked for the gripper."""
        if self._rested is None:
            self._rested = hand
        way_m, angle_rad = _apart(hand, self._rested)
        has_left = way_m > self._config.begin_m or angle_rad > self._config.begin_rad
        if has_left:
            self._rested = hand
        return has_left or isinstance(hand.gripper, GripperRequest)

    def _may_begin(self, hand: HandPose, state: RobotState) -> bool:
        if self._config.mode == "relative":
            return True
        here = HandPose(state.ee_position_m, state.ee_quaternion_xyzw)
        way_m, angle_rad = _apart(hand, here)
        is_near = way_m <= self._config.start_m and angle_rad <= self._config.start_rad
        if not is_near:
            self.notice = (
                f"{self._device.name[0].upper()}{self._device.name[1:]} is {way_m:.2f} m and {angle_rad:.1f} rad from "
                "the arm: bring it there first."
            )
        return is_near

    def _target(self, hand: HandPose) -> tuple[Array, Array]:
        """Where the tool centre point is to be, in the base frame."""
        if self._config.mode == "absolute":
            return hand.position_m, hand.quaternion_xyzw
        began = self._began
        assert began is not None
        way = rotate(began.turn, hand.position_m - began.hand.position_m)
        turned = rotate(began.turn, error(hand.quaternion_xyzw, began.hand.quaternion_xyzw))
        quaternion = multiply(from_rotation_vector(turned), began.quaternion_xyzw)
        return began.position_m + self._config.motion_scale * way, quaternion

    def _towards(self, position_m: Array, quaternion: Array, state: RobotState) -> NDArray[np.float32]:
        """The action that leads there, or as far as it may in one step."""
        action = self._action
        to_action = conjugate(state.ee_quaternion_xyzw) if action.frame == "end_effector" else None
        way = (position_m - state.ee_position_m) / action.translation_m
        turn = error(quaternion, state.ee_quaternion_xyzw) / (action.rotation_rad or inf)
        if to_action is not None:
            way, turn = rotate(to_action, way), rotate(to_action, turn)
        return action_of(
            action,
            _shortened(way, self._config.translation_scale),
            _shortened(turn, self._config.rotation_scale),
            self._gripper,
        )


def _apart(a: HandPose, b: HandPose) -> tuple[float, float]:
    """Distance in m and angle in rad."""
    way_m = float(np.linalg.norm(a.position_m - b.position_m))
    return way_m, float(np.linalg.norm(error(a.quaternion_xyzw, b.quaternion_xyzw)))


def _shortened(vector: Array, longest: float) -> Array:
    return vector * min(1.0, longest / max(float(np.linalg.norm(vector)), 1e-12))
