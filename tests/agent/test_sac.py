import math
import shutil
import sys
import sysconfig
from pathlib import Path

import gymnasium
import msgspec
import numpy as np
import pytest
import torch

from agent.algorithm_config import AlgorithmConfig, load_algorithm, make_policy
from agent.config import InputError
from agent.networks import EnsembleLinear
from agent.sac import SAC, SACConfig, Transitions
from agent.transition import TransitionSpec

CPU = torch.device("cpu")
# torch hands its paths to the compiler without quotes, so a folder with spaces is no place to compile in.
COMPILES = (
    bool(shutil.which("g++"))
    and Path(sysconfig.get_path("include"), "Python.h").exists()
    and " " not in sys.prefix
)
needs_compiler = pytest.mark.skipif(
    not COMPILES, reason="torch.compile needs g++ and Python.h, in a path without spaces"
)


def make_sac(spec, seed=0, **changes):
    config = SACConfig(
        **{"hidden_sizes": (16, 16), "batch_size": 8, "utd_ratio": 2, "compile": False, **changes}
    )
    return SAC(config, spec, CPU, seed)


def transitions(batch):
    return Transitions(
        {"state": batch["observation.state"]},
        batch["action"],
        batch["reward"],
        {"state": batch["next_observation.state"]},
        1.0 - batch["terminated"].float(),
    )


def snapshot(state, prefix):
    return {k: v.clone() for k, v in state.items() if k.startswith(prefix)}


def same(a, b):
    return all(torch.equal(a[k], b[k]) for k in a)


def test_critic_updates_leave_the_actor_bit_identical(spec, make_batch):
    sac = make_sac(spec)
    sac.update(make_batch(16))  # Adam now has momentum: a shared optimiser would drift from here on.
    before = sac.state_dict()
    for seed in range(5):
        sac.update_critic(transitions(make_batch(8, seed)))
    after = sac.state_dict()
    for prefix in ("actor.", "log_temperature", "optimizer.actor", "optimizer.temperature"):
        assert same(snapshot(before, prefix), after), prefix
    assert not same(snapshot(before, "critic."), after)
    assert not same(snapshot(before, "target_critic."), after)


def test_actor_updates_leave_the_critics_bit_identical(spec, make_batch):
    sac = make_sac(spec)
    sac.update(make_batch(16))
    before = sac.state_dict()
    for seed in range(5):
        sac.update_actor({"state": make_batch(8, seed)["observation.state"]})
    after = sac.state_dict()
    for prefix in ("critic.", "target_critic.", "optimizer.critic"):
        assert same(snapshot(before, prefix), after), prefix
    assert not same(snapshot(before, "actor."), after)
    assert not same(snapshot(before, "log_temperature"), after)


def bellman_target(sac, batch, noise, subset):
    """The target written out from the papers, member by member."""
    config = sac.config
    next_state = batch["next_observation.state"]
    with torch.no_grad():
        mean, log_std = sac.actor(next_state)
        raw = mean + log_std.exp() * noise
        action = raw.tanh()
        normal = torch.distributions.Normal(mean, log_std.exp())
        density = (normal.log_prob(raw) - torch.log(1 - action**2 + 1e-12)).sum(-1)
        value = torch.stack([sac.target_critic(next_state, action)[i] for i in subset.tolist()]).min(0).values
        if config.entropy_backup:
            value = value - sac.log_temperature.exp() * density
        return batch["reward"] + config.discount * (1 - batch["terminated"].float()) * value


@pytest.mark.parametrize("entropy_backup", [False, True])
def test_critic_loss_is_the_bellman_error_of_the_papers(spec, make_batch, entropy_backup):
    sac = make_sac(spec, critics=5, target_subset=2, entropy_backup=entropy_backup)
    batch = make_batch(8, terminated=np.arange(256) % 3 == 0)
    noise, subset = torch.randn(8, 2), torch.tensor([3, 1])
    loss, _ = sac._critic_loss(transitions(batch), noise, subset)
    target = bellman_target(sac, batch, noise, subset)
    values = sac.critic(batch["observation.state"], batch["action"])
    expected = sum(((values[i] - target) ** 2).mean() for i in range(5))
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", ["mse", "hl_gauss", "gaussian"])
def test_targets_are_those_of_the_slow_critics(spec, make_batch, head):
    """Which begin as the critics do, so that nobody sees a difference before they have been moved."""
    sac = make_sac(spec, critic_head=head)
    batch, noise, subset = transitions(make_batch(8)), torch.zeros(8, 3), torch.tensor([0, 1])
    noise = noise if head == "gaussian" else noise[:, :2]

    def target():
        return sac._target(batch, noise, subset).value.clone()

    def move(critic):
        with torch.no_grad():
            critic.head.weight.add_(
                torch.linspace(-1, 1, critic.head.weight.numel()).view_as(critic.head.weight)
            )

    with torch.no_grad():
        before = target()
        move(sac.critic)
        assert torch.equal(target(), before)
        move(sac.target_critic)
        assert not torch.allclose(target(), before)


