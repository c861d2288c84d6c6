"""The whole stack as processes, and each of them killed, frozen, ended: the arm comes to rest, the others go on."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim.registration import load

pytestmark = [pytest.mark.ros, pytest.mark.slow]

TASK = load("reach")
LIMITS_RAD_S = 2.7
RESTING_RAD_S = 0.03
# 0.08 to 0.23 s, printed by every test, and 0.32 s once on a busy machine: the twin keeps the wall's time. An arm that
# nobody stops moves on for as long as it is watched, 1.2 s.
REST_WITHIN_S = 0.5
PATIENCE_S = 120.0  # Four processes that start together on a busy machine have taken more than 60 s.
# SIGTERM and SIGINT end a process in one and the same way.
ENDINGS = [
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGTERM,
    pytest.param(signal.SIGINT, marks=pytest.mark.soak),
]
Wait = Callable[[Callable[[], Any], str], Any]
OVERRIDES = [
    "task=reach", "robot=ros2", "demonstrations.episodes=0", "learner.start_steps=1000000", "learner.device=cpu",
    "actor.random_steps=1000000", "actor.park_after_s=1.5", "actor.evaluate_every=0", "algorithm.config.compile=false",
    "learner.max_environment_steps=1000000",
]  # fmt: skip


class Stack:
    """Twin, controller node, learner and actor, each a process with a log."""

    def __init__(self, folder: Path, wait_until: Wait) -> None:
        self.folder, self._wait_until = folder, wait_until
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        address = f"ipc://{folder}/learner"
        self.commands = {
            "twin": ["twin", "--no-controller", "--no-cameras", "task=reach"],
            "controller": ["controller", "task=reach"],
            "learner": ["learner", *OVERRIDES, f"transport.address={address}"],
            "actor": ["actor", *OVERRIDES, f"transport.address={address}"],
        }

    def start(self, name: str) -> None:
        with self.log(name).open("ab") as log:
            command = [sys.executable, "-m", "journeyman", *self.commands[name]]
            self.processes[name] = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        if name == "learner":  # Started again it goes on with its run.
            self._wait_until(lambda: (self.folder / "runs" / "latest" / "config.yaml").exists(), "a run")
            address = self.commands["learner"][-1]
            self.commands["learner"] = ["learner", "run=runs/latest", address]

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def said(self, name: str) -> str:
        return self.log(name).read_text() if self.log(name).exists() else ""

    def send(self, name: str, number: int) -> None:
        self.processes[name].send_signal(number)

    def end(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


class Witness:
    """Plain rclpy: what the arm did, what it was told, what the controller said."""

    def __init__(self, node: Any) -> None:
        from diagnostic_msgs.msg import DiagnosticStatus
        from geometry_msgs.msg import PoseStamped
        from sensor_msgs.msg import JointState
        from std_msgs.msg import Bool
        from std_srvs.srv import SetBool, Trigger

        from robot_env.ros.runtime import Inbox
        from robot_env.ros.services import Service

        self.joints = Inbox(node, JointState, "joint_states", 5000)
        self.poses = Inbox(node, PoseStamped, "current_pose", 5000)
        self.commands = Inbox(node, PoseStamped, "controller/target_pose", 1000)
        self.arm_commands = Inbox(node, PoseStamped, "target_pose", 1000)
        self.status = Inbox(node, DiagnosticStatus, "controller/status", latched=True)
        from rclpy.qos import DurabilityPolicy, QoSProfile

        self.stop_message = Bool
        profile = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.e_stop = node.create_publisher(Bool, "e_stop", profile)
        self.recover = Service(node, Trigger, "controller/recover")
        self.enable = Service(node, SetBool, "controller/enable")
        self.enable_true = SetBool.Request(data=True)
        self.reset_e_stop = Service(node, Trigger, "controller/reset_e_stop")
        self.speeds: list[tuple[float, float]] = []
        self.commanded_s: list[float] = []
        self.arm_commanded_s: list[float] = []
        self.outside: list[str] = []
        self.state, self.message = "", ""
        self.states: set[str] = set()

    def look(self) -> None:
        for received in self.joints.take():
            velocity = np.array(received.message.velocity)
            speed = float(np.abs(velocity).max())
            self.speeds.append((stamp_s(received.message), speed))
            if speed > LIMITS_RAD_S:
                self.outside.append(f"joint speed {speed}")
        low, high = np.array(TASK.workspace.min_m) - 0.03, np.array(TASK.workspace.max_m) + 0.03
        for received in self.poses.take():
            p = received.message.pose.position
            position = np.array([p.x, p.y, p.z])
            if (position < low).any() or (position > high).any():
                self.outside.append(f"tool at {position}")
        self.commanded_s += [stamp_s(received.message) for received in self.commands.take()]
        self.arm_commanded_s += [stamp_s(received.message) for received in self.arm_commands.take()]
        for received in self.status.take():
            self.state = {v.key: v.value for v in received.message.values}["state"]
            self.message = received.message.message
            self.states.add(self.state)

    def is_moving(self) -> bool:
        self.look()
        return bool(self.speeds) and max(speed for _, speed in self.speeds[-50:]) > 5 * RESTING_RAD_S

    def rest_time_s(self, since_s: float) -> float:
        """Time from `since_s` to the last moment at which the arm moved."""
        moving = [at_s for at_s, speed in self.speeds if speed > RESTING_RAD_S]
        rest_s = max([at_s - since_s for at_s in moving], default=0.0)
        print(f"at rest after {rest_s:.3f} s")
        return rest_s


def stamp_s(message: Any) -> float:
    return message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec


@pytest.fixture(scope="module")
def wait_until(wait_until: Callable[..., Any]) -> Wait:
    """Wait for what the second argument says."""
    return lambda condition, what: wait_until(condition, PATIENCE_S, what)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, wait_until: Wait) -> Iterator[Stack]:
    """Only one at a time, whatever pytest's workers do: two robots on two cores keep no deadlines."""
    stack = Stack(tmp_path_factory.mktemp("stack"), wait_until)
    with (tmp_path_factory.getbasetemp().parent / "stack.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            for name in stack.commands:
                stack.start(name)
            yield stack
        finally:
            stack.end()


@pytest.fixture(scope="module")
def witness(stack: Stack) -> Iterator[Witness]:
    from rclpy.node import Node

    from robot_env.ros.runtime import Runtime

    runtime = Runtime(lambda **keywords: Node("witness", **keywords))
    try:
        yield Witness(runtime.node)
    finally:
        runtime.close()


@pytest.fixture
def acting(stack: Stack, wait_until: Wait, witness: Witness) -> Iterator[None]:
    """The arm follows the actor before the test; nothing left its limits during it."""
    for name, process in stack.processes.items():
        if process.poll() is not None:
            stack.start(name)

    disabled_s = [time.monotonic()]

    def is_resetting() -> bool:
        """Disabled for a moment is what a reset does; for long, what a reset leaves that lost its node."""
        return time.monotonic() - disabled_s[0] < 3.0

    def is_acting() -> bool:
        if witness.state != "disabled":
            disabled_s[0] = time.monotonic()
        for name, process in stack.processes.items():
            if process.poll() is not None:
                pytest.fail(f"{name} ended with {process.returncode}: {stack.said(name)[-600:]}")
        if witness.state == "fault":
            witness.recover.call()
        if witness.state == "disabled" and not is_resetting():
            witness.enable.call(witness.enable_true)
        return witness.is_moving() and witness.state == "tracking"

    wait_until(is_acting, "the arm to follow the actor")
    witness.speeds.clear()
    witness.outside.clear()
    witness.commanded_s.clear()
    witness.arm_commanded_s.clear()
    wait_until(lambda: witness.is_moving() and len(witness.commanded_s) > 3, "commands")
    yield
    witness.look()
    assert not witness.outside


def watch(witness: Witness, duration_s: float) -> None:
    end_s = time.monotonic() + duration_s
    while time.monotonic() < end_s:
        witness.look()
        time.sleep(0.02)


@pytest.mark.parametrize("number", ENDINGS)
def test_an_actor_that_goes_leaves_the_arm_at_rest(
    stack: Stack, witness: Witness, acting: None, number: signal.Signals
) -> None:
    stack.send("actor", number)
    watch(witness, 1.2)
    assert witness.rest_time_s(witness.commanded_s[-1]) < REST_WITHIN_S
    assert witness.state == "idle"
    if number == signal.SIGSTOP:
        stack.send("actor", signal.SIGCONT)
        return
    code = stack.processes["actor"].wait(PATIENCE_S)
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    stack.start("actor")


@pytest.mark.parametrize("number", ENDINGS)
def test_a_learner_that_goes_lets_the_arm_be_parked(
    stack: Stack, wait_until: Wait, witness: Witness, acting: None, number: signal.Signals
) -> None:
    stack.send("learner", number)
    wait_until(lambda: not witness.is_moving() and witness.state == "idle", "the actor to park the arm")
    assert witness.rest_time_s(witness.commanded_s[-1]) < REST_WITHIN_S
    assert stack.processes["actor"].poll() is None
    if number == signal.SIGSTOP:
        stack.send("learner", signal.SIGCONT)
        return
    assert stack.processes["learner"].wait(PATIENCE_S) in (-signal.SIGKILL, 130)
    stack.start("learner")


@pytest.mark.parametrize("number", ENDINGS)
def test_a_controller_that_goes_leaves_the_arm_at_rest(
    stack: Stack, wait_until: Wait, witness: Witness, acting: None, number: signal.Signals
) -> None:
    said = len(stack.said("actor"))
    stack.send("controller", number)
    watch(witness, 1.2)
    assert witness.rest_time_s(witness.arm_commanded_s[-1]) < REST_WITHIN_S
    wait_until(lambda: "controller" in stack.said("actor")[said:], "the actor to say what happened")
    if number == signal.SIGSTOP:
        stack.send("controller", signal.SIGCONT)
        return
    code = stack.processes["controller"].wait(PATIENCE_S)
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    stack.start("controller")


@pytest.mark.parametrize("number", ENDINGS)
def test_without_the_arm_the_controller_waits_for_a_human(
    stack: Stack, wait_until: Wait, witness: Witness, acting: None, number: signal.Signals
) -> None:
    said = len(stack.said("actor"))
    stack.send("twin", number)

    def is_fault() -> bool:
        witness.look()
        return witness.state == "fault"

    wait_until(is_fault, "the fault")
    assert "stale" in witness.message
    wait_until(lambda: "stale" in stack.said("actor")[said:], "the actor to say what happened")
    if number == signal.SIGSTOP:
        stack.send("twin", signal.SIGCONT)
    else:
        code = stack.processes["twin"].wait(PATIENCE_S)
        assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0)
        stack.start("twin")
    witness.speeds.clear()
    wait_until(lambda: bool(witness.look() or witness.speeds), "the arm to be back")
    watch(witness, 1.0)
    assert witness.state == "fault"  # Nothing recovers by itself.
    resumed_s = witness.speeds[0][0]
    assert witness.rest_time_s(resumed_s) < REST_WITHIN_S


