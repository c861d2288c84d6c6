"""A reset that another node does when asked: the twin's, or a fixture's that puts the scene back."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from robot_env.contracts import KeepGoing, ResetResult, always
from robot_env.robot import RobotUnavailableError
from robot_env.ros.commander import ControllerCommander
from robot_env.ros.ros2_robot import Ros2Robot
from robot_env.ros.ros_clock import RosClock
from robot_env.ros.services import Service

# Nodes may still be finding each other, when it is the first reset.
_NEWS_TIMEOUT_S = 10.0
_LOOK_AGAIN_S = 0.002


class ServiceReset:
    """Calls `<node>/reset` (std_srvs/Trigger). Implements `ResetPolicy` and `robot_env.ros.ros2_robot.NodePart`.

    The node may move the arm by itself, or put it elsewhere as only a twin can. So our controller lets go of the arm
    before, and takes it where it is found afterwards.

    Args:
        robot: Let go of and taken again; unless somebody stopped it, which only a human takes back.
        node_name: The node that resets. Its parameter `reset_seed` is set before, so that a reset can be repeated.
        news: Each says when the newest message of something was measured, on the robot's clock; an observation made
            of messages from before the reset would be of another episode.
        timeout_s: How long a reset may take.
    """

    def __init__(
        self, robot: Ros2Robot, node_name: str, news: list[Callable[[], float]], timeout_s: float = 60.0
    ) -> None:
        self._robot = robot
        self._timeout_s = timeout_s
        self._node_name = node_name
        self._news = news

    def attach(self, node: Any, clock: RosClock) -> None:
        """Make the clients."""
        from rcl_interfaces.srv import SetParameters
        from std_srvs.srv import Trigger

        self._clock = clock
        self._reset = Service(node, Trigger, f"{self._node_name}/reset", answer_timeout_s=self._timeout_s)
        self._parameters = Service(node, SetParameters, f"{self._node_name}/set_parameters")

    def reset(self, rng: np.random.Generator, keep_going: KeepGoing = always) -> ResetResult:
        """Let the node reset the scene from a seed drawn from `rng`.

        `keep_going` is asked before the node is, and not while it works: what it does then nobody here can stop.

        Raises:
            RobotUnavailableError: The robot, its controller or the node is not there, or does not follow.
        """
        keep_going()
        # Whoever stopped or disabled the controller must find it so: first of all, nothing is touched.
        self._require(self._robot.commander.fault(time.monotonic()))
        self._robot.stop()
        self._require(self._set_enabled(False))
        problem = self._set_seed(int(rng.integers(2**31))) or self._reset.missing()
        answer: Any = None if problem else self._reset.ask()
        if isinstance(answer, str):
            # Perhaps it still moves the arm: two must not.
            raise RobotUnavailableError(
                f"{answer} The controller stays disabled: enable it when the reset has ended."
            )
        problem = self._set_enabled(True) or problem
        self._require(problem)
        if not answer.success:
            return ResetResult(False, answer.message)
        self._robot.restart()
        self._wait_for_news(self._clock.now_s())
        return ResetResult(True)

    def _require(self, problem: str) -> None:
        if problem:
            raise RobotUnavailableError(problem)

    def _set_enabled(self, enabled: bool) -> str:
        from std_srvs.srv import SetBool

        commander = self._robot.commander
        if not isinstance(commander, ControllerCommander):
            return ""
        return commander.enable.call(SetBool.Request(data=enabled))

    def _set_seed(self, seed: int) -> str:
        from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
        from rcl_interfaces.srv import SetParameters

        value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=seed)
        answer = self._parameters.ask(
            SetParameters.Request(parameters=[Parameter(name="reset_seed", value=value)])
        )
        if isinstance(answer, str):
            return answer
        (result,) = answer.results
        return "" if result.successful else f"{self._node_name} refuses reset_seed: {result.reason}"

    def _wait_for_news(self, since_s: float) -> None:
        """Until the controller says that it follows, and everything observed was measured after the reset."""
        deadline_s = time.monotonic() + _NEWS_TIMEOUT_S
        problem = "There is no news from the robot after its reset."
        while time.monotonic() < deadline_s:
            try:
                measured_s = self._robot.observe().stamp_s
                # The answer to `enable` overtakes the status that tells of it.
                fault = self._robot.commander.fault(time.monotonic())
                if not fault and min([measured_s, *(newest() for newest in self._news)]) > since_s:
                    return
                problem = fault or problem
            except RobotUnavailableError as error:
                problem = str(error)
            time.sleep(_LOOK_AGAIN_S)
        raise RobotUnavailableError(problem)
