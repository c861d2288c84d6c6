"""Goals in hindsight: reached later in the same episode, paid as the task pays; and what is not learned without."""

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agent.demonstrations import Demonstrations
from agent.hindsight import GoalPart, Goals, HindsightReader
from agent.replay import MixedSampler, ReplayBuffer
from agent.sac import SAC, SACConfig
from agent.transition import TransitionSpec

CPU = torch.device("cpu")
KEYED = TransitionSpec.of(
    gymnasium.spaces.Dict(
        {
            key: gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
            for key in ("observation", "achieved_goal", "desired_goal")
        }
    ),
    gymnasium.spaces.Box(-1, 1, (1,), np.float32),
)
WANTED = -7.0


def pay(achieved, desired):
    """-1 until the goal is reached exactly, which ends the episode."""
    reached = (achieved == desired).all(-1)
    return np.where(reached, 0.0, -1.0), reached


GOALS = Goals(GoalPart("achieved_goal"), GoalPart("desired_goal"), pay)


def make_episode(number, length, over=True):
    """What is achieved names episode and step; nothing reaches what is wanted."""
    rows = np.zeros(length, KEYED.dtype)
    for prefix, offset in (("observation", 0), ("next_observation", 1)):
        for key in ("observation", "achieved_goal"):
            rows[f"{prefix}.{key}"][:, 0] = number
            rows[f"{prefix}.{key}"][:, 1] = np.arange(length) + offset
        rows[f"{prefix}.desired_goal"] = WANTED
    rows["episode"], rows["step"], rows["reward"] = number, np.arange(length), -1.0
    rows["truncated"][-1] = over
    return rows


def make_sampler(k, lengths=(), recorded=(), unfinished=0, discount=None):
    """Online episodes, recorded ones, and the beginning of one."""
    parts = [make_episode(number, length) for number, length in enumerate(lengths)]
    parts.append(make_episode(len(lengths), unfinished + 1, over=False)[:unfinished])
    shown = [np.zeros(0, KEYED.dtype)]
    shown += [make_episode(100 + number, length) for number, length in enumerate(recorded)]
    kept = (None, discount, True)
    sampler = MixedSampler(
        KEYED,
        ReplayBuffer(KEYED, 1000, 0, *kept),
        Demonstrations(KEYED, np.concatenate(shown), 10, 1, *kept),
        0.5,
        CPU,
        HindsightReader(GOALS, k),
    )
    sampler.append(np.concatenate(parts))
    return sampler


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    recorded=st.lists(st.integers(1, 9), max_size=3),
    unfinished=st.integers(0, 5),
    k=st.integers(1, 8),
)
def test_another_goal_is_one_reached_later_in_the_same_episode_and_paid_as_such(
    lengths, recorded, unfinished, k
):
    sampler = make_sampler(k, lengths, recorded, unfinished)
    batch = {name: values.numpy() for name, values in sampler.sample(2, 128).items()}
    goal, reached = batch["observation.desired_goal"], batch["next_observation.achieved_goal"]
    np.testing.assert_array_equal(goal, batch["next_observation.desired_goal"])
    np.testing.assert_array_equal(batch["observation.observation"], batch["observation.achieved_goal"])
    kept = (goal == WANTED).all(-1)
    assert kept[batch["observation.observation"][:, 0] == len(lengths)].all()  # Of the one that is not over.
    goal, reached = goal[~kept], reached[~kept]
    np.testing.assert_array_equal(goal[:, 0], reached[:, 0])
    ends = np.array([*lengths, *np.zeros(100 - len(lengths)), *recorded], int)[goal[:, 0].astype(int)]
    assert ((goal[:, 1] >= reached[:, 1]) & (goal[:, 1] <= ends)).all()
    at_once = goal[:, 1] == reached[:, 1]
    np.testing.assert_array_equal(batch["terminated"][~kept], at_once)
    np.testing.assert_array_equal(batch["reward"][~kept], np.where(at_once, 0.0, -1.0))
    assert (batch["reward"][kept] == -1.0).all()
    assert not batch["terminated"][kept].any()


@pytest.mark.parametrize("k", [1, 4])
def test_k_of_k_plus_1_get_another_goal_and_each_later_one_is_as_likely(k):
    sampler = make_sampler(k, lengths=(6,), recorded=(6,))
    batch = sampler.sample(1, 40_000)
    goal, first = batch["observation.desired_goal"], batch["observation.observation"][:, 1] == 2
    kept = goal[:, 0] == WANTED
    assert float((~kept).float().mean()) == pytest.approx(k / (k + 1), abs=0.01)
    for number in (0, 100):  # What the robot did and what people showed.
        later = goal[(goal[:, 0] == number) & first, 1]
        counts = torch.bincount(later.long(), minlength=7)
        assert counts[:3].sum() == 0
        assert (counts[3:] / counts.sum()).numpy() == pytest.approx(np.full(4, 0.25), abs=0.04)


