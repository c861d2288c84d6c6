"""The teleoperation node: a hand drives the arm, past the same filters as a policy.

    python -m robot_env.ros.teleop_node --ros-args -p arm:=twin -p device:=joy

It commands, so nothing else may: the controller node refuses two. It records nothing.
"""

import re
import sys
from pathlib import Path
from typing import Any

from controllers.config import InputError
from robot_env.clock import Rate
from robot_env.program import StopFlag, run_program, when_signalled
from robot_env.realtime import prefer_control_loop
from robot_env.robot import RobotUnavailableError
from robot_env.ros.description import RobotDescription, limits_for, load_description
from robot_env.ros.node_parameters import declare, number
from robot_env.ros.ros2_robot import Ros2Robot
from robot_env.ros.runtime import Runtime, share_arguments
from robot_env.ros.teleop_devices import DEVICES, Device, Setting
from robot_env.task import load_task
from robot_env.teleop import TeleopConfig, TeleopMapping

_PARAMETERS = {
    "arm": "twin",
    "task": "",
    "device": "joy",
    "frame": "base",
    "rate_hz": 20.0,
    "linear_speed_m_s": 0.1,
    "angular_speed_rad_s": 0.5,
}
_FRAMES = ("base", "end_effector")
# Slower, and the robot would take the node for dead between two commands.
_RATES_HZ = (5.0, 100.0)
_CONNECT_TIMEOUT_S = 2.0
_RETRY_PERIOD_S = 1.0


class Teleop:
    """The node `teleop`: its parameters, and the loop that drives.

    Parameters: `arm` (name of the robot, or path of its YAML), `task` (path of a task's YAML, whose workspace counts),
    `device` (of `robot_env.ros.teleop_devices`), `frame` (axes of the velocities: base or end_effector), `rate_hz`, and
    the speeds at full deflection, `linear_speed_m_s` and `angular_speed_rad_s`.

    Args:
        runtime: Its node, with the parameters declared.

    Raises:
        InputError: A parameter cannot be used.
    """

    def __init__(self, runtime: Runtime) -> None:
        node = runtime.node
        values = {name: node.get_parameter(name).value for name in _PARAMETERS}
        for name, allowed in (("device", tuple(DEVICES)), ("frame", _FRAMES)):
            if values[name] not in allowed:
                raise InputError(
                    f"There is no {name} {values[name]!r} to drive by; choose from {', '.join(allowed)}."
                )
        description = load_description(values["arm"])
        limits = limits_for(description, load_task(Path(values["task"])) if values["task"] else None)
        self._rate_hz = number(node, "rate_hz", *_RATES_HZ)
        speeds = [
            number(node, name, 0.001, getattr(limits, name))
            for name in ("linear_speed_m_s", "angular_speed_rad_s")
        ]
        self._runtime = runtime
        self._robot = Ros2Robot(
            description,
            limits,
            simulated_time=node.get_parameter("use_sim_time").value,
            connect_timeout_s=_CONNECT_TIMEOUT_S,
        )
        setting = Setting(speeds[0], speeds[1], _frame_id(description, values["frame"]), self._robot.clock)
        self._name, self._device = values["device"], _make_device(values["device"], node, setting)
        usual = TeleopConfig()
        config = TeleopConfig(
            linear_speed_m_s=speeds[0],
            angular_speed_rad_s=speeds[1],
            dead_zone=self._device.dead_zone,
            frame=values["frame"],
            leash_m=min(usual.leash_m, limits.translation_error_m),
            leash_rad=min(usual.leash_rad, limits.rotation_error_rad),
        )
        self._mapping = TeleopMapping(config, self._robot.max_gripper_width_m)
        self._log = node.get_logger()
        self._outage = self._problem = ""

    def run(self, stop: StopFlag) -> None:
        """Drive until `stop`; then the arm is at rest.

        Raises:
            RobotError: The robot needs a human.
        """
        try:
            while not stop.is_set():
                try:
                    self._robot.connect()
                    self._drive(stop)
                except RobotUnavailableError as error:
                    self._robot.stop()
                    self._say_outage(str(error))
                    stop.wait(_RETRY_PERIOD_S)
        finally:
            self._robot.close()

    def _drive(self, stop: StopFlag) -> None:
        robot, mapping = self._robot, self._mapping
        if self._outage:
            mapping.restart()
            self._outage = ""
        print(
            f"teleoperation of {robot.description.name} by {self._name} is ready ({self._device.hint} must run)",
            flush=True,
        )
        rate, moving = Rate(robot.clock, self._rate_hz), False
        while not stop.is_set():
            self._runtime.raise_if_dead()
            state = robot.observe()
            reading = self._device.read()
            self._say_problem()
            command = mapping.next_command(reading, state, robot.clock.now_s())
            if command is not None:
                mapping.sent(robot.send_command(command))
            elif moving:
                robot.stop()
                self._log.info("released" if reading is not None else f"stopped: {self._name} is silent")
            moving = command is not None
            rate.wait()

    def _say_outage(self, text: str) -> None:
        """Say why nothing moves, once for each reason."""
        reason = re.sub(r"\d", "", text)  # The age of the last message grows.
        if reason != self._outage:
            self._log.warning(
                f"{text} It is tried again every second; release the device before it moves again."
            )
        self._outage = reason

    def _say_problem(self) -> None:
        problem = self._device.problem
        if problem and problem != self._problem:
            self._log.warning(problem)
        self._problem = problem


def main(args: list[str] | None = None) -> int:
    """Entry point of the node; returns as `run_program` says."""
    return run_program("teleop_node", lambda: _run(sys.argv[1:] if args is None else args))


def _run(arguments: list[str]) -> None:
    stop = StopFlag()
    when_signalled(stop.set)
    runtime = Runtime(_make_node, arguments)
    share_arguments(arguments)  # The robot is a node of its own, in the same namespace.
    try:
        teleop = Teleop(runtime)
        prefer_control_loop()
        teleop.run(stop)
    finally:
        runtime.close()


def _make_node(**keywords: Any) -> Any:
    from rclpy.node import Node

    node = Node("teleop", **keywords)
    declare(node, _PARAMETERS)
    return node


def _make_device(name: str, node: Any, setting: Setting) -> Device:
    from rclpy.exceptions import ParameterException

    try:
        device: Device = DEVICES[name](node, setting)
    except ParameterException as error:
        raise InputError(f"A parameter of device {name!r} cannot be used: {error}") from None
    return device


def _frame_id(description: RobotDescription, frame: str) -> str:
    return description.ee_frame if frame == "end_effector" else description.base_frame


if __name__ == "__main__":
    sys.exit(main())
