"""ExPLORe: who teaches the labels, who gets them, and that they lead to a goal nobody was paid for."""

import gymnasium
import msgspec
import numpy as np
import pytest
import torch

from agent.algorithm import BeginsFrom
from agent.algorithm_config import AlgorithmConfig, needs_rewards
from agent.config import InputError
from agent.explore import ExPLORe, ExPLOReConfig
from agent.novelty import Novelty
from agent.replay import MixedSampler, ReplayBuffer
from agent.sac import SAC, SACConfig
from agent.transition import Provenance, TransitionSpec

CPU = torch.device("cpu")
SMALL = {"hidden_sizes": (16, 16), "label_hidden_sizes": (16,), "batch_size": 8, "utd_ratio": 2}
RECORDED = torch.tensor([False, True] * 8)


def make(spec, seed=0, **changes):
    return ExPLORe(ExPLOReConfig(**{**SMALL, **changes}), spec, CPU, seed)


@pytest.fixture
def make_half(make_batch):
    """Every other transition is recorded, without a reward."""

    def make(seed=0, rewards=float("nan"), rows=16):
        batch = make_batch(rows, seed)
        recorded = RECORDED[:rows]
        batch["reward"] = torch.where(recorded, rewards, batch["reward"])
        batch["terminated"] = torch.arange(rows) % 4 < 2
        who = torch.where(torch.arange(rows) % 4 == 0, int(Provenance.HUMAN), int(Provenance.TWIN))
        batch["provenance"] = torch.where(recorded, int(Provenance.DEMONSTRATION), who).to(torch.uint8)
        return batch

    return make


def same(ours, theirs):
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_only_recorded_transitions_get_other_labels(spec, make_half):
    explore, batch = make(spec), make_half()
    inputs = explore._inputs(batch)
    explore.learn_labels(batch, inputs)
    labelled = explore.relabel(batch, inputs)
    assert torch.equal(labelled["reward"][~RECORDED], batch["reward"][~RECORDED])
    assert torch.equal(labelled["terminated"][~RECORDED], batch["terminated"][~RECORDED].float())
    low, high = explore.earned
    assert [float(low), float(high)] == [float(edge) for edge in batch["reward"][~RECORDED].aminmax()]
    predicted = explore.reward_net(inputs)[:, 0].clamp(low, high) + explore.novelty(inputs)
    torch.testing.assert_close(labelled["reward"][RECORDED], predicted[RECORDED].detach())
    ends = torch.sigmoid(-explore.mask_net(inputs)[:, 0])
    torch.testing.assert_close(labelled["terminated"][RECORDED], ends[RECORDED].detach())


@pytest.mark.parametrize("labels", ["prediction", "minimum"])
def test_what_was_recorded_as_reward_or_end_changes_nothing(spec, make_half, labels):
    states = []
    for rewards in (float("nan"), 1000.0):
        explore = make(spec, labels=labels)
        for seed in range(3):
            batch = make_half(seed, rewards)
            batch["terminated"] = torch.where(RECORDED, rewards == 1000.0, batch["terminated"])
            explore.update(batch)
        states.append(explore.state_dict())
    assert same(*states)
    assert all(value.isfinite().all() for value in states[0].values())


def test_recorded_transitions_teach_the_labels_nothing(spec, make_half):
    states = []
    for changed in (0.0, 3.0):
        explore, batch = make(spec), make_half()
        explore.novelty.scale_by(explore._inputs(batch))
        batch["observation.state"] = torch.where(
            RECORDED[:, None], batch["observation.state"] + changed, batch["observation.state"]
        )
        explore.learn_labels(batch, explore._inputs(batch))
        state = explore.state_dict()
        states.append({n: v for n, v in state.items() if n.startswith(("reward_net", "mask_net", "novelty"))})
    assert same(*states)


def test_before_anybody_acted_nothing_is_learned_of_labels(spec, make_half):
    explore, batch = make(spec, bonus=0.0), make_half()
    batch["provenance"][:] = int(Provenance.DEMONSTRATION)
    assert explore.learn_labels(batch, explore._inputs(batch)) == {}
    assert not explore.relabel(batch, explore._inputs(batch))["reward"].any()


