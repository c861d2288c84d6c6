"""Two agents, one actor, one learner process: real ZeroMQ, an environment that says whose turn it is."""

import errno
import threading

import gymnasium
import numpy as np
import pytest
import torch

from agent import storage
from agent.actor import Actor, ActorConfig, Agent
from agent.checkpoint import Checkpoints
from agent.demonstrations import Demonstrations
from agent.journal import Journal, JournalReader
from agent.learner import Learner
from agent.learner_config import LearnerConfig
from agent.prefetch import Prefetcher
from agent.record_log import RecordLog
from agent.replay import MixedSampler, ReplayBuffer
from agent.storage import StorageError
from agent.team import LearnerTeam
from agent.transition import Provenance, TransitionSpec
from agent.transport.client import ActorClient
from agent.transport.server import LearnerServer

NAMES = ("there", "back")
EPISODE_STEPS = {"there": 4, "back": 12}


class TurnsEnv(gymnasium.Env):
    """Observes (whose turn, step); the agents take turns, `back` in episodes three times as long."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self):
        self.episode = -1
        self.order = lambda episode: NAMES[episode % 2]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode += 1
        self.name, self.steps = self.order(self.episode), 0
        return self._observe(), {"agent": self.name}

    def step(self, action):
        self.steps += 1
        done = self.steps == EPISODE_STEPS[self.name]
        # Each has its own reward.
        info = {"success": done and self.name == "there"}
        return (
            self._observe(),
            -1.0 - NAMES.index(self.name),
            info["success"],
            done and not info["success"],
            info,
        )

    def _observe(self):
        return np.array([NAMES.index(self.name), self.steps], np.float32)


SPEC = TransitionSpec.of(TurnsEnv.observation_space, TurnsEnv.action_space)


class Counting:
    """Counts its updates; fails when it is told to."""

    batch_size, utd_ratio = 4, 2

    def __init__(self, number):
        self.number, self.updates, self.calls = number, 0, 0
        self.fails = lambda updates: False
        self.order = []

    def update(self, batch):
        assert set(batch["reward"].tolist()) == {-1.0 - self.number}, (
            "learned from another agent's experience"
        )
        self.calls += 1
        self.order.append(self.number)
        if self.fails(self.updates):
            self.updates = 10**6  # What is broken must not survive.
            return {"loss": float("nan")}
        self.updates += self.utd_ratio
        return {"loss": 0.5}

    def policy_weights(self):
        return {"agent": torch.tensor(float(self.number)), "updates": torch.tensor(float(self.updates))}

    def state_dict(self):
        return {"updates": torch.tensor(self.updates)}

    def load_state_dict(self, state):
        self.updates = int(state["updates"])


class OwnPolicy:
    """Refuses the weights of another agent, and to act for it."""

    def __init__(self, number):
        self.number, self.updates = number, []

    def act(self, observation, deterministic):
        assert observation["state"][0] == self.number
        return np.full(1, 0.1 * self.number, np.float32)

    def load_weights(self, weights):
        assert float(weights["agent"]) == self.number
        self.updates.append(float(weights["updates"]))


class Rig:
    def __init__(self, folder, **config):
        self.folder = folder
        plain = {"max_environment_steps": 240, "start_steps": 10, "checkpoint_every": 20, "publish_every": 5}
        self.config = LearnerConfig(**{**plain, **config})
        self.journal = folder / "journal.jsonl"
        self.env = TurnsEnv()
        journal, changed = Journal(self.journal), threading.Condition()
        self.algorithms = [Counting(number) for number in range(2)]
        self.order = self.algorithms[0].order
        self.algorithms[1].order = self.order
        self.logs, self.learners, agents = [], [], {}
        self.policies = [OwnPolicy(number) for number in range(2)]
        for number, name in enumerate(NAMES):
            home = folder / name
            log = RecordLog.open(home / "replay.log", SPEC.dtype)
            sampler = MixedSampler(
                SPEC, ReplayBuffer(SPEC, 1000, 0), Demonstrations(SPEC, np.zeros(0, SPEC.dtype), 10, 1), 0.0,
                torch.device("cpu"),
            )  # fmt: skip
            for records in log.records():
                sampler.append(records)
            server = LearnerServer(
                "tcp://127.0.0.1:*", SPEC, {"agent": name}, run_id=b"r" * 16, record_log=log, changed=changed
            )
            learner = Learner(
                self.config, self.algorithms[number], Prefetcher(sampler, False), server,
                Checkpoints(home / "checkpoints"), journal, None, name,
            )  # fmt: skip
            learner.resume()
            self.logs.append(log)
            self.learners.append(learner)
            client = ActorClient(server.address, "actor-0", SPEC, {"agent": name}, home / "spool")
            agents[name] = Agent(self.policies[number], client)
        self.clients = [agent.client for agent in agents.values()]
        self.team = LearnerTeam(self.learners, changed, journal)
        self.actor = Actor(
            ActorConfig(random_steps=0, evaluate_every=100, evaluation_episodes=3), self.env, agents, SPEC,
            seed=5, provenance=Provenance.TWIN, lockstep=True, park=lambda: None,
        )  # fmt: skip

    def run(self):
        errors = []

        def act():
            try:
                self.actor.run()
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=act)
        thread.start()
        try:
            complete = self.team.run()
        finally:
            self.actor.request_stop()
            thread.join(30)
            for client in self.clients:
                client.close()
            for learner in self.learners:
                learner.server.close()
            for log in self.logs:
                log.close()
        assert not errors, errors
        return complete

    def rows(self, name):
        log = RecordLog.open(self.folder / name / "replay.log", SPEC.dtype)
        rows = np.concatenate([np.zeros(0, SPEC.dtype), *log.records()])
        log.close()
        return rows

    def entries(self, kind):
        return [entry for entry in JournalReader(self.journal).new() if entry["kind"] == kind]


def test_each_agent_has_its_own_data_and_policy_and_an_equal_share_of_the_updates(tmp_path):
    rig = Rig(tmp_path)
    assert rig.run()
    assert rig.team.run_steps >= 240
    for number, name in enumerate(NAMES):
        rows = rig.rows(name)
        assert set(rows["observation.state"][:, 0]) == {number}
        assert set(rows["reward"]) == {-1.0 - number}
        assert len(rig.policies[number].updates) > 1
    # One makes three times as many steps as the other, and yet:
    there, back = (algorithm.updates for algorithm in rig.algorithms)
    assert min(there, back) >= 0.45 * (there + back)
    # No more in all than one agent would have had.
    assert there + back <= 2 * 240
    assert set(rig.policies[0].updates).isdisjoint({10**6})


def test_evaluations_and_episodes_of_both_are_told_apart_in_the_journal(tmp_path):
    rig = Rig(tmp_path)
    rig.run()
    evaluations = rig.entries("evaluation")
    assert {entry["agent"] for entry in evaluations} == set(NAMES)
    assert {entry["episodes"] for entry in evaluations} == {3}
    assert {(e["agent"], e["success_rate"], e["mean_length"]) for e in evaluations} == {
        ("there", 1.0, 4.0),
        ("back", 0.0, 12.0),
    }
    episodes = rig.entries("episode")
    assert {entry["agent"]: entry["return"] for entry in episodes} == {"there": -4.0, "back": -24.0}
    assert {entry["agent"] for entry in rig.entries("learner")} == set(NAMES)


def test_an_agent_that_hardly_acts_does_not_learn_its_few_steps_by_heart(tmp_path):
    rig = Rig(tmp_path, start_steps=2)
    rig.env.order = lambda episode: "there" if episode == 40 else "back"
    assert rig.run()
    there, back = rig.algorithms
    # 4 steps of training; evaluations are not stored.
    assert there.updates <= 2 * 2 * len(rig.rows("there"))
    assert back.updates > 10 * there.updates


def test_an_agent_that_never_acts_is_not_waited_for(tmp_path):
    rig = Rig(tmp_path)
    rig.env.order = lambda episode: "back"
    assert rig.run()
    assert rig.algorithms[0].updates == 0
    assert rig.algorithms[1].updates == 2 * (240 // 2 - 10)
    # Of who had no episode nothing is claimed.
    assert {entry["agent"] for entry in rig.entries("evaluation")} == {"back"}


@pytest.mark.parametrize("failing", [0, 1])
def test_one_that_diverges_once_goes_on_from_its_checkpoint_and_the_other_does_not_notice(tmp_path, failing):
    rig = Rig(tmp_path)
    algorithm = rig.algorithms[failing]
    fails = iter([True])
    algorithm.fails = lambda updates: updates >= 100 and next(fails, False)
    assert rig.run()
    assert not rig.team.resting
    assert [a.updates for a in rig.algorithms] == [2 * (240 // 2 - 10)] * 2
    assert rig.algorithms[1 - failing].calls == 110
    assert algorithm.calls > 110  # Those since the checkpoint were made again.
    [failure] = rig.entries("agent_failed")
    assert failure["agent"] == NAMES[failing]
    assert "loss is not finite" in failure["message"]
    assert "goes on from its newest checkpoint" in failure["message"]
    assert 10**6 not in rig.policies[failing].updates


@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize("after", [0, 100])
def test_one_that_always_diverges_rests_and_the_other_completes(tmp_path, failing, after):
    rig = Rig(tmp_path)
    rig.algorithms[failing].fails = lambda updates: updates >= after
    assert rig.run()
    assert list(rig.team.resting) == [NAMES[failing]]
    assert rig.algorithms[1 - failing].updates == 2 * (240 // 2 - 10)
    # What arrived for it is stored, and it acted by the last weights that worked.
    assert len(rig.rows(NAMES[failing])) > 40
    assert max(rig.policies[failing].updates) <= after
    assert len(rig.entries("agent_failed")) == 4


def test_what_an_agent_raises_is_its_own_affair_too(tmp_path):
    rig = Rig(tmp_path)

    def fails(updates):
        raise MemoryError("no room for a batch")

    rig.algorithms[0].fails = fails
    assert rig.run()
    assert "no room" in rig.team.resting["there"]


def test_a_team_that_was_stopped_goes_on_where_it_was(tmp_path):
    first = Rig(tmp_path)
    first.algorithms[1].fails = lambda updates: updates >= 80 and first.team.request_stop()
    assert not first.run()
    assert {entry["kind"] for entry in first.entries("agent_failed")} == set()
    stored = {name: len(first.rows(name)) for name in NAMES}
    second = Rig(tmp_path)
    assert [learner.updates for learner in second.learners] == [a.updates for a in first.algorithms]
    assert second.run()
    for name in NAMES:
        rows = second.rows(name)
        assert len(rows) > stored[name]
        keys = list(zip(rows["episode"].tolist(), rows["step"].tolist(), strict=True))
        assert len(set(keys)) == len(keys)
    assert [a.updates for a in second.algorithms] == [2 * (240 // 2 - 10)] * 2


def test_a_dead_receive_thread_ends_the_process_which_alone_can_mend_it(tmp_path):
    rig = Rig(tmp_path)

    def die(updates):
        rig.learners[0].server._error = OSError("disk full")
        return False

    rig.algorithms[1].fails = die
    with pytest.raises(RuntimeError, match="disk full"):
        rig.run()


def test_an_agent_whose_end_cannot_be_saved_keeps_no_other_from_it(tmp_path, monkeypatch):
    rig = Rig(tmp_path, checkpoint_every=10_000)

    def write_synced(path, content):
        if NAMES[0] in path.parts:
            raise OSError(errno.ENOSPC, "")
        storage.write_synced(path, content)

    monkeypatch.setattr("agent.checkpoint.write_synced", write_synced)
    with pytest.raises(StorageError, match="cannot be saved"):
        rig.run()
    saved = [len(Checkpoints(tmp_path / name / "checkpoints").all()) for name in NAMES]
    assert saved == [0, 1]
    assert not rig.team.resting
