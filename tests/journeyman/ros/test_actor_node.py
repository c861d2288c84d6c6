"""The actor's node as launch starts it: a process of its own, beside a real learner, driven by services and signals."""

import json
import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from std_srvs.srv import Trigger

from agent.journal import JournalReader
from agent.transport.server import LearnerServer
from journeyman.config import compose
from journeyman.ros.actor_node import main
from journeyman.ros.status import make_episode_status
from journeyman.wiring import make_env, make_spec, task_description
from robot_env.ros.runtime import Inbox
from robot_env.ros.services import Service

pytestmark = [pytest.mark.ros, pytest.mark.slow]

SMALL = (
    "task=reach",
    "demonstrations.episodes=0",
    "learner.start_steps=60",
    "learner.max_environment_steps=100000",
    "actor.random_steps=60",
    "actor.evaluate_every=0",
    "actor.fault_retry_s=0.1",
    "algorithm.config.compile=false",
    "algorithm.config.hidden_sizes=[32,32]",
    "algorithm.config.batch_size=32",
)
# A twin that cannot be reached while a file `lost` is there, and is broken for good by a file `broken`.
FLAKY = """
from pathlib import Path
from robot_env.robot import RobotError, RobotUnavailableError
from sim.registration import make_twin

def make(task, config, render=False):
    env = make_twin(task, config, render)
    send_command = env.robot.send_command

    def send(command):
        if Path("lost").exists():
            raise RobotUnavailableError("Nobody answers on /joint_states.")
        if Path("broken").exists():
            raise RobotError("The gripper has come off: screw it on again.")
        return send_command(command)

    env.robot.send_command = send
    return env
"""


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"transport.address=tcp://127.0.0.1:{probe.getsockname()[1]}"


def start(folder, module, *arguments):
    root = str(Path(__file__).parents[3])
    with (folder / "output.txt").open("w") as output:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join((root, str(folder)))},
        )


@pytest.fixture(scope="module")
def wait_until(wait_until):
    return partial(wait_until, timeout_s=60.0)


class Learner:
    """A learner for all tests of this file."""

    def __init__(self, folder):
        self.folder, self.overrides = folder, (*SMALL, free_address())
        self.process = start(folder, "journeyman", "learner", *self.overrides)

    def wait_until_it_listens(self, wait_until):
        said = self.folder / "output.txt"
        wait_until(
            lambda: "listens on" in said.read_text() or self.process.poll() is not None, timeout_s=150.0
        )
        assert self.process.poll() is None, said.read_text()

    def entries(self, kind):
        found = JournalReader(self.folder / "runs/latest/journal.jsonl").new()
        return [entry for entry in found if entry["kind"] == kind]


@pytest.fixture(scope="module")
def learner(tmp_path_factory, wait_until):
    learner = Learner(tmp_path_factory.mktemp("learner"))
    try:
        learner.wait_until_it_listens(wait_until)
        yield learner
    finally:
        learner.process.kill()
        learner.process.wait()


class ActorProcess:
    """The node as a process, and this test's node beside it."""

    def __init__(self, wait_until, node, folder, overrides):
        self.node, self.folder, self._wait_until = node, folder, wait_until
        arguments = ("--ros-args", "-p", f"overrides:={json.dumps(list(overrides))}")
        self.process = start(folder, "journeyman.ros.actor_node", *arguments)
        self._inbox = Inbox(node, DiagnosticStatus, "/actor/status", latched=True)
        self.status = {}

    def said(self):
        return (self.folder / "output.txt").read_text()

    def look(self):
        """The newest status as a dict, the older of its parts included."""
        assert self.process.poll() is None, self.said()
        for received in self._inbox.take():
            self.status = as_dict(received.message)
        return self.status

    def wait_for(self, state):
        return self._wait_until(lambda: self.look() if self.look().get("state") == state else None)

    def steps(self):
        return int(self.look().get("environment_steps", 0))

    def call(self, name):
        return Service(self.node, Trigger, f"/actor/{name}", timeout_s=20.0).ask()

    def ended(self):
        return self.process.wait(30)

    def end_by(self, number):
        self.process.send_signal(number)
        assert self.ended() == 0, self.said()
        assert "The actor ends; the robot is parked." in self.said()
        assert "Traceback" not in self.said()


