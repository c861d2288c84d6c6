"""EXPO: who acts, what is bootstrapped from, what survives, what is refused; two ways, and what edits add to them."""

import copy

import gymnasium
import numpy as np
import pytest
import torch

from agent.algorithm import BeginsFrom, LearnsOffline
from agent.algorithm_config import AlgorithmConfig, load_algorithm, make_policy
from agent.bc import BC, BCConfig
from agent.config import InputError
from agent.expo import EXPO, EXPOConfig, EXPOPolicy, best_of
from agent.sac import SAC, SACConfig
from agent.transition import TransitionSpec

CPU = torch.device("cpu")
SMALL = {"hidden_sizes": (16, 16), "batch_size": 8, "utd_ratio": 2, "offline_updates": 2, "actor_delay": 0}
SMALL |= {"samples": 3, "target_samples": 2, "flow_steps": 4, "base_hidden_size": 16, "base_blocks": 1}
STATE = {"state": np.zeros(5, np.float32)}


def make(spec, seed=0, **changes):
    return EXPO(EXPOConfig(**{**SMALL, **changes}), spec, CPU, seed)


def acting(expo, spec, seed=0):
    policy = expo.make_policy(expo.config, spec, seed)
    policy.load_weights(expo.policy_weights())
    return policy


def changed(before, after):
    """First parts of the names of what differs."""
    return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}


class Says:
    """A base that proposes these actions, shape (N, A), one for each sample of a state."""

    def __init__(self, actions):
        self.actions = torch.tensor(actions)

    def sample(self, features, noise, steps):
        return self.actions.repeat_interleave(len(noise) // len(self.actions), 0)


class Prefers(torch.nn.Module):
    """Two critics that value the first entry of an action, the second one less."""

    def __init__(self, sign=1.0):
        super().__init__()
        self.sign = sign

    def forward(self, features, action, members=None):
        value = self.sign * action[:, 0]
        values = torch.stack([value, value - 0.5])
        return values if members is None else values[members]


def edits_by(actor, value):
    """Let an edit policy always say `value`, as good as without noise."""
    with torch.no_grad():
        for layer, bias in ((actor.mean, float(np.arctanh(value))), (actor.log_std, -20.0)):
            layer.weight.zero_()
            layer.bias.fill_(bias)


def test_the_best_is_that_of_the_greatest_minimum_in_each_state():
    class Table(torch.nn.Module):
        def forward(self, features, action, members):
            flat = torch.stack([action[:, 0] * features[:, 0], action[:, 1]])
            return flat if members is None else flat[members]

    # The first critic multiplies by the state: in one state the first action is its best, in the other the second.
    actions = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[-1.0, 0.5], [-1.0, 0.5]]])
    features = torch.tensor([[2.0], [-2.0]])
    action, value = best_of(Table(), features, actions)
    assert action.tolist() == [[1.0, 0.0], [-1.0, 0.5]]
    assert value.tolist() == [0.0, 0.5]
    _, value = best_of(Table(), features, actions, torch.tensor([0]))
    assert value.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize(
    ("sign", "edit", "chosen"), [(1.0, 0.9, 0.2 + 0.27), (1.0, -0.9, 0.2), (-1.0, -0.9, -0.6 - 0.27)]
)
def test_the_critics_choose_among_base_actions_and_their_edits(spec, sign, edit, chosen, deterministic):
    policy = EXPOPolicy(EXPOConfig(**SMALL), spec, 0)
    policy.base, policy.critic, policy._alone = (
        Says([[-0.6, 0.0], [0.2, 0.0], [0.0, 0.0]]),
        Prefers(sign),
        False,
    )
    edits_by(policy.actor, edit)
    action = policy.act(STATE, deterministic)
    assert action[0] == pytest.approx(chosen, abs=1e-4)
    assert action.dtype == np.float32


