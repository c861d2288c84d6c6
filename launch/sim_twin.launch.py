"""The MuJoCo twin on the topics of a real robot, and the controller node that guards it."""

from collections.abc import Callable
from typing import Any

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, SetEnvironmentVariable, Shutdown
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

_BOOL = ["true", "false", "True", "False"]


def generate_launch_description() -> LaunchDescription:
    """Arguments, then the processes."""
    argument = DeclareLaunchArgument
    robot = ParameterValue(LaunchConfiguration("robot"), value_type=str)
    task_file = [FindPackageShare("journeyman"), "/tasks/", LaunchConfiguration("task"), ".yaml"]
    task = ParameterValue(task_file, value_type=str)
    use_sim_time = ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)
    return LaunchDescription(
        [
            argument(
                "robot",
                default_value="twin",
                description="Whose topics the twin uses: name of a robot, or path of its YAML.",
            ),
            argument(
                "task",
                default_value="lift_cube",
                description="The scene, and the workspace of the controller.",
            ),
            argument(
                "rate_factor",
                default_value="1.0",
                description="Speed of the twin relative to real time; other than 1 needs use_sim_time:=true.",
            ),
            argument(
                "cameras",
                default_value="true",
                choices=_BOOL,
                description="Whether the twin renders its cameras.",
            ),
            argument(
                "use_sim_time",
                default_value="false",
                choices=_BOOL,
                description="Whether the twin publishes /clock and the controller follows it.",
            ),
            argument(
                "autostart",
                default_value="true",
                choices=_BOOL,
                description="Whether the controller configures and activates itself.",
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
            Node(
                package="journeyman",
                executable="twin_node",
                namespace=LaunchConfiguration("namespace"),
                parameters=[
                    {
                        "arm": robot,
                        "task": task,
                        "rate_factor": ParameterValue(LaunchConfiguration("rate_factor"), value_type=float),
                        "publish_clock": use_sim_time,
                        "cameras": ParameterValue(LaunchConfiguration("cameras"), value_type=bool),
                    }
                ],
                output="screen",
                on_exit=_required("The twin ended."),
            ),
            Node(
                package="journeyman",
                executable="controller_node",
                namespace=LaunchConfiguration("namespace"),
                parameters=[
                    {
                        "arm": robot,
                        "task": task,
                        "autostart": ParameterValue(LaunchConfiguration("autostart"), value_type=bool),
                        "use_sim_time": use_sim_time,
                    }
                ],
                output="screen",
                on_exit=_required("The controller ended; it is never started again by itself."),
            ),
        ]
    )


def _required(message: str) -> Callable[..., list[Any] | None]:
    """For a process that the others need: when it ends, say why and end the launch."""

    def ended(_: Any, context: Any) -> list[Any] | None:
        return None if context.is_shutdown else [LogInfo(msg=message), Shutdown(reason=message)]

    return ended
