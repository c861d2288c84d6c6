"""Commands as they arrive at the controller beside an arm, and whether their time and their numbers can be believed."""

from typing import NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from controllers.state import JointCommand, PoseCommand, RobotCommand, RobotState

# Clocks of two machines may differ by this much without anybody's fault.
_FUTURE_S = 0.02


class GripperCommand(NamedTuple):
    """Go to a distance between the fingers.

    Attributes:
        stamp_s: When the command was decided.
        width_m: The distance.
    """

    stamp_s: float
    width_m: float


class Incoming(NamedTuple):
    """A command as it arrived.

    Attributes:
        stream: Topic on which it came.
        publisher: Identifies who sent it; empty if the middleware does not say.
        command: What is wanted; None if the message could not be read. The gripper width of a command for the arm is
            not looked at: it comes as a command of its own.
        problem: Why the message could not be read, to follow the name of the topic.
        alone: False if there are several publishers and the middleware does not say which it was.
    """

    stream: str
    publisher: bytes
    command: RobotCommand | GripperCommand | None
    problem: str = ""
    alone: bool = True


def judge(message: Incoming, now_s: float, max_age_s: float) -> tuple[str, str]:
    """Name and description of what is wrong with a command; both empty if nothing is.

    Args:
        message: It.
        now_s: Time on the robot's clock.
        max_age_s: An older one is refused.
    """
    command = message.command
    if command is None:
        return "bad_command", message.problem
    age_s = now_s - command.stamp_s
    if age_s < -_FUTURE_S:
        return "future_command", f"is stamped {-age_s:.3f} s in the future: synchronise the clocks (chrony)"
    if not age_s <= max_age_s:
        return (
            "stale_command",
            f"is stamped {age_s:.3f} s ago: send commands at once, with synchronised clocks",
        )
    if not np.isfinite(_numbers(command)).all():
        return "bad_command", "holds a number that is not finite"
    return "", ""


def as_of(state: RobotState, now_s: float) -> RobotState:
    """The state; one that a clock slightly ahead has stamped counts as new."""
    return replace(state, stamp_s=now_s) if now_s < state.stamp_s <= now_s + _FUTURE_S else state


def _numbers(command: RobotCommand | GripperCommand) -> NDArray[np.float64]:
    if isinstance(command, PoseCommand):
        return np.concatenate((command.ee_position_m, command.ee_quaternion_xyzw))
    return command.joint_position_rad if isinstance(command, JointCommand) else np.array(command.width_m)
