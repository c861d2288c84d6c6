"""The twin as a ROS 2 node, on the topics of a real arm: what was rehearsed against it runs on hardware.

Services: `~/reset` (the scene, from parameter `reset_seed` unless that is negative) and `~/recover` (from an emergency
stop), both std_srvs/Trigger.
"""

import sys
from typing import Any

from robot_env.program import StopFlag, run_program, when_signalled
from robot_env.realtime import prefer_control_loop
from robot_env.ros.description import load_description
from robot_env.ros.node_log import NodeLog
from robot_env.ros.node_parameters import declare, number
from robot_env.ros.runtime import Runtime
from sim.ros.lockstep import Lockstep
from sim.ros.world import RATE_FACTORS, TwinWorld, find_task

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
        rate_factor = number(node, "rate_factor", *RATE_FACTORS)
        self.world = TwinWorld(find_task(values["task"]), rate_factor, values["publish_clock"])
        self._lockstep = Lockstep(
            lambda: self.world.time_ns() * 1e-9, self._look, lambda: self._arm.publish_clock()
        )
        self._arm = ArmTopics(node, description, self.world, self._lockstep.heard)
        self._cameras = CameraTopics(node, description.cameras, self.world) if values["cameras"] else None
        node.create_service(Trigger, "~/reset", lambda _, answer: self._answer(answer, self._reset))
        node.create_service(Trigger, "~/recover", lambda _, answer: self._answer(answer, self._recover))

    def run(self, stop: StopFlag) -> None:
        """Let time pass until `stop`."""
        from sim.ros.arm_topics import SLOW_EVERY

        number = 0
        while not stop.is_set():
            self._runtime.raise_if_dead()
            is_slow_tick = number % SLOW_EVERY == 0
            self.world.grant_wishes()
            self._arm.take_commands(is_slow_tick)
            if self.world.simulated_time:
                self._lockstep.wait(stop.is_set)
            self._arm.publish(is_slow_tick)
            if self._cameras is not None:
                self._cameras.tick()
            self.world.tick()
            number += 1
        if self._cameras is not None:
            self._cameras.close()
        if self.world.dropped_s > 0.0:
            NodeLog(self._node).warning(
                f"This machine was too slow for {self.world.dropped_s:.1f} s of simulated time, which were left out."
            )

    def _look(self) -> None:
        """What must go on while time stands still."""
        self._runtime.raise_if_dead()
        self.world.grant_wishes()
        self._arm.take_commands(True)

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
    """Entry point of the node; returns as `run_program` says."""
    return run_program("twin_node", lambda: _run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: list[str]) -> None:
    stop = StopFlag()
    when_signalled(stop.set)
    runtime = Runtime(_make_node, arguments)
    try:
        node = TwinNode(runtime)
        print(f"twin of {node.world.task.name} is running", flush=True)
        # A real arm's joint states do not wait for a learner either.
        prefer_control_loop(beside_the_arm=True)
        node.run(stop)
    finally:
        runtime.close()


def _make_node(**keywords: Any) -> Any:
    from rclpy.node import Node

    node = Node("twin", **keywords)
    declare(node, _PARAMETERS)
    return node


if __name__ == "__main__":
    sys.exit(main())