@pytest.mark.parametrize("scale", [0.05, 0.7])
def test_edits_are_small_and_stay_actions(spec, scale):
    policy = EXPOPolicy(EXPOConfig(**SMALL, edit_scale=scale), spec, 0)
    policy.critic, policy._alone = Prefers(), False
    edits_by(policy.actor, 0.9999)
    for base, expected in ((-0.5, -0.5 + scale), (0.98, 1.0)):
        policy.base = Says([[base, base]] * 3)
        assert policy.act(STATE, deterministic=False) == pytest.approx(expected, abs=1e-3)


def test_the_base_acts_alone_until_the_critics_have_learned(spec, make_batch):
    expo = make(spec, actor_delay=2)
    expo.learn_offline(make_batch(8))
    acted = []
    for seed in range(4):
        edits_by(expo.actor, 0.9)
        policy = acting(expo, spec)
        policy.base, policy.critic = Says([[0.0, 0.0]]), Prefers()
        acted.append(round(float(policy.act(STATE, deterministic=False)[0]), 2))
        metrics = expo.update(make_batch(16, seed))
        assert ("actor_loss" in metrics) == (seed >= 2)
    assert acted == [0.0, 0.0, 0.0, 0.27]


def test_the_base_alone_does_not_evaluate_what_fell_between_two_ways(spec):
    policy = EXPOPolicy(EXPOConfig(**{**SMALL, "samples": 5}), spec, 0)
    policy.base = Says([[0.0, 0.0], [0.9, 0.0], [-0.9, 0.0], [-0.8, 0.0], [0.95, 0.0]])
    assert policy.act(STATE, deterministic=True)[0] != 0.0


def test_deterministic_acting_is_a_function_of_the_observation_and_else_it_is_not(spec, make_batch):
    expo = make(spec)
    for delay in (0, 5):  # Together, and the base alone.
        alone = make(spec, actor_delay=delay)
        alone.update(make_batch(16))
        policy = acting(alone, spec)
        fixed = [policy.act(STATE, deterministic=True) for _ in range(3)]
        assert all(np.array_equal(fixed[0], action) for action in fixed)
        drawn = [policy.act(STATE, deterministic=False) for _ in range(3)]
        assert len({action.tobytes() for action in drawn}) == 3
    assert expo.make_policy(expo.config, spec, 0).act(STATE, deterministic=True).shape == (2,)


@pytest.mark.parametrize(("edit", "best"), [(0.9, 0.4 + 0.27), (-0.9, 0.4)])
def test_targets_are_made_with_the_best_by_the_lower_target_critic(spec, edit, best):
    expo = make(spec)
    edits_by(expo.actor, edit)
    expo.base, expo.target_critic = Says([[0.4, 0.0], [-0.4, 0.0]]), Prefers()
    value = expo._next_value(torch.randn(4, 5), torch.zeros(4, 2), torch.arange(2))
    assert value.tolist() == pytest.approx([best - 0.5] * 4, abs=1e-4)
    value = expo._next_value(torch.randn(4, 5), torch.zeros(4, 2), torch.tensor([0]))
    assert value.tolist() == pytest.approx([best] * 4, abs=1e-4)


def test_edits_climb_the_mean_of_the_critics_from_what_was_done(spec, make_batch):
    expo = make(spec, initial_temperature=1e-6)
    edits_by(expo.actor, 0.5)
    batch = expo._transitions(make_batch(8))
    expo.critic = Prefers()
    expected = -((batch.action[:, 0] + 0.3 * 0.5).clamp(-1, 1) - 0.25).mean()
    loss, log_density = expo.edit_loss(batch.observation["state"], batch.action)
    assert float(loss.detach()) == pytest.approx(float(expected), abs=1e-3)
    assert log_density.shape == (8,)
    loss.backward()
    assert float(expo.actor.mean.bias.grad[0]) < 0.0


