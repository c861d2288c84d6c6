"""What critics say and how they learn it: histograms, Gaussians, and units that take the size of rewards away."""

import math

import gymnasium
import numpy as np
import pytest
import torch

from agent.cql import CQL, CQLConfig
from agent.critic_heads import (
    HEADS,
    GaussianConfig,
    GaussianHead,
    HLGaussConfig,
    HLGaussHead,
    MSEHead,
    Target,
)
from agent.drq import DrQ, DrQConfig
from agent.encoders import EncoderConfig
from agent.expo import EXPO, EXPOConfig
from agent.ibrl import IBRL, IBRLConfig
from agent.networks import CriticEnsemble
from agent.replay import MixedSampler, ReplayBuffer
from agent.reward_unit import RewardUnit
from agent.sac import SAC, SACConfig
from agent.transition import TransitionSpec

CPU = torch.device("cpu")
SMALL = {"hidden_sizes": (16, 16), "batch_size": 8, "utd_ratio": 2}
NEW = ("hl_gauss", "gaussian")
KINDS = {SAC: SACConfig, CQL: CQLConfig, IBRL: IBRLConfig}


def make(spec, kind=SAC, seed=0, **changes):
    return kind(KINDS[kind](**{**SMALL, **changes}), spec, CPU, seed)


def gaussian(**options):
    return GaussianHead(GaussianConfig(**options), 2, 0.005)


def test_a_histogram_sums_to_one_and_its_mean_is_the_target():
    generator = torch.Generator().manual_seed(0)
    for bins, smoothing, bound in ((11, 0.75, 1.0), (101, 0.75, 30.0), (51, 1.5, 1e-3), (201, 0.5, 1e4)):
        head = HLGaussHead(HLGaussConfig(bins=bins, smoothing=smoothing, value_bound=bound))
        value = bound * (2.0 * torch.rand(500, generator=generator) - 1.0)
        value[:2] = torch.tensor([-bound, bound])
        histogram = head.histogram(value)
        assert float(histogram.min()) >= 0.0
        torch.testing.assert_close(histogram.sum(-1), torch.ones(500))
        width = float(head._edges[1] - head._edges[0]) * bound
        mean = head.values(histogram.clamp_min(1e-30).log())
        assert float((mean - value).abs().max()) < 0.02 * width
        torch.testing.assert_close(
            head.histogram(value * 100)[1], histogram[1]
        )  # Beyond the bound: the bound.


def test_the_gradient_of_a_histogram_is_its_distance_from_the_targets():
    head = HLGaussHead(HLGaussConfig(bins=21))
    outputs = torch.randn(3, 5, 21, requires_grad=True)
    value = torch.linspace(-1, 1, 5)
    head.losses(outputs, Target(value)).mean(-1).sum().backward()
    torch.testing.assert_close(
        outputs.grad, (outputs.detach().softmax(-1) - head.histogram(value)) / 5, atol=1e-6, rtol=1e-4
    )


def test_a_wider_range_leaves_values_as_they_were():
    """Whatever the histograms were: here those of targets all over the range, and of one that knows nothing."""
    head = HLGaussHead(HLGaussConfig())
    value = torch.linspace(-0.98, 0.98, 41)
    critic = CriticEnsemble(42, 1, (4,), False, head)
    with torch.no_grad():
        critic.head.weight.zero_()
        critic.head.bias[:41, 0] = head.histogram(value).clamp_min(1e-9).log()
        critic.head.bias[41] = 0.0
    head.widen(critic.head)
    assert float(head.bound) == 2.0
    after = critic(torch.zeros(1, 1), torch.zeros(1, 0)).detach()[:, 0]
    width = float((head._edges[1] - head._edges[0]) * head.bound)
    assert float((after - torch.cat([value, torch.zeros(1)])).abs().max()) < 0.5 * width