def as_dict(status):
    return {
        "level": status.level,
        "name": status.name,
        "hardware": status.hardware_id,
        "message": status.message,
        **{value.key: value.value for value in status.values},
    }


@pytest.fixture
def begin(wait_until, runtime, tmp_path):
    """Starts the node with some overrides; whatever is left of it afterwards is killed."""
    started = []

    def begin(*overrides):
        started.append(ActorProcess(wait_until, runtime.node, tmp_path, overrides))
        return started[-1]

    yield begin
    for actor in started:
        actor.process.kill()
        actor.process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_it_waits_for_a_learner(begin, number):
    actor = begin(*SMALL, free_address())  # Nobody listens there.
    actor.wait_for("waiting_for_policy")
    actor.end_by(number)


@pytest.mark.parametrize(("state", "number"), [("learning", signal.SIGTERM), ("paused", signal.SIGINT)])
def test_a_signal_ends_it_while_it_has_a_policy(wait_until, begin, learner, state, number):
    actor = begin(*learner.overrides)
    wait_until(lambda: actor.steps() > 0)
    if state == "paused":
        assert actor.call("pause").success
    actor.wait_for(state)
    actor.end_by(number)


def test_it_is_paused_resumed_and_parked_by_services(wait_until, begin, learner):
    actor = begin(*learner.overrides)
    wait_until(lambda: actor.steps() > 0)
    assert actor.call("pause").success
    status = actor.wait_for("paused")
    assert status["level"] == DiagnosticStatus.WARN
    assert "/actor/resume" in status["message"]
    steps = actor.steps()
    # New statuses come while it is paused, from an actor that hears the learner and makes no step.
    inbox = Inbox(actor.node, DiagnosticStatus, "/actor/status", depth=10)
    later = []
    wait_until(lambda: later.extend(as_dict(r.message) for r in inbox.take()) or len(later) >= 3)
    assert {(s["state"], int(s["environment_steps"])) for s in later} == {("paused", steps)}
    assert float(later[-1]["seconds_since_contact"]) < 20.0
    assert actor.call("resume").success
    wait_until(lambda: actor.steps() > steps)
    parked = actor.call("park")
    assert (parked.success, parked.message) == (True, "The robot is parked.")
    assert actor.wait_for("paused")["last_event"].startswith("Paused")
    actor.end_by(signal.SIGTERM)


def test_an_actor_that_asks_for_a_hand_is_answered_by_a_service(begin, learner, tmp_path):
    actor = begin(*learner.overrides, "reset=operator")
    status = actor.wait_for("waiting_for_human")
    assert status["level"] == DiagnosticStatus.ERROR
    assert status["message"].startswith("Put the scene into a start state.")
    assert "/actor/helped" in status["message"]
    assert (tmp_path / "runs/help/actor-0.txt").read_text() == "Put the scene into a start state."
    assert actor.call("helped").success
    actor.wait_for("learning")
    assert actor.call("pause").success
    actor.wait_for("paused")
    refused = actor.call("helped")
    assert (refused.success, refused.message) == (False, "It does not ask for help.")
    actor.end_by(signal.SIGTERM)