def test_the_minimum_is_the_lowest_that_the_robot_earned(spec, make_half):
    explore = make(spec, labels="minimum", bonus=0.0)
    batches = [make_half(seed) for seed in range(3)]
    for batch in batches:
        explore.update(batch)
    lowest = min(float(batch["reward"][~RECORDED].min()) for batch in batches)
    labelled = explore.relabel(batches[0], explore._inputs(batches[0]))
    assert labelled["reward"][RECORDED].tolist() == [lowest] * 8


def test_with_recorded_labels_and_no_bonus_it_is_sac(spec, make_half):
    explore, sac = make(spec, labels="recorded", bonus=0.0), SAC(SACConfig(**_of_sac()), spec, CPU, 0)
    for seed in range(2):
        batch = make_half(seed, 0.5)
        explore.update(batch)
        sac.update(batch)
    expected = sac.state_dict()
    assert same({name: value for name, value in explore.state_dict().items() if name in expected}, expected)


def _of_sac():
    return {name: value for name, value in SMALL.items() if not name.startswith("label")}


def test_what_was_done_is_no_longer_new_and_what_was_not_still_is():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        novelty = Novelty(4, (64, 64))
        done = 0.3 * torch.randn(256, 4)
    new = done + torch.tensor([1.5, 0.0, 0.0, 0.0])
    novelty.scale_by(torch.cat([done, new]))
    assert float(novelty.loss(torch.cat([done, new])).detach()) == pytest.approx(1.0, abs=1e-4)
    optimizer = torch.optim.Adam(novelty.predictor.parameters(), 1e-3)
    for _ in range(200):
        optimizer.zero_grad()
        novelty.loss(done).backward()
        optimizer.step()
    known, unknown = float(novelty(done).mean()), float(novelty(new).mean())
    assert known < 0.2
    assert unknown > 3 * known
    assert float(novelty(100 * new).max()) == 1.0


def test_save_and_load_continue_bit_for_bit(spec, make_half):
    one, other = make(spec), make(spec, 7)
    one.update(make_half(0))
    other.load_state_dict(one.state_dict())
    for explore in (one, other):
        explore.update(make_half(1))
    assert same(one.state_dict(), other.state_dict())


def test_another_run_begins_with_what_labels_and_with_a_policy_alone(spec, make_half):
    one, other = make(spec), make(spec, 5)
    assert isinstance(other, BeginsFrom)
    one.update(make_half(0))
    other.begin_from(one.state_dict())
    taken = {
        n: v for n, v in one.state_dict().items() if not n.startswith(("optimizer", "generator", "calls"))
    }
    assert same({n: v for n, v in other.state_dict().items() if n in taken}, taken)
    sac = SAC(SACConfig(**_of_sac()), spec, CPU, 3)
    fresh = make(spec, 5)
    fresh.begin_from(sac.state_dict())
    assert torch.equal(
        fresh.state_dict()["reward_net.0.weight"], make(spec, 5).state_dict()["reward_net.0.weight"]
    )
    with pytest.raises(InputError, match=r"another architecture: reward_net\.0\.bias is of shape"):
        make(spec, label_hidden_sizes=(8,)).begin_from(one.state_dict())


