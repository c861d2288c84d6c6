"""The controller node, beside the arm or its twin. It is never started again by itself; the launch ends with it."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    """Arguments, then the process."""
    argument = DeclareLaunchArgument
    common = PythonLaunchDescriptionSource(str(Path(__file__).with_name("common.launch.py")))
    task_file = [FindPackageShare("journeyman"), "/tasks/", LaunchConfiguration("task"), ".yaml"]
    parameters = {
        "arm": ParameterValue(LaunchConfiguration("robot"), value_type=str),
        "task": ParameterValue(task_file, value_type=str),
        "autostart": ParameterValue(LaunchConfiguration("autostart"), value_type=bool),
        "rate_hz": ParameterValue(LaunchConfiguration("controller_rate_hz"), value_type=float),
        "use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool),
    }
    return LaunchDescription(
        [
            # No default: nobody should move an arm that he did not name.
            argument(
                "robot",
                description="Name of a robot in robot_env/ros/robots (franka, ur5e, xarm7, so101), or path of a YAML.",
            ),
            argument(
                "controller_rate_hz", default_value="100.0", description="Rate of the controller's loop."
            ),
            argument(
                "autostart",
                default_value="true",
                choices=["true", "false", "True", "False"],
                description="Whether the controller configures and activates itself.",
            ),
            IncludeLaunchDescription(common),
            Node(
                package="journeyman",
                executable="controller_node",
                namespace=LaunchConfiguration("namespace"),
                parameters=[parameters],
                output="screen",
                on_exit=Shutdown(reason="the controller ended"),
            ),
        ]
    )