def test_the_slow_critics_follow_by_the_target_rate(spec, make_batch):
    sac = make_sac(spec, target_rate=0.1, critic_learning_rate=1e-2)
    for seed in range(3):
        before = snapshot(sac.state_dict(), "target_critic.")
        sac.update_critic(transitions(make_batch(8, seed)))
        after = sac.state_dict()
        for name, slow in before.items():
            wanted = 0.9 * slow + 0.1 * after[name.removeprefix("target_")]
            torch.testing.assert_close(after[name], wanted)


def test_a_time_out_bootstraps_and_a_termination_does_not(spec, make_batch):
    sac = make_sac(spec)
    noise, subset = torch.zeros(8, 2), torch.tensor([0, 1])
    losses = {}
    for name, flags in {
        "neither": {},
        "truncated": {"truncated": True},
        "terminated": {"terminated": True},
    }.items():
        losses[name] = float(sac._critic_loss(transitions(make_batch(8, **flags)), noise, subset)[0])
    assert losses["truncated"] == losses["neither"]
    assert losses["terminated"] != losses["neither"]


def test_terminal_value_is_learned_from_the_reward_alone(spec, make_batch):
    sac = make_sac(spec, critic_learning_rate=1e-2)
    batch = make_batch(16, terminated=True, reward=-3.0)
    for _ in range(150):
        sac.update(batch)
    values = sac.critic(batch["observation.state"], batch["action"])
    assert float((values + 3.0).abs().max()) < 0.3


def test_target_subset_is_drawn_without_replacement_and_varies(spec, make_batch):
    sac = make_sac(spec, critics=4, target_subset=2)
    seen = []
    inner = sac._critic_gradients
    sac._critic_gradients = lambda *arguments: (
        seen.append(tuple(arguments[-1].tolist())),
        inner(*arguments),
    )[1]
    for seed in range(40):
        sac.update_critic(transitions(make_batch(8, seed)))
    assert all(len(set(pair)) == 2 for pair in seen)
    assert len({frozenset(pair) for pair in seen}) == 6


@pytest.mark.parametrize("members", [None, torch.tensor([2, 0])])
def test_one_column_is_the_matrix_product(members):
    layer = EnsembleLinear(3, 5, 1)
    x = torch.randn(3 if members is None else 2, 4, 5)
    torch.testing.assert_close(layer.of_one_column(x, members), layer(x, members))


def test_ensemble_members_learn_as_if_alone(spec, make_batch):
    """Summed losses and separate parameters: member 0 of three moves exactly as it would alone."""
    sac = make_sac(spec, critics=3, target_subset=1)
    state, action = make_batch(8)["observation.state"], make_batch(8)["action"]
    values = sac.critic(state, action)
    one = sac.critic(state, action, torch.tensor([1]))
    torch.testing.assert_close(values[1:2], one)
    values[1].sum().backward()
    gradient = sac.critic.head.weight.grad
    assert gradient[1].abs().sum() > 0
    assert gradient[0].abs().sum() == 0


def test_log_density_is_that_of_the_squashed_gaussian(spec):
    sac = make_sac(spec)
    state, noise = torch.randn(32, 5), torch.randn(32, 2)
    action, density = sac.actor.sample(state, noise)
    mean, log_std = sac.actor(state)
    transform = torch.distributions.TransformedDistribution(
        torch.distributions.Normal(mean, log_std.exp()), torch.distributions.TanhTransform()
    )
    torch.testing.assert_close(density, transform.log_prob(action).sum(-1), rtol=1e-3, atol=1e-3)


