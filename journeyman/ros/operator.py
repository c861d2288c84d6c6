"""What a person asks and tells the controller node, also where there is no `ros2` command."""

import argparse
import sys
import time
from typing import Any

from journeyman.config import compose
from journeyman.ros.assembly import read_ros2_config
from robot_env.message_reading import values_of
from robot_env.ros.description import load_description

_ANSWER_TIMEOUT_S = 5.0
_SERVICES = {
    "stop": "stop",
    "recover": "recover",
    "reset-e-stop": "reset_e_stop",
    "zero-ftsensor": "zero_ftsensor",
}


def run(options: argparse.Namespace) -> int:
    """Do one action, then say in which state the controller is.

    Returns:
        0 if the controller did it; 1 if it refused or is not there.
    """
    from rclpy.node import Node

    from robot_env.ros.runtime import Runtime

    config = compose(["robot=ros2", *options.overrides])
    robot = read_ros2_config(config.robot.config)
    name = load_description(robot.arm).controller_name
    runtime = Runtime(lambda **keywords: Node("journeyman_operator", **keywords), robot.ros_arguments)
    try:
        problem = _act(runtime.node, name, options.action) or _say_status(runtime.node, name)
    finally:
        runtime.close()
    if problem:
        print(f"journeyman robot {options.action}: {problem}", file=sys.stderr)
    return 1 if problem else 0


def _act(node: Any, name: str, action: str) -> str:
    """Do it; returns what went wrong."""
    if action == "status":
        return ""
    if action == "e-stop":
        return _stop_at_once(node, name)
    from std_srvs.srv import Trigger

    from robot_env.ros.services import Service

    return Service(node, Trigger, f"{name}/{_SERVICES[action]}").call()


def _stop_at_once(node: Any, name: str) -> str:
    """Publish an emergency stop until the controller says that it has heard it."""
    from diagnostic_msgs.msg import DiagnosticStatus
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from std_msgs.msg import Bool

    from robot_env.ros.runtime import Inbox

    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = node.create_publisher(Bool, "e_stop", latched)
    status: Inbox[DiagnosticStatus] = Inbox(node, DiagnosticStatus, f"{name}/status", latched=True)
    deadline_s = time.monotonic() + _ANSWER_TIMEOUT_S
    while time.monotonic() < deadline_s:
        publisher.publish(Bool(data=True))
        time.sleep(0.02)
        for received in status.take():
            if values_of(received.message).get("state") == "e_stop":
                return ""
    return f"{name} did not say that it stopped: use the hardware's emergency stop."


def _say_status(node: Any, name: str) -> str:
    """Print the controller's status; returns what went wrong."""
    from diagnostic_msgs.msg import DiagnosticStatus

    from robot_env.ros.runtime import Inbox

    inbox: Inbox[DiagnosticStatus] = Inbox(node, DiagnosticStatus, f"{name}/status", latched=True)
    deadline_s = time.monotonic() + _ANSWER_TIMEOUT_S
    while time.monotonic() < deadline_s:
        for received in inbox.take():
            status = received.message
            values = values_of(status)
            print(f"{values.pop('state', '?')}: {status.message}")
            for key, value in sorted(values.items()):
                print(f"  {key:<28} {value}")
            return ""
        time.sleep(0.02)
    return f"{inbox.topic} is silent: start the controller node (journeyman controller)."
