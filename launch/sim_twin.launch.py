"""The MuJoCo twin on the topics of a real robot, and the controller node that guards it."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    """Arguments, then the processes: the controller waits for an arm, so their order does not matter to them."""
    argument = DeclareLaunchArgument
    controller = PythonLaunchDescriptionSource(str(Path(__file__).with_name("controller.launch.py")))
    task_file = [FindPackageShare("journeyman"), "/tasks/", LaunchConfiguration("task"), ".yaml"]
    parameters = {
        "arm": ParameterValue(LaunchConfiguration("robot"), value_type=str),
        "task": ParameterValue(task_file, value_type=str),
        "rate_factor": ParameterValue(LaunchConfiguration("rate_factor"), value_type=float),
        "publish_clock": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool),
        "cameras": ParameterValue(LaunchConfiguration("cameras"), value_type=bool),
    }
    return LaunchDescription(
        [
            argument(
                "robot",
                default_value="twin",
                description="Whose topics the twin uses: name of a robot, or path of its YAML.",
            ),
            argument(
                "rate_factor",
                default_value="1.0",
                description="Speed of the twin relative to real time; other than 1 needs use_sim_time:=true.",
            ),
            argument(
                "cameras",
                default_value="true",
                choices=["true", "false", "True", "False"],
                description="Whether the twin renders its cameras.",
            ),
            # What is declared here is set there as well; but launch wants to be given what has no default there.
            IncludeLaunchDescription(controller, launch_arguments=[("robot", LaunchConfiguration("robot"))]),
            Node(
                package="journeyman",
                executable="twin_node",
                namespace=LaunchConfiguration("namespace"),
                parameters=[parameters],
                output="screen",
                on_exit=Shutdown(reason="the twin ended"),
            ),
        ]
    )
