"""IQL: its losses by hand, what survives, what is refused, and what it makes of pieces that nobody joined."""

import math

import gymnasium
import msgspec
import numpy as np
import pytest
import torch

from agent.algorithm import LearnsOffline
from agent.algorithm_config import AlgorithmConfig, load_algorithm, make_policy
from agent.bc import BC, BCConfig
from agent.config import InputError
from agent.iql import IQL, IQLActor, IQLConfig, advantage_weights, expectile_loss, worth
from agent.replay import MixedSampler, ReplayBuffer
from agent.transition import TransitionSpec

CPU = torch.device("cpu")
SMALL = {"hidden_sizes": (16, 16), "batch_size": 8, "utd_ratio": 2, "offline_updates": 4, "normalise_over": 2}
VARIANTS = [
    {},
    {"normalise_observations": True},
    {"state_dependent_std": True, "layer_norm": True},
    {"critics": 5, "critic_loss": "huber", "huber_delta": 0.5, "target_quantile": 0.25},
]


def make(spec, seed=0, **changes):
    return IQL(IQLConfig(**{**SMALL, **changes}), spec, CPU, seed)


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def rows(batch, k):
    return {name: values[8 * k : 8 * (k + 1)] for name, values in batch.items()}


def test_the_expectile_loss_weighs_what_is_better_more():
    error = torch.tensor([2.0, -1.0, 0.5])
    # 0.9 * 4, 0.1 * 1 and 0.9 * 0.25, by three.
    assert float(expectile_loss(error, 0.9)) == pytest.approx((3.6 + 0.1 + 0.225) / 3)
    assert float(expectile_loss(error, 0.5)) == pytest.approx((4.0 + 1.0 + 0.25) / 6)


def test_the_expectile_loss_is_least_at_the_expectile():
    """Of 0 and 1, each as often, the expectile tau is tau itself: (1 - tau) m = tau (1 - m)."""
    outcomes, value = torch.tensor([0.0, 1.0]), torch.tensor(0.9, requires_grad=True)
    (slope,) = torch.autograd.grad(expectile_loss(outcomes - value, 0.9), value)
    assert float(slope) == pytest.approx(0.0, abs=1e-6)


def test_better_actions_count_exponentially_more_up_to_a_limit():
    advantage = torch.tensor([0.0, 0.5, -0.5, 2.0, 1000.0])
    weights = advantage_weights(advantage, 3.0)
    assert weights.tolist() == pytest.approx([1.0, math.exp(1.5), math.exp(-1.5), 100.0, 100.0])
    assert advantage_weights(advantage, 0.0).tolist() == [1.0] * 5


def test_an_action_is_worth_the_minimum_or_a_quantile_of_the_ensemble():
    values = torch.tensor([[4.0, 0.0], [1.0, 0.0], [3.0, 0.0], [0.0, 0.0], [2.0, 5.0]])
    assert worth(values, None).tolist() == [0.0, 0.0]
    assert worth(values, 0.0).tolist() == [0.0, 0.0]
    assert worth(values, 0.25).tolist() == [1.0, 0.0]
    assert worth(values, 0.1).tolist() == pytest.approx([0.4, 0.0])


def test_huber_is_square_up_to_its_delta_and_linear_beyond(spec):
    values, target = torch.tensor([[0.5, 0.0], [2.0, -10.0]]), torch.tensor([0.0, 0.0])
    assert float(make(spec).critic_loss(values, target)) == pytest.approx(0.125 + 52.0)
    huber = make(spec, critic_loss="huber", huber_delta=2.0)
    # e^2 / (2 delta) up to delta, then |e| - delta / 2; means of 0.0625 and 0, and of 1 and 9.
    assert float(huber.critic_loss(values, target)) == pytest.approx(0.03125 + 5.0)


@pytest.mark.parametrize("dependent", [False, True])
def test_the_likelihood_is_a_gaussians_about_the_squashed_mean_also_at_the_limits(dependent):
    actor = IQLActor(IQLConfig(hidden_sizes=(4,), state_dependent_std=dependent), 3, 2)
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.zero_()
        if not dependent:
            actor.log_std.fill_(math.log(0.5))
        deviation = 1.0 if dependent else 0.5
        actor.net[-1].bias[:2] = torch.tensor([math.atanh(0.6), 0.0])
    found = actor.log_likelihood(torch.zeros(1, 3), torch.tensor([[1.0, -1.0]]))
    mean = torch.tensor([0.6, 0.0])
    expected = torch.distributions.Normal(mean, deviation).log_prob(torch.tensor([1.0, -1.0])).sum()
    torch.testing.assert_close(found.detach(), expected[None])


