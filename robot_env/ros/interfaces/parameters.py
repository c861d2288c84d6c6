"""How interfaces read their part of a robot's YAML."""

from collections.abc import Mapping
from typing import Any, TypeVar

from controllers.config import Config, InputError, read
from robot_env.ros.description import RobotDescription

Parameters = TypeVar("Parameters", bound=Config)


def read_parameters(
    kind: type[Parameters], config: Mapping[str, Any], description: RobotDescription
) -> Parameters:
    """The parameters of an interface, unknown keys refused.

    Raises:
        InputError: They do not fit; the message names the key.
    """
    return read(kind, config, f"interface of robot {description.name!r}")


def require_base_frame(description: RobotDescription, reader: str) -> str:
    """The base frame of a robot whose controller, `reader`, insists on one.

    Raises:
        InputError: It has none.
    """
    if not description.base_frame:
        raise InputError(
            f"robot {description.name!r} has an empty base_frame, but {reader} takes commands in a named frame only: "
            "give the frame of its base."
        )
    return description.base_frame