def test_log_density_stays_finite_at_saturated_actions(spec):
    sac = make_sac(spec)
    _, density = sac.actor.sample(torch.randn(4, 5), torch.full((4, 2), 80.0))
    assert torch.isfinite(density).all()


def test_temperature_rises_when_entropy_is_below_target_and_falls_above(spec, make_batch):
    for scale, rises in ((-50.0, True), (50.0, False)):
        sac = make_sac(spec, target_entropy_scale=scale)
        before = float(sac.log_temperature)
        sac.update_actor({"state": make_batch(8)["observation.state"]})
        assert (float(sac.log_temperature) > before) == rises


def test_actor_climbs_the_value(spec, make_batch):
    sac = make_sac(spec, initial_temperature=1e-6, actor_learning_rate=1e-2)
    state = make_batch(64)["observation.state"]

    def value():
        with torch.no_grad():
            return float(sac.critic(state, sac.actor(state)[0].tanh()).mean())

    before = value()
    for _ in range(60):
        sac.update_actor({"state": state})
    assert value() > before


def test_an_actor_that_waits_for_its_critics_is_not_moved_until_then(spec, make_batch):
    sac = make_sac(spec, actor_delay=3)
    before = sac.state_dict()
    for seed in range(3):
        sac.update(make_batch(16, seed))
    after = sac.state_dict()
    assert same(snapshot(before, "actor."), after)
    assert same(snapshot(before, "log_temperature"), after)
    assert not same(snapshot(before, "critic."), after)
    other = make_sac(spec, seed=1, actor_delay=3)
    other.load_state_dict(after)  # It has waited already.
    for one in (sac, other):
        one.update(make_batch(16, 4))
        assert not same(snapshot(before, "actor."), one.state_dict())


def test_a_delay_that_is_none_is_refused():
    with pytest.raises(ValueError, match="actor_delay -1"):
        SACConfig(actor_delay=-1)


def test_save_and_load_continue_bit_for_bit(spec, make_batch):
    first = make_sac(spec, seed=1)
    for seed in range(3):
        first.update(make_batch(16, seed))
    second = make_sac(spec, seed=2)
    second.load_state_dict(first.state_dict())
    for seed in range(3, 6):
        first.update(make_batch(16, seed))
        second.update(make_batch(16, seed))
    one, two = first.state_dict(), second.state_dict()
    assert one.keys() == two.keys()
    assert same(one, two)


def test_a_state_is_left_alone_by_whoever_goes_on_from_it(spec, make_batch):
    """A learner that goes back twice to where it began does so from one and the same state."""
    sac = make_sac(spec)
    sac.update(make_batch(16))
    state = sac.state_dict()
    before = {name: tensor.clone() for name, tensor in state.items()}
    sac.load_state_dict(state)
    sac.update(make_batch(16, 1))
    assert same(before, state)


@needs_compiler
@pytest.mark.slow
def test_compiled_losses_agree_with_eager_ones_and_follow_what_is_loaded(spec, make_batch):
    # One object, as every one compiles anew.
    eager, compiled = make_sac(spec), make_sac(spec, compile=True)
    batch, breaks = make_batch(16), torch._dynamo.utils.counters["graph_break"]
    breaks.clear()
    for _ in range(3):
        a, b = eager.update(batch), compiled.update(batch)
    assert not breaks  # From the loss to the gradients it is one graph.
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert b[name] == pytest.approx(value, rel=1e-3, abs=1e-4)
    saved, ends = compiled.state_dict(), []
    for _ in range(2):
        compiled.load_state_dict(saved)
        for seed in range(3, 6):
            compiled.update(make_batch(16, seed))
        ends.append(compiled.state_dict())
    one, two = ends
    assert not same(saved, one)
    assert one.keys() == two.keys()
    assert same(one, two)


def test_same_seed_same_learning(spec, make_batch):
    states = []
    for _ in range(2):
        sac = make_sac(spec, seed=7)
        sac.update(make_batch(16))
        states.append(sac.state_dict())
    assert same(*states)


def test_policy_acts_like_the_learners_actor_and_gets_nothing_else(spec):
    sac = make_sac(spec)
    policy = SAC.make_policy(sac.config, spec, 3)
    weights = sac.policy_weights()
    assert all(not name.startswith(("critic", "target")) for name in weights)
    policy.load_weights(weights)
    observation = {"state": np.linspace(-1, 1, 5, dtype=np.float32)}
    with torch.no_grad():
        expected = sac.actor(torch.from_numpy(observation["state"])[None])[0].tanh().numpy()[0]
    np.testing.assert_allclose(policy.act(observation, deterministic=True), expected, rtol=1e-5)
    samples = np.stack([policy.act(observation, deterministic=False) for _ in range(50)])
    assert samples.std() > 0.05
    assert np.abs(samples).max() <= 1


