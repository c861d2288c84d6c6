"""`journeyman controller`: the controller node of a robot, beside its driver."""

import argparse
import os
import signal
import tempfile
from pathlib import Path

from journeyman.config import compose
from journeyman.process import when_input_ends
from journeyman.twin import ros_arguments, write_task


def run(options: argparse.Namespace) -> int:
    """Run until a signal. The robot is `robot.config.arm`, the workspace that of `task`."""
    from journeyman.ros.assembly import read_ros2_config
    from robot_env.ros.controller_node import main  # Imports ROS.

    config = compose(["robot=ros2", *options.overrides])
    robot = read_ros2_config(config.robot.config)
    if options.supervised:
        when_input_ends(lambda: os.kill(os.getpid(), signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="journeyman-") as folder:
        parameters = {
            "task": write_task(config, Path(folder)),
            "arm": robot.arm,
            "use_sim_time": robot.simulated_time,
        }
        return main([*ros_arguments(parameters), *robot.ros_arguments])
