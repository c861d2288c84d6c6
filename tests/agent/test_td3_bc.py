"""TD3+BC: its losses by hand, what survives, what is refused, and where imitation holds the policy."""

import math

import gymnasium
import numpy as np
import pytest
import torch

from agent.algorithm import LearnsOffline
from agent.algorithm_config import AlgorithmConfig, load_algorithm, make_policy
from agent.config import InputError
from agent.td3_bc import TD3BC, TD3BCConfig, policy_loss, smoothed
from agent.transition import TransitionSpec

CPU = torch.device("cpu")
SMALL = {"hidden_sizes": (16, 16), "batch_size": 8, "utd_ratio": 2, "offline_updates": 4}
SMALL |= {"normalise_observations": False, "normalise_over": 2}
VARIANTS = [{}, {"normalise_observations": True}, {"layer_norm": True, "policy_delay": 3}]


def make(spec, seed=0, **changes):
    return TD3BC(TD3BCConfig(**{**SMALL, **changes}), spec, CPU, seed)


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def changed(before, after):
    """First parts of the names of what differs."""
    return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}


def test_the_targets_action_is_moved_by_clipped_noise_and_stays_an_action():
    action = torch.tensor([[0.0, 0.0, 0.9, -0.9]])
    noise = torch.tensor([[0.2, -3.0, 0.4, -0.05]])
    torch.testing.assert_close(smoothed(action, noise, 0.5), torch.tensor([[0.2, -0.5, 1.0, -0.95]]))


def test_lambda_takes_the_scale_out_of_values():
    value = torch.tensor([3.0, -1.0], requires_grad=True)  # Of mean size 2: lambda is 1.25.
    proposed = torch.tensor([[0.5, 0.0], [0.0, 0.0]], requires_grad=True)
    recorded = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    loss = policy_loss(value, proposed, recorded, 2.5)
    assert float(loss.detach()) == pytest.approx((0.25 + 1.0) / 4 - 1.25 * 1.0)
    loss.backward()
    assert value.grad.tolist() == pytest.approx([-0.625, -0.625])  # Lambda is a constant, over two rows.
    assert proposed.grad.tolist() == [[0.25, 0.0], [0.0, -0.5]]
    times_100 = policy_loss(100.0 * value.detach(), proposed, recorded, 2.5)
    assert float(times_100.detach()) == pytest.approx(float(loss.detach()))


def test_values_of_zero_break_nothing():
    value = torch.zeros(4, requires_grad=True)
    loss = policy_loss(value, torch.zeros(4, 1), torch.ones(4, 1), 2.5)
    loss.backward()
    assert float(loss.detach()) == 1.0
    assert bool(value.grad.isfinite().all())


@pytest.mark.parametrize(("terminated", "expected"), [(True, 0.5), (False, 0.5 + 0.9 * 2.0)])
def test_targets_take_the_lower_critic_and_end_at_terminations(spec, make_batch, terminated, expected):
    td3 = make(spec, discount=0.9)
    with torch.no_grad():
        td3.target_critic.head.weight.zero_()
        td3.target_critic.head.bias.copy_(torch.tensor([2.0, 7.0])[:, None, None])
    target = td3._target(make_batch(8, terminated=terminated, reward=0.5))
    torch.testing.assert_close(target, torch.full((8,), expected))


def test_the_target_acts_by_the_slow_actor_with_noise(spec, make_batch):
    acted = []
    td3 = make(spec, policy_noise=1.0, noise_clip=0.1)
    td3.target_critic = lambda state, action: acted.append(action) or torch.zeros(2, len(state))
    with torch.no_grad():
        td3.target_actor.net[-1].weight.zero_()
        td3.target_actor.net[-1].bias.fill_(math.atanh(0.5))
    td3._target(make_batch(64))
    assert float((acted[0] - 0.5).abs().max()) == pytest.approx(0.1, abs=1e-6)
    assert float((acted[0] - 0.5).std()) > 0.05


def test_actor_and_targets_wait_for_their_turn(spec, make_batch):
    td3, turns = make(spec, policy_delay=3), []
    for seed in range(6):
        before = td3.state_dict()
        metrics = td3.learn_offline(make_batch(8, seed))
        turns.append(changed(before, td3.state_dict()) - {"optimizer", "generator", "updates"})
        assert ("actor_loss" in metrics) == (seed % 3 == 2)
    everything = {"critic", "actor", "target_actor", "target_critic"}
    assert turns == [{"critic"}, {"critic"}, everything] * 2