def test_each_step_trains_its_own_networks(spec, make_batch):
    expo = make(spec)
    batch = expo._transitions(make_batch(8))
    fixed = {"optimizer", "generator"}
    for step, trained in (
        (expo.update_base, {"base", "target_base", "imitated"}),
        (expo.update_critic, {"critic", "target_critic"}),
        (expo.update_edit, {"actor", "log_temperature"}),
    ):
        before = expo.state_dict()
        step(batch)
        assert changed(before, expo.state_dict()) - fixed == trained
    assert all(parameter.requires_grad for parameter in expo.critic.parameters())


def test_online_the_base_goes_on_imitating_on_the_last_slice(spec, make_batch):
    seen = []
    expo = make(spec)
    expo.update_base = lambda transitions: seen.append(transitions.action) or {}
    batch = make_batch(16)
    expo.update(batch)
    assert [torch.equal(action, batch["action"][8:]) for action in seen] == [True]


def test_what_acts_is_a_moving_average_of_the_base(spec, make_batch):
    expo = make(spec, base_target_rate=0.4)
    seen = []
    for seed in range(4):
        before = {name: value.clone() for name, value in expo.target_base.state_dict().items()}
        expo.learn_offline(make_batch(8, seed))
        name = "net.0.weight"
        step = (expo.target_base.state_dict()[name] - before[name]).norm()
        seen.append(float(step / (expo.base.state_dict()[name] - before[name]).norm()))
    assert seen == pytest.approx([1.0, 0.5, 0.4, 0.4], abs=1e-4)  # First the mean of all, then tau.
    weights = expo.policy_weights()
    assert torch.equal(weights["base.net.0.weight"], expo.target_base.state_dict()["net.0.weight"])
    assert torch.equal(weights["critic.head.weight"], expo.target_critic.head.weight)


def test_the_actors_side_does_what_the_learners_networks_say(spec, make_batch):
    expo = make(spec)
    for seed in range(3):
        expo.update(make_batch(16, seed))
    choice = AlgorithmConfig(name="expo", algorithm="agent.expo.EXPO", config=dict(SMALL))
    policy = make_policy(choice, spec, 1)
    policy.load_weights(expo.policy_weights())
    for state in make_batch(8)["observation.state"]:
        features = state.repeat(3, 1)
        with torch.no_grad():
            base = expo.target_base.sample(features, policy._constant_noise, 4)
            edit = expo.actor(torch.cat([features, base], -1))[0].tanh()
            proposed = torch.cat([base, (base + 0.3 * edit).clamp(-1, 1)])
            values = expo.target_critic(state.repeat(6, 1), proposed).min(0).values
        expected = proposed[int(values.argmax())]
        assert policy.act({"state": state.numpy()}, deterministic=True) == pytest.approx(
            expected.numpy(), abs=1e-5
        )


def test_save_and_load_continue_bit_for_bit(spec, make_batch):
    first, second = make(spec, seed=1, actor_delay=1), make(spec, seed=2, actor_delay=1)
    first.learn_offline(make_batch(8))
    first.update(make_batch(16))
    second.load_state_dict(first.state_dict())
    for seed in range(1, 4):
        assert first.learn_offline(make_batch(8, seed)) == second.learn_offline(make_batch(8, seed))
        assert first.update(make_batch(16, seed)) == second.update(make_batch(16, seed))
    assert not changed(first.state_dict(), second.state_dict())
    assert not changed(first.policy_weights(), second.policy_weights())


def test_the_seed_decides_everything_and_nothing_else_is_touched(spec):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    states = [make(spec, seed).state_dict() for seed in (7, 7, 8)]
    assert torch.equal(torch.rand(3), expected)
    assert not changed(states[0], states[1])
    assert changed(states[0], states[2])