def test_an_emergency_stop_outlives_every_process(
    stack: Stack, wait_until: Wait, witness: Witness, acting: None
) -> None:
    witness.e_stop.publish(witness.stop_message(data=True))

    def is_stopped() -> bool:
        witness.look()
        return witness.state == "e_stop"

    wait_until(is_stopped, "the emergency stop")
    watch(witness, 0.5)
    for name in ("actor", "learner", "controller", "twin"):
        stack.send(name, signal.SIGKILL)
        stack.processes[name].wait()
        witness.look()
        witness.state, witness.states = "", set()
        said = len(stack.said("actor"))
        stack.start(name)
        wait_until(is_stopped, f"the latch after {name} was started again")
        if name in ("actor", "learner"):
            wait_until(
                lambda name=name, said=said: (
                    name == "learner" or "mergency stop" in stack.said("actor")[said:]
                ),
                "the actor",
            )
        witness.speeds.clear()
        wait_until(lambda: bool(witness.look() or len(witness.speeds) > 500), "the arm")
        # A twin that starts lets its arm settle.
        assert not any(speed > RESTING_RAD_S for _, speed in witness.speeds[250:])
        # Above all nobody disabled it: that would end the hold.
        assert witness.states <= {"e_stop", "inactive"}
    assert witness.reset_e_stop.call() != ""  # Somebody still says so.
    witness.e_stop.publish(witness.stop_message(data=False))
    wait_until(lambda: witness.reset_e_stop.call() == "", "the release")


def test_no_process_aborted(stack: Stack, witness: Witness, acting: None) -> None:
    for name in ("actor", "learner", "controller", "twin"):
        stack.send(name, signal.SIGTERM)
    codes = {name: process.wait(PATIENCE_S) for name, process in stack.processes.items()}
    assert codes == {"actor": 0, "learner": 130, "controller": 0, "twin": 0}
    assert "Traceback" not in "".join(stack.said(name) for name in stack.commands)
    assert os.environ["FASTDDS_BUILTIN_TRANSPORTS"] == "UDPv4"
