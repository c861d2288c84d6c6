"""What all launch files share: the arguments that every node needs, and a check of numbers. It starts nothing.

A launch file that is installed cannot import another, so what they share is included.
"""

from typing import Any

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration

_NUMBERS = ("controller_rate_hz", "rate_factor", "rate_hz", "linear_speed_m_s", "angular_speed_rad_s")


def generate_launch_description() -> LaunchDescription:
    """Arguments, and the environment of every process that is started after this."""
    argument = DeclareLaunchArgument
    return LaunchDescription(
        [
            argument("task", default_value="lift_cube", description="The task: its scene and its workspace."),
            argument(
                "use_sim_time",
                default_value="false",
                choices=["true", "false", "True", "False"],
                description="Whether all nodes follow /clock; a twin then publishes it.",
            ),
            argument(
                "namespace",
                default_value="",
                description="Namespace of all topics but /clock and /diagnostics.",
            ),
            argument(
                "transports",
                default_value=EnvironmentVariable("FASTDDS_BUILTIN_TRANSPORTS", default_value="DEFAULT"),
                description="Fast DDS transports: DEFAULT, or for large raw images 'LARGE_DATA?max_msg_size=2MB&"
                "sockets_size=2MB&non_blocking=true'. Nodes, drivers and tools hear each other only with the same.",
            ),
            SetEnvironmentVariable("FASTDDS_BUILTIN_TRANSPORTS", LaunchConfiguration("transports")),
            OpaqueFunction(function=_check),
        ]
    )


def _check(context: Any) -> None:
    """Refuse what is no number before anything runs: launch would leave running what it has started by then."""
    for name in _NUMBERS:
        given = context.launch_configurations.get(name, "0")
        try:
            float(given)
        except ValueError:
            raise ValueError(f"{name}:={given} is not a number.") from None
