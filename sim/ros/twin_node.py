"""The twin as a ROS 2 node, on the topics of a real arm: what was rehearsed against it runs on hardware.

Services: `~/reset` (the scene, from parameter `reset_seed` unless that is negative) and `~/recover` (from an emergency
stop), both std_srvs/Trigger.
"""

import signal
import sys
import threading
from typing import Any

from controllers.config import InputError
from robot_env.realtime import prefer_control_loop
from robot_env.ros.description import load_description
from robot_env.ros.runtime import Runtime, require_ros
from sim.ros.world import TwinWorld, find_task

_PARAMETERS = {
    "task": "lift_cube",
    "arm": "twin",
    "rate_factor": 1.0,
    "publish_clock": False,
    "cameras": True,
    "reset_seed": -1,
}


class TwinNode:
    """The node `twin`: parameters, services, and the loop that lets time pass.

    Args:
        runtime: Its node, with the parameters declared.

    Raises:
        InputError: A parameter cannot be used.
    """

    def __init__(self, runtime: Runtime) -> None:
        from std_srvs.srv import Trigger

        from sim.ros.arm_topics import ArmTopics
        from sim.ros.camera_topics import CameraTopics

        self._runtime = runtime
        node = self._node = runtime.node
        values = {name: node.get_parameter(name).value for name in _PARAMETERS}
        description = load_description(values["arm"])
        rate_factor = _number("rate_factor", values["rate_factor"])
        self.world = TwinWorld(find_task(values["task"]), rate_factor, values["publish_clock"])
        self._arm = ArmTopics(node, description, self.world)
        self._cameras = CameraTopics(node, description.cameras, self.world) if values["cameras"] else None
        node.create_service(Trigger, "~/reset", lambda _, answer: self._answer(answer, self._reset))
        node.create_service(Trigger, "~/recover", lambda _, answer: self._answer(answer, self._recover))

    def run(self, stop: threading.Event) -> None:
        """Let time pass until `stop`."""
        from sim.ros.arm_topics import SLOW_EVERY

        number = 0
        while not stop.is_set():
            self._runtime.raise_if_dead()
            is_slow_tick = number % SLOW_EVERY == 0
            self.world.grant_wishes()
            self._arm.take_commands(is_slow_tick)
            self._arm.publish(is_slow_tick)
            if self._cameras is not None:
                self._cameras.tick()
            self.world.tick()
            number += 1
        if self._cameras is not None:
            self._cameras.close()
        if self.world.dropped_s > 0.0:
            self._node.get_logger().warning(
                f"This machine was too slow for {self.world.dropped_s:.1f} s of simulated time, which were left out."
            )

    def _answer(self, answer: Any, act: Any) -> Any:
        answer.message = self.world.wish(act)
        answer.success = not answer.message
        return answer

    def _reset(self) -> str:
        seed = self._node.get_parameter("reset_seed").value
        reason = self.world.reset(seed if seed >= 0 else None)
        self._arm.restart()
        self._arm.publish(True)
        return reason

    def _recover(self) -> str:
        self._arm.release()
        return ""


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the node.

    Returns:
        0 after a signal, 2 for parameters that cannot be used.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        runtime = _make_runtime(sys.argv[1:] if arguments is None else arguments)
    except InputError as error:
        print(f"twin_node: {error}", file=sys.stderr)
        return 2
    try:
        node = TwinNode(runtime)
        print(f"twin of {node.world.task.name} is running", flush=True)
        # A real arm's joint states do not wait for a learner either.
        prefer_control_loop(beside_the_arm=True)
        node.run(stop)
    except InputError as error:
        print(f"twin_node: {error}", file=sys.stderr)
        return 2
    finally:
        runtime.close()
    return 0


def _make_runtime(arguments: list[str]) -> Runtime:
    """The node on its thread.

    Raises:
        InputError: The arguments of ROS, or the types of parameters in them, cannot be used.
    """
    require_ros()
    from rclpy.exceptions import ParameterException

    try:
        return Runtime(_make_node, arguments)
    except (ParameterException, RuntimeError) as error:  # Of rcl, which names what it could not read.
        raise InputError(f"The ROS arguments {arguments} cannot be used: {error}") from None


def _make_node(**keywords: Any) -> Any:
    from rcl_interfaces.msg import ParameterDescriptor
    from rclpy.node import Node

    node = Node("twin", **keywords)
    for name, value in _PARAMETERS.items():
        # Dynamic: people write 2 as well as 2.0.
        node.declare_parameter(name, value, ParameterDescriptor(dynamic_typing=isinstance(value, float)))
    return node


def _number(name: str, value: Any) -> float:
    if isinstance(value, (int, float)):
        return float(value)
    raise InputError(f"Parameter {name} is {value!r}, but must be a number.")


if __name__ == "__main__":
    sys.exit(main())
