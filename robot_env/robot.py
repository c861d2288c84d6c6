"""The robot contract: the only thing the environment knows of an arm, real or simulated."""

from typing import Protocol

from controllers.state import JointCommand, PoseCommand, RobotCommand, RobotState
from robot_env.clock import Clock
from robot_env.program import NEEDS_HUMAN

__all__ = [
    "JointCommand",
    "PoseCommand",
    "Robot",
    "RobotCommand",
    "RobotError",
    "RobotState",
    "RobotUnavailableError",
]


class RobotError(RuntimeError):
    """The robot cannot be driven right now; the message says why and what a human should do."""

    exit_code = NEEDS_HUMAN


class RobotUnavailableError(RobotError):
    """The robot cannot be driven now but may come back, by itself or by a human's act at the robot."""


class Robot(Protocol):
    """An arm with a gripper.

    Call order: `connect`, then any mix of `observe`, `send_command` and `stop`, then `close`.
    """

    @property
    def clock(self) -> Clock:
        """The clock that stamps states; sleeping on it is how the control rate is held."""
        ...

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names of the N arm joints, in the order of every joint vector."""
        ...

    @property
    def max_gripper_width_m(self) -> float:
        """Distance between the fully opened fingers."""
        ...

    def connect(self) -> None:
        """Make the robot ready to be observed and commanded.

        Raises:
            RobotError: It does not answer or refuses.
        """
        ...

    def observe(self) -> RobotState:
        """The newest measurement.

        Raises:
            RobotError: There is none, or it is too old.
        """
        ...

    def send_command(self, command: RobotCommand) -> RobotCommand:
        """Pass a command through the safety filter to the motors, without waiting for the motion.

        Returns:
            What was really sent. It differs from `command` where a limit was hit.

        Raises:
            RobotError: The robot is stopped and needs a human.
        """
        ...

    @property
    def limit_hits(self) -> dict[str, int]:
        """How often each safety limit changed or refused a command since `connect`."""
        ...

    def stop(self) -> None:
        """Bring the arm to rest and hold it there. Safe and idempotent in every state."""
        ...

    def close(self) -> None:
        """Stop and let go of the robot. Idempotent."""
        ...
