"""The whole stack on one machine: twin, controller, learner and actor. The rehearsal of `real_robot`."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration


def generate_launch_description() -> LaunchDescription:
    """The two launch files that do the work; their arguments are this one's."""
    robot = DeclareLaunchArgument(
        "robot",
        default_value="twin",
        description="Whose topics the twin uses: name of a robot, or path of its YAML.",
    )
    return LaunchDescription([robot, _include("sim_twin"), _include("learn", ("provenance", "twin"))])


def _include(name: str, *arguments: tuple[str, str]) -> IncludeLaunchDescription:
    source = PythonLaunchDescriptionSource(str(Path(__file__).with_name(f"{name}.launch.py")))
    return IncludeLaunchDescription(
        source, launch_arguments=[("robot", LaunchConfiguration("robot")), *arguments]
    )
