"""Parameters of a node: declared from defaults, numbers read within bounds."""

from collections.abc import Mapping
from typing import Any

from controllers.config import InputError


def declare(node: Any, defaults: Mapping[str, Any]) -> None:
    """Declare parameters of the types of their defaults; a float takes any type, for `number` to judge.

    People write 20 as well as 20.0, which rclpy would refuse for a parameter of type double.
    """
    from rcl_interfaces.msg import ParameterDescriptor

    for name, value in defaults.items():
        node.declare_parameter(name, value, ParameterDescriptor(dynamic_typing=isinstance(value, float)))


def number(node: Any, name: str, lowest: float, highest: float) -> float:
    """The value of a parameter declared with a float.

    Raises:
        InputError: It is no number from `lowest` to `highest`.
    """
    value = node.get_parameter(name).value
    if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value <= highest:
        raise InputError(
            f"Parameter {name} is {value!r}, but must be a number from {lowest:g} to {highest:g}: correct it."
        )
    return float(value)
