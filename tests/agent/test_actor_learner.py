"""Actor and learner together, over real ZeroMQ, on an environment whose observations name their origin."""

import errno
import json
import threading
from contextlib import suppress
from itertools import count

import gymnasium
import numpy as np
import pytest
import torch

from agent import storage
from agent.actor import Actor, ActorConfig, Agent
from agent.checkpoint import Checkpoints, load_checkpoint
from agent.chunks import ChunkedPolicy
from agent.config import InputError
from agent.demonstrations import Demonstrations
from agent.journal import Journal, JournalReader
from agent.learner import Learner
from agent.learner_config import LearnerConfig
from agent.prefetch import Prefetcher
from agent.reading import read_steps
from agent.record_log import RecordLog
from agent.replay import MixedSampler, ReplayBuffer
from agent.sac import SAC, SACConfig
from agent.sampling import SamplingConfig, draw_as
from agent.storage import StorageError
from agent.transition import Provenance, TransitionSpec
from agent.transport.client import ActorClient
from agent.transport.server import LearnerServer
from agent.weights import encode_weights

TASK = {"task.name": "origin"}
RUN = b"r" * 16


class OriginEnv(gymnasium.Env):
    """Observation (actor, episode, step); episodes of random length end either way; the actuator halves actions."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, number=0):
        self.number, self.episode, self.resets = number, -1, []
        self.intervenes = lambda: False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.resets.append(seed)
        self.episode += 1
        self.steps = 0
        self.length = int(self.np_random.integers(1, 9))
        self.terminates = bool(self.np_random.integers(2))
        return self._observe(), {}

    def step(self, action):
        self.steps += 1
        end = self.steps == self.length
        info = {"executed_action": (action / 2).astype(np.float32), "success": end and self.terminates}
        info["intervened"] = self.intervenes()
        return self._observe(), -1.0, end and self.terminates, end and not self.terminates, info

    def _observe(self):
        return np.array([self.number, self.episode, self.steps], np.float32)


SPEC = TransitionSpec.of(OriginEnv.observation_space, OriginEnv.action_space)


class CountingAlgorithm:
    """Checks at every update that the learner is entitled to it."""

    batch_size, utd_ratio = 4, 3

    def __init__(self):
        self.updates = 0
        self.entitled = lambda: None
        self.paid = []
        self.seen = []

    def update(self, batch):
        self.seen.append(torch.cat([values.double().flatten() for values in batch.values()]))
        self.paid.append(float(batch["reward"].mean()))
        assert batch["reward"].shape == (self.batch_size * self.utd_ratio,)
        self.updates += self.utd_ratio
        self.entitled()
        return {"loss": 0.5}

    def policy_weights(self):
        return {"updates": torch.tensor(float(self.updates))}

    def state_dict(self):
        return {"updates": torch.tensor(self.updates)}

    def load_state_dict(self, state):
        self.updates = int(state["updates"])


class WarmStarting(CountingAlgorithm):
    """Imitates 25 times first, and only what was demonstrated."""

    offline_updates = 25

    def __init__(self):
        super().__init__()
        self.imitated = 0
        self.at_imitation = lambda: None

    def learn_offline(self, batch):
        assert batch["reward"].shape == (self.batch_size,)
        assert set(batch["provenance"].tolist()) == {Provenance.DEMONSTRATION}
        self.imitated += 1
        self.at_imitation()
        return {"imitation_loss": 1.0 / self.imitated}

    def state_dict(self):
        return super().state_dict() | {"imitated": torch.tensor(self.imitated)}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.imitated = int(state["imitated"])


class CountingReward:
    """Pays how often it has been asked to learn."""

    def __init__(self):
        self.updates = 0

    def update(self, batch):
        assert set(batch["provenance"].tolist()) <= {Provenance.TWIN, Provenance.DEMONSTRATION}
        self.updates += 1
        return {"reward_loss": 0.25}

    def relabel(self, batch):
        return {**batch, "reward": torch.full_like(batch["reward"], self.updates)}

    def state_dict(self):
        return {"updates": torch.tensor(self.updates)}

    def load_state_dict(self, state):
        self.updates = int(state["updates"])


class RememberingPolicy:
    """Acts 0.8; knows which weights it had when it acted."""

    def __init__(self):
        self.loaded = []
        self.modes = []

    def act(self, observation, deterministic):
        assert self.loaded, "acted before it had weights"
        self.modes.append(deterministic)
        return np.full(2, 0.8, np.float32)

    def load_weights(self, weights):
        self.loaded.append(float(weights["updates"]))


class Rig:
    """A learner and its actors in threads of one process."""

    def __init__(self, folder, reward_learner=None, ahead=False, algorithm=None, **config):
        self.folder = folder
        self.config = LearnerConfig(
            **{
                "max_environment_steps": 120,
                "start_steps": 20,
                "checkpoint_every": 40,
                "publish_every": 5,
                **config,
            }
        )
        self.algorithm = algorithm or CountingAlgorithm()
        self.log = RecordLog.open(folder / "replay.log", SPEC.dtype)
        self.replay = ReplayBuffer(SPEC, 1000, 0)
        recorded = np.zeros(10 * isinstance(self.algorithm, WarmStarting), SPEC.dtype)
        recorded["provenance"] = Provenance.DEMONSTRATION
        self.demonstrations = Demonstrations(SPEC, recorded, 1000, 1)
        read = draw_as(self.config.sampling, self.replay, self.demonstrations, recorded, read_steps, 120)
        self.sampler = MixedSampler(SPEC, self.replay, self.demonstrations, 0.5, torch.device("cpu"), read)
        for records in self.log.records():
            self.sampler.append(records)
        self.server = LearnerServer("tcp://127.0.0.1:*", SPEC, TASK, run_id=RUN, record_log=self.log)
        self.journal = folder / "journal.jsonl"
        checkpoints = Checkpoints(folder / "checkpoints")
        self.learner = Learner(
            self.config, self.algorithm, Prefetcher(self.sampler, ahead), self.server, checkpoints,
            Journal(self.journal), reward_learner,
        )  # fmt: skip
        self.algorithm.entitled = self._check_utd
        self.learner.resume()
        self.actors = []

    def _check_utd(self):
        entitled = self.replay.total_added - self.config.start_steps
        assert self.algorithm.updates <= self.algorithm.utd_ratio * entitled

    def actor(self, number=0, lockstep=True, **config):
        name = f"actor-{number}"
        client = ActorClient(self.server.address, name, SPEC, TASK, self.folder / "spool" / name)
        config = ActorConfig(**{"name": name, "random_steps": 10, "evaluate_every": 0, **config})
        env, policy = OriginEnv(number), RememberingPolicy()
        parked = []
        actor = Actor(
            config, env, {"": Agent(policy, client)}, SPEC,
            seed=5, provenance=Provenance.TWIN, lockstep=lockstep, park=lambda: parked.append(True),
        )  # fmt: skip
        actor.test = (env, policy, client, parked)
        self.actors.append(actor)
        return actor

    def run(self):
        errors = []

        def guarded(actor):
            try:
                actor.run()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=guarded, args=(actor,)) for actor in self.actors]
        for thread in threads:
            thread.start()
        try:
            self.learner.run()
        finally:
            for actor in self.actors:
                actor.request_stop()
            for thread in threads:
                thread.join(30)
            assert not any(thread.is_alive() for thread in threads)
            assert not any(thread.name.startswith("prefetch") for thread in threading.enumerate())
            for actor in self.actors:
                actor.test[2].close()
            self.close()
        self.learner.collect()  # What came while the server closed; as the program does, see journeyman/learner.py.
        assert not errors, errors

    def close(self):
        self.server.close()
        self.log.close()

    def stored(self):
        log = RecordLog.open(self.folder / "replay.log", SPEC.dtype)
        rows = np.concatenate([np.zeros(0, SPEC.dtype), *log.records()])
        log.close()
        return rows


@pytest.mark.parametrize("ahead", [False, True])
def test_a_run_completes_with_every_step_learned_from(tmp_path, ahead):
    rig = Rig(tmp_path, ahead=ahead)
    env, policy, _, parked = rig.actor().test
    rig.run()
    assert rig.learner.environment_steps == 120
    assert rig.algorithm.updates == 3 * (120 - 20)
    assert len(rig.stored()) == 120
    assert parked
    assert set(policy.modes) == {False}
    assert len(set(env.resets)) == len(env.resets)


def test_no_stored_next_observation_belongs_to_another_episode_with_two_actors(tmp_path):
    rig = Rig(tmp_path, max_environment_steps=200)
    rig.actor(0), rig.actor(1)
    rig.run()
    rows = rig.stored()
    now, after = rows["observation.state"], rows["next_observation.state"]
    assert set(now[:, 0]) == {0, 1}
    assert np.array_equal(now[:, :2], after[:, :2])
    assert np.array_equal(now[:, 2] + 1, after[:, 2])
    assert np.array_equal(now[:, 2], rows["step"])
    # Both ends occur, never together, and both only at the last step of their episode.
    assert rows["terminated"].any()
    assert rows["truncated"].any()
    assert not (rows["terminated"] & rows["truncated"]).any()
    for actor in (0, 1):
        mine = rows[now[:, 0] == actor]
        boundaries = mine["terminated"] | mine["truncated"]
        same_episode = mine["episode"][1:] == mine["episode"][:-1]
        assert np.array_equal(~same_episode, boundaries[:-1])


def test_interventions_are_demonstrations_too_also_after_a_resume(tmp_path):
    rig = Rig(tmp_path)
    for number in (0, 1):
        env = rig.actor(number).test[0]
        env.intervenes = lambda env=env: env.episode % 2 == 1 and env.steps > 1
    rig.run()
    rows = rig.stored()
    by_hand = rows[rows["intervened"]]
    assert 0 < len(by_hand) < len(rows)
    assert set(by_hand["provenance"]) == {Provenance.HUMAN}
    assert set(rows[~rows["intervened"]]["provenance"]) == {Provenance.TWIN}
    again = Rig(tmp_path)
    for buffers in (rig, again):
        for buffer, expected in ((buffers.replay, rows), (buffers.demonstrations, by_hand)):
            assert len(buffer) == len(expected)
            for name in ("provenance", "intervened", "observation.state", "next_observation.state"):
                assert np.array_equal(buffer.take(name, np.arange(len(buffer))), expected[name])
    again.close()


class Places:
    """Chunks of three actions that tell their place in it."""

    def act(self, observation, deterministic):
        return np.repeat(np.float32([0.0, 0.25, 0.5]), 2)

    def load_weights(self, weights):
        pass


def test_a_chunk_ends_with_its_episode_and_where_a_person_takes_over(tmp_path):
    rig = Rig(tmp_path, max_environment_steps=200)
    actor = rig.actor(random_steps=0)
    actor._agents[""].policy = ChunkedPolicy(Places(), SPEC)
    env = actor.test[0]
    env.intervenes = lambda: env.steps in (2, 3) and env.episode % 2 == 1
    rig.run()
    rows = rig.stored()
    places = (2 * rows["action"][:, 0] / 0.25).astype(int)
    assert set(places) == {0, 1, 2}
    for before, row, place, last in zip(rows[:-1], rows[1:], places[1:], places[:-1], strict=True):
        anew = row["step"] == 0 or before["intervened"]
        assert place == (0 if anew else (last + 1) % 3)


def test_two_actors_of_one_seed_do_not_act_alike(tmp_path):
    rig = Rig(tmp_path)
    rig.actor(0, random_steps=1000), rig.actor(1, random_steps=1000)
    rig.run()
    rows = rig.stored()
    assert len(np.unique(rows["action"], axis=0)) == len(rows)
    assert not set(rig.actors[0].test[0].resets) & set(rig.actors[1].test[0].resets)


def test_what_was_executed_is_stored(tmp_path):
    rig = Rig(tmp_path)
    rig.actor(random_steps=0)
    rig.run()
    np.testing.assert_allclose(rig.stored()["action"], 0.4, rtol=1e-6)


def test_an_actor_in_simulated_time_never_runs_ahead(tmp_path):
    rig = Rig(tmp_path, lead_steps=4)
    rig.actor()
    lead = []
    update = rig.algorithm.update
    rig.algorithm.update = lambda batch: (
        lead.append(rig.replay.total_added - rig.algorithm.updates / 3),
        update(batch),
    )[1]
    rig.run()
    assert max(lead) <= rig.config.start_steps + 4


@pytest.mark.parametrize("ahead", [False, True])
def test_a_reward_that_learns_is_asked_before_every_block_and_resumes_with_the_run(tmp_path, ahead):
    reward = CountingReward()
    rig = Rig(tmp_path, reward, ahead)
    rig.actor()
    rig.run()
    assert rig.algorithm.paid == list(range(1, 101))
    assert reward.updates == 100
    progress = [e for e in JournalReader(tmp_path / "journal.jsonl").new() if e["kind"] == "learner"]
    assert (progress[-1]["loss"], progress[-1]["reward_loss"]) == (0.5, 0.25)
    assert set(rig.stored()["reward"]) == {-1.0}  # What is stored keeps what it was paid.
    reward = CountingReward()
    again = Rig(tmp_path, reward, ahead, max_environment_steps=150)
    assert reward.updates == 100
    assert again.algorithm.updates == 300
    again.actor()
    again.run()
    assert again.algorithm.paid == list(range(101, 131))


def test_a_warm_start_comes_before_the_first_step(tmp_path):
    rig = Rig(tmp_path, algorithm=WarmStarting())
    rig.algorithm.at_imitation = lambda: steps.append(rig.replay.total_added)
    steps = []
    _, policy, _, _ = rig.actor().test
    rig.run()
    assert steps == [0] * 25
    assert rig.learner.environment_steps == 120
    assert rig.algorithm.updates == rig.learner.updates == 3 * (120 - 20)
    assert policy.loaded[0] == 0.0
    entries = [e for e in JournalReader(rig.journal).new() if e["kind"] == "learner"]
    assert entries[-1]["offline"] == [25, 25]


def test_a_run_without_environment_steps_is_over_with_its_warm_start(tmp_path):
    rig = Rig(tmp_path, algorithm=WarmStarting(), max_environment_steps=0)
    env, policy, _, parked = rig.actor().test
    rig.run()
    assert rig.algorithm.imitated == 25
    assert rig.algorithm.updates == len(rig.stored()) == 0
    assert not policy.loaded  # Nothing is done by the robot for nothing.
    assert not env.resets
    assert parked
    (path,) = Checkpoints(tmp_path / "checkpoints").all()
    assert load_checkpoint(path)[0]["imitated"] == 25


def test_a_warm_start_that_is_stopped_goes_on_and_is_not_acted_by_before_its_end(tmp_path):
    rig = Rig(tmp_path, algorithm=WarmStarting(), max_environment_steps=0)
    rig.algorithm.at_imitation = lambda: rig.algorithm.imitated == 7 and rig.learner.request_stop()
    _, policy, _, _ = rig.actor().test
    rig.run()
    assert not rig.learner.is_complete()
    again = Rig(tmp_path, algorithm=WarmStarting(), max_environment_steps=30)
    assert again.algorithm.imitated == 7
    again.actor()
    again.run()
    assert not policy.loaded
    assert again.algorithm.imitated == 25
    assert again.learner.environment_steps == 30


def test_a_learner_killed_in_its_warm_start_goes_on_from_its_checkpoint(tmp_path):
    class Killed(BaseException):
        pass

    def kill():
        if rig.algorithm.imitated == 17:
            raise Killed

    rig = Rig(tmp_path, algorithm=WarmStarting(), checkpoint_every=5)
    rig.algorithm.at_imitation = kill
    with pytest.raises(Killed):
        rig.run()
    assert Rig(tmp_path, algorithm=WarmStarting()).algorithm.imitated == 15


def test_what_was_acted_by_is_never_imitated_again(tmp_path):
    """Killed as soon as there is a first policy: the checkpoint from before has the whole warm start."""

    class Killed(BaseException):
        pass

    def kill(version, payload):
        raise Killed

    rig = Rig(tmp_path, algorithm=WarmStarting())
    rig.server.publish = kill
    with pytest.raises(Killed):
        rig.run()
    again = Rig(tmp_path, algorithm=WarmStarting())
    assert again.algorithm.imitated == 25
    again.algorithm.at_imitation = lambda: pytest.fail("imitated again")
    again.actor()
    again.run()
    assert again.learner.environment_steps == 120


def test_divergence_of_a_warm_start_is_an_error(tmp_path):
    rig = Rig(tmp_path, algorithm=WarmStarting())
    rig.algorithm.learn_offline = lambda batch: {"imitation_loss": float("inf")}
    with pytest.raises(RuntimeError, match="imitation_loss is not finite after 1 updates"):
        rig.run()


def test_a_run_resumes_with_its_counters(tmp_path):
    rig = Rig(tmp_path)
    rig.actor()
    rig.run()
    updates = rig.algorithm.updates
    again = Rig(tmp_path, max_environment_steps=150)
    assert again.learner.environment_steps == 120
    assert again.learner.updates == updates == again.algorithm.updates
    again.actor()
    again.run()
    assert again.learner.environment_steps == 150
    assert again.algorithm.updates == 3 * (150 - 20)
    rows = again.stored()
    assert len(rows) == 150
    # The second actor process numbers its episodes on: none is mixed up with an earlier one.
    starts = rows["episode"][rows["step"] == 0]
    assert len(set(starts)) == len(starts)


def test_a_learner_killed_after_its_checkpoint_catches_up(tmp_path):
    """The replay log is ahead of the checkpoint, as after kill -9: owed updates are made, none twice."""
    rig = Rig(tmp_path)
    rig.actor()
    rig.run()
    newest = Checkpoints(tmp_path / "checkpoints").all()
    import shutil

    shutil.rmtree(newest[-1])
    again = Rig(tmp_path)
    behind = again.algorithm.updates
    assert behind < 300
    again.run()
    assert again.algorithm.updates == 300


def test_sampling_ahead_changes_nothing_where_the_learner_keeps_up_with_the_actor(tmp_path):
    """An actor that waits for every block: each is learned from everything up to its step."""
    seen = []
    for ahead in (False, True):
        rig = Rig(tmp_path / str(ahead), ahead=ahead, lead_steps=1)
        rig.actor(random_steps=0)
        rig.run()
        seen.append(torch.stack(rig.algorithm.seen))
    assert torch.equal(*seen)


def test_no_batch_is_drawn_that_is_not_owed(tmp_path):
    rig = Rig(tmp_path, ahead=True)
    rig.actor()
    sample, drawn = rig.sampler.sample, []

    def counted(*size):
        drawn.append(size)
        assert len(drawn) <= rig.replay.total_added - rig.config.start_steps
        return sample(*size)

    rig.sampler.sample = counted
    rig.run()
    assert len(drawn) == 100


def fill_log(folder, steps=120):
    """A replay log with random transitions, as a learner leaves it that was killed before its first block."""
    rng = np.random.default_rng(0)
    rows = np.zeros(steps, SPEC.dtype)
    for key in ("observation.state", "next_observation.state", "action"):
        rows[key] = rng.normal(size=rows[key].shape)
    rows["reward"], rows["intervened"] = rng.normal(size=steps), rng.random(steps) < 0.2
    log = RecordLog.open(folder / "replay.log", SPEC.dtype)
    log.append(rows)
    log.close()


def small_sac():
    config = SACConfig(hidden_sizes=(8,), batch_size=8, utd_ratio=2, compile=False)
    return SAC(config, SPEC, torch.device("cpu"), 0)


@pytest.mark.parametrize("make_algorithm", [CountingAlgorithm, small_sac])
@pytest.mark.parametrize("killed", [False, True])
def test_a_resumed_learner_goes_on_bit_for_bit_though_a_batch_was_drawn_ahead(
    tmp_path, make_algorithm, killed
):
    def start(folder):
        return Rig(folder, ahead=True, algorithm=make_algorithm())

    for name in ("whole", "parts"):
        fill_log(tmp_path / name)
    whole = start(tmp_path / "whole")
    whole.run()
    rig = start(tmp_path / "parts")
    update, blocks = rig.algorithm.update, []

    def interrupted(batch):
        blocks.append(batch)
        if len(blocks) == 37:
            rig.learner.request_stop()
            if (
                killed
            ):  # The checkpoint of the first block is the newest, and was made with the second under way.
                raise KeyboardInterrupt
        return update(batch)

    rig.algorithm.update = interrupted
    if killed:
        with pytest.raises(KeyboardInterrupt):
            rig.run()
    else:
        rig.run()
    rest = start(tmp_path / "parts")
    utd_ratio = rest.algorithm.utd_ratio
    assert rest.learner.updates == utd_ratio * (1 if killed else 37)
    rest.run()
    states = whole.algorithm.state_dict(), rest.algorithm.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    if make_algorithm is CountingAlgorithm:
        again = rest.algorithm.seen
        assert torch.equal(torch.stack(again), torch.stack(whole.algorithm.seen[-len(again) :]))


@pytest.mark.parametrize("killed", [False, True])
def test_priorities_resume_bit_for_bit(tmp_path, killed):
    """Those of interventions, too. A killed learner makes the updates since its checkpoint again."""
    sampling = {"sampling": SamplingConfig(kind="prioritised"), "checkpoint_every": 1}
    results = []
    for name, interrupted in (("whole", False), ("parts", True)):
        fill_log(tmp_path / name)
        rig = Rig(tmp_path / name, algorithm=small_sac(), **sampling)
        if interrupted:
            update, blocks = rig.algorithm.update, []

            def stopped(batch, rig=rig, update=update, blocks=blocks):
                blocks.append(batch)
                if len(blocks) == 37:
                    rig.learner.request_stop()
                    if killed:
                        raise KeyboardInterrupt
                return update(batch)

            rig.algorithm.update = stopped
            with suppress(KeyboardInterrupt):
                rig.run()
            rig = Rig(tmp_path / name, algorithm=small_sac(), **sampling)
            assert 0 < rig.learner.updates <= 2 * 37
        rig.run()
        results.append(rig.algorithm.state_dict() | rig.sampler.state_dict())
    assert results[0].keys() == results[1].keys()
    assert {"online.priorities", "demonstrations.priorities"} <= results[0].keys()
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_an_error_of_the_thread_that_samples_ahead_ends_the_learner(tmp_path):
    fill_log(tmp_path)
    rig = Rig(tmp_path, ahead=True)
    sample, drawn = rig.sampler.sample, []

    def failing(*size):
        drawn.append(threading.current_thread())
        if len(drawn) == 30:
            raise MemoryError("no more pinned memory")
        return sample(*size)

    rig.sampler.sample = failing
    with pytest.raises(MemoryError, match="pinned"):
        rig.run()
    assert drawn[-1] is not threading.current_thread()
    assert rig.algorithm.updates == 3 * 29


def test_divergence_is_an_error_and_saves_nothing(tmp_path):
    rig = Rig(tmp_path)
    rig.actor()
    update = rig.algorithm.update

    def diverging(batch):
        metrics = update(batch)
        return {"critic_loss": float("nan")} if rig.algorithm.updates > 200 else metrics

    rig.algorithm.update = diverging
    with pytest.raises(RuntimeError, match="critic_loss is not finite"):
        rig.run()
    for path in Checkpoints(tmp_path / "checkpoints").all():
        assert load_checkpoint(path)[0]["updates"] <= 200


def test_a_run_whose_checkpoints_a_disk_does_not_take_goes_on_and_saves_when_it_does(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("agent.safekeeping._SAVE_AGAIN_AFTER_S", 0.0)
    fill_log(tmp_path)
    rig = Rig(tmp_path)
    attempts, full = [], OSError(errno.ENOSPC, "")

    def write_synced(path, content):
        path.write_bytes(content[:10])
        if rig.algorithm.updates < 3 * 60:
            attempts.append(path)
            raise full
        storage.write_synced(path, content)

    monkeypatch.setattr("agent.checkpoint.write_synced", write_synced)
    rig.run()
    assert len(attempts) >= 59
    assert rig.algorithm.updates == 300
    (newest,) = Checkpoints(tmp_path / "checkpoints").all()
    assert load_checkpoint(newest)[0]["updates"] == 300
    assert [p.name for p in newest.parent.iterdir()] == [newest.name]
    told = [message for message in caplog.messages if "checkpoint" in message]
    assert len(told) == 2
    assert told[0].startswith("A checkpoint cannot be written (No space left on device). Those before")


def test_a_checkpoint_interrupted_anywhere_loses_nothing_of_the_replay_and_no_step(tmp_path, faulty_disk):
    """Killed at every call that changes what is on disk: all transitions are there, and all counters."""
    for at in count(0, 3):
        folder = tmp_path / str(at)
        fill_log(folder, 40)
        rig = Rig(folder, max_environment_steps=40)
        rig.run()
        rig = Rig(folder, max_environment_steps=40)
        with faulty_disk.failing(at, KeyboardInterrupt(), lasting=True), suppress(KeyboardInterrupt):
            rig.learner.end()
        rig.close()
        rig = Rig(folder, max_environment_steps=40)
        assert rig.learner.environment_steps == 40
        assert rig.learner.updates == rig.algorithm.updates == 60
        rig.close()
        assert len(rig.stored()) == 40
        if at >= faulty_disk.calls:
            break
    assert at > 12


def test_the_end_of_a_run_that_cannot_be_saved_is_an_error_in_one_sentence(tmp_path, monkeypatch):
    fill_log(tmp_path)
    rig = Rig(tmp_path)

    def write_synced(path, content):
        raise OSError(errno.EROFS, "")

    monkeypatch.setattr("agent.checkpoint.write_synced", write_synced)
    with pytest.raises(
        StorageError, match=r"after 300 updates cannot be saved \(Read-only file system\): make room"
    ):
        rig.run()
    assert not list((tmp_path / "checkpoints").iterdir())


def test_the_checkpoint_nearest_to_the_best_evaluation_is_kept(tmp_path):
    rig = Rig(tmp_path, checkpoint_every=20, keep_checkpoints=3)
    rig.actor(evaluate_every=30, evaluation_episodes=2)
    rig.run()
    evaluations = [e for e in JournalReader(rig.journal).new() if e["kind"] == "evaluation"]
    best = max(reversed(evaluations), key=lambda e: (e["success_rate"], e["mean_return"]))
    found = json.loads((tmp_path / "checkpoints" / "best.json").read_text())
    assert found["policy_version"] == best["policy_version"]
    path = Checkpoints(tmp_path / "checkpoints").best()
    assert load_checkpoint(path)[1]["blocks"] == found["checkpoint_version"]
    assert abs(found["checkpoint_version"] - best["policy_version"]) <= 20


def test_parked_without_a_learner_and_a_new_episode_when_it_is_back(tmp_path):
    """The robot may have been moved meanwhile: acting on the observation from before would be wrong."""
    server = LearnerServer("tcp://127.0.0.1:*", SPEC, TASK)
    client = ActorClient(server.address, "actor-0", SPEC, TASK, tmp_path / "spool")
    parked, gone, acted = threading.Event(), threading.Event(), threading.Semaphore(0)

    class Silent:
        """The client, as if the learner had not been heard from while `gone` is set."""

        def __getattr__(self, name):
            return getattr(client, name)

        @property
        def seconds_since_contact(self):
            return 1e9 if gone.is_set() else 0.0

    env = OriginEnv()
    episodes = []
    step = env.step

    def counted(action):
        episodes.append(env.episode)
        if len(episodes) == 3:
            gone.set()
        acted.release()
        return step(action)

    env.step = counted
    actor = Actor(
        ActorConfig(random_steps=0, evaluate_every=0), env, {"": Agent(RememberingPolicy(), Silent())}, SPEC,
        seed=1, provenance=Provenance.TWIN, lockstep=False, park=parked.set,
    )  # fmt: skip
    thread = threading.Thread(target=actor.run)
    server.publish(0, encode_weights({"updates": torch.tensor(0.0)}))
    thread.start()
    assert parked.wait(30)
    assert len(episodes) == 3
    gone.clear()
    for _ in range(6):
        assert acted.acquire(timeout=30)
    actor.request_stop()
    thread.join(30)
    assert episodes[3] > episodes[2]
    client.close()
    server.close()


def test_evaluation_is_deterministic_reported_and_not_stored(tmp_path):
    rig = Rig(tmp_path)
    _, policy, _, _ = rig.actor(evaluate_every=50, evaluation_episodes=3).test
    rig.run()
    entries = JournalReader(rig.journal).new()
    evaluations = [e for e in entries if e["kind"] == "evaluation"]
    assert len(evaluations) == 2
    assert all(e["episodes"] == 3 and e["environment_steps"] >= 50 for e in evaluations)
    assert set(policy.modes) == {True, False}
    assert len(rig.stored()) == 120
    episodes = [e for e in entries if e["kind"] == "episode"]
    assert sum(e["steps"] for e in episodes) <= 120
    assert {e["actor"] for e in episodes} == {"actor-0"}


def test_no_step_before_the_first_weights(tmp_path):
    server = LearnerServer("tcp://127.0.0.1:*", SPEC, TASK)
    client = ActorClient(server.address, "actor-0", SPEC, TASK, tmp_path / "spool")
    env, policy = OriginEnv(), RememberingPolicy()
    actor = Actor(
        ActorConfig(random_steps=0, evaluate_every=0), env, {"": Agent(policy, client)}, SPEC,
        seed=0, provenance=Provenance.TWIN, lockstep=False, park=lambda: None,
    )  # fmt: skip
    thread = threading.Thread(target=actor.run)
    thread.start()
    client.wait_welcome(10)
    assert not env.resets
    server.publish(7, encode_weights({"updates": torch.tensor(7.0)}))
    while server.poll() is None:
        assert thread.is_alive()  # RememberingPolicy ends it if it acts without weights.
        server.wait(1.0)
    actor.request_stop()
    thread.join(30)
    assert policy.loaded == [7.0]
    client.close()
    server.close()


def test_a_dead_receive_thread_ends_the_learner(tmp_path):
    rig = Rig(tmp_path)

    def dying(*_):
        raise OSError("disk gone")

    rig.server._intake.take = dying
    rig.actor()
    with pytest.raises(RuntimeError, match="receive thread died"):
        rig.run()


def test_an_actor_of_another_task_is_refused_by_name_of_the_field(tmp_path):
    rig = Rig(tmp_path)
    client = ActorClient(rig.server.address, "actor-9", SPEC, {"task.name": "other"}, tmp_path / "spool")
    with pytest.raises(InputError, match=r"task\.name"):
        client.wait_welcome(10)
    client.close()
    rig.close()
