"""The control loop of the controller node: measures, decides, sends. A thread of its own that only polls."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from controllers.arm_control import ArmControl
from controllers.braking import StopBy
from controllers.ik import UnreachableError
from controllers.state import RobotCommand, RobotState
from controllers.wrench_zero import WrenchZero
from robot_env.clock import Rate, RateStatistics
from robot_env.realtime import prefer_control_loop
from robot_env.robot import RobotError
from robot_env.ros.controller_topics import CommandTopics, EmergencyStopTopic
from robot_env.ros.description import limits_for, load_description
from robot_env.ros.interfaces.gripper import GripperCommander
from robot_env.ros.interfaces.interface import make_interface
from robot_env.ros.node_log import NodeLog
from robot_env.ros.ros_clock import RosClock
from robot_env.ros.runtime import PROCESS_BYTES, tells_publishers
from robot_env.ros.state_source import StateSource
from robot_env.task import load_task

_LONGEST_STOP_S = 0.5
_JOIN_TIMEOUT_S = 2.0


class ControlLoop:
    """One arm, from its topics to its interface.

    Args:
        node: Subscribes and publishes.
        clock: Of the loop and of stamps.
        stop: The emergency stop.
        arm: Name of the robot, or path of its YAML.
        task: Path of a task's YAML, whose workspace counts; empty for the robot's own.
        rate_hz: Of the loop.
        max_lateness_s: A loop that was held up longer is a fault.
        announce: Called after every tick by the loop's thread, with `lock` held.

    Attributes:
        description: The robot.
        control: What decides. Other threads hold `lock` while they use it.
        wrench_zero: Takes the offset out of the wrench. Likewise.
        lock: See `control`.
        failure: What ended the thread; None while all is well.

    Raises:
        InputError: Robot or task are none, or do not fit.
    """

    def __init__(
        self,
        node: Any,
        clock: RosClock,
        stop: EmergencyStopTopic,
        arm: str,
        task: str,
        rate_hz: float,
        max_lateness_s: float,
        announce: Callable[[], None],
    ) -> None:
        self.description = load_description(arm)
        limits = limits_for(self.description, load_task(Path(task)) if task else None)
        self._interface = make_interface(node, self.description)
        gripper = self.description.gripper
        self._gripper = None if gripper is None else GripperCommander(node, gripper)
        self._source = StateSource(node, self.description, clock)
        self._commands = CommandTopics(node, self.description, clock)
        stop_by = StopBy(getattr(self._interface, "stop_by", StopBy.TARGET))
        self.control = ArmControl(limits, PROCESS_BYTES if tells_publishers() else 0, max_lateness_s, stop_by)
        self.wrench_zero = WrenchZero()
        self.lock = threading.RLock()
        self.failure: BaseException | None = None
        self._clock = clock
        self._stop = stop
        self._rate_hz = rate_hz
        self._announce = announce
        self._logger = NodeLog(node)
        self._rate: Rate | None = None
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()
        self._sending = False

    @property
    def running(self) -> bool:
        """Whether the loop runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def statistics(self) -> RateStatistics:
        """How well the rate was held since the last start."""
        return RateStatistics() if self._rate is None else self._rate.statistics

    def start(self) -> None:
        """Take the arm where it is.

        Raises:
            RobotError: It does not tell its state; the message says what is missing. Or it is too early to know whether
                somebody says stop.
        """
        if not self._stop.listened():
            raise RobotError("Listening for an emergency stop first.")
        self._source.read()
        self._commands.take()  # These were meant for somebody else.
        self.control.restart()
        self._ending.clear()
        self._rate = Rate(self._clock, self._rate_hz)
        self._thread = threading.Thread(target=self._run, args=(self._rate,), name="control", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Bring the arm to rest, then let go of it. Idempotent; returns when that is done."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._ending.set()
        thread.join(_JOIN_TIMEOUT_S)
        if thread.is_alive():
            # Another one beside it would be a second driver.
            self.failure = RuntimeError(f"the control loop did not end within {_JOIN_TIMEOUT_S:g} s")
            return
        self._release()

    def _run(self, rate: Rate) -> None:
        try:
            if not prefer_control_loop(beside_the_arm=True):
                self._logger.info("No real-time permission: the control loop runs at ordinary priority.")
            rate.restart()  # That took a while, and it is not the loop that was late.
            while not self._ending.is_set():
                self._wait_and_tick(rate)
            with self.lock:
                self.control.stop()
            give_up_s = time.monotonic() + _LONGEST_STOP_S
            while not self.control.at_rest and time.monotonic() < give_up_s:
                self._wait_and_tick(rate)
        except BaseException as error:  # Every kind: the process must not live on without this thread.
            self.failure = error

    def _wait_and_tick(self, rate: Rate) -> None:
        before_s = self._clock.now_s()
        lateness_s = rate.wait()
        if self._clock.now_s() <= before_s:
            # A simulation that stands still. The clock reports that as a fault; this loop must not spin meanwhile.
            time.sleep(rate.period_s)
            rate.restart()
        with self.lock:
            self._tick(lateness_s)
            self._announce()

    def _tick(self, lateness_s: float) -> None:
        try:
            measured: RobotState | str = self.wrench_zero.apply(self._source.read())
        except RobotError as error:
            measured = str(error)
        self._stop.refresh()
        incoming = self._commands.take()
        if self._ending.is_set():
            incoming = []
        target = self.control.tick(incoming, measured, self._clock.now_s(), lateness_s, self._stop.reason)
        if target is None or isinstance(measured, str):
            self._release()
        else:
            self._send(target, measured)

    def _send(self, target: RobotCommand, measured: RobotState) -> None:
        stamp_ns = self._clock.stamp_ns()
        self._sending = True
        try:
            self._interface.send(target, measured, stamp_ns)
        except UnreachableError as error:
            self.control.refuse_sent("unreachable", str(error))
        except Exception as error:  # Whatever it is, the arm did not get its command.
            self.control.fail(f"the interface to the arm failed: {error!r}")
            self._release()
        width_m = self.control.gripper_width_m
        if self._gripper is not None:
            if width_m is None:  # Nothing was commanded since the arm was taken anew.
                self._gripper.restart()
            else:
                self._gripper.send(width_m, stamp_ns)

    def _release(self) -> None:
        """Once: the interface may have something to take back."""
        if self._sending:
            self._sending = False
            self._interface.release()
