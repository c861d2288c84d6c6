"""An arm behind ROS 2 as a `Robot`. Fourth hop to the motor: `send_command` publishes.

Two threads: the control loop's, which reads and decides, and one that repeats the newest command, because the robot
side takes 100 ms without a command for a dead commander, and policies act at 10 Hz. It repeats nothing for longer
than `command_lifetime_s`, so a control loop that hangs is noticed as well.
"""

import threading
import time
from collections.abc import Sequence
from math import inf
from typing import Any, NamedTuple, Protocol

from msgspec.structs import replace

from controllers.config import InputError
from controllers.limits import SafetyLimits
from controllers.safety_filter import SafetyFilter
from controllers.state import RobotCommand, RobotState
from robot_env.age import AgeStatistics
from robot_env.program import ThreadDiedError
from robot_env.robot import RobotError, RobotUnavailableError
from robot_env.ros.commander import ControllerCommander, DirectCommander, make_commander
from robot_env.ros.description import RobotDescription
from robot_env.ros.ros_clock import FUTURE_S, RosClock, SimulatedRosClock, WallRosClock
from robot_env.ros.runtime import Runtime
from robot_env.ros.state_source import StateSource, source_names

_FIRST_LOOK_S = 0.02


class NodePart(Protocol):
    """Something else of an environment that lives on the robot's node: cameras, tracked objects, a reset."""

    def attach(self, node: Any, clock: RosClock) -> None:
        """Called when the robot connects, before anything is read."""
        ...


class _Current(NamedTuple):
    """The command to repeat, the state that it was judged by, and when."""

    command: RobotCommand
    state: RobotState
    sent_s: float