def test_the_range_follows_the_targets_and_a_fixed_one_does_not():
    for config, bound in ((HLGaussConfig(), 64.0), (HLGaussConfig(value_bound=2.0), 2.0)):
        head = HLGaussHead(config)
        critic = CriticEnsemble(2, 1, (4,), False, head)
        for reach in (0.5, 3.0, *[40.0] * 600):
            head.losses(torch.zeros(2, 4, 101), Target(torch.tensor([0.0, 0.1, -reach, 0.2])))
            if head.is_outgrown():
                before = float(head.bound)
                head.widen(critic.head)
                assert float(head.bound) == 2.0 * before
                assert not head.is_outgrown()
        assert float(head.bound) == bound
    head.losses(torch.zeros(2, 1, 101), Target(torch.tensor([math.nan])))
    assert not head.is_outgrown()  # The learner says what is wrong.


def gaussian_gradients(mean, raw, value, drawn, average, clip, delta):
    """Of one entry, from the formulas of DSAC-T's code: with respect to the mean and to the second output."""
    deviation = math.log1p(math.exp(raw))
    weight = min(10.0, max(0.1, average**2 / (deviation**2 + 0.1)))
    by_mean = weight * -max(-delta, min(delta, value - mean))
    away = abs(max(-clip * average, min(clip * average, drawn - mean)))
    huber = 0.5 * away**2 if away <= delta else delta * (away - 0.5 * delta)
    return by_mean, weight * (deviation**2 - huber) / (deviation + 0.1) / (1.0 + math.exp(-raw))


@pytest.mark.parametrize("delta", [50.0, 0.5])
def test_the_gradient_of_a_gaussian_is_the_papers(delta):
    head = gaussian(huber_delta=delta)
    generator = torch.Generator().manual_seed(1)
    outputs = (2.0 * torch.randn(2, 30, 2, generator=generator)).requires_grad_()
    value, drawn = torch.randn(30, generator=generator), 5.0 * torch.randn(30, generator=generator)
    head.average.copy_(torch.tensor([1.5, 0.3]))
    deviations = torch.nn.functional.softplus(outputs.detach()[..., 1])
    average = 0.995 * head.average + 0.005 * deviations.mean(-1)
    head.losses(outputs, Target(value, drawn)).mean(-1).sum().backward()
    torch.testing.assert_close(head.average, average)
    for member in range(2):
        for row in range(30):
            mean, raw = outputs[member, row].tolist()
            wanted = gaussian_gradients(
                mean, raw, float(value[row]), float(drawn[row]), float(average[member]), 3.0, delta
            )
            assert outputs.grad[member, row].tolist() == pytest.approx(
                [g / 30 for g in wanted], rel=1e-3, abs=1e-6
            )


def test_the_first_average_deviation_is_the_mean():
    head = gaussian()
    outputs = torch.randn(2, 9, 2)
    head.losses(outputs, Target(torch.zeros(9), torch.zeros(9)))
    torch.testing.assert_close(head.average, head.deviations(outputs).mean(-1))


@pytest.mark.parametrize("entropy_backup", [False, True])
def test_a_gaussians_targets_are_of_the_lower_critic(spec, make_batch, entropy_backup):
    sac = make(spec, critics=4, critic_head="gaussian", entropy_backup=entropy_backup)
    batch = sac._transitions(make_batch(8, terminated=np.arange(256) % 3 == 0))
    noise, subset = torch.randn(8, 3), torch.tensor([2, 0])
    noise[0, 2] = 7.0
    with torch.no_grad():
        target = sac._target(batch, noise, subset)
        following = batch.next_observation["state"]
        action, log_density = sac.actor.sample(following, noise[:, :2])
        outputs = sac.target_critic.raw(following, action)
        temperature = float(sac.log_temperature.exp()) if entropy_backup else 0.0
        for row in range(8):
            member = min((2, 0), key=lambda m, row=row: float(outputs[m, row, 0]))
            mean = float(outputs[member, row, 0] - temperature * log_density[row])
            drawn = mean + math.log1p(math.exp(outputs[member, row, 1])) * min(
                3.0, max(-3.0, float(noise[row, 2]))
            )
            for got, next_return in ((target.value, mean), (target.drawn, drawn)):
                wanted = float(batch.reward[row]) + 0.97 * float(batch.not_terminated[row]) * next_return
                assert float(got[row]) == pytest.approx(wanted, rel=1e-4, abs=1e-5)


