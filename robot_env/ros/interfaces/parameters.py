"""How interfaces read their part of a robot's YAML."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from controllers.config import Config, InputError, explain
from robot_env.ros.description import RobotDescription

Parameters = TypeVar("Parameters", bound=Config)


def read_parameters(
    kind: type[Parameters], config: Mapping[str, Any], description: RobotDescription
) -> Parameters:
    """The parameters of an interface, unknown keys refused.

    Raises:
        InputError: They do not fit; the message names the key.
    """
    try:
        return msgspec.convert(dict(config), kind, strict=False)
    except msgspec.ValidationError as error:
        raise InputError(f"interface of robot {description.name!r}: {explain(error, kind)}") from None


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