def test_a_spread_that_became_too_narrow_can_widen_again(spec, make_batch):
    iql = make(spec, actor_learning_rate=0.1, temperature=0.0)
    with torch.no_grad():
        iql.actor.log_std.fill_(-7.0)
    iql.learn_offline(make_batch(8))
    assert float(iql.actor.log_std.detach().min()) >= -5.0
    for seed in range(10):
        iql.learn_offline(make_batch(8, seed))
    assert float(iql.actor.log_std.detach().min()) > -4.8


def test_time_outs_bootstrap_and_terminations_do_not(spec, make_batch):
    """With a value of 1 everywhere the target is the reward, and gamma more unless the episode terminated."""
    targets = []
    for terminated in (True, False):
        iql = make(spec, discount=0.9, critic_learning_rate=1e-9)
        with torch.no_grad():
            iql.value[-1].weight.zero_()
            iql.value[-1].bias.fill_(1.0)
        iql.critic_loss = lambda values, target: targets.append(target) or values.sum()
        iql.learn_offline(make_batch(8, terminated=terminated, reward=0.5))
    torch.testing.assert_close(targets[0], torch.full((8,), 0.5))
    torch.testing.assert_close(targets[1], torch.full((8,), 1.4))


def test_actions_are_worth_what_the_slow_critics_say_which_follow_by_the_target_rate(spec, make_batch):
    iql = make(spec, target_rate=0.1, critic_learning_rate=1e-2, temperature=1.0)
    with torch.no_grad():
        iql.target_critic.head.weight.zero_()
        iql.target_critic.head.bias.copy_(torch.tensor([2.0, 7.0])[:, None, None])
    batch = make_batch(8)
    with torch.no_grad():
        value = iql.value(batch["observation.state"]).squeeze(-1)
    before = iql.state_dict()
    metrics = iql.learn_offline(batch)
    assert metrics["value_loss"] == pytest.approx(float(expectile_loss(2.0 - value, 0.7)), rel=1e-4)
    after = iql.state_dict()
    for name in before:
        if name.startswith("target_critic."):
            wanted = 0.9 * before[name] + 0.1 * after[name.removeprefix("target_")]
            torch.testing.assert_close(after[name], wanted)


def test_targets_look_at_the_next_observation(spec, make_batch):
    targets, batch = [], make_batch(8, terminated=False, reward=0.0)
    iql = make(spec, discount=0.9, critic_learning_rate=1e-9)
    iql.critic_loss = lambda values, target: targets.append(target) or values.sum()
    with torch.no_grad():
        wanted = 0.9 * iql.value(batch["next_observation.state"]).squeeze(-1)
    iql.learn_offline(batch)
    torch.testing.assert_close(targets[0], wanted, atol=1e-4, rtol=1e-3)


def test_each_loss_trains_its_own_network(spec, make_batch):
    """Advantages are constants for the actor, targets for the critics, and the critics' for the value."""
    frozen = {"actor": "actor_learning_rate", "critic": "critic_learning_rate"}
    for name, rate in frozen.items():
        iql = make(spec, **{rate: 1e-30})
        before = iql.state_dict()
        iql.learn_offline(make_batch(8))
        after = iql.state_dict()
        still = [n for n in before if n.split(".")[0] == name]
        assert still
        assert all(torch.allclose(before[n], after[n], atol=1e-12) for n in still)
        assert not same(before, {n: after[n] for n in before})


def test_the_policy_is_drawn_to_better_actions(spec, make_batch):
    """Two actions in one state, one of which is rewarded: cloning takes the middle, IQL the better one."""
    batch = make_batch(8, terminated=True)
    batch["observation.state"].zero_()
    batch["action"] = torch.tensor([[0.8, 0.8], [-0.8, -0.8]] * 4)
    batch["reward"] = torch.tensor([1.0, 0.0] * 4)
    acted = {}
    for temperature in (0.0, 10.0):
        iql = make(
            spec,
            temperature=temperature,
            actor_learning_rate=3e-3,
            critic_learning_rate=3e-3,
            target_rate=0.1,
        )
        for _ in range(300):
            iql.learn_offline(batch)
        policy = iql.make_policy(iql.config, spec, 0)
        policy.load_weights(iql.policy_weights())
        acted[temperature] = policy.act({"state": np.zeros(5, np.float32)}, deterministic=True)
    assert acted[0.0] == pytest.approx([0.0, 0.0], abs=0.1)
    assert acted[10.0] == pytest.approx([0.8, 0.8], abs=0.1)