def test_the_seed_decides_everything_and_nothing_else_is_touched(spec):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    states = [make(spec, seed).state_dict() for seed in (7, 7, 8)]
    assert torch.equal(torch.rand(3), expected)
    assert same(states[0], states[1])
    assert not same(states[0], states[2])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"labels": "oracle"}, "labels"),
        ({"bonus": -0.1}, "bonus -0.1 must lie between 0"),
        ({"bonus": float("nan")}, "bonus nan"),
        ({"label_hidden_sizes": []}, "label_hidden_sizes"),
        ({"label_learning_rate": 0.0}, "label_learning_rate 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(values, words):
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.convert(values, ExPLOReConfig, strict=False)


@pytest.mark.parametrize(
    ("algorithm", "config", "needed"),
    [
        ("agent.explore.ExPLORe", {}, False),
        ("agent.explore.ExPLORe", {"labels": "minimum"}, False),
        ("agent.explore.ExPLORe", {"labels": "recorded"}, True),
        ("agent.bc.BC", {}, False),
        ("agent.sac.SAC", {}, True),
        ("agent.iql.IQL", {}, True),
    ],
)
def test_who_needs_recorded_rewards(algorithm, config, needed):
    assert needs_rewards(AlgorithmConfig(name="x", algorithm=algorithm, config=config)) is needed


# A point that is to go round a wall. Recorded ways lead there and back again, and nobody said what for.
PLANE = TransitionSpec.of(
    gymnasium.spaces.Box(-2, 2, (2,), np.float32), gymnasium.spaces.Box(-1, 1, (2,), np.float32)
)
START, GOAL, WAY = np.array([-1.0, -0.6]), np.array([1.0, -0.6]), [[-0.6, 0.8], [0.3, 0.8], [1.0, -0.6]]
STRIDE, LIMIT, POINTS = 0.25, 25, 8
QUICK = {
    "batch_size": 64, "utd_ratio": 2, "hidden_sizes": (64, 64), "label_hidden_sizes": (64, 64), "discount": 0.95,
    "target_rate": 0.02, "initial_temperature": 0.05, "actor_learning_rate": 1e-3, "critic_learning_rate": 1e-3,
    "label_learning_rate": 1e-3,
}  # fmt: skip


def move(position, action):
    """Positions after a step, shape (N, 2), and whether they are at the goal. The wall is at x = 0, up to y = 0.4."""
    following = np.clip(position + STRIDE * action, -1.2, 1.2)
    crosses = (position[:, 0] < 0) != (following[:, 0] < 0)
    share = -position[:, 0] / np.where(crosses, following[:, 0] - position[:, 0], 1.0)
    height = position[:, 1] + share * (following[:, 1] - position[:, 1])
    following = np.where((crosses & (height < 0.4))[:, None], position, following)
    return following, np.hypot(*(following - GOAL).T) < 0.25


def recorded_ways(rng, episodes=30):
    rows = []
    for episode in range(episodes):
        position, target = START + rng.uniform(-0.1, 0.1, 2), 0
        for step in range(LIMIT):
            target = min(target + bool(np.hypot(*(WAY[target] - position)) < 0.3), 2)
            way = WAY[target] - position
            action = np.clip(way / max(np.hypot(*way), 0.1) + rng.normal(0, 0.4, 2), -1, 1)
            following = move(position[None], action[None])[0][0]
            rows.append(
                PLANE.record(
                    observation={"state": position}, action=action, reward=np.nan,
                    next_observation={"state": following}, terminated=False, truncated=False,
                    provenance=Provenance.DEMONSTRATION, episode=episode, step=step,
                )
            )  # fmt: skip
            position = following
    return np.concatenate(rows)


def goals_reached(seed, updates=150, **changes):
    """By several points that learn together, one step of each per update; -1 a step until then."""
    rng, noise = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    explore = make(PLANE, seed, **{**QUICK, **changes})
    online, data = ReplayBuffer(PLANE, 5000, seed), ReplayBuffer(PLANE, 1000, seed + 1)
    data.append(recorded_ways(rng))
    sampler = MixedSampler(PLANE, online, data, 0.5, CPU)
    position, age, reached_goals = (
        START + rng.uniform(-0.1, 0.1, (POINTS, 2)),
        rng.integers(0, LIMIT, POINTS),
        0,
    )
    for _ in range(updates):
        state = torch.tensor(position).float()
        with torch.no_grad():
            action = explore.actor.sample(state, torch.randn(POINTS, 2, generator=noise))[0].numpy()
        following, reached = move(position, action)
        rows = np.zeros(POINTS, PLANE.dtype)
        rows["observation.state"], rows["next_observation.state"] = position, following
        rows["action"], rows["reward"], rows["terminated"] = action, reached - 1.0, reached
        sampler.append(rows)
        explore.update(sampler.sample(explore.utd_ratio, explore.batch_size))
        reached_goals, age = reached_goals + int(reached.sum()), age + 1
        over = reached | (age >= LIMIT)
        position = np.where(over[:, None], START + rng.uniform(-0.1, 0.1, (POINTS, 2)), following)
        age[over] = 0
    return reached_goals


@pytest.mark.seeds(2, soak=1)
def test_optimism_leads_along_recorded_ways_to_a_goal_that_nobody_was_paid_for(seed):
    assert goals_reached(seed) >= 8
    assert goals_reached(seed, bonus=0.0) <= 2


def test_the_least_that_the_robot_earned_as_reward_of_recorded_data_leads_nowhere():
    # Of one seed: it does what predictions without a bonus do, until one has found the goal by chance.
    assert goals_reached(0, bonus=0.0, labels="minimum") <= 2
