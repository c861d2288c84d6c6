"""Move an arm by hand: the controller node (with the twin when sim:=true) and the teleoperation node.

The driver of the device (`joy_node`, `spacenav_node`) is not started here. There is no keyboard: it needs a terminal,
which a launched node has not.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.conditions import IfCondition, UnlessCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

_BOOL = ["true", "false", "True", "False"]
_NUMBERS = ("rate_hz", "linear_speed_m_s", "angular_speed_rad_s")


def generate_launch_description() -> LaunchDescription:
    """Arguments, then the processes."""
    argument = DeclareLaunchArgument
    robot = ParameterValue(LaunchConfiguration("robot"), value_type=str)
    task_file = [FindPackageShare("journeyman"), "/tasks/", LaunchConfiguration("task"), ".yaml"]
    task = ParameterValue(task_file, value_type=str)
    use_sim_time = ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)
    twin = PythonLaunchDescriptionSource(str(Path(__file__).with_name("sim_twin.launch.py")))
    return LaunchDescription(
        [
            argument(
                "sim",
                default_value="false",
                choices=_BOOL,
                description="Whether to start the twin as well.",
            ),
            argument(
                "robot",
                default_value="twin",
                description="Name of a robot (a YAML in robot_env/ros/robots), or a path of one.",
            ),
            argument(
                "task",
                default_value="lift_cube",
                description="The task; its workspace narrows the robot's limits.",
            ),
            argument(
                "device",
                default_value="joy",
                choices=["joy", "spacenav", "twist"],
                description="What the hand holds: a gamepad, a 3D mouse, or anything that publishes teleop/twist.",
            ),
            argument(
                "rate_hz", default_value="20.0", description="Rate of the teleoperation node's commands."
            ),
            argument(
                "linear_speed_m_s",
                default_value="0.1",
                description="Speed of the tool at full deflection.",
            ),
            argument(
                "angular_speed_rad_s",
                default_value="0.5",
                description="Turning speed of the tool at full deflection.",
            ),
            argument(
                "use_sim_time",
                default_value="false",
                choices=_BOOL,
                description="Whether all nodes follow /clock, which the twin then publishes.",
            ),
            argument("namespace", default_value="", description="Namespace of the robot's topics."),
            argument(
                "transports",
                default_value=EnvironmentVariable("FASTDDS_BUILTIN_TRANSPORTS", default_value="DEFAULT"),
                description="Fast DDS transports: DEFAULT, or for large raw images 'LARGE_DATA?max_msg_size=2MB&"
                "sockets_size=2MB&non_blocking=true'. Nodes, drivers and tools hear each other only with the same.",
            ),
            SetEnvironmentVariable("FASTDDS_BUILTIN_TRANSPORTS", LaunchConfiguration("transports")),
            OpaqueFunction(function=_check),
            # What is declared here is set there as well.
            IncludeLaunchDescription(twin, condition=IfCondition(LaunchConfiguration("sim"))),
            Node(
                package="journeyman",
                executable="controller_node",
                namespace=LaunchConfiguration("namespace"),
                parameters=[{"arm": robot, "task": task, "use_sim_time": use_sim_time}],
                output="screen",
                on_exit=_required("The controller ended; it is never started again by itself."),
                condition=UnlessCondition(LaunchConfiguration("sim")),
            ),
            Node(
                package="journeyman",
                executable="teleop_node",
                namespace=LaunchConfiguration("namespace"),
                parameters=[
                    {
                        "arm": robot,
                        "task": task,
                        "device": ParameterValue(LaunchConfiguration("device"), value_type=str),
                        "use_sim_time": use_sim_time,
                        **{
                            name: ParameterValue(LaunchConfiguration(name), value_type=float)
                            for name in _NUMBERS
                        },
                    }
                ],
                output="screen",
                on_exit=_required("The teleoperation node ended."),
            ),
        ]
    )


def _check(context: Any) -> None:
    """Refuse what is no number before anything runs: launch would leave running what it has started by then."""
    for name in _NUMBERS:
        float(LaunchConfiguration(name).perform(context))


def _required(message: str) -> Callable[..., list[Any] | None]:
    """For a process that the others need: when it ends, say why and end the launch."""

    def ended(_: Any, context: Any) -> list[Any] | None:
        return None if context.is_shutdown else [LogInfo(msg=message), Shutdown(reason=message)]

    return ended