def test_what_is_stored_keeps_its_goal_and_the_draws_go_on_where_they_were():
    first, second = make_sampler(4, (5, 3)), make_sampler(4, (5, 3))
    stored = first._online.take("observation.desired_goal", np.arange(8))
    first.sample(4, 32)
    np.testing.assert_array_equal(first._online.take("observation.desired_goal", np.arange(8)), stored)
    second.set_random_state(first.random_state())
    batches = first.sample(1, 64), second.sample(1, 64)
    assert all(torch.equal(batches[0][name], batches[1][name]) for name in batches[0])


def test_nothing_is_known_of_the_return_for_another_goal():
    batch = make_sampler(4, (5,), discount=1.0).sample(1, 64)
    kept = batch["observation.desired_goal"][:, 0] == WANTED
    assert torch.isneginf(batch["mc_return"][~kept]).all()


def test_a_goal_may_be_part_of_a_vector():
    spec = TransitionSpec.of(gymnasium.spaces.Box(-9, 9, (5,), np.float32), gymnasium.spaces.Box(-1, 1, (1,)))
    rows = np.zeros(3, spec.dtype)
    for prefix, offset in (("observation", 0), ("next_observation", 1)):
        rows[f"{prefix}.state"] = [[9.0, step + offset, 0.0, WANTED, WANTED] for step in range(3)]
    rows["step"], rows["terminated"][-1] = np.arange(3), True
    buffer = ReplayBuffer(spec, 3, 0, follow_episodes=True)
    buffer.append(rows)
    goals = Goals(GoalPart("state", slice(1, 3)), GoalPart("state", slice(3, 5)), pay)
    names = ["observation.state", "next_observation.state", "reward", "terminated"]
    drawn = buffer.draw(200)
    fields = HindsightReader(goals, 4)(buffer, names, drawn)
    for name in names[:2]:
        np.testing.assert_array_equal(fields[name][:, :3], buffer.take(name, drawn)[:, :3])
    assert set(fields["observation.state"][:, 3].tolist()) == {WANTED, 1.0, 2.0, 3.0}


DIMENSIONS, STEPS, NEAR = 3, 10, 0.25
MAZELESS = TransitionSpec.of(
    gymnasium.spaces.Dict(
        {
            key: gymnasium.spaces.Box(-np.inf, np.inf, (DIMENSIONS,), np.float32)
            for key in ("achieved_goal", "desired_goal")
        }
    ),
    gymnasium.spaces.Box(-1, 1, (DIMENSIONS,), np.float32),
)


def near(achieved, desired):
    reached = np.linalg.norm(achieved - desired, axis=-1) < NEAR
    return np.where(reached, 0.0, -1.0), reached


def play(act, episodes, rng):
    """All episodes at once: points in a box of three dimensions, each with a goal, until the time is up."""
    place = np.zeros((episodes, DIMENSIONS), np.float32)
    goal = rng.uniform(-1, 1, place.shape).astype(np.float32)
    rows = np.zeros((episodes, STEPS), MAZELESS.dtype)
    for step in range(STEPS):
        now = rows[:, step]
        now["observation.achieved_goal"], now["observation.desired_goal"] = place, goal
        now["action"] = act(place, goal)
        place = np.clip(place + 0.25 * now["action"], -1, 1)
        now["next_observation.achieved_goal"], now["next_observation.desired_goal"] = place, goal
        now["reward"], now["terminated"] = near(place, goal)
        now["step"], now["episode"] = step, np.arange(episodes)
    # As if it had gone on after a success: then failures and successes are of the same length.
    rows["terminated"] = False
    rows["truncated"][:, -1] = True
    return rows.reshape(-1), float(near(place, goal)[1].mean())


def reached_after_learning(k, seed):
    """Share of goals that a policy reaches which learned from 150 episodes of random steps."""
    rng = np.random.default_rng(seed)
    records, _ = play(lambda place, _: rng.uniform(-1, 1, place.shape), 150, rng)
    config = SACConfig(
        hidden_sizes=(64, 64),
        batch_size=128,
        utd_ratio=2,
        critic_learning_rate=1e-3,
        actor_learning_rate=1e-3,
        target_rate=0.05,
        discount=0.85,
    )
    sac = SAC(config, MAZELESS, CPU, seed)
    replay = ReplayBuffer(MAZELESS, len(records), seed, follow_episodes=True)
    replay.append(records)
    goals = Goals(GoalPart("achieved_goal"), GoalPart("desired_goal"), near)
    shown = ReplayBuffer(MAZELESS, 1, 0)
    sampler = MixedSampler(MAZELESS, replay, shown, 0.0, CPU, HindsightReader(goals, k))
    for _ in range(160):
        sac.update(sampler.sample(sac.utd_ratio, sac.batch_size))

    @torch.inference_mode()
    def act(place, goal):
        mean, _ = sac.actor(torch.from_numpy(np.concatenate([place, goal], -1)))
        return mean.tanh().numpy()

    return play(act, 200, rng)[1]


@pytest.mark.seeds(2, soak=1)
def test_goals_that_are_never_reached_by_chance_are_learned_in_hindsight_alone(seed):
    with_hindsight, without = (reached_after_learning(k, seed) for k in (4, 0))
    assert with_hindsight > 0.6
    assert without < 0.1