def test_of_clone_and_policy_the_better_ones_spread_is_drawn_from(spec, make_batch):
    ibrl = make(spec, IBRL, critic_head="gaussian", critics=1, target_subset=1)
    features, noise = make_batch(32)["observation.state"], torch.randn(32, 2)
    with torch.no_grad():
        mean, deviation = ibrl._next_return(features, noise, torch.tensor([0]))
        actions = ibrl._sample(features, noise)[0], ibrl.clone(features)[0].tanh()
        outputs = torch.stack([ibrl.target_critic.raw(features, action)[0] for action in actions])
    chosen = outputs[..., 0].argmax(0)
    assert 0 < int(chosen.sum()) < 32
    torch.testing.assert_close(mean, outputs[..., 0].max(0).values)
    torch.testing.assert_close(deviation, ibrl.critic.readout.deviations(outputs[chosen, torch.arange(32)]))
    torch.testing.assert_close(mean, ibrl._next_value(features, noise, torch.tensor([0])))


@pytest.mark.parametrize("head", HEADS)
def test_rescaling_multiplies_values(head, make_batch):
    readout = HEADS[head](SACConfig())
    critic = CriticEnsemble(2, 7, (16,), True, readout)
    batch = make_batch(8)
    before = critic(batch["observation.state"], batch["action"])
    readout.rescale(critic.head, 0.3)
    torch.testing.assert_close(critic(batch["observation.state"], batch["action"]), 0.3 * before)


def learn(algorithm, make_batch, seeds, scale=1.0):
    for seed in seeds:
        for rows, step in ((8, "learn_offline"), (16, "update")):
            batch = make_batch(rows, seed)
            batch |= {"reward": scale * batch["reward"], "mc_return": scale * torch.linspace(-1, 1, rows)}
            if step == "update" or algorithm.offline_updates:
                getattr(algorithm, step)(batch)


def same(one, other, but=()):
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    return all(torch.equal(ours[name], theirs[name]) for name in ours if name not in but)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", [SAC, CQL, IBRL])
def test_learning_is_the_same_to_the_bit_whatever_the_size_of_rewards(spec, make_batch, kind, head):
    """A power of two multiplies floating-point numbers without rounding, so nothing but the unit may differ."""
    options = {"critic_head": head, "reward_unit": None}
    if kind is not SAC:
        options |= {"offline_updates": 1}
    if kind is CQL:
        options |= {"calibrated": True}
    learners = []
    for exponent in (0, -7, 10):
        learners.append(make(spec, kind, **options))
        learn(learners[-1], make_batch, range(4), 2.0**exponent)
        assert learners[-1].reward_unit.value == 2.0**exponent * learners[0].reward_unit.value
    assert all(same(learners[0], other, but=("reward_unit",)) for other in learners[1:])
    fixed = [make(spec, kind, **{**options, "reward_unit": 1.0}) for _ in range(2)]
    learn(fixed[0], make_batch, range(4))
    learn(fixed[1], make_batch, range(4), 2.0**10)
    assert not same(*fixed)


@pytest.mark.parametrize("head", NEW)
@pytest.mark.parametrize("kind", [SAC, CQL, IBRL])
def test_save_and_load_continue_bit_for_bit(spec, make_batch, kind, head):
    options = {"critic_head": head, "reward_unit": None}
    one, other = make(spec, kind, **options), make(spec, kind, seed=7, **options)
    learn(one, make_batch, range(2), 30.0)
    other.load_state_dict(one.state_dict())
    for algorithm in (one, other):
        learn(algorithm, make_batch, range(2, 4), 50.0)
    assert same(one, other)


def test_without_the_options_a_checkpoint_is_what_it_was(spec):
    names = make(spec).state_dict().keys()
    assert not [name for name in names if "readout" in name or "reward_unit" in name]
    assert make(spec).state_dict()["critic.head.weight"].shape == (2, 16, 1)