class Ros2Robot:
    """Implements `robot_env.robot.Robot`.

    Args:
        description: The robot.
        limits: What it may do; the workspace is the task's.
        simulated_time: Whether time is what `/clock` says.
        connect_timeout_s: How long to wait for a first state.
        arguments: ROS arguments for the node.

    Attributes:
        clock: Stamps states and holds the rate.
        ages: How old each source of the state was when it was read, since `connect`.
    """

    def __init__(
        self,
        description: RobotDescription,
        limits: SafetyLimits,
        *,
        simulated_time: bool = False,
        connect_timeout_s: float = 10.0,
        arguments: Sequence[str] = (),
    ) -> None:
        self.description = description
        self.clock: RosClock = SimulatedRosClock() if simulated_time else WallRosClock()
        self.ages = {name: AgeStatistics() for name in source_names(description)}
        self.last_state: RobotState | None = None
        self._looked_s = -inf
        self._filter = SafetyFilter(limits)
        self._connect_timeout_s = connect_timeout_s
        self._arguments = list(arguments)
        self._parts: list[NodePart] = []
        self._runtime: Runtime | None = None
        self._lock = threading.Lock()  # Around the commander, and what is repeated.
        self._current: _Current | None = None
        self._closing = threading.Event()

    def add(self, part: NodePart) -> None:
        """Let `part` live on the robot's node. Before `connect`."""
        self._parts.append(part)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """As in the description."""
        return self.description.joint_names

    @property
    def max_gripper_width_m(self) -> float:
        """As in the limits."""
        return self.description.safety.gripper_max_m

    @property
    def limit_hits(self) -> dict[str, int]:
        """Of the filter here, and under `controller.` of the one beside the arm."""
        return dict(self._filter.hits) | (self._commander.limit_hits if self._runtime else {})

    @property
    def commander(self) -> ControllerCommander | DirectCommander:
        """The way that commands take; once connected."""
        return self._commander

    def connect(self) -> None:
        """Start the node and wait for a first state.

        Raises:
            InputError: There is no ROS 2 here, or the description asks for what is not there.
            RobotUnavailableError: No state comes, or the controller does not follow; the message says from where.
        """
        if self._runtime is None:
            self._start()
        self._filter.hits.clear()
        for statistics in self.ages.values():
            statistics.clear()
        deadline_s = time.monotonic() + self._connect_timeout_s
        while True:
            try:
                self.last_state = self._read()
                self._raise_fault()
                return
            except RobotUnavailableError:
                if time.monotonic() > deadline_s:
                    raise
            time.sleep(_FIRST_LOOK_S)

    def observe(self) -> RobotState:
        """The newest state, put together from its topics.

        Raises:
            RobotUnavailableError: A topic is silent, stale, or says what cannot be. The arm is stopped.
        """
        try:
            state = self.last_state = self._read()
        except RobotUnavailableError:
            self.stop()
            self.last_state = None  # No command is judged by a state from before.
            raise
        for name, age_s in self._source.ages_s().items():
            self.ages[name].add(age_s)
        return state

    def send_command(self, command: RobotCommand) -> RobotCommand:
        """Pass a command through the safety filter, publish it, and repeat it until the next.

        Raises:
            RobotUnavailableError: The robot side does not follow; the message is what it says.
        """
        self._require_runtime()
        now_s = self.clock.now_s()
        state = self.last_state
        if state is None or now_s - state.stamp_s > 0.5 * self.description.state.joint_states.max_age_s:
            state = self.observe()
            now_s = self.clock.now_s()
        self._raise_fault()
        sent = self._filtered(command, state, now_s)
        with self._lock:
            self._current = _Current(sent, state, time.monotonic())
            self._commander.send(sent, state, self.clock.stamp_ns())
        return sent

    def stop(self) -> None:
        """Bring the arm to rest; the robot side holds it there."""
        if self._runtime is None:
            return
        with self._lock:
            self._current = None
            self._commander.stop(self._fresh_state(), self.clock.stamp_ns())

    def close(self) -> None:
        """Stop, and leave ROS."""
        runtime = self._runtime
        if runtime is None:
            return
        try:
            self.stop()
        finally:
            self._closing.set()
            self._repeater.join()
            self._runtime = None
            runtime.close()

    def restart(self) -> None:
        """The arm was put elsewhere, as a twin's reset does: forget what it was told before."""
        self._filter.restart()
        self.last_state = None

    def _start(self) -> None:
        from rclpy.node import Node

        self._closing.clear()
        self._current = None
        self.restart()  # The arm may have been moved since the last time.
        runtime = Runtime(lambda **keywords: Node("journeyman_robot", **keywords), self._arguments)
        try:
            if isinstance(self.clock, SimulatedRosClock):
                self.clock.attach(runtime.node)
            self._source = StateSource(runtime.node, self.description, self.clock)
            self._commander = make_commander(runtime.node, self.description)
            for part in self._parts:
                part.attach(runtime.node, self.clock)
        except BaseException:
            runtime.close()
            raise
        self._runtime = runtime
        self._repeater_failure: BaseException | None = None
        self._repeater = threading.Thread(target=self._repeat, name="repeat-command", daemon=True)
        self._repeater.start()

    def _repeat(self) -> None:
        """Life of the thread that repeats the newest command."""
        try:
            self._repeat_until_closed()
        except BaseException as error:  # Kept for _require_runtime: every kind of failure ends the process.
            self._repeater_failure = error

    def _repeat_until_closed(self) -> None:
        period_s = 1.0 / self.description.command_rate_hz
        while not self._closing.wait(period_s):
            with self._lock:
                current = self._current
                if current is None:
                    continue
                silence_s = time.monotonic() - current.sent_s
                if silence_s > self.description.command_lifetime_s:
                    self._current = None
                    self._commander.stop(self._fresh_state(), self.clock.stamp_ns())
                elif silence_s > 0.5 * period_s:
                    self._commander.send(current.command, current.state, self.clock.stamp_ns())

    def _read(self) -> RobotState:
        self._require_runtime().raise_if_dead()
        try:
            state = self._source.read()
        except RobotError as error:
            raise RobotUnavailableError(str(error)) from None
        self._looked_s = time.monotonic()
        return state

    def _filtered(self, command: RobotCommand, state: RobotState, now_s: float) -> RobotCommand:
        if now_s < state.stamp_s <= now_s + FUTURE_S:
            state = replace(state, stamp_s=now_s)  # The arm's clock is ahead a little.
        try:
            return self._filter.filter(command, state, now_s).command
        except RuntimeError as error:
            raise RobotUnavailableError(str(error)) from None

    def _fresh_state(self) -> RobotState | None:
        """The last state, if the arm is still about there: to hold where it was long ago would be to drive back."""
        is_fresh = time.monotonic() - self._looked_s <= self.description.command_lifetime_s
        return self.last_state if is_fresh else None

    def _raise_fault(self) -> None:
        fault = self._commander.fault(time.monotonic())
        if fault:
            with self._lock:
                self._current = None
            raise RobotUnavailableError(fault)

    def _require_runtime(self) -> Runtime:
        if self._runtime is None:
            raise InputError(f"Robot {self.description.name!r} is not connected: call connect() first.")
        if self._repeater_failure is not None:
            raise ThreadDiedError("The thread that repeats commands died.") from self._repeater_failure
        return self._runtime
