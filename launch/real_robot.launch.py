"""A real arm whose drivers run already: controller node, actor, and a learner unless it is elsewhere."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration


def generate_launch_description() -> LaunchDescription:
    """The two launch files that do the work; their arguments are this one's."""
    # No default: nobody should move an arm that he did not name.
    robot = DeclareLaunchArgument(
        "robot",
        description="Name of a robot in robot_env/ros/robots (franka, ur5e, xarm7, so101), or path of a YAML.",
    )
    return LaunchDescription([robot, _include("controller"), _include("learn", ("provenance", "robot"))])


def _include(name: str, *arguments: tuple[str, str]) -> IncludeLaunchDescription:
    source = PythonLaunchDescriptionSource(str(Path(__file__).with_name(f"{name}.launch.py")))
    return IncludeLaunchDescription(
        source, launch_arguments=[("robot", LaunchConfiguration("robot")), *arguments]
    )
