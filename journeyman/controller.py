"""`journeyman controller`: the controller node of a robot, beside its driver."""

import argparse
import os
import signal
import tempfile
from pathlib import Path

from journeyman.config import compose
from journeyman.learner import split_run
from journeyman.process import when_input_ends
from journeyman.run_directory import RunDirectory
from journeyman.run_log import run_log
from journeyman.twin import ros_arguments, write_task


def run(options: argparse.Namespace) -> int:
    """Run until a signal.

    The robot is `robot.config.arm`, the loop's rate `robot.config.controller_rate_hz`, the workspace that of `task`;
    `run=DIR`: where to log.
    """
    from journeyman.ros.assembly import read_ros2_config
    from robot_env.ros.controller_node import main  # Imports ROS.

    run_folder, overrides = split_run(options.overrides)
    config = compose(["robot=ros2", *overrides])
    robot = read_ros2_config(config.robot.config)
    if options.supervised:
        when_input_ends(lambda: os.kill(os.getpid(), signal.SIGTERM))
    logs = RunDirectory(run_folder or Path("runs")).logs
    with run_log(logs, "controller"), tempfile.TemporaryDirectory(prefix="journeyman-") as folder:
        parameters = {
            "task": write_task(config, Path(folder)),
            "arm": robot.arm,
            "rate_hz": robot.controller_rate_hz,
            "use_sim_time": robot.simulated_time,
        }
        return main([*ros_arguments(parameters), *robot.ros_arguments])