def test_another_run_may_begin_with_what_one_has_learned(spec, make_batch):
    one, other = make(spec, actor_delay=1), make(spec, 5, actor_delay=1)
    assert isinstance(other, BeginsFrom)
    assert isinstance(other, LearnsOffline)
    for seed in range(2):
        one.learn_offline(make_batch(8, seed))
        one.update(make_batch(16, seed))
    other.begin_from(one.state_dict())
    taken = {name: value for name, value in one.state_dict().items() if not name.startswith("optimizer.")}
    assert changed(taken, other.state_dict()) == {"generator"}
    assert not changed(one.policy_weights(), other.policy_weights())
    with pytest.raises(InputError, match=r"another architecture: base\.net\.0\.bias is of shape"):
        make(spec, base_hidden_size=8).begin_from(one.state_dict())
    sac = SAC(SACConfig(hidden_sizes=(16, 16)), spec, CPU, 0)
    with pytest.raises(InputError, match=r"another architecture: base\.net\.0\.bias is absent in it"):
        make(spec).begin_from(sac.state_dict())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 0}, "samples 0 must be at least 1"),
        ({"target_samples": 0}, "target_samples 0 must be at least 1"),
        ({"flow_steps": 0}, "flow_steps 0 must be at least 1"),
        ({"base_blocks": 0}, "base_blocks 0 must be at least 1"),
        ({"base_hidden_size": 0}, "base_hidden_size 0 must be at least 1"),
        ({"base_learning_rate": 0.0}, r"base_learning_rate 0.0 must lie in \(0, 1\]"),
        ({"base_target_rate": float("nan")}, r"base_target_rate nan must lie in \(0, 1\]"),
        ({"edit_scale": 0.0}, r"edit_scale 0.0 must lie in \(0, 2\]"),
        ({"edit_scale": 2.5}, "edit_scale 2.5 must lie"),
        ({"entropy_backup": True}, "entropy_backup must be false"),
        ({"compile": True}, "compile must be false"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes, message):
    choice = AlgorithmConfig(name="expo", algorithm="agent.expo.EXPO", config={**SMALL, **changes})
    with pytest.raises(InputError, match=message):
        load_algorithm(choice)


def test_cameras_are_refused(camera_spec):
    with pytest.raises(InputError, match=r"EXPO .* cameras \['front', 'wrist'\]: use algorithm=drq"):
        make(camera_spec)


# A point that is to go round a disc in the middle of its way, demonstrated on either side.
GOAL, REACHED_WITHIN, DISC, STRIDE, LIMIT = np.array([0.64, 0.0]), 0.15, 0.3, 0.5, 8
SHORT_OF_GOAL = np.array([0.38, 0.0])
PLANE = TransitionSpec.of(
    gymnasium.spaces.Box(-5, 5, (2,), np.float32), gymnasium.spaces.Box(-1, 1, (2,), np.float32)
)
POINT = {"hidden_sizes": (64, 64), "base_hidden_size": 64, "base_blocks": 2, "base_learning_rate": 1e-3}
POINT |= {"batch_size": 64, "utd_ratio": 1, "samples": 4, "target_samples": 2, "actor_delay": 0}
POINT |= {
    "discount": 0.9,
    "target_rate": 0.02,
    "critic_learning_rate": 1e-3,
    "actor_learning_rate": 1e-3,
    "initial_temperature": 0.01,
}


def walk(act, rng):
    """One episode: rows of position, action, reward (1 at the goal, -1 in the disc), next position, terminated."""
    position = np.array([-0.6, rng.uniform(-0.05, 0.05)])
    rows = []
    while len(rows) < LIMIT:
        action = act(len(rows), position)
        following = position + STRIDE * action
        way = position + np.linspace(0, 1, 20)[:, None] * (following - position)
        hit = bool((np.hypot(*way.T) < DISC).any())
        reached = not hit and bool(np.hypot(*(following - GOAL)) < REACHED_WITHIN)
        rows.append((position, action, float(reached) - float(hit), following, hit or reached))
        if hit or reached:
            break
        position = following
    return rows


