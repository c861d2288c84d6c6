"""What the controller node says of itself: `~/status`, `/diagnostics` and its log."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.qos import DurabilityPolicy, QoSProfile

from robot_env.clock import RateStatistics
from robot_env.ros.messages import to_time
from robot_env.ros.node_log import NodeLog
from robot_env.ros.ros_clock import RosClock
from robot_env.ros.runtime import PROCESS_BYTES, Inbox, tells_publishers

_STATUS_PERIOD_S = 0.1
_DIAGNOSTICS_PERIOD_S = 1.0
_LOG_PERIOD_S = 1.0
_RIVAL_S = 0.5
_DEPTH = 10
_LEVELS = {
    "idle": DiagnosticStatus.OK,
    "tracking": DiagnosticStatus.OK,
    "disabled": DiagnosticStatus.WARN,
    "inactive": DiagnosticStatus.WARN,
    "fault": DiagnosticStatus.ERROR,
    "e_stop": DiagnosticStatus.ERROR,
}
_HELP = {
    "fault": "When the cause is gone: ros2 service call {0}/recover std_srvs/srv/Trigger (journeyman robot recover).",
    "e_stop": "If it is safe: ros2 service call {0}/reset_e_stop std_srvs/srv/Trigger (journeyman robot reset-e-stop).",
    "disabled": "To let it act again: ros2 service call {0}/enable std_srvs/srv/SetBool '{{data: true}}'.",
}


class Report(NamedTuple):
    """How the node is.

    Attributes:
        state: A key of `_LEVELS`.
        message: Why, in a few words.
        robot: Name of the arm; empty before it is known.
        hits: How often each limit was hit.
        statistics: How well the control loop held its rate.
    """

    state: str
    message: str
    robot: str
    hits: Mapping[str, int]
    statistics: RateStatistics


class StatusTopics:
    """Says how the node is, regularly and on every change.

    Args:
        node: Publishes.
        clock: Stamps.
        look: Tells how the node is.
        found_rival: Called when another node says its status here too.
    """

    def __init__(
        self, node: Any, clock: RosClock, look: Callable[[], Report], found_rival: Callable[[], None]
    ) -> None:
        self._node = node
        self._log = NodeLog(node)
        self._clock = clock
        self._look = look
        self._found_rival = found_rival
        self._said = ("", "")
        self._logged_s = 0.0
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._status = node.create_publisher(DiagnosticStatus, "~/status", latched)
        self._heard: Inbox[DiagnosticStatus] = Inbox(node, DiagnosticStatus, "~/status", _DEPTH)
        self._heard_s: dict[bytes, float] = {}
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # By the wall: a simulation that stands still must not silence the status.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(_STATUS_PERIOD_S, self._look_around_and_say, clock=steady)
        node.create_timer(_DIAGNOSTICS_PERIOD_S, self._say_diagnostics, clock=steady)

    def _look_around_and_say(self) -> None:
        """Two controllers of one arm would each hold it where they like, both with good commands."""
        now_s = time.monotonic()
        for received in self._heard.take():
            self._heard_s[received.publisher[:PROCESS_BYTES]] = now_s
        self._heard_s = {who: at for who, at in self._heard_s.items() if now_s - at < _RIVAL_S}
        if len(self._heard_s) > 1 and tells_publishers():
            self._found_rival()
        self.say()

    def say(self) -> None:
        """Publish the status now."""
        report = self._look()
        self._status.publish(self._message(report))
        said = report.state, report.message
        if said != self._said:
            self._said = said
            self._log_change(report)

    def say_change(self, state: str, message: str) -> None:
        """Publish the status if these are new."""
        if (state, message) != self._said:
            self.say()

    def _log_change(self, report: Report) -> None:
        """Every fault; of the rest not every change, because a commander that is refused makes two a tick."""
        if _LEVELS[report.state] == DiagnosticStatus.ERROR:
            self._log.error(report.message)
        elif time.monotonic() - self._logged_s > _LOG_PERIOD_S:
            self._logged_s = time.monotonic()
            self._log.info(f"{report.state}: {report.message}")

    def _say_diagnostics(self) -> None:
        array = DiagnosticArray(status=[self._message(self._look())])
        array.header.stamp = to_time(self._clock.stamp_ns())
        self._diagnostics.publish(array)

    def _message(self, report: Report) -> DiagnosticStatus:
        statistics = report.statistics
        values = {
            "state": report.state,
            "ticks": str(statistics.ticks),
            "missed": str(statistics.missed),
            "worst_lateness_s": f"{statistics.worst_lateness_s:.6f}",
        }
        values |= {
            f"lateness.{name}": f"{late_s:.6f}" for name, late_s in statistics.lateness.summary().items()
        }
        values |= {f"hit.{name}": str(count) for name, count in sorted(report.hits.items())}
        sentence = f"{report.message[0].upper()}{report.message[1:].rstrip('.')}."
        if report.state in _HELP:
            sentence += " " + _HELP[report.state].format(self._node.get_fully_qualified_name())
        return DiagnosticStatus(
            level=_LEVELS[report.state],
            name=self._node.get_name(),
            hardware_id=report.robot,
            message=sentence,
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