@pytest.mark.parametrize("head", HEADS)
def test_a_greater_reward_than_ever_leaves_values_and_temperature_as_they_were(spec, make_batch, head):
    sac = make(spec, critic_head=head, reward_unit=None)
    learn(sac, make_batch, range(3), 0.01)
    batch = make_batch(8)

    def opinions():
        with torch.no_grad():
            values = sac.critic(batch["observation.state"], batch["action"])
            return torch.cat([values.flatten(), sac.log_temperature.exp()[None]]) * sac.reward_unit.value

    before, unit = opinions(), sac.reward_unit.value
    sac._follow(100.0 * batch["reward"])
    assert sac.reward_unit.value > 1000 * unit
    torch.testing.assert_close(opinions(), before)


def test_after_a_reward_a_hundred_times_greater_targets_are_cut_off_once_and_not_for_hundreds_of_updates(
    spec, make_batch
):
    sac = make(spec, critic_head="hl_gauss", reward_unit=None, utd_ratio=1)
    batch = make_batch(8)
    rewards = torch.linspace(-1.0, 1.0, 8)
    for _ in range(10):
        sac.update(batch | {"reward": 0.01 * rewards})
    sac.update(batch | {"reward": rewards})
    assert float(sac.critic.readout.bound) < 0.1
    with torch.no_grad():
        before = sac.critic(batch["observation.state"], batch["action"])
        sac._follow(rewards)
        after = sac.critic(batch["observation.state"], batch["action"])
    for critic in (sac.critic, sac.target_critic):
        assert float(critic.readout.bound) >= max(1.0, float(sac.critic.readout.reach))
    assert float((after - before).abs().max()) < 0.1  # Of the new unit.
    for critic in (sac.critic, sac.target_critic):
        critic.readout.bound.zero_()
        critic.readout.reach.fill_(1.0)
    sac._follow(rewards)  # Comes to an end, too.
    # From there on with patience, as ever.
    sac.critic.readout.reach.fill_(100.0)
    sac._follow(rewards)
    assert float(sac.critic.readout.bound) < 4.0


def test_a_unit_follows_the_greatest_reward():
    unit = RewardUnit(None)
    assert (unit.follow(torch.zeros(3)), unit.value) == (1.0, 1.0)
    assert (unit.follow(torch.tensor([0.1, -4.0])), unit.value) == (1.0, 4.0)
    assert (unit.follow(torch.tensor([3.0])), unit.value) == (1.0, 4.0)
    assert (unit.follow(torch.tensor([-16.0])), unit.value) == (0.25, 16.0)
    assert (unit.follow(torch.tensor([math.nan, 1.0])), unit.value) == (1.0, 16.0)
    assert (unit.follow(torch.tensor([math.inf])), unit.value) == (1.0, 16.0)
    fixed = RewardUnit(5.0)
    assert (fixed.follow(torch.tensor([40.0])), fixed.value) == (1.0, 5.0)


@pytest.mark.parametrize("units", [(None, None), (None, 2.0), (1.0, None), (4.0, 2.0)])
@pytest.mark.parametrize("head", HEADS)
def test_what_another_run_thought_is_taken_over_in_this_ones_unit(spec, make_batch, head, units):
    theirs, ours = (
        make(spec, seed=seed, critic_head=head, reward_unit=unit) for seed, unit in enumerate(units)
    )
    learn(theirs, make_batch, range(3), 8.0)
    ours.begin_from(theirs.state_dict())
    batch = make_batch(8)
    with torch.no_grad():
        for name in ("critic", "target_critic"):
            values = [
                getattr(sac, name)(batch["observation.state"], batch["action"]) * sac.reward_unit.value
                for sac in (theirs, ours)
            ]
            torch.testing.assert_close(*values)
        temperatures = [sac.log_temperature.exp() * sac.reward_unit.value for sac in (theirs, ours)]
    torch.testing.assert_close(*temperatures)


