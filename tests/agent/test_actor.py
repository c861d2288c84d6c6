"""An actor that is paused, loses its robot and gets it back: real environment, real transport, a fake arm."""

import errno
import os
import threading
from functools import partial

import msgspec
import numpy as np
import pytest
import torch

from agent.actor import EVALUATION_SEED, Actor, ActorConfig, Agent
from agent.journal import Journal, JournalReader
from agent.transition import Provenance, TransitionSpec
from agent.transport.client import ActorClient
from agent.transport.messages import Refused
from agent.transport.server import LearnerServer
from agent.turns import ActorState, Observer
from agent.weights import encode_weights
from robot_env.contracts import ResetAttempt, ResetResult, Reward
from robot_env.env import RobotEnv
from robot_env.fake import FakeRobot
from robot_env.robot import RobotError, RobotUnavailableError
from robot_env.task import Task

EPISODE_STEPS = 10
TASK = {
    "name": "fake",
    "scene": "none",
    "control_rate_hz": 10,
    "episode_length_s": EPISODE_STEPS / 10,
    "action": {"translation_m": 0.03},
    "workspace": {"min_m": [0.2, -0.4, 0.0], "max_m": [0.8, 0.4, 0.6]},
    "observation": [{"name": "ee_position"}],
}
END = "The actor ends; the robot is parked."
START_M = (0.5, 0.0, 0.3)


class FlakyRobot(FakeRobot):
    """Cannot be reached while it is `lost`. Counts in `attempts` how often one tried then."""

    def __init__(self):
        super().__init__()
        self.lost = threading.Event()
        self.attempts = 0
        self.before_command = lambda number: None

    def observe(self):
        self._raise_if_lost()
        return super().observe()

    def send_command(self, command):
        self.before_command(len(self.sent) + 1)
        self._raise_if_lost()
        return super().send_command(command)

    def _raise_if_lost(self):
        if self.lost.is_set():
            self.attempts += 1
            raise RobotUnavailableError(f"The robot is gone for {self.attempts}.{self.attempts} s.")


class NoScene:
    observables = {}

    def observe(self):
        return {}


class NoSuccess:
    def reward(self, observation):
        return Reward(-1.0, False)


class PutBack:
    """A reset that sees the robot, and puts it back; remembers how often."""

    def __init__(self, robot):
        self.robot, self.count = robot, 0
        self.on_the_way = lambda: None

    def reset(self, rng, keep_going):
        self.robot.observe()
        self.on_the_way()
        keep_going()
        self.robot.place(START_M)
        self.count += 1
        return ResetResult(True)


class SeededEnv(RobotEnv):
    """Remembers the seeds of its successful resets, and how many steps it made."""

    def __init__(self, robot):
        task = msgspec.convert(TASK, Task, strict=False)
        super().__init__(robot, task, NoScene(), NoSuccess(), PutBack(robot))
        self.seeds, self.steps = [], 0

    def reset(self, *, seed=None, options=None):
        result = super().reset(seed=seed, options=options)
        self.seeds.append(seed)
        return result

    def step(self, action):
        result = super().step(action)
        self.steps += 1
        return result


class ConstantPolicy:
    """Moves by what its weights say; remembers in which mode."""

    def __init__(self):
        self.value, self.modes = None, []

    def act(self, observation, deterministic):
        self.modes.append(deterministic)
        return np.full(4, self.value, np.float32)

    def load_weights(self, weights):
        self.value = float(weights["value"])


class Witness(Observer):
    """Keeps all it is told, but for the reset that every episode begins with."""

    def __init__(self):
        self.states, self.events, self.episodes = [], [], []

    def on_state(self, state, why):
        if state != "resetting" and self.states[-1:] != [state]:
            self.states.append(state)

    def on_event(self, text):
        self.events.append(text)

    def on_episode(self, report):
        self.episodes.append(report)


