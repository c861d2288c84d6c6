"""Chunks of actions: played out open loop, dropped where a person or another episode comes, and what they are for."""

import gymnasium
import msgspec
import numpy as np
import pytest
import torch

from agent.algorithm import Plans, replan
from agent.algorithm_config import AlgorithmConfig, make_algorithm, make_policy
from agent.chunks import ChunkedPolicy, chunk_spec
from agent.evaluation import evaluate
from agent.replay import MixedSampler, ReplayBuffer
from agent.sequences import ChunkReader
from agent.transition import TransitionSpec

CPU = torch.device("cpu")
NAMES = {
    "agent.sac.SAC": {"critics": 2},
    "agent.cql.CQL": {"sampled_actions": 2},
    "agent.ibrl.IBRL": {},
    "agent.expo.EXPO": {"samples": 2, "base_hidden_size": 16},
    "agent.iql.IQL": {},
    "agent.td3_bc.TD3BC": {},
    "agent.bc.BC": {},
}


class Counting:
    """Says in each chunk how often it was asked, and where in the chunk an action is."""

    def __init__(self, chunk):
        self.chunk, self.asked, self.loaded = chunk, 0, None

    def act(self, observation, deterministic):
        self.asked += 1
        return np.array([[self.asked, place] for place in range(self.chunk)], np.float32).ravel()

    def load_weights(self, weights):
        self.loaded = weights


def test_a_chunk_is_played_out_before_the_next_is_asked_for(spec):
    inner = Counting(3)
    policy = ChunkedPolicy(inner, spec)
    acted = [policy.act({}, False).tolist() for _ in range(7)]
    assert acted == [[1, 0], [1, 1], [1, 2], [2, 0], [2, 1], [2, 2], [3, 0]]
    policy.load_weights({"weight": 1})
    assert inner.loaded == {"weight": 1}
    assert policy.act({}, False).tolist() == [3, 1]  # New weights do not break it off.


def test_what_is_left_is_dropped_where_a_plan_is_to_be_made_anew(spec):
    policy = ChunkedPolicy(Counting(3), spec)
    assert isinstance(policy, Plans)
    policy.act({}, False)
    replan(policy)
    assert policy.act({}, False).tolist() == [2, 0]
    replan(Counting(3))  # Who decides at every step has nothing to drop.


class Corridor(gymnasium.Env):
    """Four steps an episode."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (5,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        self.acted = []
        return np.zeros(5, np.float32), {}

    def step(self, action):
        self.acted.append(action.tolist())
        return np.zeros(5, np.float32), 0.0, False, len(self.acted) == 4, {}


def test_an_episode_of_an_evaluation_begins_with_a_new_chunk(spec):
    env, policy, acted = Corridor(), ChunkedPolicy(Counting(3), spec), []
    evaluate(env, policy, spec, episodes=2, seed=0, after_step=lambda _, __: acted.append(env.acted[-1]))
    assert acted == [[1, 0], [1, 1], [1, 2], [2, 0], [3, 0], [3, 1], [3, 2], [4, 0]]


def test_the_layout_of_a_chunk_has_its_actions_side_by_side(spec, camera_spec):
    for layout in (spec, camera_spec):
        chunked = chunk_spec(layout, 4)
        assert chunked.action_space.shape == (8,)
        assert chunked.observation_keys == layout.observation_keys
        assert chunked.image_keys == layout.image_keys
        assert chunk_spec(layout, 1) is layout


@pytest.mark.parametrize("name", NAMES)
def test_any_algorithm_learns_and_acts_by_chunks(name, spec, make_records):
    config = {"hidden_sizes": [16, 16], "batch_size": 8, "utd_ratio": 2, **NAMES[name]}
    choice = AlgorithmConfig(name="x", algorithm=name, config=config, chunk=3)
    algorithm, policy = make_algorithm(choice, spec, CPU, 0), make_policy(choice, spec, 1)
    records = make_records(60, episode=0, step=np.arange(60))
    records["observation.state"][1:] = records["next_observation.state"][:-1]
    replay = ReplayBuffer(spec, 60, 0, follow_episodes=True)
    replay.append(records)
    none = ReplayBuffer(spec, 1, 0, follow_episodes=True)
    sampler = MixedSampler(spec, replay, none, 0.0, CPU, ChunkReader(3, 0.97))
    metrics = algorithm.update(sampler.sample(2, 8))
    assert all(np.isfinite(value) for value in metrics.values())
    policy.load_weights(algorithm.policy_weights())
    state = {"state": np.zeros(5, np.float32)}
    acted = np.array([policy.act(state, deterministic=True) for _ in range(6)])
    assert acted.shape == (6, 2)
    assert np.abs(acted).max() <= 1
    np.testing.assert_array_equal(acted[:3], acted[3:])
    assert not np.array_equal(acted[0], acted[1])


def test_no_chunk_is_refused_and_one_of_one_is_no_chunk(spec):
    with pytest.raises(msgspec.ValidationError, match=r"chunk 0 must be at least 1"):
        msgspec.convert({"name": "x", "algorithm": "agent.sac.SAC", "chunk": 0}, AlgorithmConfig)
    assert not isinstance(make_policy(AlgorithmConfig(name="x", algorithm="agent.sac.SAC"), spec, 0), Plans)


# What somebody shows who does not act by what is to be seen alone.


class Gate(gymnasium.Env):
    """A way of ten steps. Halfway one has to wait at a gate, and cannot see how long one has waited."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    wait, limit = 4, 40

    def reset(self, *, seed=None, options=None):
        self.at = self.steps = self.waited = 0
        return self.see(), {}

    def see(self):
        return np.array([self.at / 5 - 1, self.at == 5], np.float32)

    def step(self, action):
        self.steps += 1
        self.waited += self.at == 5 and action[0] <= 0
        if action[0] > 0 and (self.at != 5 or self.waited >= self.wait):
            self.at += 1
        return self.see(), 0.0, self.at == 10, self.steps >= self.limit, {"success": self.at == 10}

    def show(self):
        return np.float32([-0.6 if self.at == 5 and self.waited < self.wait else 0.6])


