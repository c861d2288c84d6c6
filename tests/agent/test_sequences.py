"""Returns of n steps and chunks of actions, against what one finds by walking through the episodes one by one."""

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.algorithm_config import AlgorithmConfig, make_algorithm, make_policy
from agent.demonstrations import Demonstrations
from agent.evaluation import evaluate
from agent.reading import read_steps
from agent.replay import MixedSampler, ReplayBuffer
from agent.sequences import ChunkReader, NStepReader
from agent.transition import TransitionSpec

CPU = torch.device("cpu")
GAMMA = 0.9
SPEC = TransitionSpec.of(
    gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32), gymnasium.spaces.Box(-1, 1, (2,), np.float32)
)
NAMES = ("observation.state", "next_observation.state", "action", "reward", "terminated", "provenance")


def make_episode(rng, actor, number, length, end, human=()):
    """Its observations name actor, episode and step. It ends by `end`, or is left open."""
    rows = np.zeros(length, SPEC.dtype)
    for name, offset in (("observation.state", 0), ("next_observation.state", 1)):
        rows[name][:, 0], rows[name][:, 1] = actor, number
        rows[name][:, 2] = np.arange(length) + offset
    rows["episode"], rows["step"] = number, np.arange(length)
    rows["action"], rows["reward"] = rng.uniform(-1, 1, (length, 2)), rng.normal(size=length)
    rows["provenance"] = rng.integers(0, 3, length)
    rows["intervened"] = [step in human for step in range(length)]
    if end != "open":
        rows[end][-1] = True
    return list(rows)


episodes = st.lists(
    st.tuples(st.integers(1, 9), st.sampled_from(["terminated", "truncated", "open"])),
    min_size=1,
    max_size=15,
)


def interleaved(data, streams):
    """Rows of several actors in the order in which they arrive, a few at a time."""
    streams = [list(stream) for stream in streams]
    while any(streams):
        rows = []
        for _ in range(data.draw(st.integers(1, 3))):
            stream = data.draw(st.sampled_from([s for s in streams if s] or streams))
            count = data.draw(st.integers(1, 4))
            rows += stream[:count]
            del stream[:count]
        yield np.array(rows, SPEC.dtype)


class Slow:
    """What the readers are to make, step by step, of everything that was added to a replay."""

    def __init__(self, rows):
        self.rows = {tuple(row["observation.state"].tolist()): row for row in rows}

    def following(self, start, most):
        """The step at `start` and those after it, at most `most` of them."""
        steps = [self.rows[start]]
        while len(steps) < most and not (steps[-1]["terminated"] or steps[-1]["truncated"]):
            there = tuple(steps[-1]["next_observation.state"].tolist())
            if there not in self.rows:
                break
            steps.append(self.rows[there])
        return steps

    def may_start(self, start, chunk):
        steps = self.following(start, chunk)
        return len(steps) == chunk or bool(steps[-1]["terminated"])

    def check(self, fields, index, steps):
        """That one of the transitions that were read is what these steps make."""
        total = sum(GAMMA**i * float(step["reward"]) for i, step in enumerate(steps))
        assert fields["reward"][index] == pytest.approx(total, abs=1e-5)
        assert fields["discount"][index] == pytest.approx(GAMMA ** len(steps))
        np.testing.assert_array_equal(
            fields["next_observation.state"][index], steps[-1]["next_observation.state"]
        )
        assert fields["terminated"][index] == steps[-1]["terminated"]
        assert fields["provenance"][index] == steps[0]["provenance"]


def filled(data, lengths, capacity):
    """A replay that episodes of two actors went into, and what it still holds."""
    rng = np.random.default_rng(len(lengths))
    streams = [
        [row for number, how in enumerate(lengths) for row in make_episode(rng, actor, number, *how)]
        for actor in range(2)
    ]
    replay, added = ReplayBuffer(SPEC, capacity, 0, follow_episodes=True), []
    for rows in interleaved(data, streams):
        replay.append(rows)
        added += list(rows)
    return replay, Slow(added[-capacity:])


@settings(max_examples=40)
@given(
    lengths=episodes,
    capacity=st.integers(1, 9) | st.integers(10, 60),
    steps=st.integers(1, 6),
    data=st.data(),
)
def test_a_return_of_n_steps_is_what_walking_through_the_episode_gives(lengths, capacity, steps, data):
    replay, slow = filled(data, lengths, capacity)
    rows = replay.draw(60)
    fields = NStepReader(steps, GAMMA)(replay, NAMES, rows)
    assert set(fields) == {*NAMES, "discount"}
    for name in ("observation.state", "action"):
        np.testing.assert_array_equal(fields[name], replay.take(name, rows))
    for index, start in enumerate(map(tuple, fields["observation.state"].tolist())):
        slow.check(fields, index, slow.following(start, steps))


