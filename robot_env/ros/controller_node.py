"""The controller node: safety filter and watch beside the arm, between whoever commands and what moves it.

A lifecycle node. The control loop has a thread of its own (`robot_env.ros.control_loop`) and decides as
`controllers.arm_control` says; everything here is done by the thread that spins the node.

    python -m robot_env.ros.controller_node --ros-args -p arm:=twin
"""

import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_srvs.srv import SetBool, Trigger

from controllers.config import InputError
from robot_env.clock import RateStatistics
from robot_env.robot import RobotError
from robot_env.ros.control_loop import ControlLoop
from robot_env.ros.controller_topics import EmergencyStopTopic, make_status
from robot_env.ros.messages import to_time
from robot_env.ros.ros_clock import RosClock, SimulatedRosClock, WallRosClock
from robot_env.ros.runtime import Runtime

_STATUS_PERIOD_S = 0.1
_DIAGNOSTICS_PERIOD_S = 1.0
_AUTOSTART_PERIOD_S = 0.2
_LOOK_PERIOD_S = 0.05
_LOG_PERIOD_S = 1.0
_LOWEST_HZ, _HIGHEST_HZ = 10.0, 1000.0
_HELP = {
    "fault": "When the cause is gone: ros2 service call {0}/recover std_srvs/srv/Trigger (journeyman robot recover).",
    "e_stop": "When all is safe: ros2 service call {0}/reset_e_stop std_srvs/srv/Trigger.",
    "disabled": "ros2 service call {0}/enable std_srvs/srv/SetBool '{{data: true}}'.",
}

_SUCCESS, _FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class ControllerNode(LifecycleNode):
    """See the module.

    Parameters: `arm` (name of the robot, or path of its YAML), `task` (path of a task's YAML, whose workspace counts),
    `autostart` (configure and activate by itself, as soon as the arm tells its state), `rate_hz`.

    Attributes:
        failure: Why the process must end.
    """

    def __init__(self, **keywords: Any) -> None:
        super().__init__("controller", **keywords)
        self.declare_parameter("arm", "twin")
        self.declare_parameter("task", "")
        self.declare_parameter("autostart", True)
        self.declare_parameter("rate_hz", 100.0)
        self.failure: Exception | None = None
        simulated = self.get_parameter("use_sim_time").value
        self._clock_of_loop: RosClock = SimulatedRosClock(self) if simulated else WallRosClock()
        self._loop: ControlLoop | None = None
        self._made: set[Any] = set()
        self._ended = False
        self._why_inactive = "not active"
        self._said = ("", "")
        self._logged_s = 0.0
        self._stop = EmergencyStopTopic(self)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._status_publisher = self.create_publisher(DiagnosticStatus, "~/status", latched)
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._make_services()
        # Timers by the wall: a simulation that stands still must not silence the status.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_STATUS_PERIOD_S, self._say_status, clock=steady)
        self.create_timer(_DIAGNOSTICS_PERIOD_S, self._say_diagnostics, clock=steady)
        self._autostart = self.create_timer(_AUTOSTART_PERIOD_S, self._start_by_itself, clock=steady)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Make everything that the arm's description asks for."""
        there = self._entities()
        try:
            self._loop = self._make_loop()
        except InputError as error:
            self._why_inactive = str(error)
            self.get_logger().error(str(error))
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
                self.get_logger().info(f"Waiting for {loop.description.name}: {error}")
            self._why_inactive = str(error)
            return _FAILURE
        self._why_inactive = "not active"
        print(f"controller of {loop.description.name} is active", flush=True)
        return _SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the arm, then the loop; the arm's own driver holds it from then on."""
        if self._loop is not None:
            self._loop.end()
        return _SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget the arm."""
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
        self._say_status()
        super().destroy_node()

    def raise_if_dead(self) -> None:
        """Raise what must end the process."""
        if self.failure is not None:
            raise self.failure
        loop = self._loop
        if loop is not None and loop.failure is not None:
            raise RuntimeError(f"The control thread died: {loop.failure!r}.") from loop.failure

    def _make_loop(self) -> ControlLoop:
        arm, task, rate_hz = (self.get_parameter(name).value for name in ("arm", "task", "rate_hz"))
        if not _LOWEST_HZ <= rate_hz <= _HIGHEST_HZ:
            raise InputError(f"rate_hz {rate_hz:g} must lie between {_LOWEST_HZ:g} and {_HIGHEST_HZ:g}.")
        return ControlLoop(self, self._clock_of_loop, self._stop, arm, task, rate_hz, self._say_change)

    def _start_by_itself(self) -> None:
        if not self.get_parameter("autostart").value:
            self._autostart.cancel()
        elif self._loop is None and self.trigger_configure() != _SUCCESS:
            self._autostart.cancel()
            self.failure = InputError(self._why_inactive)
        elif self.trigger_activate() == _SUCCESS:
            self._autostart.cancel()

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
        self.get_logger().info(f"{name}: {answer.message or 'done'}")
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

    # What it says of itself.

    def _state(self) -> tuple[str, str]:
        """State and message."""
        loop = self._loop
        if self._stop.reason:
            return "e_stop", self._stop.reason
        if loop is None or not loop.running:
            return "inactive", self._why_inactive
        return str(loop.control.state), loop.control.message

    def _make_status(self) -> DiagnosticStatus:
        loop, (state, message) = self._loop, self._state()
        hits, statistics = ({}, RateStatistics()) if loop is None else (loop.control.hits, loop.statistics)
        hardware = "" if loop is None else loop.description.name
        sentence = f"{message[0].upper()}{message[1:].rstrip('.')}."
        if state in _HELP:
            sentence += " " + _HELP[state].format(self.get_fully_qualified_name())
        return make_status(self.get_name(), hardware, state, sentence, hits, statistics)

    def _say_change(self) -> None:
        """After every tick, by the control thread."""
        said = self._state()
        if said != self._said:
            self._said = said
            self._say_status()
            self._log(*said)

    def _log(self, state: str, message: str) -> None:
        """Every fault; of the rest not every change, because a commander that is refused makes two a tick."""
        if state in ("fault", "e_stop"):
            self.get_logger().error(message)
        elif time.monotonic() - self._logged_s > _LOG_PERIOD_S:
            self._logged_s = time.monotonic()
            self.get_logger().info(f"{state}: {message}")

    def _say_status(self) -> None:
        with self._guard():
            self._status_publisher.publish(self._make_status())

    def _say_diagnostics(self) -> None:
        with self._guard():
            array = DiagnosticArray(status=[self._make_status()])
        array.header.stamp = to_time(self._clock_of_loop.stamp_ns())
        self._diagnostics_publisher.publish(array)

    def _guard(self) -> Any:
        """The lock of the loop, if there is one. Without a loop somebody else must listen for the emergency stop."""
        loop = self._loop
        if loop is None or not loop.running:
            self._stop.refresh()
            return nullcontext()
        return loop.lock


def main(args: list[str] | None = None) -> int:
    """Entry point of the node.

    Returns:
        0 after SIGINT or SIGTERM, 2 for input that cannot be used, 1 for anything else.
    """
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: signals.append(number))
    try:
        runtime = Runtime(ControllerNode, sys.argv[1:] if args is None else args)
        try:
            while not signals:
                runtime.raise_if_dead()
                runtime.node.raise_if_dead()
                time.sleep(_LOOK_PERIOD_S)
        finally:
            runtime.close()
    except (InputError, ParameterException) as error:
        print(f"controller_node: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(f"controller_node: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