class Rig:
    """An actor on a thread, and a learner's server in the hands of the test: it allows `allowance` steps."""

    def __init__(self, until, folder, allowance=10**6, lockstep=True, address=None, **config):
        self.until = until
        self.robot = FlakyRobot()
        self.env = SeededEnv(self.robot)
        spec = TransitionSpec.of(self.env.observation_space, self.env.action_space)
        self.server = LearnerServer("tcp://127.0.0.1:*", spec, {})
        self.client = ActorClient(address or self.server.address, "actor-0", spec, {}, folder / "spool")
        self.policy, self.witness, self.error = ConstantPolicy(), Witness(), None
        plain = {"random_steps": 0, "evaluate_every": 0, "fault_retry_s": 0.01}
        self.actor = Actor(
            ActorConfig(**{**plain, **config}), self.env, {"": Agent(self.policy, self.client)}, spec,
            seed=5, provenance=Provenance.TWIN, lockstep=lockstep, park=self._park,
            fault=RobotUnavailableError, observer=self.witness,
        )  # fmt: skip
        self.journal = folder / "journal.jsonl"
        self._rows = [np.zeros(0, spec.dtype)]
        self._thread = threading.Thread(target=self._run)
        self.allow(allowance)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
        self.client.close()
        self.server.close()

    def _park(self):
        self.robot.stop()
        if self.robot.lost.is_set():
            raise RobotUnavailableError("The robot cannot be told to stop.")

    def _run(self):
        try:
            self.actor.run()
        except BaseException as error:
            self.error = error

    def allow(self, steps):
        self.server.set_progress(0, steps)

    def publish(self, version=0, value=0.1):
        self.server.publish(version, encode_weights({"value": torch.tensor(value)}))

    def start(self, publish=True):
        if publish:
            self.publish()
        self._thread.start()
        return self

    def end(self):
        self.actor.request_stop()
        if self._thread.ident:
            self._thread.join(20)
        assert not self._thread.is_alive()

    def wait_for(self, state):
        self.until(lambda: self.actor.state is state)

    def rows(self):
        """All transitions so far, in order."""
        assert self.error is None, self.error
        while (records := self.server.poll()) is not None:
            self._rows.append(records)
        return np.concatenate(self._rows)

    def wait_for_rows(self, count):
        self.until(lambda: len(self.rows()) >= count)
        return self.rows()

    def entries(self, kind):
        writer = Journal(self.journal)
        for report in self.server.poll_reports():
            writer.write_report(report)
        writer.close()
        return [e for e in JournalReader(self.journal).new() if e["kind"] == kind]


@pytest.fixture
def make_rig(wait_until):
    return partial(Rig, wait_until)


def check_replay(rows):
    """Each transition is what its action caused, in an episode that has each of its steps once and in order."""
    before_m, after_m = rows["observation.state"], rows["next_observation.state"]
    np.testing.assert_allclose(after_m - before_m, 0.03 * rows["action"][:, :3], atol=1e-6)
    np.testing.assert_allclose(
        before_m[rows["step"] == 0], np.broadcast_to(START_M, (sum(rows["step"] == 0), 3))
    )
    assert not rows["terminated"].any()
    assert np.array_equal(rows["truncated"], rows["step"] == EPISODE_STEPS - 1)
    numbers = rows["episode"]
    assert np.all(np.diff(numbers.astype(np.int64)) >= 0)
    for number in np.unique(numbers):
        steps = rows["step"][numbers == number]
        assert np.array_equal(steps, np.arange(len(steps)))


def test_a_pause_ends_the_episode_after_the_current_step_and_a_new_one_follows(tmp_path, make_rig):
    with make_rig(tmp_path, allowance=40) as rig:
        rig.robot.before_command = lambda number: rig.actor.pause() if number == 17 else None
        rig.start().wait_for(ActorState.PAUSED)
        assert len(rig.wait_for_rows(17)) == 17
        assert rig.env.steps == 17
        assert rig.robot.calls[-1] == "stop"
        rig.publish(3, -0.2)
        rig.until(lambda: rig.client._told.weights[0] == 3)  # They come while it is paused.
        assert rig.server.actors() == ["actor-0"]
        rig.actor.resume()
        rows = rig.wait_for_rows(40)
    assert rig.error is None
    check_replay(rows)
    # The broken-off episode neither terminates nor is truncated, and is not reported.
    assert list(np.unique(rows["episode"][:17], return_counts=True)[1]) == [10, 7]
    assert rows["step"][17] == 0
    assert set(rows["policy_version"][:17]) == {0}
    assert set(rows["policy_version"][17:]) == {3}
    assert [e["steps"] for e in rig.witness.episodes] == [10, 10, 10]
    assert [e["steps"] for e in rig.entries("episode")] == [10, 10, 10]
    assert {e["start"] for e in rig.entries("episode")} == {"task"}
    assert rig.witness.states == ["learning", "paused", "learning", "stopped"]
    assert [event.split(":")[0] for event in rig.witness.events] == ["Paused", "Resumed.", END]


