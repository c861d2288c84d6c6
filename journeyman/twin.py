"""`journeyman twin`: the MuJoCo twin on the topics of a real arm, and its controller node as a process of its own."""

import argparse
import contextlib
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import yaml

from journeyman.config import RunConfig, compose
from journeyman.learner import split_run
from journeyman.process import child_environment
from journeyman.run_directory import RunDirectory
from journeyman.run_log import run_log


def run(options: argparse.Namespace) -> int:
    """Run until a signal; the controller ends with it. `run=DIR` says of which run, for the log."""
    from journeyman.ros.assembly import read_ros2_config
    from sim.ros.twin_node import main  # Imports ROS.

    run_folder, overrides = split_run(options.overrides)
    config = compose(["robot=ros2", *overrides])
    robot = read_ros2_config(config.robot.config)
    logs = RunDirectory(run_folder or Path("runs")).logs
    with run_log(logs, "twin"), tempfile.TemporaryDirectory(prefix="journeyman-") as folder:
        task = write_task(config, Path(folder))
        parameters = {
            "task": task,
            "arm": robot.arm,
            "rate_factor": options.rate_factor,
            "publish_clock": options.clock,
            "cameras": not options.no_cameras,
        }
        with contextlib.nullcontext() if options.no_controller else _controller(options):
            return main([*ros_arguments(parameters), *robot.ros_arguments])


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


@contextlib.contextmanager
def _controller(options: argparse.Namespace) -> Iterator[None]:
    """The controller node as a process of its own, as it is beside a real arm."""
    overrides = list(options.overrides)
    if options.clock:
        overrides.append("robot.config.simulated_time=true")
    command = [sys.executable, "-m", "journeyman", "controller", "--supervised", *overrides]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env=child_environment())
    ending = threading.Event()
    threading.Thread(target=_say_if_it_ends, args=(process, ending), daemon=True).start()
    try:
        yield
    finally:
        ending.set()
        process.terminate()
        process.wait()


def _say_if_it_ends(process: subprocess.Popen[bytes], ending: threading.Event) -> None:
    """Not started again: a controller that died beside an arm is a human's matter."""
    code = process.wait()
    if not ending.is_set():
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        print(
            f"The controller node ended by {how}; the arm holds. Start it again: journeyman controller",
            flush=True,
        )