GATE = TransitionSpec.of(Gate.observation_space, Gate.action_space)


def shown():
    env, rows, done = Gate(), [], False
    here, _ = env.reset()
    while not done:
        action = env.show()
        there, _, done, _, _ = env.step(action)
        rows.append(
            GATE.record(
                observation={"state": here}, action=action, reward=0.0, next_observation={"state": there},
                terminated=done, truncated=False, step=len(rows),
            )
        )  # fmt: skip
        here = there
    return np.concatenate(rows)


def sampler_of(spec, records, chunk, seed, gamma=1.0):
    shown = ReplayBuffer(spec, len(records), seed, follow_episodes=True)
    shown.append(records)
    none = ReplayBuffer(spec, 1, 0, follow_episodes=True)
    return MixedSampler(spec, none, shown, 1.0, CPU, ChunkReader(chunk, gamma))


@pytest.mark.seeds(2, soak=1)
def test_a_clone_of_chunks_goes_on_after_a_pause_in_which_a_clone_of_actions_stays(seed):
    """At the gate most of the demonstrated actions are to wait, so a clone that looks at every step never goes on."""
    records, goes_on = shown(), {}
    for chunk in (1, 8):
        config = {"hidden_sizes": [32, 32], "batch_size": 32, "learning_rate": 1e-2}
        choice = AlgorithmConfig(name="bc", algorithm="agent.bc.BC", config=config, chunk=chunk)
        clone, policy = make_algorithm(choice, GATE, CPU, seed), make_policy(choice, GATE, seed)
        sampler = sampler_of(GATE, records, chunk, seed)
        for _ in range(200):
            clone.learn_offline(sampler.sample_demonstrations(32))
        policy.load_weights(clone.policy_weights())
        goes_on[chunk] = evaluate(Gate(), policy, GATE, episodes=1, seed=0).successes
    assert goes_on == {1: 0, 8: 1}


class Rhythm(gymnasium.Env):
    """Each action is paid for by a beat that goes on unseen: only whether an episode begins is to be seen."""

    observation_space = gymnasium.spaces.Box(0, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    beat = (1.0, -1.0, 1.0, -1.0, 1.0)

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.ones(1, np.float32), {}

    def step(self, action):
        reward = float(action[0]) * self.beat[self.steps]
        self.steps += 1
        return np.zeros(1, np.float32), reward, self.steps == len(self.beat), False, {}


RHYTHM = TransitionSpec.of(Rhythm.observation_space, Rhythm.action_space)


@pytest.mark.seeds(2, soak=1)
def test_a_chunk_keeps_a_beat_that_nobody_who_looks_at_every_step_can_keep(seed):
    """Learned from what the policy itself does. Who always does the same earns 1 at the first beat, and then 0."""
    earned = {}
    for chunk in (1, 5):
        config = {
            "hidden_sizes": [32, 32], "batch_size": 64, "utd_ratio": 1, "initial_temperature": 0.01,
            "critic_learning_rate": 3e-3, "actor_learning_rate": 3e-3,
        }  # fmt: skip
        choice = AlgorithmConfig(name="x", algorithm="agent.sac.SAC", config=config, chunk=chunk)
        sac, policy = make_algorithm(choice, RHYTHM, CPU, seed), make_policy(choice, RHYTHM, seed)
        replay = ReplayBuffer(RHYTHM, 2000, seed, follow_episodes=True)
        none = ReplayBuffer(RHYTHM, 1, 0, follow_episodes=True)
        sampler = MixedSampler(RHYTHM, replay, none, 0.0, CPU, ChunkReader(chunk, 0.97))
        for episode in range(80):
            sampler.append(played(policy, episode))
            if episode >= 10:
                for _ in range(4):
                    sac.update(sampler.sample(1, 64))
                policy.load_weights(sac.policy_weights())
        earned[chunk] = evaluate(Rhythm(), policy, RHYTHM, episodes=1, seed=0).mean_return
    assert earned[5] > 3.2
    assert earned[1] < 2.0


def played(policy, episode):
    """One episode as an actor plays it."""
    env, rows, done = Rhythm(), [], False
    here, _ = env.reset()
    replan(policy)
    while not done:
        action = policy.act({"state": here}, deterministic=False)
        there, reward, done, _, _ = env.step(action)
        rows.append(
            RHYTHM.record(
                observation={"state": here}, action=action, reward=reward, next_observation={"state": there},
                terminated=done, truncated=False, episode=episode, step=len(rows),
            )
        )  # fmt: skip
        here = there
    return np.concatenate(rows)
