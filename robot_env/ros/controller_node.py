"""The controller node: safety filter and watch beside the arm, between whoever commands and what moves it.

A lifecycle node. The control loop has a thread of its own (`robot_env.ros.control_loop`) and decides as
`controllers.arm_control` says; everything here is done by the thread that spins the node.

    python -m robot_env.ros.controller_node --ros-args -p arm:=twin
"""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import SetBool, Trigger

from controllers.config import InputError
from robot_env.clock import RateStatistics
from robot_env.program import StopFlag, ThreadDiedError, run_program, when_signalled
from robot_env.robot import RobotError
from robot_env.ros.control_loop import ControlLoop
from robot_env.ros.controller_status import Report, StatusTopics
from robot_env.ros.controller_topics import EmergencyStopTopic
from robot_env.ros.node_log import NodeLog
from robot_env.ros.node_parameters import declare, number
from robot_env.ros.ros_clock import RosClock, SimulatedRosClock, WallRosClock
from robot_env.ros.runtime import Runtime

_AUTOSTART_PERIOD_S = 0.2
_LOOK_PERIOD_S = 0.05
_NUMBERS = {"rate_hz": (100.0, 10.0, 1000.0), "max_lateness_s": (0.2, 0.01, 60.0)}
_SUCCESS, _FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class ControllerNode(LifecycleNode):
    """See the module.

    Parameters: `arm` (name of the robot, or path of its YAML), `task` (path of a task's YAML, whose workspace counts),
    `autostart` (configure and activate by itself, as soon as the arm tells its state), `rate_hz` of the control loop,
    and `max_lateness_s`: a loop that was held up longer is a fault.

    Attributes:
        failure: Why the process must end.
    """

    def __init__(self, **keywords: Any) -> None:
        super().__init__("controller", **keywords)
        self.failure: Exception | None = None
        self._loop: ControlLoop | None = None
        self._made: set[Any] = set()
        self._ended = False
        self._why_inactive = "not active"
        numbers = {name: default for name, (default, *_) in _NUMBERS.items()}
        declare(self, {"arm": "twin", "task": "", "autostart": True, **numbers})
        simulated = self.get_parameter("use_sim_time").value
        self._clock_of_loop: RosClock = SimulatedRosClock(self) if simulated else WallRosClock()
        self._stop = EmergencyStopTopic(self)
        self._status = StatusTopics(self, self._clock_of_loop, self._report, self._found_rival)
        self._make_services()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._autostart = self.create_timer(_AUTOSTART_PERIOD_S, self._start_by_itself, clock=steady)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Make everything that the arm's description asks for."""
        there = self._entities()
        try:
            self._loop = self._make_loop()
        except InputError as error:
            self._why_inactive = str(error)
            if not self.get_parameter("autostart").value:  # Otherwise the process ends with it.
                NodeLog(self).error(str(error))
        except Exception as error:  # rclpy would pass over it in silence.
            self.failure = error
        self._made = self._entities() - there
        if self._loop is None:
            self._destroy_made()
            return _FAILURE
        return _SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the control loop, if the arm tells its state."""
        loop = self._loop
        assert loop is not None
        if self._ended:
            return _FAILURE
        try:
            loop.start()
        except RobotError as error:
            if self._why_inactive != str(error):
                NodeLog(self).info(f"Waiting for {loop.description.name}: {error}")
            self._why_inactive = str(error)
            return _FAILURE
        except Exception as error:  # rclpy would pass over it in silence.
            self.failure = error
            return _FAILURE
        self._why_inactive = "not active"
        print(f"controller of {loop.description.name} is active", flush=True)
        return _SUCCESS

    def _found_rival(self) -> None:
        loop = self._loop
        if loop is not None and loop.running:
            with loop.lock:
                loop.control.fail("another controller node of this name commands the arm: end one of them")

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the arm, then the loop; the arm's own driver holds it from then on."""
        self._autostart.cancel()  # Somebody else decides about transitions from now on.
        if self._loop is not None:
            self._loop.end()
        return _SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget the arm."""
        self._autostart.cancel()  # Somebody else decides about transitions from now on.
        self._loop = None
        self._destroy_made()
        return _SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As deactivating and cleaning up."""
        self.on_deactivate(state)
        return self.on_cleanup(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As shutting down; then the node can be configured again."""
        return self.on_shutdown(state)

    def destroy_node(self) -> None:
        """Stop the arm first."""
        self._ended = True
        if self._loop is not None:
            self._loop.end()
            self._status.say()
        super().destroy_node()

    def raise_if_dead(self) -> None:
        """Raise what must end the process."""
        if isinstance(self.failure, InputError):
            raise self.failure
        if self.failure is not None:
            raise ThreadDiedError(f"The controller cannot be started: {self.failure!r}.") from self.failure
        loop = self._loop
        if loop is not None and loop.failure is not None:
            raise ThreadDiedError(f"The control thread died: {loop.failure!r}.") from loop.failure

    def _make_loop(self) -> ControlLoop:
        arm, task = (str(self.get_parameter(name).value) for name in ("arm", "task"))
        rate_hz, max_lateness_s = (number(self, name, *bounds) for name, (_, *bounds) in _NUMBERS.items())
        return ControlLoop(
            self, self._clock_of_loop, self._stop, arm, task, rate_hz, max_lateness_s, self._after_tick
        )

    def _start_by_itself(self) -> None:
        """Try until the arm is there."""
        if not self.get_parameter("autostart").value or (self._loop is not None and self._loop.running):
            self._autostart.cancel()
            return
        if self._loop is not None:
            self.trigger_activate()
        elif self.trigger_configure() != _SUCCESS:
            self.failure = self.failure or InputError(self._why_inactive)

    def _entities(self) -> set[Any]:
        return {*self.publishers, *self.subscriptions}

    def _destroy_made(self) -> None:
        for entity in self._made:
            (self.destroy_publisher if entity in set(self.publishers) else self.destroy_subscription)(entity)
        self._made = set()

    # Services. Each act returns why it was not done, in a sentence.

    def _make_services(self) -> None:
        acts = {
            "stop": self._act_stop,
            "recover": lambda: self._with_loop(lambda loop: loop.control.recover()),
            "reset_e_stop": self._stop.reset,
            "zero_ftsensor": lambda: self._with_loop(lambda loop: loop.wrench_zero.zero()),
        }
        for name, act in acts.items():
            self.create_service(
                Trigger, f"~/{name}", lambda _, answer, name=name, act=act: self._answer(answer, name, act)
            )
        self.create_service(SetBool, "~/enable", self._enable)

    def _answer(self, answer: Any, name: str, act: Callable[[], str]) -> Any:
        answer.message = act()
        answer.success = not answer.message
        NodeLog(self).info(f"{name}: {answer.message or 'done'}")
        return answer

    def _act_stop(self) -> str:
        loop = self._loop
        if loop is not None:  # Otherwise nothing needs to be stopped.
            with loop.lock:
                loop.control.stop()
        return ""

    def _enable(self, wanted: Any, answer: Any) -> Any:
        name = "enable" if wanted.data else "disable"
        return self._answer(
            answer, name, lambda: self._with_loop(lambda loop: loop.control.enable(wanted.data))
        )

    def _with_loop(self, act: Callable[[ControlLoop], str]) -> str:
        loop = self._loop
        if loop is None or not loop.running:
            return f"The controller is not active: {self._why_inactive}"
        with loop.lock:
            return act(loop)

    def _report(self) -> Report:
        """How the node is."""
        loop = self._loop
        if loop is None or not loop.running:
            # Nobody else listens for the emergency stop meanwhile.
            self._stop.refresh()
        robot = "" if loop is None else loop.description.name
        with nullcontext() if loop is None else loop.lock:
            hits, statistics = (
                ({}, RateStatistics()) if loop is None else (loop.control.hits, loop.statistics)
            )
            return Report(*self._state(), robot, hits, statistics)

    def _state(self) -> tuple[str, str]:
        """State and why."""
        loop = self._loop
        if self._stop.reason:
            return "e_stop", self._stop.reason
        if loop is None or not loop.running:
            return "inactive", self._why_inactive
        return str(loop.control.state), loop.control.message

    def _after_tick(self) -> None:
        self._status.say_change(*self._state())


def main(args: list[str] | None = None) -> int:
    """Entry point of the node; returns as `run_program` says."""
    return run_program("controller_node", lambda: _run(sys.argv[1:] if args is None else args))


def _run(arguments: list[str]) -> None:
    stop = StopFlag()
    when_signalled(stop.set)
    runtime = Runtime(ControllerNode, arguments)
    try:
        while not stop.wait(_LOOK_PERIOD_S):
            runtime.raise_if_dead()
            runtime.node.raise_if_dead()
    finally:
        runtime.close()


if __name__ == "__main__":
    sys.exit(main())
