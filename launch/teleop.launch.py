"""Move an arm by hand: the controller node (with the twin when sim:=true) and the teleoperation node.

The driver of the device (`joy_node`, `spacenav_node`) is not started here. There is no keyboard: it needs a terminal,
which a launched node has not.
"""

from pathlib import Path
from typing import Any

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, Shutdown
from launch.conditions import IfCondition, UnlessCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

_NUMBERS = ("rate_hz", "linear_speed_m_s", "angular_speed_rad_s")


def generate_launch_description() -> LaunchDescription:
    """Arguments, then the processes."""
    argument = DeclareLaunchArgument
    task_file = [FindPackageShare("journeyman"), "/tasks/", LaunchConfiguration("task"), ".yaml"]
    parameters = {
        "arm": ParameterValue(LaunchConfiguration("robot"), value_type=str),
        "task": ParameterValue(task_file, value_type=str),
        "device": ParameterValue(LaunchConfiguration("device"), value_type=str),
        "frame": ParameterValue(LaunchConfiguration("frame"), value_type=str),
        "use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool),
        **{name: ParameterValue(LaunchConfiguration(name), value_type=float) for name in _NUMBERS},
    }
    sim = LaunchConfiguration("sim")
    return LaunchDescription(
        [
            argument(
                "sim",
                default_value="false",
                choices=["true", "false", "True", "False"],
                description="Whether to start the twin as well.",
            ),
            argument(
                "robot",
                default_value="twin",
                description="Name of a robot (a YAML in robot_env/ros/robots), or a path of one.",
            ),
            argument(
                "device",
                default_value="joy",
                choices=["joy", "spacenav", "twist"],
                description="What the hand holds: a gamepad, a 3D mouse, or anything that publishes teleop/twist.",
            ),
            argument(
                "frame",
                default_value="base",
                choices=["base", "end_effector"],
                description="Axes of the velocities: the robot's base, or its tool.",
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
            _include("sim_twin", condition=IfCondition(sim)),
            _include("controller", condition=UnlessCondition(sim)),
            Node(
                package="journeyman",
                executable="teleop_node",
                namespace=LaunchConfiguration("namespace"),
                parameters=[parameters],
                output="screen",
                on_exit=Shutdown(reason="the teleoperation node ended"),
            ),
        ]
    )


def _include(name: str, condition: Any) -> IncludeLaunchDescription:
    source = PythonLaunchDescriptionSource(str(Path(__file__).with_name(f"{name}.launch.py")))
    return IncludeLaunchDescription(
        source, launch_arguments=[("robot", LaunchConfiguration("robot"))], condition=condition
    )