def demonstrations(end, episodes, rng):
    """Round the disc on one side, then the other, to `end`, where they stay."""
    rows = []
    for episode in range(episodes):
        side = 0.45 * (-1) ** episode
        waypoints = np.array([[-0.2, side], [0.2, side], *[end] * LIMIT])

        def act(count, position, waypoints=waypoints):
            return np.clip((waypoints[count] - position) / STRIDE + rng.normal(0, 0.04, 2), -1, 1)

        rows += walk(act, rng)
    return rows


def batch_of(rows):
    names = "observation.state", "action", "reward", "next_observation.state", "terminated"
    batch = {
        name: torch.from_numpy(np.array(column, np.float32))
        for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }
    return batch | {"terminated": batch["terminated"].bool()}


def draw(data, count, rng):
    drawn = torch.from_numpy(rng.integers(0, len(data["reward"]), count))
    return {name: values[drawn] for name, values in data.items()}


def imitate(learner, data, updates, rng):
    for _ in range(updates):
        learner.learn_offline(draw(data, 64, rng))
    return learner


def walked(policy, rng, deterministic):
    return walk(lambda _, at: policy.act({"state": at.astype(np.float32)}, deterministic), rng)


def success_rate(policy, rng, deterministic, episodes=50):
    return np.mean([walked(policy, rng, deterministic)[-1][2] > 0 for _ in range(episodes)])


@pytest.mark.seeds(1, soak=2)
def test_of_two_ways_round_an_obstacle_the_base_goes_one_and_a_clone_neither(seed):
    rng = np.random.default_rng(seed)
    data = batch_of(demonstrations(GOAL, 40, rng))
    config = BCConfig(hidden_sizes=(64, 64), learning_rate=1e-3)
    clone = acting(imitate(BC(config, PLANE, CPU, seed), data, 500, rng), PLANE, seed)
    base = acting(imitate(EXPO(EXPOConfig(**POINT), PLANE, CPU, seed), data, 1500, rng), PLANE, seed)
    assert success_rate(clone, rng, deterministic=True) < 0.5
    assert success_rate(clone, rng, deterministic=False) < 0.5
    assert success_rate(base, rng, deterministic=True) > 0.8
    episodes = [walked(base, rng, deterministic=False) for _ in range(80)]
    assert np.mean([rows[-1][2] > 0 for rows in episodes]) > 0.8
    ways = np.array([rows[0][3][1] > 0 for rows in episodes])
    assert 0.25 < ways.mean() < 0.75  # Both, as demonstrated.


def practise(expo, data, steps, rng):
    """Environment steps of the on-the-fly policy, an update on half demonstrations after each; the policy then."""
    expo = copy.deepcopy(expo)
    policy, rows = acting(expo, PLANE), []
    policy._alone = False
    while len(rows) < steps:
        new = walked(policy, rng, deterministic=False)
        rows += new
        online = batch_of(rows)
        for _ in new:
            halves = [draw(source, 32, rng) for source in (data, online)]
            expo.update({name: torch.cat([half[name] for half in halves]) for name in data})
        policy.load_weights(expo.policy_weights())
    return policy


@pytest.mark.seeds(1, soak=2)
def test_edits_go_the_rest_of_the_way_where_demonstrations_stop_short(seed):
    rng = np.random.default_rng(seed)
    data = batch_of(demonstrations(SHORT_OF_GOAL, 20, rng))
    config = EXPOConfig(**POINT, flow_steps=5)
    expo = imitate(EXPO(config, PLANE, CPU, seed), data, 600, rng)
    assert success_rate(acting(expo, PLANE), rng, deterministic=False) < 0.2  # As demonstrated.
    edited = success_rate(practise(expo, data, 300, rng), rng, deterministic=False)
    assert edited > 0.5
    without = EXPO(EXPOConfig(**POINT, flow_steps=5, edit_scale=1e-6), PLANE, CPU, seed)
    without.begin_from(expo.state_dict())
    # Choice among base actions, and imitation of what came of it, improve a little.
    assert success_rate(practise(without, data, 300, rng), rng, deterministic=False) < edited - 0.3
