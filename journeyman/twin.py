"""`journeyman twin`: the MuJoCo twin on the topics of a real arm, and its controller node as a process of its own."""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import yaml

from journeyman.config import RunConfig, compose
from journeyman.process import child_environment


def run(options: argparse.Namespace) -> int:
    """Run until a signal; the controller ends with it."""
    from sim.ros.twin_node import main  # Imports ROS.

    config = compose(["robot=ros2", *options.overrides])
    with tempfile.TemporaryDirectory(prefix="journeyman-") as folder:
        task = write_task(config, Path(folder))
        parameters = {
            "task": task,
            "arm": config.robot.config["arm"],
            "rate_factor": options.rate_factor,
            "publish_clock": options.clock,
            "cameras": not options.no_cameras,
        }
        controller = None if options.no_controller else _start_controller(options)
        try:
            return main(ros_arguments(parameters))
        finally:
            if controller is not None:
                controller.terminate()
                controller.wait()


def write_task(config: RunConfig, folder: Path) -> str:
    """The task with all overrides as a file, which is what nodes take; returns its path."""
    path = folder / "task.yaml"
    path.write_text(yaml.safe_dump(msgspec.to_builtins(config.task)))
    return str(path)


def ros_arguments(parameters: dict[str, object]) -> list[str]:
    """Parameters of a node as its command line."""
    arguments = ["--ros-args"]
    for name, value in parameters.items():
        arguments += ["-p", f"{name}:={_as_yaml(value)}"]
    return arguments


def _as_yaml(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()


def _start_controller(options: argparse.Namespace) -> subprocess.Popen[bytes]:
    overrides = list(options.overrides)
    if options.clock:
        overrides.append("robot.config.simulated_time=true")
    command = [sys.executable, "-m", "journeyman", "controller", "--supervised", *overrides]
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=child_environment(), cwd=os.getcwd())