def test_every_change_of_state_is_in_the_journal_with_its_reason_and_how_long_the_one_before_lasted(
    tmp_path, make_rig
):
    with make_rig(tmp_path, allowance=20) as rig:
        rig.robot.before_command = lambda number: rig.actor.pause() if number == 15 else None
        rig.start().wait_for(ActorState.PAUSED)
        rig.actor.resume()
        rig.wait_for_rows(20)
    states = rig.entries("state")
    cycle = ["resetting", "learning"]
    assert [e["state"] for e in states][:7] == [*cycle, *cycle, "paused", "learning", "resetting"]
    assert [e["before"] for e in states][1:] == [e["state"] for e in states][:-1]
    assert states[0]["before"] == "waiting_for_policy"
    assert all(e["seconds_before"] >= 0.0 and e["actor"] == "actor-0" for e in states)
    assert "until somebody says resume" in next(e["why"] for e in states if e["state"] == "paused")


def test_a_report_tells_how_long_the_policy_took_to_decide(tmp_path, make_rig):
    with make_rig(tmp_path, allowance=20, random_steps=EPISODE_STEPS) as rig:
        rig.start().wait_for_rows(20)
        rig.until(lambda: len(rig.witness.episodes) == 2)
    by_chance, by_policy = rig.entries("episode")
    assert by_chance["inference"] == {}
    times = by_policy["inference"]
    assert 0.0 < times["median_s"] <= times["p99_s"] <= times["worst_s"]
    assert by_policy["lateness"].keys() == {"median_s", "p99_s"}


def test_an_actor_paused_before_its_first_policy_leaves_the_robot_untouched(tmp_path, make_rig):
    with make_rig(tmp_path, allowance=3) as rig:
        rig.actor.pause()
        rig.start(publish=False).wait_for(ActorState.PAUSED)
        rig.publish()
        rig.until(lambda: rig.client._told.weights is not None)
        rig.actor.resume()
        check_replay(rig.wait_for_rows(3))
    assert rig.robot.calls[:3] == ["stop", "connect", "observe"]
    assert rig.witness.states == ["paused", "waiting_for_policy", "learning", "stopped"]


@pytest.mark.parametrize("evaluate_every", [0, 5])
@pytest.mark.parametrize("act", ["pause", "request_stop"])
def test_a_reset_on_its_way_is_broken_off_too(tmp_path, make_rig, act, evaluate_every):
    with make_rig(tmp_path, allowance=40, evaluate_every=evaluate_every, evaluation_episodes=2) as rig:
        resets = rig.env.reset_policy

        def on_the_way():
            if resets.count == 1:  # The second: of an evaluation, or of the second episode.
                resets.on_the_way = lambda: None
                getattr(rig.actor, act)()

        resets.on_the_way = on_the_way
        rig.start()
        state = ActorState.PAUSED if act == "pause" else ActorState.STOPPED
        rig.until(lambda: state in rig.witness.states)
        assert rig.env.steps == 10
        assert resets.count == 1
        assert rig.robot.calls[-1] == "stop"
        if act == "pause":
            rig.actor.resume()
            rig.wait_for_rows(40)
    assert rig.error is None
    check_replay(rig.rows())


@pytest.mark.parametrize(("at_start", "expected"), [(True, [0, 10]), (False, [10])])
def test_a_pretrained_policy_is_evaluated_before_its_first_step(tmp_path, make_rig, at_start, expected):
    with make_rig(
        tmp_path, allowance=12, evaluate_every=10, evaluate_at_start=at_start, evaluation_episodes=1
    ) as rig:
        rig.start().wait_for_rows(12)
        assert [entry["environment_steps"] for entry in rig.entries("evaluation")] == expected


