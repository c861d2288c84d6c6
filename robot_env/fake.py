"""A robot and a clock without physics, for tests and for trying out what is built on the contract."""

from collections import Counter
from collections.abc import Callable
from typing import Literal

import numpy as np
from msgspec.structs import replace
from numpy.typing import ArrayLike

from controllers.state import JointCommand, PoseCommand, RobotCommand, RobotState
from robot_env.robot import RobotError

Fault = Literal["nan_state", "stale_state", "no_state", "refuses", "stuck"]

_MAX_STATE_AGE_S = 0.1


class FakeClock:
    """Time that passes only while one sleeps on it, or by hand.

    Attributes:
        oversleep_s: How much too late `sleep_until` returns.
    """

    def __init__(self, start_s: float = 100.0) -> None:
        self.oversleep_s = 0.0
        self._now_s = start_s

    def now_s(self) -> float:
        """Seconds."""
        return self._now_s

    def sleep_until(self, deadline_s: float) -> None:
        """Be there at once, `oversleep_s` too late."""
        self._now_s = max(self._now_s, deadline_s + self.oversleep_s)

    def advance(self, duration_s: float) -> None:
        """Let time pass."""
        self._now_s += duration_s


class FakeRobot:
    """Stands exactly where it was commanded, as soon as its clock has moved on.

    It has no kinematics: a `PoseCommand` moves only the end effector, a `JointCommand` only the joints.

    Args:
        clock: Its clock.
        joints: Number of arm joints.
        limit: Stands for the safety filter: given a command, what to really send.

    Attributes:
        limit: As above; may be changed at any time.
        fault: What is wrong with it: `nan_state` reports NaN joint positions, `stale_state` stops measuring,
            `no_state` does not answer, `refuses` takes no command, `stuck` takes them without moving.
        calls: Names of the contract's methods in the order they were called.
        sent: Every command that was really sent.
    """

    def __init__(
        self,
        clock: FakeClock | None = None,
        joints: int = 7,
        limit: Callable[[RobotCommand], RobotCommand] | None = None,
    ) -> None:
        self.clock = clock or FakeClock()
        self.joint_names = tuple(f"joint_{i + 1}" for i in range(joints))
        self.max_gripper_width_m = 0.08
        self.fault: Fault | None = None
        self.calls: list[str] = []
        self.sent: list[RobotCommand] = []
        self.limit = limit
        self._target: RobotCommand | None = None
        self._limit_hits: Counter[str] = Counter()
        self._connected = False
        self._state = RobotState(
            stamp_s=self.clock.now_s(),
            joint_position_rad=np.zeros(joints),
            joint_velocity_rad_s=np.zeros(joints),
            joint_effort_nm=np.zeros(joints),
            ee_position_m=np.array([0.5, 0.0, 0.3]),
            ee_quaternion_xyzw=np.array([1.0, 0.0, 0.0, 0.0]),
            ee_linear_velocity_m_s=np.zeros(3),
            ee_angular_velocity_rad_s=np.zeros(3),
            ee_wrench=np.zeros(6),
            gripper_width_m=0.08,
        )

    @property
    def limit_hits(self) -> dict[str, int]:
        """How often `limit` changed a command, under the name `limit`."""
        return dict(self._limit_hits)

    def place(self, ee_position_m: ArrayLike, ee_quaternion_xyzw: ArrayLike | None = None) -> None:
        """Put the end effector somewhere, as a human would; shapes (3,) and (4,)."""
        quaternion = self._state.ee_quaternion_xyzw if ee_quaternion_xyzw is None else ee_quaternion_xyzw
        self._state = replace(
            self._state, ee_position_m=np.array(ee_position_m), ee_quaternion_xyzw=np.array(quaternion)
        )
        self._target = None

    def place_joints(self, joint_position_rad: ArrayLike) -> None:
        """Put the joints somewhere, shape (N,)."""
        self._state = replace(self._state, joint_position_rad=np.array(joint_position_rad, np.float64))
        self._target = None

    def connect(self) -> None:
        """Take commands from now on."""
        self.calls.append("connect")
        self._connected = True
        self._limit_hits.clear()

    def observe(self) -> RobotState:
        """Where it stands.

        Raises:
            RobotError: It is not connected, or its last measurement is too old.
        """
        self.calls.append("observe")
        self._require_connected()
        now_s = self.clock.now_s()
        if self.fault == "no_state":
            raise RobotError("The robot sends no state: check the driver.")
        if self.fault == "stale_state":
            age_s = now_s - self._state.stamp_s
            if age_s > _MAX_STATE_AGE_S:
                raise RobotError(f"The robot's state is {age_s:.3f} s old: check the driver.")
            return self._state
        self._state = replace(self._arrived(now_s), stamp_s=now_s)
        if self.fault == "nan_state":
            return replace(self._state, joint_position_rad=np.full(len(self.joint_names), np.nan))
        return self._state

    def send_command(self, command: RobotCommand) -> RobotCommand:
        """Be there when time has passed.

        Raises:
            RobotError: It is not connected, or refuses.
        """
        self.calls.append("send_command")
        self._require_connected()
        if self.fault == "refuses":
            raise RobotError("The robot refuses commands: release its emergency stop.")
        self._state = self._arrived(self.clock.now_s())
        sent = self.limit(command) if self.limit else command
        self._limit_hits["limit"] += sent is not command
        self.sent.append(sent)
        self._target, self._sent_s = sent, self.clock.now_s()
        return sent

    def stop(self) -> None:
        """Forget the last command and stand still."""
        self.calls.append("stop")
        self._target = None

    def close(self) -> None:
        """Stop and disconnect."""
        self.calls.append("close")
        self._connected = False

    def _require_connected(self) -> None:
        if not self._connected:
            raise RobotError("The robot is not connected: call connect() first.")

    def _arrived(self, now_s: float) -> RobotState:
        """The state after following the last command."""
        if self._target is None or now_s <= self._sent_s or self.fault == "stuck":
            return self._state
        return _moved(self._state, self._target)


def _moved(state: RobotState, command: PoseCommand | JointCommand) -> RobotState:
    if isinstance(command, JointCommand):
        return replace(
            state,
            joint_position_rad=command.joint_position_rad,
            gripper_width_m=command.gripper_width_m,
        )
    return replace(
        state,
        ee_position_m=command.ee_position_m,
        ee_quaternion_xyzw=command.ee_quaternion_xyzw,
        gripper_width_m=command.gripper_width_m,
    )