@pytest.mark.parametrize("head", NEW)
def test_an_encoder_of_images_is_trained_as_well(head):
    images = gymnasium.spaces.Dict({"front": gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8)})
    spec = TransitionSpec.of(images, gymnasium.spaces.Box(-1, 1, (2,), np.float32))
    encoder = EncoderConfig(channels=(4,), features=4, precision="float32")
    drq = DrQ(DrQConfig(**SMALL, shift_pixels=1, encoder=encoder, critic_head=head), spec, CPU, 0)
    rows = np.zeros(16, spec.dtype)
    rows["observation.front"] = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3))
    rows["reward"] = np.arange(16)
    buffer = ReplayBuffer(spec, 16, 0)
    buffer.append(rows)
    before = {name: value.clone() for name, value in drq.encoder.learned_state().items()}
    metrics = drq.update(MixedSampler(spec, buffer, ReplayBuffer(spec, 1, 0), 0.0, CPU).sample(2, 8))
    assert all(math.isfinite(value) for value in metrics.values())
    assert all(not torch.equal(before[name], value) for name, value in drq.encoder.learned_state().items())


def test_expo_chooses_by_histograms(spec, make_batch):
    small = {"offline_updates": 1, "base_hidden_size": 8, "base_blocks": 1, "flow_steps": 2, "actor_delay": 0}
    expo = EXPO(EXPOConfig(**SMALL, **small, critic_head="hl_gauss"), spec, CPU, 0)
    learn(expo, make_batch, range(2), 5.0)
    policy = EXPO.make_policy(expo.config, spec, 1)
    policy.load_weights(expo.policy_weights())
    assert float(policy.critic.readout.bound) == float(expo.critic.readout.bound) == 2.0
    assert np.abs(policy.act({"state": np.zeros(5, np.float32)}, True)).max() <= 1.0


@pytest.mark.parametrize(
    ("make_config", "words"),
    [
        (lambda: SACConfig(critic_head="c51"), "critic_head 'c51' must be one of mse, hl_gauss, gaussian"),
        (lambda: SACConfig(reward_unit=0.0), "reward_unit 0.0 must be a positive number, or be null"),
        (lambda: SACConfig(reward_unit=None, hl_gauss=HLGaussConfig(value_bound=1.0)), "must be null where"),
        (lambda: EXPOConfig(critic_head="gaussian"), "choose mse or hl_gauss"),
        (lambda: CQLConfig(critic_head="gaussian", max_target_backup=True), "max_target_backup to false"),
        (lambda: HLGaussConfig(bins=100), "bins 100 must be odd"),
        (lambda: HLGaussConfig(bins=5), "bins 5 must be odd and at least 10"),
        (lambda: HLGaussConfig(smoothing=0.0), "smoothing 0.0"),
        (lambda: HLGaussConfig(value_bound=-1.0), "value_bound -1.0"),
        (lambda: GaussianConfig(clip=0.0), "clip 0.0"),
        (lambda: GaussianConfig(weights=(2.0, 1.0)), "the lesser one first"),
        (lambda: GaussianConfig(huber_delta=0.0), "huber_delta 0.0"),
    ],
)
def test_what_cannot_be_meant_is_refused(make_config, words):
    with pytest.raises(ValueError, match=words):
        make_config()


# What each is for: the same problem with and without, three seeds.

SEEDS = range(3)
_GRID = torch.linspace(-1, 1, 201)[:, None]


def truth(x):
    return 3.0 * torch.sin(4.0 * x)