def test_a_pause_breaks_an_evaluation_off_and_it_is_repeated_as_a_whole(tmp_path, make_rig):
    with make_rig(tmp_path, allowance=20, evaluate_every=10, evaluation_episodes=3) as rig:
        # 10 steps of acting, then in the second episode of the evaluation.
        rig.robot.before_command = lambda number: rig.actor.pause() if number == 25 else None
        rig.start().wait_for(ActorState.PAUSED)
        assert rig.env.steps == 25
        assert rig.robot.calls[-1] == "stop"
        assert len(rig.wait_for_rows(10)) == 10
        assert rig.entries("evaluation") == []
        rig.publish(7)
        rig.until(lambda: rig.client._told.weights[0] == 7)
        rig.actor.resume()
        rows = rig.wait_for_rows(20)
        rig.until(lambda: len(rig.entries("evaluation")) == 2)
        rig.until(lambda: rig.witness.states[-1] == "learning")  # Waiting for its turn in the next episode.
    check_replay(rows)
    assert len(rows) == 20
    first, second = rig.entries("evaluation")
    assert (first["episodes"], first["environment_steps"], first["policy_version"]) == (3, 10, 7)
    assert second["environment_steps"] == 20
    whole = [EVALUATION_SEED + i for i in range(3)]
    assert rig.env.seeds[1:3] == whole[:2]
    assert rig.env.seeds[3:6] == whole
    assert rig.policy.modes.count(True) == 15 + 30 + 30
    assert rig.witness.states == [
        "learning",
        "evaluating",
        "paused",
        "evaluating",
        "learning",
        "evaluating",
        "learning",
        "stopped",
    ]


@pytest.mark.parametrize("how", ["person", "learner"])
def test_a_paused_actor_can_be_ended(tmp_path, make_rig, how):
    with make_rig(tmp_path) as rig:
        rig.robot.before_command = lambda number: rig.actor.pause() if number == 5 else None
        rig.start().wait_for(ActorState.PAUSED)
        if how == "person":
            rig.actor.request_stop()
        else:
            rig.server.stop_actors("the run is complete")
        rig.wait_for(ActorState.STOPPED)
        rig._thread.join(20)
        assert rig.error is None
        assert len(rig.wait_for_rows(5)) == 5


def test_a_lost_robot_is_parked_said_once_and_driven_again_when_it_is_back(tmp_path, make_rig):
    with make_rig(tmp_path, allowance=30) as rig:
        rig.robot.before_command = lambda number: rig.robot.lost.set() if number == 15 else None
        rig.start()
        rig.until(lambda: rig.robot.attempts >= 5)
        assert rig.actor.state is ActorState.FAULT
        assert len(rig.wait_for_rows(14)) == 14
        rig.robot.before_command = lambda number: None
        rig.robot.lost.clear()
        rows = rig.wait_for_rows(30)
    assert rig.error is None
    check_replay(rows)
    assert rig.env.steps == len(rows) == 30  # All that was measured is there, and only once.
    assert list(np.unique(rows["episode"], return_counts=True)[1]) == [10, 4, 10, 6]
    complaint, back, end = rig.witness.events
    assert complaint == "The robot is gone for 1.1 s. Trying again every 0.01 s."
    assert (back, end) == ("The robot is back.", END)
    assert rig.witness.states == ["learning", "fault", "learning", "stopped"]
    (fault,) = rig.entries("fault")
    assert fault["message"] == "The robot is gone for 1.1 s."
    assert (fault["actor"], fault["environment_steps"]) == ("actor-0", 14)


def test_another_complaint_of_a_lost_robot_is_said_too(tmp_path, make_rig):
    with make_rig(tmp_path) as rig:
        complaints = iter(
            ["It lies down.", "It lies down.", "It has 3 legs.", "It has 4 legs.", "It lies down."]
        )

        def complain(_):
            if (text := next(complaints, None)) is not None:
                raise RobotUnavailableError(text)

        rig.robot.before_command = complain
        rig.start().wait_for_rows(3)
    said = [event.partition(" Trying")[0] for event in rig.witness.events]
    assert said == ["It lies down.", "It has 3 legs.", "The robot is back.", END]
    assert len(rig.entries("fault")) == 1


def test_a_robot_that_is_not_there_at_first_is_waited_for(tmp_path, make_rig):
    with make_rig(tmp_path, allowance=12) as rig:
        rig.robot.lost.set()
        rig.start()
        rig.until(lambda: rig.robot.attempts >= 3)
        rig.robot.lost.clear()
        rows = rig.wait_for_rows(12)
    check_replay(rows)
    assert rig.witness.states == ["fault", "learning", "stopped"]
    assert len(rig.entries("fault")) == 1


def test_a_fault_discards_an_evaluation_and_it_is_repeated_as_a_whole(tmp_path, make_rig):
    with make_rig(tmp_path, allowance=11, evaluate_every=10, evaluation_episodes=2) as rig:
        rig.robot.before_command = lambda number: rig.robot.lost.set() if number == 23 else None
        rig.start()
        rig.until(lambda: rig.robot.attempts >= 3)
        assert rig.entries("evaluation") == []
        rig.robot.before_command = lambda number: None
        rig.robot.lost.clear()
        rows = rig.wait_for_rows(11)
    check_replay(rows)
    (evaluation,) = rig.entries("evaluation")
    assert (evaluation["episodes"], evaluation["mean_length"]) == (2, EPISODE_STEPS)
    assert rig.env.seeds[1:5] == [EVALUATION_SEED, EVALUATION_SEED + 1] * 2
    assert rig.witness.states == ["learning", "evaluating", "fault", "evaluating", "learning", "stopped"]


