"""A real arm whose drivers run already: controller node, actor, and a learner unless it is elsewhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    LogInfo,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    """Arguments, then the processes."""
    argument = DeclareLaunchArgument
    task_file = [FindPackageShare("journeyman"), "/tasks/", LaunchConfiguration("task"), ".yaml"]
    learn = PythonLaunchDescriptionSource(str(Path(__file__).with_name("learn.launch.py")))
    return LaunchDescription(
        [
            # No default: nobody should move an arm that he did not name.
            argument(
                "robot",
                description="Name of a robot in robot_env/ros/robots (franka, ur5e, xarm7, so101), or path of a YAML.",
            ),
            argument(
                "task",
                default_value="lift_cube",
                description="The task; its workspace narrows the robot's limits.",
            ),
            argument(
                "run",
                default_value="",
                description="Directory of a run to go on with; empty begins a new one.",
            ),
            argument(
                "learner_address",
                default_value="",
                description="Where a learner listens, as tcp://HOST:PORT; empty starts one here. Other machines need "
                "transport.keys=FOLDER in `overrides`.",
            ),
            argument(
                "overrides",
                default_value="",
                description="More Hydra overrides, separated by spaces: 'robot.config.reset=joint seed=1'.",
            ),
            argument("rate_hz", default_value="100.0", description="Rate of the controller's loop."),
            argument(
                "autostart",
                default_value="true",
                choices=["true", "false", "True", "False"],
                description="Whether the controller configures and activates itself.",
            ),
            argument("namespace", default_value="", description="Namespace of the robot's topics."),
            argument(
                "transports",
                default_value=EnvironmentVariable("FASTDDS_BUILTIN_TRANSPORTS", default_value="DEFAULT"),
                description="Fast DDS transports: DEFAULT, or for large raw images 'LARGE_DATA?max_msg_size=2MB&"
                "sockets_size=2MB&non_blocking=true'. Nodes, drivers and tools hear each other only with the same.",
            ),
            SetEnvironmentVariable("FASTDDS_BUILTIN_TRANSPORTS", LaunchConfiguration("transports")),
            Node(
                package="journeyman",
                executable="controller_node",
                namespace=LaunchConfiguration("namespace"),
                parameters=[
                    {
                        "arm": ParameterValue(LaunchConfiguration("robot"), value_type=str),
                        "task": ParameterValue(task_file, value_type=str),
                        "autostart": ParameterValue(LaunchConfiguration("autostart"), value_type=bool),
                        "rate_hz": ParameterValue(LaunchConfiguration("rate_hz"), value_type=float),
                    }
                ],
                output="screen",
                on_exit=_required("The controller ended; it is never started again by itself."),
            ),
            # What is declared here is set there as well; but launch wants to be given what has no default there.
            IncludeLaunchDescription(
                learn,
                launch_arguments=[
                    ("robot", LaunchConfiguration("robot")),
                    ("provenance", "robot"),
                    ("use_sim_time", "false"),
                ],
            ),
        ]
    )


def _required(message: str) -> Callable[..., list[Any] | None]:
    """For a process that the others need: when it ends, say why and end the launch."""

    def ended(_: Any, context: Any) -> list[Any] | None:
        return None if context.is_shutdown else [LogInfo(msg=message), Shutdown(reason=message)]

    return ended
