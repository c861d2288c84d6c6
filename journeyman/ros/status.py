"""What an actor says and lets itself be told over ROS: messages, and the topics and services that carry them."""

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_srvs.srv import Trigger

from agent.actor import Actor
from agent.transport.clients import ClientGroup
from agent.turns import ActorState, Observer
from robot_env.resets.operator import Operator
from robot_env.ros.node_log import NodeLog
from robot_env.ros.runtime import Runtime

_PERIOD_S = 1.0
_PARK_TIMEOUT_S = 5.0
_LAST_WORDS_TIMEOUT_S = 2.0
_LEVELS = {
    ActorState.RECOVERING: DiagnosticStatus.WARN,
    ActorState.WAITING_FOR_HUMAN: DiagnosticStatus.ERROR,
    ActorState.PAUSED: DiagnosticStatus.WARN,
    ActorState.PARKED: DiagnosticStatus.WARN,
    ActorState.STOPPED: DiagnosticStatus.WARN,
    ActorState.FAULT: DiagnosticStatus.ERROR,
}
_MESSAGES = {
    ActorState.WAITING_FOR_POLICY: "Waiting for the learner's first weights.",
    ActorState.LEARNING: "Learning.",
    ActorState.TELEOP: "A person acts.",
    ActorState.EVALUATING: "Evaluating.",
    ActorState.RESETTING: "Resetting.",
    ActorState.RECOVERING: "Recovering.",
    ActorState.PAUSED: "Paused, the robot is parked. Go on: ros2 service call {0}/resume std_srvs/srv/Trigger",
}


def make_status(
    name: str, hardware: str, state: ActorState, last_event: str, values: Mapping[str, Any]
) -> DiagnosticStatus:
    """What an actor does now. States that need no explanation have a sentence here, others the last event's."""
    return DiagnosticStatus(
        level=_LEVELS.get(state, DiagnosticStatus.OK),
        name=name.lstrip("/"),
        hardware_id=hardware,
        message=_MESSAGES[state].format(name) if state in _MESSAGES else last_event,
        values=_key_values({"state": str(state), **values, "last_event": last_event}),
    )


def make_episode_status(name: str, hardware: str, report: Mapping[str, Any]) -> DiagnosticStatus:
    """How an episode went.

    Not JSON in a string: tools that plot or list diagnostics (PlotJuggler, rqt_runtime_monitor, Foxglove) find single
    numbers by their keys in these, and nothing in a string.
    """
    outcome = "success" if report["success"] else "no success"
    return DiagnosticStatus(
        level=DiagnosticStatus.OK,
        name=f"{name.lstrip('/')}: last episode",
        hardware_id=hardware,
        message=f"Episode {report['episode']}: {outcome} after {report['steps']} steps, return {report['return']:.6g}.",
        values=_key_values({key: value for key, value in report.items() if key != "kind"}),
    )