@settings(max_examples=40)
@given(
    lengths=episodes,
    capacity=st.integers(1, 9) | st.integers(10, 60),
    chunk=st.integers(1, 6),
    data=st.data(),
)
def test_a_chunk_is_what_was_executed_and_begins_where_all_of_it_is_known(lengths, capacity, chunk, data):
    replay, slow = filled(data, lengths, capacity)
    rows = replay.draw(60)
    fields = ChunkReader(chunk, GAMMA)(replay, NAMES, rows)
    drawn = [tuple(state) for state in replay.take("observation.state", rows).tolist()]
    read = [tuple(state) for state in fields["observation.state"].tolist()]
    good = [slow.may_start(start, chunk) for start in drawn]
    for index, start in enumerate(read):
        # Those that are cut make room for others of the draw, which otherwise stays as it was.
        assert start == drawn[index] or (not good[index] and slow.may_start(start, chunk))
        assert slow.may_start(start, chunk) == any(good)
        steps = slow.following(start, chunk)
        slow.check(fields, index, steps)
        padded = [step["action"] for step in steps] + [steps[-1]["action"]] * (chunk - len(steps))
        np.testing.assert_array_equal(fields["action"][index], np.concatenate(padded))


@given(lengths=episodes, data=st.data())
def test_one_step_is_what_is_read_without(lengths, data):
    replay, _ = filled(data, lengths, 40)
    rows = replay.draw(20)
    plain = read_steps(replay, NAMES, rows)
    for reader in (NStepReader(1, GAMMA), ChunkReader(1, GAMMA)):
        fields = reader(replay, NAMES, rows)
        for name in NAMES:
            np.testing.assert_array_equal(fields[name], plain[name])
        assert set(fields["discount"].tolist()) == {np.float32(GAMMA)}


def test_what_a_person_did_is_followed_until_the_robot_goes_on():
    rng = np.random.default_rng(0)
    episode = np.array(make_episode(rng, 0, 0, 9, "truncated", human=(1, 2, 3, 6, 7)), SPEC.dtype)
    recorded = np.array(make_episode(rng, 1, 0, 4, "terminated"), SPEC.dtype)
    shown = Demonstrations(SPEC, recorded, 20, 0, follow_episodes=True)
    online = ReplayBuffer(SPEC, 20, 0, follow_episodes=True)
    sampler = MixedSampler(SPEC, online, shown, 0.5, CPU, ChunkReader(2, GAMMA))
    for row in episode:
        sampler.append(np.array([row], SPEC.dtype))
    starts = {tuple(state) for state in sampler.sample_demonstrations(200)["observation.state"].tolist()}
    assert starts == {(0, 0, 1), (0, 0, 2), (0, 0, 6), *((1, 0, step) for step in range(4))}
    batch = sampler.sample(3, 64)
    assert batch["action"].shape == (192, 4)
    assert batch["discount"].shape == (192,)
    online_starts = {int(step) for actor, _, step in batch["observation.state"] if actor == 0}
    assert online_starts == set(range(8))  # Of the online ones any, whoever acted; but not the cut end.


def test_no_more_images_are_read_than_are_learned_from():
    class Counting(ReplayBuffer):
        taken = 0

        def take(self, name, rows):
            self.taken += len(rows) if "observation" in name else 0
            return super().take(name, rows)

    replay = Counting(SPEC, 30, 0, follow_episodes=True)
    replay.append(np.array(make_episode(np.random.default_rng(0), 0, 0, 30, "terminated"), SPEC.dtype))
    for reader in (NStepReader(10, GAMMA), ChunkReader(10, GAMMA)):
        replay.taken = 0
        reader(replay, NAMES, np.arange(8))
        assert replay.taken == 2 * 8


SMALL = {"hidden_sizes": [16, 16], "batch_size": 8, "utd_ratio": 2}
BOOTSTRAPPING = {
    "agent.sac.SAC": {},
    "agent.cql.CQL": {"sampled_actions": 2},
    "agent.ibrl.IBRL": {"actor_delay": 0},
    "agent.expo.EXPO": {"actor_delay": 0, "samples": 2, "target_samples": 2, "base_hidden_size": 16},
    "agent.iql.IQL": {},
    "agent.td3_bc.TD3BC": {"normalise_observations": False},
}