def test_making_an_algorithm_leaves_the_global_generator_alone(spec):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    make_sac(spec)
    assert torch.equal(torch.rand(3), expected)


def test_wrong_configuration_is_one_sentence_with_the_choices():
    with pytest.raises(InputError, match=r"no_such.*agent\.sac\.SAC knows actor_delay, actor_learning_rate"):
        load_algorithm(AlgorithmConfig(name="x", algorithm="agent.sac.SAC", config={"no_such": 1}))
    with pytest.raises(InputError, match="Did you mean 'batch_size'"):
        load_algorithm(AlgorithmConfig(name="x", algorithm="agent.sac.SAC", config={"batch_sise": 1}))
    with pytest.raises(InputError, match=r"no algorithm 'agent\.sac\.Nothing'"):
        load_algorithm(AlgorithmConfig(name="x", algorithm="agent.sac.Nothing"))
    with pytest.raises(InputError, match="target_subset 3 must lie between 1 and critics 2"):
        load_algorithm(AlgorithmConfig(name="x", algorithm="agent.sac.SAC", config={"target_subset": 3}))


def test_compiling_without_a_compiler_is_refused(spec, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InputError, match=r"C\+\+ compiler.*compile=false"):
        make_sac(spec, compile=True)


def test_images_and_other_action_ranges_are_refused():
    box = gymnasium.spaces.Box(-2, 2, (1,), np.float32)
    spec = TransitionSpec.of(gymnasium.spaces.Box(-1, 1, (3,), np.float32), box)
    with pytest.raises(InputError, match="RescaleAction"):
        make_policy(AlgorithmConfig(name="x", algorithm="agent.sac.SAC"), spec, 0)
    image = gymnasium.spaces.Dict({"front": gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8)})
    spec = TransitionSpec.of(image, gymnasium.spaces.Box(-1, 1, (1,), np.float32))
    with pytest.raises(InputError, match="front"):
        make_policy(AlgorithmConfig(name="x", algorithm="agent.sac.SAC"), spec, 0)


def test_config_is_frozen_and_reads_strictly():
    with pytest.raises(AttributeError):
        SACConfig().discount = 0.5
    assert msgspec.convert({"hidden_sizes": [8]}, SACConfig).hidden_sizes == (8,)


@pytest.mark.slow
def test_sac_learns_pendulum():
    """From about -1,400 of a random policy to better than -350 within 3,000 steps."""
    env = gymnasium.wrappers.RescaleAction(gymnasium.make("Pendulum-v1"), np.float32(-1), np.float32(1))
    from agent.replay import MixedSampler, ReplayBuffer

    spec = TransitionSpec.of(env.observation_space, env.action_space)
    config = SACConfig(
        utd_ratio=1, discount=0.95, compile=False, critic_learning_rate=1e-3, actor_learning_rate=1e-3,
        hidden_sizes=(64, 64), batch_size=128,
    )  # fmt: skip
    sac, policy = SAC(config, spec, CPU, 0), SAC.make_policy(config, spec, 0)
    replay = ReplayBuffer(spec, 3000, 0)
    sampler = MixedSampler(spec, replay, ReplayBuffer(spec, 1, 0), 0.0, CPU)
    observation = spec.observation(env.reset(seed=0)[0])
    for step in range(3000):
        policy.load_weights(sac.policy_weights())
        action = policy.act(observation, deterministic=False)
        raw, reward, terminated, truncated, _ = env.step(action)
        after = spec.observation(raw)
        replay.append(
            spec.record(
                observation=observation, action=action, reward=float(reward), next_observation=after,
                terminated=terminated, truncated=truncated,
            )
        )  # fmt: skip
        observation = spec.observation(env.reset()[0]) if truncated else after
        if step >= 200:
            sac.update(sampler.sample(1, 128))
    from agent.evaluation import evaluate

    result = evaluate(env, policy, spec, episodes=10, seed=100)
    assert math.isfinite(result.mean_return)
    assert result.mean_return > -350