def test_a_paused_actor_leaves_a_lost_robot_alone(tmp_path, make_rig):
    with make_rig(tmp_path, fault_retry_s=60.0) as rig:
        rig.robot.before_command = lambda number: rig.robot.lost.set() if number == 4 else None
        rig.start().wait_for(ActorState.FAULT)
        rig.actor.pause()
        rig.wait_for(ActorState.PAUSED)
        assert rig.robot.attempts == 1
        rig.robot.before_command = lambda number: None
        rig.robot.lost.clear()
        rig.actor.resume()  # A person's word counts: the next attempt is at once.
        check_replay(rig.wait_for_rows(20))


def test_an_actor_whose_robot_is_lost_ends_at_once_when_told(tmp_path, make_rig):
    with make_rig(tmp_path, fault_retry_s=60.0) as rig:
        rig.robot.before_command = lambda number: rig.robot.lost.set() if number == 4 else None
        rig.start().wait_for(ActorState.FAULT)
        rig.end()
        assert rig.error is None
        assert rig.actor.state is ActorState.STOPPED
        assert rig.client.unacknowledged == 0


@pytest.mark.parametrize("error", [RobotError("The robot needs a human."), ValueError("a defect")])
def test_everything_else_ends_the_actor_with_the_robot_parked(tmp_path, make_rig, error):
    with make_rig(tmp_path) as rig:

        def fail(number):
            if number == 4:
                raise error

        rig.robot.before_command = fail
        rig.start()
        rig._thread.join(20)
        raised, rig.error = rig.error, None
        assert raised is error
        assert rig.robot.calls[-1] == "stop"
        assert rig.actor.state is ActorState.STOPPED
        assert len(rig.wait_for_rows(3)) == 3


def test_the_robot_is_parked_once_while_the_learner_is_gone(tmp_path, make_rig, monkeypatch):
    gone = threading.Event()
    silence = property(lambda _: 1e9 if gone.is_set() else 0.0)
    monkeypatch.setattr(ActorClient, "seconds_since_contact", silence)
    with make_rig(tmp_path, lockstep=False) as rig:
        rig.robot.before_command = lambda number: gone.set() if number == 5 else None
        rig.start().wait_for(ActorState.PARKED)
        rig.until(lambda: len(rig.witness.events) == 1)
        assert "No word from the learner for 30 s" in rig.witness.events[0]
        gone.clear()
        check_replay(rig.wait_for_rows(8))
        assert rig.robot.calls.count("stop") == 1
    assert rig.witness.states == ["learning", "parked", "learning", "stopped"]
    assert rig.witness.events[1] == "The learner answers again."


def test_a_second_actor_of_a_name_leaves_its_robot_alone_and_ends_when_told(tmp_path, make_rig):
    """As by SIGTERM; a peer's hangs in its first call until SIGKILL."""
    with make_rig(tmp_path / "first", allowance=20) as first:
        first.start().wait_for(ActorState.LEARNING)
        with make_rig(tmp_path / "second", address=first.server.address) as second:
            second.start()
            second.until(lambda: second.client.refusal is not None)
            assert "Another actor named 'actor-0' is connected" in second.client.refusal
            assert second.actor.state is ActorState.WAITING_FOR_POLICY
            waits = []
            second.client.flush = waits.append
            second.end()
            assert not waits
            assert (second.robot.sent, second.env.seeds) == ([], [])
        first.wait_for_rows(20)


@pytest.mark.parametrize("lockstep", [False, True])
def test_the_robot_is_parked_while_there_is_no_room_for_what_it_does(
    tmp_path, make_rig, monkeypatch, lockstep
):
    why = []
    no_room = property(lambda _: why[0] if why else None)
    monkeypatch.setattr(ActorClient, "no_room", no_room)
    with make_rig(tmp_path, lockstep=lockstep) as rig:
        rig.robot.before_command = lambda number: why.append("It is full.") if number == 5 else None
        rig.start().wait_for(ActorState.PARKED)
        rig.until(lambda: rig.witness.events == ["It is full. The robot is parked until there is room."])
        assert len(rig.robot.sent) == 5
        why[:] = ["It is broken."]
        rig.until(lambda: len(rig.witness.events) == 2)
        why.clear()
        check_replay(rig.wait_for_rows(8))
    assert rig.witness.states == ["learning", "parked", "learning", "stopped"]
    assert rig.witness.events[1:3] == [
        "It is broken. The robot is parked until there is room.", "There is room for transitions again.",
    ]  # fmt: skip
    assert [e["why"] for e in rig.entries("state") if e["state"] == "parked"] == [
        "It is full. The robot is parked until there is room."
    ]