def test_targets_follow_by_the_target_rate(spec, make_batch):
    td3 = make(spec, policy_delay=1, target_rate=0.1, actor_learning_rate=1e-2, critic_learning_rate=1e-2)
    before = td3.state_dict()
    td3.learn_offline(make_batch(8))
    after = td3.state_dict()
    slow = [name for name in before if name.startswith("target_")]
    assert slow
    for name in slow:
        torch.testing.assert_close(
            after[name], 0.9 * before[name] + 0.1 * after[name.removeprefix("target_")]
        )


def test_the_actors_loss_trains_nothing_but_the_actor(spec, make_batch):
    td3 = make(spec)
    batch = make_batch(8)
    before = td3.state_dict()
    td3._learn_actor(batch["observation.state"], batch["action"])
    after = td3.state_dict()
    assert changed(before, {name: after[name] for name in before}) == {"actor"}
    assert all(parameter.requires_grad for parameter in td3.critic.parameters())


def test_without_the_critics_opinion_it_is_cloning(spec, make_batch):
    td3 = make(spec, alpha=0.0, actor_learning_rate=1e-2)
    batch = make_batch(8)
    batch["action"] = 0.8 * batch["observation.state"][:, :2].tanh()
    losses = [td3.learn_offline(batch).get("actor_loss", math.inf) for _ in range(400)]
    assert min(losses) < 1e-3


def test_nothing_is_learned_while_statistics_are_estimated(spec, make_batch):
    td3 = make(spec, normalise_observations=True)
    before = td3.state_dict()
    for seed in range(2):
        assert td3.learn_offline(make_batch(8, seed)) == {}
    statistics = td3.state_dict()
    assert changed(before, statistics) == {"encoder"}
    for seed in range(2):
        td3.update(make_batch(16, seed))
    assert "encoder" not in changed(statistics, td3.state_dict())


@pytest.mark.parametrize("changes", VARIANTS)
def test_save_and_load_continue_bit_for_bit(spec, make_batch, changes):
    first, second = make(spec, 1, **changes), make(spec, 2, **changes)
    for seed in range(5):  # Neither a multiple of the delays nor the end of what is estimated.
        first.learn_offline(make_batch(8, seed))
    second.load_state_dict(first.state_dict())
    for seed in range(5, 8):
        assert first.learn_offline(make_batch(8, seed)) == second.learn_offline(make_batch(8, seed))
        assert first.update(make_batch(16, seed)) == second.update(make_batch(16, seed))
    assert same(first.state_dict(), second.state_dict())


def test_online_it_goes_on_as_it_began(spec, make_batch):
    """An update is `utd_ratio` steps of the offline phase, each on its own slice."""
    online, offline = make(spec), make(spec)
    batch = make_batch(16)
    online.update(batch)
    for k in range(2):
        offline.learn_offline({name: values[8 * k : 8 * (k + 1)] for name, values in batch.items()})
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
def test_the_actors_side_acts_as_the_learner_would_and_explores_about_it(spec, make_batch, changes):
    td3 = make(spec, **changes)
    assert isinstance(td3, LearnsOffline)
    for seed in range(6):
        td3.learn_offline(make_batch(8, seed))
    choice = AlgorithmConfig(name="td3_bc", algorithm="agent.td3_bc.TD3BC", config={**SMALL, **changes})
    policy = make_policy(choice, spec, 1)
    policy.load_weights(td3.policy_weights())
    state = make_batch(8)["observation.state"]
    with torch.no_grad():
        wanted = td3.actor(td3.encoder({"state": state}))[0].numpy()
    observation = {"state": state[0].numpy()}
    assert policy.act(observation, deterministic=True) == pytest.approx(wanted, abs=1e-6)
    samples = np.array([policy.act(observation, deterministic=False) for _ in range(500)])
    assert samples.dtype == np.float32
    assert np.abs(samples).max() <= 1.0
    assert samples.mean(0) == pytest.approx(wanted, abs=0.03)
    assert samples.std(0) == pytest.approx(0.1, rel=0.2)
    assert not [name for name in td3.policy_weights() if "critic" in name or "target" in name]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offline_updates": -1}, "offline_updates -1 must not be negative"),
        ({"batch_size": 0}, "batch_size 0 must be at least 1"),
        ({"policy_delay": 0}, "policy_delay 0 must be at least 1"),
        ({"discount": 0.0}, r"discount 0.0 must lie in \(0, 1\]"),
        ({"critic_learning_rate": 2.0}, "critic_learning_rate 2.0 must lie"),
        ({"alpha": -1.0}, "alpha -1.0 must be a number"),
        ({"alpha": float("nan")}, "alpha nan must be a number"),
        ({"policy_noise": -0.1}, r"policy_noise -0.1 must lie in \[0, 1\]"),
        ({"noise_clip": 1.5}, "noise_clip 1.5 must lie"),
        ({"exploration_noise": float("nan")}, "exploration_noise nan must lie"),
        ({"hidden_sizes": (0,)}, r"hidden_sizes \(0,\) must be positive"),
        ({"normalise_observations": True, "offline_updates": 2}, "offline_updates 2 must be more than"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes, message):
    choice = AlgorithmConfig(name="td3_bc", algorithm="agent.td3_bc.TD3BC", config={**SMALL, **changes})
    with pytest.raises(InputError, match=message):
        load_algorithm(choice)