def test_nothing_is_learned_while_statistics_are_estimated(spec, make_batch):
    iql = make(spec, normalise_observations=True)
    before = iql.state_dict()
    for seed in range(2):
        assert iql.learn_offline(make_batch(8, seed)) == {}
    after = iql.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"encoder.mean", "encoder.variance", "encoder.batches"}
    assert math.isfinite(iql.learn_offline(make_batch(8, 2))["critic_loss"])
    iql.update(make_batch(16, 3))
    assert same({n: v for n, v in after.items() if "encoder" in n}, {n: iql.state_dict()[n] for n in changed})


@pytest.mark.parametrize("changes", VARIANTS)
def test_save_and_load_continue_bit_for_bit(spec, make_batch, changes):
    first, second = make(spec, 1, **changes), make(spec, 2, **changes)
    for seed in range(3):
        first.learn_offline(make_batch(8, seed))
    second.load_state_dict(first.state_dict())
    for seed in range(3, 6):
        assert first.learn_offline(make_batch(8, seed)) == second.learn_offline(make_batch(8, seed))
        assert first.update(make_batch(16, seed)) == second.update(make_batch(16, seed))
    assert same(first.state_dict(), second.state_dict())


def test_online_it_goes_on_as_it_began(spec, make_batch):
    """An update is `utd_ratio` steps of the offline phase, each on its own slice."""
    online, offline = make(spec), make(spec)
    batch = make_batch(16)
    metrics = online.update(batch)
    for k in range(2):
        last = offline.learn_offline(rows(batch, k))
    assert metrics == last
    assert same(online.state_dict(), offline.state_dict())


def test_the_seed_decides_everything_and_nothing_else_is_touched(spec):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    states = [make(spec, seed).state_dict() for seed in (7, 7, 8)]
    assert torch.equal(torch.rand(3), expected)
    assert same(states[0], states[1])
    assert not same(states[0], states[2])


