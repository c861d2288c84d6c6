"""WSRL: what the warm-up is for. Without the recorded data, and before it has seen enough, a critic unlearns."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from agent.checkpoint import Checkpoints
from agent.cql import CQL, CQLConfig
from agent.journal import Journal
from agent.learner import Learner
from agent.learner_config import LearnerConfig
from agent.prefetch import Prefetcher
from agent.replay import MixedSampler, ReplayBuffer
from agent.sac import SAC, SACConfig
from agent.transition import TransitionSpec
from agent.weights import decode_weights

CPU = torch.device("cpu")
SPEC = TransitionSpec.of(Box(-1, 1, (4,)), Box(-1, 1, (2,)))
SHARED = {"hidden_sizes": (64, 64), "batch_size": 64, "discount": 0.95}
EPISODE = 20


class Plane:
    """A point that is to go to another point, which differs from episode to episode; -1 for every step until then."""

    def __init__(self, seed):
        self._rng = np.random.default_rng(seed)
        self._episode = -1
        self._begin()

    def _begin(self):
        self.state, self._step = self._rng.uniform(-1, 1, 4).astype(np.float32), 0
        self._episode += 1

    def step(self, action):
        """The transition, shape (1,); a new episode begins after the last of one."""
        action = np.clip(action, -1, 1).astype(np.float32)
        following = self.state.copy()
        following[:2] = np.clip(following[:2] + 0.2 * action, -1, 1)
        there = bool(np.linalg.norm(following[:2] - following[2:]) < 0.2)
        row = SPEC.record(
            observation={"state": self.state}, action=action, reward=0.0 if there else -1.0,
            next_observation={"state": following}, terminated=there, truncated=self._step + 1 == EPISODE,
            episode=self._episode, step=self._step,
        )  # fmt: skip
        self.state, self._step = following, self._step + 1
        if there or self._step == EPISODE:
            self._begin()
        return row


def success(policy, episodes=40):
    plane, over = Plane(999), []
    while len(over) < episodes:
        row = plane.step(policy.act({"state": plane.state}, True))
        over += row["terminated"][row["terminated"] | row["truncated"]].tolist()
    return np.mean(over)


class Acting:
    """In place of a server with an actor: acts by what is published, as far as the learner allows."""

    malformed_messages = 0

    def __init__(self, plane, policy):
        self._plane, self._policy, self._steps, self._allowed = plane, policy, 0, 0
        self.successes = []

    def publish(self, version, encoded):
        self._policy.load_weights(decode_weights(encoded))
        self.successes.append(success(self._policy))

    def set_progress(self, updates, allowance):
        self._allowed = allowance

    def poll(self):
        if self._steps >= self._allowed:
            return None
        self._steps += 1
        return self._plane.step(self._policy.act({"state": self._plane.state}, False))

    def poll_reports(self):
        return []

    def actors(self):
        return ["actor-0"]

    def raise_if_dead(self):
        pass

    def wait(self, timeout_s):
        pass

    def sync(self):
        pass

    def stop_actors(self, why):
        pass


def pretrained(seed):
    """What Cal-QL makes of a noisy expert's data."""
    rng, plane = np.random.default_rng(seed), Plane(seed + 100)
    rows = []
    for _ in range(1500):
        towards = 5.0 * (plane.state[2:] - plane.state[:2])
        rows.append(plane.step(np.clip(towards, -1, 1) + rng.normal(0, 0.5, 2)))
    shown = ReplayBuffer(SPEC, len(rows), seed, returns_discount=0.95)
    shown.append(np.concatenate(rows))
    sampler = MixedSampler(SPEC, ReplayBuffer(SPEC, 1, 0, returns_discount=0.95), shown, 0.5, CPU)
    rates = dict.fromkeys(("actor_learning_rate", "critic_learning_rate"), 1e-3)
    calql = CQL(CQLConfig(calibrated=True, conservative_weight=1.0, **rates, **SHARED), SPEC, CPU, seed)
    for _ in range(300):
        calql.learn_offline(sampler.sample_demonstrations(64))
    return calql.state_dict()


def go_on(state, seed, start_steps, folder):
    """Success before the first update, and after every ten blocks of updates, without the data."""
    rates = dict.fromkeys(("actor_learning_rate", "critic_learning_rate"), 3e-3)
    config = SACConfig(utd_ratio=16, target_entropy_scale=1.0, **rates, **SHARED)
    algorithm = SAC(config, SPEC, CPU, seed)
    algorithm.begin_from(state)
    server = Acting(Plane(seed + 200), SAC.make_policy(config, SPEC, seed))
    sampler = MixedSampler(SPEC, ReplayBuffer(SPEC, 2000, seed), ReplayBuffer(SPEC, 1, 0), 0.0, CPU)
    learning = LearnerConfig(
        max_environment_steps=start_steps + 40, start_steps=start_steps, lead_steps=1, demonstration_ratio=0.0
    )
    parts = Prefetcher(sampler, ahead=False), server, Checkpoints(folder / "checkpoints", 1)
    assert Learner(learning, algorithm, *parts, Journal(folder / "journal")).run()
    return server.successes


@pytest.mark.slow
@pytest.mark.seeds(1, soak=2)
def test_a_warm_up_keeps_what_was_learned_offline_and_without_it_that_is_lost(seed, tmp_path):
    state = pretrained(seed)
    warm = go_on(state, seed, 600, tmp_path / "warm")
    cold = go_on(state, seed, 1, tmp_path / "cold")
    assert len(warm) == len(cold) == 5
    assert warm[0] == cold[0] >= 0.9
    assert warm[-1] >= 0.9
    assert cold[-1] <= 0.5