def test_cameras_are_refused_on_both_sides(camera_spec):
    for make_side in (lambda: make(camera_spec), lambda: TD3BC.make_policy(TD3BCConfig(), camera_spec, 0)):
        with pytest.raises(
            InputError, match=r"TD3\+BC learns from vectors, but .* \['front', 'wrist'\]: use"
        ):
            make_side()


DISCOUNT, TIPS_AT = 0.8, 0.6


def pushing_pays(action):
    """What one push pays: a little more the harder it is, but nothing where the object tips over."""
    return np.where(np.abs(action).max(-1) < TIPS_AT, 1.0 + 0.2 * action[..., 0], 0.0)


def pushed(alpha, seed):
    """What a policy does that learned from careful pushes, and what its critics think of that; 200 states."""
    box = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    spec = TransitionSpec.of(box, box)
    rng = np.random.default_rng(seed)
    states = torch.from_numpy(rng.uniform(-1, 1, (2, 2000, 2))).float()
    actions = np.clip(rng.normal(0.0, 0.15, (2000, 2)), -0.5, 0.5)
    data = {
        "observation.state": states[0],
        "next_observation.state": states[1],
        "action": torch.from_numpy(actions).float(),
        "reward": torch.from_numpy(pushing_pays(actions)).float(),
        "terminated": torch.zeros(2000, dtype=torch.bool),
    }
    changes = {
        "batch_size": 64,
        "actor_learning_rate": 1e-3,
        "critic_learning_rate": 1e-3,
        "target_rate": 0.05,
    }
    td3 = make(spec, seed, alpha=alpha, discount=DISCOUNT, **changes)
    for _ in range(600):
        drawn = torch.from_numpy(rng.integers(0, 2000, 64))
        td3.learn_offline({name: values[drawn] for name, values in data.items()})
    policy = td3.make_policy(td3.config, spec, 0)
    policy.load_weights(td3.policy_weights())
    acted = np.array([policy.act({"state": state.numpy()}, deterministic=True) for state in states[0, :200]])
    with torch.no_grad():
        thought = td3.critic(states[0, :200], torch.from_numpy(acted)).mean()
    return acted, float(thought)


@pytest.mark.seeds(2, soak=1)
def test_imitation_keeps_the_policy_where_the_critics_know_what_they_say(seed):
    """Recorded pushes pay more the harder they are; nobody recorded what is too hard, and the critics extrapolate."""
    acted, thought = pushed(2.5, seed)
    paid = pushing_pays(acted).mean()
    assert paid > 1.01  # What was recorded pays 1,
    assert np.abs(acted).max() < 0.3  # near to it,
    assert thought == pytest.approx(paid / (1.0 - DISCOUNT), abs=0.8)  # and judged as what it is worth.

    acted, thought = pushed(1e6, seed)  # As good as without the term that imitates.
    paid = pushing_pays(acted).mean()
    assert np.abs(acted).max(1).mean() > 0.8
    assert thought > paid / (1.0 - DISCOUNT) + 3.0


def test_a_run_that_had_only_estimated_statistics_has_nothing_to_begin_with(spec, make_batch):
    options = {"normalise_observations": True, "normalise_over": 3, "offline_updates": 10}
    one = make(spec, **options)
    for seen in range(4):
        if seen:
            one.learn_offline(make_batch(8, seen))
        with pytest.raises(InputError, match=rf"after {seen} batches\), and had learned nothing"):
            make(spec, 5, **options).begin_from(one.state_dict())
    one.learn_offline(make_batch(8))
    make(spec, 5, **options).begin_from(one.state_dict())


def test_another_run_may_begin_with_what_one_has_learned(spec, make_batch):
    one, other = make(spec), make(spec, 5)
    for seed in range(4):
        one.learn_offline(make_batch(8, seed))
    other.begin_from(one.state_dict())
    theirs, ours = one.state_dict(), other.state_dict()
    parts = ("actor.", "critic.", "target_actor.", "target_critic.", "encoder.")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs if name.startswith(parts))
    with pytest.raises(InputError, match=r"is of shape"):
        make(spec, hidden_sizes=(4, 4)).begin_from(theirs)