def regress(head, sample, seed):
    """A critic that was shown noisy values of `truth`."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        critic = CriticEnsemble(1, 2, (32, 32), True, head)
    optimizer = torch.optim.Adam(critic.parameters(), lr=5e-3, fused=True)
    for _ in range(200):
        x = 2.0 * torch.rand(64, 1, generator=generator) - 1.0
        y = sample(x[:, 0], generator)
        if head.is_outgrown():
            head.widen(critic.head)
        loss = head.losses(critic.raw(x, torch.zeros(64, 1)), Target(y, y)).mean(-1).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return critic


def error(critic, rows=slice(None)):
    with torch.no_grad():
        values = critic(_GRID, torch.zeros(201, 1))[0]
    return float((values - truth(_GRID[:, 0])).abs()[rows].mean())


def exact(x, generator):
    return truth(x)


def test_few_bins_say_more_where_targets_are_smooth_and_the_range_follows():
    """One bin per target loses what lies between bins; a range that was meant for other rewards loses the rest."""
    for seed in SEEDS:
        heads = {
            "full": HLGaussHead(HLGaussConfig(bins=15)),
            "one_bin": HLGaussHead(HLGaussConfig(bins=15)),
            "fixed_range": HLGaussHead(HLGaussConfig(bins=15, value_bound=1.0)),
        }
        heads["one_bin"]._smoothing = 0.02  # With the same bins otherwise.
        errors = {name: error(regress(head, exact, seed)) for name, head in heads.items()}
        assert errors["full"] < 0.12
        assert errors["one_bin"] > 1.5 * errors["full"]
        assert errors["fixed_range"] > 5.0 * errors["full"]


def noisy_half(x, generator):
    return truth(x) + torch.where(x > 0, 20.0, 0.0) * torch.randn(x.shape, generator=generator)


class Unspread(GaussianHead):
    """The deviation learns nothing."""

    def deviations(self, outputs_EBK):
        return super().deviations(outputs_EBK).detach()


def test_what_is_certain_is_not_drowned_by_what_is_not():
    """Error where targets have no noise, of critics that share their layers with targets that have much."""
    quiet = slice(0, 95)
    for seed in SEEDS:
        mutants = {
            "full": GaussianHead(GaussianConfig(), 1, 0.005),
            "unweighted": GaussianHead(GaussianConfig(weights=(1.0, 1.0)), 1, 0.005),
            "unspread": Unspread(GaussianConfig(), 1, 0.005),
        }
        errors = {name: error(regress(head, noisy_half, seed), quiet) for name, head in mutants.items()}
        assert errors["full"] < 0.2
        assert min(errors["unweighted"], errors["unspread"]) > 1.5 * errors["full"]


def with_outliers(x, generator):
    odd = torch.rand(x.shape, generator=generator) < 0.02
    sign = torch.randn(x.shape, generator=generator).sign()
    return truth(x) + torch.where(odd, 300.0 * sign, torch.randn(x.shape, generator=generator))


def test_a_clipped_target_keeps_outliers_from_the_deviation():
    for seed in SEEDS:
        full = error(regress(GaussianHead(GaussianConfig(), 1, 0.005), with_outliers, seed))
        without = error(regress(GaussianHead(GaussianConfig(clip=None), 1, 0.005), with_outliers, seed))
        assert without > 1.5 * full


def act_on_bandit(seed, scale, **options):
    """How far from the best action SAC ends, where reward is the distance from it times `scale`."""
    box = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    spec = TransitionSpec.of(
        gymnasium.spaces.Dict({"state": box}), gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    )
    rates = {f"{name}_learning_rate": 1e-2 for name in ("critic", "actor", "temperature")}
    config = SACConfig(hidden_sizes=(32,), batch_size=64, utd_ratio=1, **rates, **options)
    sac, generator = SAC(config, spec, CPU, seed), torch.Generator().manual_seed(seed)
    ended = torch.ones(64, dtype=torch.bool)
    for _ in range(80):
        state, action = (2.0 * torch.rand(64, n, generator=generator) - 1.0 for n in (2, 1))
        reward = -scale * (action - 0.8 * state[:, :1]).abs()[:, 0]
        sac.update(
            {
                "observation.state": state, "next_observation.state": state, "action": action, "reward": reward,
                "terminated": ended,
            }
        )  # fmt: skip
    with torch.no_grad():
        return float((sac.actor(state)[0].tanh() - 0.8 * state[:, :1]).abs().mean())


@pytest.mark.parametrize("head", NEW)
def test_small_rewards_are_learned_from_as_well_as_great_ones(head):
    for seed in SEEDS:
        full = act_on_bandit(seed, 0.02, critic_head=head, reward_unit=None)
        without = act_on_bandit(seed, 0.02, critic_head=head)
        assert full < 0.12
        assert without > 2.0 * full


def test_an_mse_head_has_no_more_outputs_than_values():
    assert MSEHead().values(torch.arange(6.0).reshape(2, 3, 1)).tolist() == [[0, 1, 2], [3, 4, 5]]