@pytest.mark.parametrize("changes", VARIANTS)
def test_the_actors_side_acts_as_the_learner_would(spec, make_batch, changes):
    iql = make(spec, **changes)
    assert isinstance(iql, LearnsOffline)
    for seed in range(4):
        iql.learn_offline(make_batch(8, seed))
    choice = AlgorithmConfig(name="iql", algorithm="agent.iql.IQL", config={**SMALL, **changes})
    policy = make_policy(choice, spec, 1)
    policy.load_weights(iql.policy_weights())
    state = make_batch(8)["observation.state"]
    with torch.no_grad():
        mean, log_std = iql.actor(iql.encoder({"state": state}))
    observation = {"state": state[0].numpy()}
    assert policy.act(observation, deterministic=True) == pytest.approx(mean[0].numpy(), abs=1e-6)
    samples = np.array([policy.act(observation, deterministic=False) for _ in range(500)])
    assert samples.dtype == np.float32
    assert np.abs(samples).max() == 1.0  # The spread is wide yet, and samples are kept in the action space.
    wanted = torch.distributions.Normal(mean[0], log_std[0].exp()).cdf(torch.zeros(2)).detach().numpy()
    assert (samples < 0).mean(0) == pytest.approx(wanted, abs=0.1)
    assert not [name for name in iql.policy_weights() if "critic" in name or "value" in name]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offline_updates": -1}, "offline_updates -1 must not be negative"),
        ({"batch_size": 0}, "batch_size 0 must be at least 1"),
        ({"utd_ratio": 0}, "utd_ratio 0 must be at least 1"),
        ({"critics": 0}, "critics 0 must be at least 1"),
        ({"discount": 1.1}, r"discount 1.1 must lie in \(0, 1\]"),
        ({"target_rate": 0.0}, "target_rate 0.0 must lie"),
        ({"actor_learning_rate": -1.0}, "actor_learning_rate -1.0 must lie"),
        ({"expectile": 1.0}, "expectile 1.0 must lie between 0 and 1"),
        ({"expectile": float("nan")}, "expectile nan must lie"),
        ({"temperature": -1.0}, "temperature -1.0 must be a number"),
        ({"temperature": float("inf")}, "temperature inf must be a number"),
        ({"critic_loss": "mae"}, "critic_loss 'mae' must be mse or huber"),
        ({"huber_delta": 0.0}, "huber_delta 0.0 must be a positive number"),
        ({"target_quantile": 1.5}, r"target_quantile 1.5 must lie in \[0, 1\], or be null"),
        ({"hidden_sizes": ()}, r"hidden_sizes \(\) must be positive"),
        ({"normalise_observations": True, "normalise_over": 4}, "offline_updates 4 must be more than"),
        ({"normalise_over": 0}, "normalise_over 0 must be at least 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes, message):
    choice = AlgorithmConfig(name="iql", algorithm="agent.iql.IQL", config={**SMALL, **changes})
    with pytest.raises(InputError, match=message):
        load_algorithm(choice)


def test_cameras_are_refused_on_both_sides(camera_spec):
    for make_side in (lambda: make(camera_spec), lambda: IQL.make_policy(IQLConfig(), camera_spec, 0)):
        with pytest.raises(InputError, match=r"IQL learns from vectors, but .* \['front', 'wrist'\]: use"):
            make_side()


STEP_M, START_M = 0.2, (0.0, -0.8)
BOX = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
MAZE = TransitionSpec.of(BOX, BOX)
ROOMS_M = (((-0.2, -1.0), (0.2, 1.0)), ((-1.0, -0.2), (1.0, 0.2)), ((-1.0, -1.0), (0.2, -0.6)))
"""A corridor up, one across it in the middle, and one to the left at its lower end; corners low and high."""
UP, DOWN, LEFT, RIGHT = (0.0, 1.0), (0.0, -1.0), (-1.0, 0.0), (1.0, 0.0)


def moved(position_m, action):
    """Where a point gets in a step; a wall holds it in the one direction and not in the other."""
    for axis in range(2):
        there = position_m.copy()
        there[axis] += STEP_M * action[axis]
        if any((low <= there).all() and (there <= high).all() for low, high in np.array(ROOMS_M)):
            position_m = there
    return position_m


def paid(position_m):
    """1 at the right end of the corridor across, a consolation of 0.4 to the left of the start, else 0."""
    if position_m[0] > 0.7:
        return 1.0
    return 0.4 if position_m[0] < -0.7 and position_m[1] < -0.5 else 0.0


def walk(rng, start_m, legs):
    """Somebody goes each leg, a direction and until where, with an unsteady hand."""
    position_m, steps = np.array(start_m) + rng.uniform(-0.05, 0.05, 2), []
    for direction, until_m in legs:
        end_m = until_m + rng.uniform(-0.15, 0.15)
        while (end_m - position_m @ np.abs(direction)) * sum(direction) > 0:
            action = np.clip(0.9 * np.array(direction) + rng.normal(0.0, 0.2, 2), -1, 1)
            there_m = moved(position_m, action)
            reward = paid(there_m)
            views = {"observation": {"state": position_m}, "next_observation": {"state": there_m}}
            steps.append(
                MAZE.record(**views, action=action, reward=reward, terminated=reward > 0, truncated=False)
            )
            if reward > 0:
                return steps
            position_m = there_m
    return steps


def recorded(seed):
    """Most go from the start to the consolation, or past the junction into a dead end; few to the goal, from above."""
    rng = np.random.default_rng(seed)
    walks = [walk(rng, START_M, [(UP, 0.0), (LEFT, -0.8)]) for _ in range(50)]
    walks += [walk(rng, (0.0, 0.8), [(DOWN, 0.0), (RIGHT, 2.0)]) for _ in range(20)]
    walks += [walk(rng, START_M, [(LEFT, -2.0)]) for _ in range(70)]
    return np.concatenate([step for steps in walks for step in steps])


def learned(algorithm, config, records, seed):
    """A policy after its offline phase."""
    memory = ReplayBuffer(MAZE, len(records), seed)
    memory.append(records)
    sampler = MixedSampler(MAZE, ReplayBuffer(MAZE, 1, 0), memory, 1.0, CPU)
    learner = algorithm(config, MAZE, CPU, seed)
    for _ in range(config.offline_updates):
        learner.learn_offline(sampler.sample_demonstrations(config.batch_size))
    policy = algorithm.make_policy(config, MAZE, seed)
    policy.load_weights(learner.policy_weights())
    return policy


def arrivals(policy):
    """Share of 20 walks from the start that get to the goal."""
    rng, arrived = np.random.default_rng(9), 0
    for _ in range(20):
        position_m = np.array(START_M) + rng.uniform(-0.05, 0.05, 2)
        for _ in range(40):
            action = policy.act({"state": position_m.astype(np.float32)}, deterministic=True)
            position_m = moved(position_m, action)
            if paid(position_m) > 0:
                break
        arrived += paid(position_m) == 1.0
    return arrived / 20


IN_MAZE = IQLConfig(
    offline_updates=1000,
    batch_size=128,
    hidden_sizes=(64, 64),
    discount=0.95,
    target_rate=0.02,
    expectile=0.9,
    temperature=20.0,
    actor_learning_rate=1e-3,
    critic_learning_rate=1e-3,
)


@pytest.mark.slow
@pytest.mark.seeds(1, soak=2)
def test_it_joins_two_halves_of_a_way_that_nobody_went(seed):
    """Up to the junction as some did, then right as others did: cloning does not, nor does a value that is a mean."""
    records = recorded(seed)
    assert arrivals(learned(IQL, IN_MAZE, records, seed)) >= 0.9
    evaluating = msgspec.structs.replace(IN_MAZE, expectile=0.5)
    assert arrivals(learned(IQL, evaluating, records, seed)) <= 0.4
    cloning = BCConfig(offline_updates=300, batch_size=128, hidden_sizes=(64, 64), learning_rate=1e-3)
    assert arrivals(learned(BC, cloning, records, seed)) <= 0.4


def throws(seed, wrong):
    """Aims at half of where the target is seen; of a tenth each, rewards and observations may be `wrong`."""
    rng = np.random.default_rng(seed)
    records = np.zeros(3000, MAZE.dtype)
    records["observation.state"] = rng.uniform(-1, 1, (3000, 2))
    records["action"] = rng.uniform(-1, 1, (3000, 2))
    records["reward"] = hits(records["observation.state"], records["action"])
    records["terminated"] = True
    if wrong:
        records["reward"][:300] = rng.uniform(-30.0, 30.0, 300)
        records["observation.state"][300:600] += rng.normal(0.0, 1.0, (300, 2))
    return records


def hits(seen, action):
    """1 for the best action, less by the distance from it."""
    return 1.0 - np.linalg.norm(action - 0.5 * seen, axis=-1)


def precision(records, seed, **changes):
    """Mean of what a policy is paid that learned from throws."""
    small = {"offline_updates": 500, "hidden_sizes": (64, 64), "target_rate": 0.05, "temperature": 10.0}
    rates = {"actor_learning_rate": 2e-3, "critic_learning_rate": 2e-3}
    policy = learned(IQL, IQLConfig(**small, **rates, **changes), records, seed)
    seen = np.random.default_rng(9).uniform(-1, 1, (200, 2)).astype(np.float32)
    return hits(seen, np.array([policy.act({"state": row}, deterministic=True) for row in seen])).mean()


@pytest.mark.slow
@pytest.mark.seeds(1, soak=2)
def test_riqls_options_bear_data_of_which_some_are_wrong(seed):
    records = throws(seed, wrong=True)
    robust = precision(records, seed, critics=5, critic_loss="huber", huber_delta=0.1, target_quantile=0.25)
    assert robust > 0.8  # The mean of the recorded actions is paid 0.6.
    assert robust > precision(records, seed) + 0.1


@pytest.mark.parametrize("normalise", [False, True])
def test_another_run_may_begin_with_what_one_has_learned(spec, make_batch, normalise):
    options = {"normalise_observations": normalise, "normalise_over": 2, "offline_updates": 10}
    one, other = make(spec, **options), make(spec, 5, **options)
    for seed in range(4):
        one.learn_offline(make_batch(8, seed))
    other.begin_from(one.state_dict())
    theirs, ours = one.state_dict(), other.state_dict()
    parts = ("actor.", "value.", "critic.", "target_critic.", "encoder.")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs if name.startswith(parts))
    assert not other.encoder.is_estimating
    with pytest.raises(InputError, match="give both the same normalise_observations"):
        make(spec, **{**options, "normalise_observations": not normalise}).begin_from(theirs)
    longer = make(spec, **{**options, "normalise_over": 3})
    longer.begin_from(theirs)
    assert not longer.encoder.is_estimating  # What was taken over is whole.
    with pytest.raises(InputError, match=r"actor\.net\.\S+ is of shape"):
        make(spec, hidden_sizes=(4, 4), **options).begin_from(theirs)