@pytest.mark.parametrize("name", BOOTSTRAPPING)
def test_an_algorithm_takes_the_discount_of_its_batch(name, spec, make_batch):
    """To the bit: with one that is everywhere the same it learns what it learns when that is its own."""
    batch, config = make_batch(16), {**SMALL, **BOOTSTRAPPING[name]}
    states = []
    for own, more in ((0.8, {}), (0.97, {"discount": torch.full((16,), 0.8)}), (0.97, {})):
        choice = AlgorithmConfig(name="x", algorithm=name, config={**config, "discount": own})
        algorithm = make_algorithm(choice, spec, CPU, 0)
        for _ in range(2):
            algorithm.update({**batch, **more})
        states.append(algorithm.state_dict())
    expected, taken, other = states
    assert all(torch.equal(expected[key], taken[key]) for key in expected)
    assert not all(torch.equal(expected[key], other[key]) for key in expected)


def test_each_transition_has_a_discount_of_its_own(spec, make_batch):
    """The last slice of a batch counts, too: a critic that is told its targets comes near to them."""
    choice = AlgorithmConfig(name="x", algorithm="agent.sac.SAC", config={**SMALL, "batch_size": 4})
    sac = make_algorithm(choice, spec, CPU, 0)
    discount = torch.tensor([0.0, 0.5, 0.9, 1.0])
    batch = {**make_batch(4), "discount": discount}
    noise, subset = torch.zeros(4, 2), torch.tensor([0, 1])
    transitions = sac._transitions(batch)
    value = sac._next_value(batch["next_observation.state"], noise, subset)
    values = sac.critic(batch["observation.state"], batch["action"])
    expected = (values - (batch["reward"] + discount * value)).square().mean(-1).sum()
    torch.testing.assert_close(sac._critic_loss(transitions, noise, subset)[0], expected)


# A small problem in which one reward is far away.


class Fork(gymnasium.Env):
    """A corridor with a reward at its end; to which side that is, changes from episode to episode."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    length, limit = 16, 50

    def reset(self, *, seed=None, options=None):
        self.at, self.steps, self.side = 0.0, 0, 1 if seed % 2 else -1
        return self.see(), {}

    def see(self):
        return np.array([2 * self.at / self.length - 1, self.side], np.float32)

    def step(self, action):
        self.at = max(0.0, self.at + self.side * float(action[0]))
        self.steps += 1
        there = self.at >= self.length
        return self.see(), float(there), there, self.steps >= self.limit, {"success": there}


FORK = TransitionSpec.of(Fork.observation_space, Fork.action_space)


def wanderings(seed, episodes=40):
    """Somebody drifts towards the end, and is there in time in fewer than half of the episodes."""
    rng, env, rows = np.random.default_rng(seed), Fork(), []
    for episode in range(episodes):
        here, done, step = env.reset(seed=episode)[0], False, 0
        while not done:
            if step % 5 == 0:
                drift = rng.uniform(-0.75, 1.25)
            action = np.clip([env.side * (drift + 0.3 * rng.normal())], -1, 1).astype(np.float32)
            there, reward, terminated, truncated, _ = env.step(action)
            rows.append(
                FORK.record(
                    observation={"state": here}, action=action, reward=reward, next_observation={"state": there},
                    terminated=terminated, truncated=truncated, episode=episode, step=step,
                )
            )  # fmt: skip
            here, step, done = there, step + 1, terminated or truncated
    return np.concatenate(rows)


@pytest.mark.seeds(2, soak=1)
def test_with_returns_of_five_steps_a_far_reward_is_found_that_single_steps_do_not_find_yet(seed):
    """After the same updates on the same data."""
    config = {
        "hidden_sizes": [32, 32], "batch_size": 64, "utd_ratio": 1, "discount": 0.95, "target_rate": 0.03,
        "critic_learning_rate": 3e-3, "actor_learning_rate": 3e-3, "initial_temperature": 0.01,
    }  # fmt: skip
    choice = AlgorithmConfig(name="x", algorithm="agent.sac.SAC", config=config)
    rows, settled = wanderings(seed), {}
    for steps in (1, 5):
        sac, policy = make_algorithm(choice, FORK, CPU, seed), make_policy(choice, FORK, seed)
        replay = ReplayBuffer(FORK, len(rows), seed, follow_episodes=True)
        replay.append(rows)
        none = ReplayBuffer(FORK, 1, 0, follow_episodes=True)
        sampler = MixedSampler(FORK, replay, none, 0.0, CPU, NStepReader(steps, 0.95))
        reached = []
        for update in range(1, 151):
            sac.update(sampler.sample(1, 64))
            if update >= 100 and update % 25 == 0:
                policy.load_weights(sac.policy_weights())
                reached.append(evaluate(Fork(), policy, FORK, episodes=2, seed=0).successes)
        settled[steps] = min(reached)
    assert settled[5] == 2
    assert settled[1] < 2