def test_an_actor_whose_disk_fails_parks_and_goes_on_with_nothing_lost(tmp_path, make_rig, monkeypatch):
    """The disk takes a half of the fifth transition, and nothing for a while."""
    full, real = threading.Event(), os.writev

    def writev(descriptor, parts):
        if not full.is_set() or "spool" not in os.readlink(f"/proc/self/fd/{descriptor}"):
            return real(descriptor, parts)
        os.write(descriptor, b"".join(parts)[:20])
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(os, "writev", writev)
    with make_rig(tmp_path, allowance=400, lockstep=False) as rig:
        rig.robot.before_command = lambda number: full.set() if number == 5 else None
        rig.start().wait_for(ActorState.PARKED)
        rig.until(lambda: rig.witness.events)
        assert "(No space left on device). The robot is parked" in rig.witness.events[0]
        assert len(rig.robot.sent) == 5
        assert len(rig.wait_for_rows(4)) == 4
        full.clear()
        check_replay(rig.wait_for_rows(30))
        assert rig.witness.events[1] == "There is room for transitions again."


def test_an_actor_that_the_learner_does_not_take_parks_and_says_why(tmp_path, make_rig):
    with make_rig(tmp_path, lockstep=False, park_after_s=0.3) as rig:
        rig.start().wait_for(ActorState.LEARNING)
        refused = Refused("Another actor named 'actor-0' is connected.", temporary=True)
        rig.server._peers.refusal = lambda *_: refused
        rig.server._peers._welcomed = {}
        rig.wait_for(ActorState.PARKED)
        rig.until(lambda: rig.witness.events)
        said = "Another actor named 'actor-0' is connected. The robot is parked until the learner takes this actor."
        assert rig.witness.events[0] == said
        del rig.server._peers.refusal
        rig.wait_for(ActorState.LEARNING)
        rig.until(lambda: rig.witness.events[1:] == ["The learner takes this actor."])


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_lost_or_double_whenever_it_is_paused_or_the_robot_lost(tmp_path, make_rig, seed):
    rng = np.random.default_rng(seed)
    with make_rig(
        tmp_path, allowance=400, evaluate_every=100, evaluation_episodes=1, fault_retry_s=0.001
    ) as rig:

        def disturb(number):
            if rng.random() < 0.03:
                raise RobotUnavailableError("The robot is gone.")
            if rng.random() < 0.03:
                rig.actor.pause()

        rig.robot.before_command = disturb
        rig.start()
        rig.until(lambda: (rig.actor.resume(), len(rig.rows()) >= 400)[1], 60.0)
        rig.until(lambda: (rig.actor.resume(), len(rig.entries("evaluation")) >= 3)[1], 60.0)
    rows = rig.rows()
    assert len(rows) == 400
    check_replay(rows)
    reported = {e["episode"] for e in rig.entries("episode")}
    assert reported == set(rows["episode"][rows["truncated"]])
    assert all(e["mean_length"] == EPISODE_STEPS for e in rig.entries("evaluation"))
    assert {"fault", "paused", "evaluating", "learning"} <= set(rig.witness.states)


class Helped:
    """A reset that needs a person; the robot stands where it should."""

    def reset(self, rng, keep_going):
        tried = [ResetAttempt("scripted", False, "the cube is gone"), ResetAttempt("operator", True)]
        return ResetResult(True, attempts=tuple(tried))


def test_an_episode_tells_what_it_took_to_begin_it(tmp_path, make_rig):
    with make_rig(tmp_path, allowance=20) as rig:
        rig.env.reset_policy = Helped()
        rig.start().wait_for_rows(20)
        rig.until(lambda: len(rig.witness.episodes) == 2)
    for report in rig.witness.episodes:
        assert [report[key] for key in ("resets", "failed_resets", "human_resets")] == [2, 1, 1]
        assert report["trouble"] == ""