class Surface(Observer):
    """The topics `~/status`, `~/episode`, `/diagnostics` and the services `~/pause`, `~/resume`, `~/park`, `~/helped`.

    The thread of the control loop only notes what happens; the node's thread speaks.
    """

    def __init__(self, runtime: Runtime) -> None:
        """Nothing is said before `serve`.

        Args:
            runtime: Of the node.
        """
        self._runtime = runtime
        self._node = node = runtime.node
        self._name = node.get_fully_qualified_name()
        self._actor: Actor | None = None
        self._client: ClientGroup | None = None
        self._changed = threading.Condition()
        self._closed = self._silent = False
        self._last_event = ""
        self._events: deque[str] = deque()
        self._reports: deque[dict[str, Any]] = deque()
        self._last_episode: DiagnosticStatus | None = None
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._status = node.create_publisher(DiagnosticStatus, "~/status", latched)
        self._episode = node.create_publisher(DiagnosticStatus, "~/episode", latched)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._news = node.create_guard_condition(self._speak)

    def serve(self, actor: Actor, client: ClientGroup, operator: Operator) -> None:
        """Begin to speak and to listen; `operator` is how the actor asks a person for a hand."""
        self._actor, self._client, self._operator = actor, client, operator
        for name in ("pause", "resume", "park", "helped"):
            self._node.create_service(Trigger, f"~/{name}", getattr(self, f"_{name}"))
        # By the wall: a simulation that stands still must not silence the status.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._node.create_timer(_PERIOD_S, self._speak_regularly, clock=steady)
        self._news.trigger()

    def close(self) -> None:
        """Say the last, which shutting the node down could swallow; nobody waits for the robot any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._news.trigger()
            self._changed.wait_for(lambda: self._silent, _LAST_WORDS_TIMEOUT_S)

    def on_state(self, state: ActorState, why: str) -> None:
        """Wake who waits for it, and let it be published."""
        if state is ActorState.WAITING_FOR_HUMAN:
            self.on_event(f"{why} Then: ros2 service call {self._name}/helped std_srvs/srv/Trigger")
        with self._changed:
            self._changed.notify_all()
        self._news.trigger()

    def on_event(self, text: str) -> None:
        """Let it be logged and published."""
        self._last_event = text
        self._events.append(text)
        self._news.trigger()

    def on_episode(self, report: dict[str, Any]) -> None:
        """Let it be published.

        Raises:
            RuntimeError: Nobody serves the node any more: an actor that cannot be paused must not go on.
        """
        self._runtime.raise_if_dead()
        self._reports.append(report)
        self._news.trigger()

    # All below runs on the node's thread.

    def _speak(self) -> None:
        actor, client = self._actor, self._client
        if actor is None or client is None:
            return
        is_last = self._closed  # Read first: nothing noted before `close` is left out below.
        log = NodeLog(self._node)
        while self._events:
            text = self._events.popleft()
            if actor.state is ActorState.FAULT:
                log.warning(text)
            else:
                log.info(text)
        while self._reports:
            self._last_episode = make_episode_status(self._name, actor.name, self._reports.popleft())
            self._episode.publish(self._last_episode)
        self._status.publish(self._make_status(actor, client))
        with self._changed:
            self._silent = is_last
            self._changed.notify_all()

    def _speak_regularly(self) -> None:
        self._speak()
        assert self._actor is not None
        assert self._client is not None  # The timer is made by serve.
        message = DiagnosticArray(status=[self._make_status(self._actor, self._client)])
        message.header.stamp = self._node.get_clock().now().to_msg()
        if self._last_episode is not None:
            message.status.append(self._last_episode)
        self._diagnostics.publish(message)

    def _make_status(self, actor: Actor, client: ClientGroup) -> DiagnosticStatus:
        values = {
            "episode": actor.episode,
            "environment_steps": client.known_steps,
            "policy_version": actor.policy_version,
            "seconds_since_contact": round(client.seconds_since_contact, 1),
            "unacknowledged": client.unacknowledged,
        }
        return make_status(self._name, actor.name, actor.state, self._last_event, values)

    def _pause(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        assert self._actor is not None
        self._actor.pause()
        response.success, response.message = True, "The robot is parked after the current step."
        return response

    def _resume(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        assert self._actor is not None
        self._actor.resume()
        response.success, response.message = True, "A new episode begins."
        return response

    def _helped(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        assert self._actor is not None
        response.success = self._actor.state is ActorState.WAITING_FOR_HUMAN
        if response.success:  # Not otherwise: a later question would be taken as answered.
            self._operator.done()
        response.message = "It goes on." if response.success else "It does not ask for help."
        return response

    def _park(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """As pause, but answered when the robot rests."""
        actor = self._actor
        assert actor is not None
        actor.pause()
        with self._changed:
            self._changed.wait_for(lambda: actor.state is ActorState.PAUSED or self._closed, _PARK_TIMEOUT_S)
        # Once it has ended it is parked as well.
        response.success = actor.state in (ActorState.PAUSED, ActorState.PARKED, ActorState.STOPPED)
        response.message = (
            "The robot is parked."
            if response.success
            else f"The current step or reset takes longer than {_PARK_TIMEOUT_S:g} s; the robot is parked after it."
        )
        return response


def _key_values(values: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value) for key, value in _flat(values)]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Each value by its own key, for tools that plot what reads as a number."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, bool):
            yield f"{prefix}{key}", str(int(value))
        elif isinstance(value, float):
            yield f"{prefix}{key}", f"{value:.6g}"
        else:
            yield f"{prefix}{key}", str(value)
