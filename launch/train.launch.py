"""The whole stack on one machine: twin, controller, learner and actor. The rehearsal of `real_robot`."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import EnvironmentVariable, LaunchConfiguration


def generate_launch_description() -> LaunchDescription:
    """Arguments, then the two launch files that do the work."""
    argument = DeclareLaunchArgument
    return LaunchDescription(
        [
            argument(
                "robot",
                default_value="twin",
                description="Whose topics the twin uses: name or path of a robot's YAML.",
            ),
            argument("task", default_value="lift_cube", description="The task to learn."),
            argument(
                "run",
                default_value="",
                description="Directory of a run to go on with; empty begins a new one.",
            ),
            argument(
                "learner_address",
                default_value="",
                description="Where a learner listens, as tcp://HOST:PORT; empty starts one here.",
            ),
            argument(
                "overrides",
                default_value="",
                description="More Hydra overrides, separated by spaces: 'seed=1 demonstrations.episodes=10'.",
            ),
            argument(
                "rate_factor",
                default_value="1.0",
                description="Speed of the twin relative to real time; other than 1 needs use_sim_time:=true.",
            ),
            argument("cameras", default_value="true", description="Whether the twin renders its cameras."),
            argument(
                "use_sim_time", default_value="false", description="Whether all follow the twin's /clock."
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
            # What is declared here is set there as well; but launch wants to be given what has no default there.
            _include("sim_twin"),
            _include("learn"),
        ]
    )


def _include(name: str) -> IncludeLaunchDescription:
    path = Path(__file__).with_name(f"{name}.launch.py")
    source = PythonLaunchDescriptionSource(str(path))
    return IncludeLaunchDescription(source, launch_arguments=[("robot", LaunchConfiguration("robot"))])
