"""The contract between filtered commands and what moves the arm."""

from collections.abc import Mapping
from typing import Any, Protocol

from controllers.config import InputError
from controllers.loading import load_attribute
from controllers.state import RobotCommand, RobotState
from robot_env.ros.description import RobotDescription


class CommandInterface(Protocol):
    """Sends commands, which a safety filter has let pass, to a controller of the arm.

    Made as `Class(node, description, config)`: publishes on `node`; `config` is the YAML's, read strictly. It may have
    an attribute `stop_by` (see `controllers.braking`), and `needs_controller` if it must not be used without the node.
    Raises InputError for a configuration or a robot that it cannot serve.
    """

    def send(self, command: RobotCommand, state: RobotState, stamp_ns: int) -> None:
        """Publish one command. Called at the control rate; never waits.

        Args:
            command: What to do. An arm's pose or joint positions; the gripper is not this interface's.
            state: The measurement that the command was judged by.
            stamp_ns: ROS time to stamp messages with.

        Raises:
            UnreachableError: The command cannot be expressed to this controller (no inverse kinematics); nothing
                was sent.
        """
        ...

    def release(self) -> None:
        """Commands end here: say so where the controller can be told, so that it does not go on by itself."""
        ...


def make_interface(node: Any, description: RobotDescription) -> CommandInterface:
    """The interface that a robot's YAML names.

    Raises:
        InputError: There is no such class, or it refuses its configuration.
    """
    wanted = description.interface
    make = load_attribute(wanted.type, f"interface {wanted.type!r} of robot {description.name!r}")
    config: Mapping[str, Any] = wanted.config
    try:
        interface: CommandInterface = make(node, description, config)
    except TypeError as error:
        raise InputError(
            f"interface {wanted.type!r} of robot {description.name!r} is none: {error}."
        ) from None
    return interface