def test_who_joins_late_sees_what_it_does_and_how_the_last_episode_went(wait_until, begin, learner):
    actor = begin(*learner.overrides)
    wait_until(lambda: actor.look().get("episode", "-1") not in ("-1", "0"))  # The first episode is over.
    episodes = Inbox(actor.node, DiagnosticStatus, "/actor/episode", latched=True)
    late = Inbox(actor.node, DiagnosticStatus, "/actor/status", latched=True)
    diagnostics = Inbox(actor.node, DiagnosticArray, "/diagnostics", depth=10)
    status = as_dict(wait_until(late.take)[0].message)
    assert (status["name"], status["hardware"], status["level"]) == ("actor", "actor-0", DiagnosticStatus.OK)
    assert status["state"] == "learning"
    for key in ("episode", "environment_steps", "policy_version", "seconds_since_contact"):
        assert float(status[key]) >= 0.0
    episode = as_dict(wait_until(episodes.take)[0].message)
    assert episode["name"] == "actor: last episode"
    assert int(episode["steps"]) > 0
    assert episode["success"] in "01"
    assert float(episode["return"]) <= 0.0
    # Not the first that came: it may have been made before the episode was over.
    (array,) = wait_until(
        lambda: [got.message for got in diagnostics.take() if len(got.message.status) == 2][:1]
    )
    assert [s.name for s in array.status] == ["actor", "actor: last episode"]
    assert array.header.stamp.sec > 0
    actor.end_by(signal.SIGINT)


def test_an_episode_is_told_in_numbers_that_tools_can_plot():
    report = {"kind": "episode", "episode": 7, "success": True, "steps": 12, "return": -11.0}
    report |= {"limit_hits": {"workspace": 3}, "observation_ages": {"state.median_s": 0.00123}}
    status = make_episode_status("/left/actor", "actor-0", report)
    assert status.name == "left/actor: last episode"
    assert status.message == "Episode 7: success after 12 steps, return -11."
    assert {value.key: float(value.value) for value in status.values} == {
        "episode": 7,
        "success": 1,
        "steps": 12,
        "return": -11,
        "limit_hits.workspace": 3,
        "observation_ages.state.median_s": 0.00123,
    }


def test_it_waits_for_a_lost_robot_and_ends_for_one_that_needs_a_human(wait_until, begin, learner, tmp_path):
    (tmp_path / "flaky.py").write_text(FLAKY)
    before = len(learner.entries("fault"))
    actor = begin(*learner.overrides, "robot.factory=flaky.make")
    wait_until(lambda: actor.steps() > 0)
    (tmp_path / "lost").touch()
    status = actor.wait_for("fault")
    assert status["level"] == DiagnosticStatus.ERROR
    assert status["message"].startswith("Nobody answers on /joint_states.")
    (fault,) = wait_until(lambda: learner.entries("fault")[before:])
    assert fault["message"] == "Nobody answers on /joint_states."
    (tmp_path / "lost").unlink()
    actor.wait_for("learning")
    assert actor.said().count("Nobody answers") == 1
    assert "The robot is back." in actor.said()
    (tmp_path / "broken").touch()
    assert actor.ended() == 3
    assert "screw it on again" in actor.said()
    assert "Traceback" not in actor.said()


def test_it_ends_when_the_learner_says_so(wait_until, begin):
    config = compose(SMALL)
    env = make_env(config)
    server = LearnerServer("tcp://127.0.0.1:*", make_spec(env), task_description(config))
    env.close()
    actor = begin(*SMALL, f"transport.address={server.address}")
    wait_until(lambda: server.actors() == ["actor-0"])
    server.stop_actors("the run is complete")
    assert actor.ended() == 0, actor.said()
    server.close()


@pytest.fixture
def _signal_handlers():
    """Puts back those that `main` replaces."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("_signal_handlers")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-p", "overrides:=task=reach"], ["overrides", "array of strings"]),
        (["-p", "overrides:=['task=juggle']"], ["juggle", "reach"]),
        (["-p", "overrides:=['run=nowhere']"], ["nowhere", "run directory"]),
        (["--", "task=reach"], ["task=reach", "-p"]),
    ],
)
def test_wrong_input_is_told_in_one_sentence(capfd, tmp_path, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    assert main(["--ros-args", *arguments]) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("actor_node: ")]
    assert all(word in line for word in expected)
    assert list(tmp_path.iterdir()) == []
