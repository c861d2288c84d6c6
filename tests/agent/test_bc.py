"""Behaviour cloning, and the warm start that SAC and DrQ make of it."""

import gymnasium
import numpy as np
import pytest
import torch

from agent.algorithm import KeepsFeatures, LearnsOffline
from agent.algorithm_config import AlgorithmConfig, load_algorithm, make_policy
from agent.bc import BC, BCConfig
from agent.config import InputError
from agent.drq import DrQ, DrQConfig
from agent.encoders import EncoderConfig
from agent.replay import MixedSampler, ReplayBuffer
from agent.sac import SAC, SACConfig
from agent.transition import Provenance, TransitionSpec

CPU = torch.device("cpu")
ENCODER = EncoderConfig(channels=(4, 4), features=6, precision="float32")
ACTIONS = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
STATE = gymnasium.spaces.Box(-np.inf, np.inf, (5,), np.float32)
VECTORS = TransitionSpec.of(gymnasium.spaces.Dict({"state": STATE}), ACTIONS)
FRONT = gymnasium.spaces.Box(0, 255, (16, 16, 3), np.uint8)
IMAGES = TransitionSpec.of(gymnasium.spaces.Dict({"state": STATE, "front": FRONT}), ACTIONS)
EXPERT = np.random.default_rng(3).normal(0.0, 0.5, (5, 2))


def make_bc(spec=VECTORS, seed=0, **changes):
    small = {"hidden_sizes": (32, 32), "batch_size": 32, "learning_rate": 1e-3, "encoder": ENCODER}
    return BC(BCConfig(**{**small, **changes}), spec, CPU, seed)


def demonstrations(spec=VECTORS, rows=512, seed=0):
    """What a linear expert does whose actuators saturate; of images the brightness tells the first action."""
    rng = np.random.default_rng(seed)
    records = np.zeros(rows, spec.dtype)
    records["provenance"] = Provenance.DEMONSTRATION
    records["observation.state"] = rng.normal(size=(rows, 5))
    records["action"] = np.clip(records["observation.state"] @ EXPERT, -1, 1)
    if spec.image_keys:
        records["action"][:, 0] = rng.uniform(-0.9, 0.9, rows)
        brightness = 127 * (1 + records["action"][:, 0])
        records["observation.front"] = brightness[:, None, None, None].astype(np.uint8)
    return records


def make_sampler(spec=VECTORS, rows=512, seed=0):
    records = demonstrations(spec, rows, seed)
    memory = ReplayBuffer(spec, rows, seed)
    memory.append(records)
    return MixedSampler(spec, ReplayBuffer(spec, 1, 0), memory, 1.0, CPU)


def learned(bc, sampler, updates):
    losses = [
        bc.update(sampler.sample(bc.utd_ratio, bc.batch_size))["imitation_loss"] for _ in range(updates)
    ]
    return np.mean(losses[:10]), np.mean(losses[-10:])


def policy_of(bc, spec, seed=0):
    policy = BC.make_policy(bc.config, spec, seed)
    policy.load_weights(bc.policy_weights())
    return policy


def errors(bc, spec, deterministic=True):
    """Distances from the expert's actions in states that were not demonstrated."""
    policy, unseen = policy_of(bc, spec), demonstrations(spec, rows=200, seed=99)
    acted = [
        policy.act({key: unseen[f"observation.{key}"][i] for key in spec.observation_keys}, deterministic)
        for i in range(len(unseen))
    ]
    return np.abs(np.array(acted) - unseen["action"])


def test_it_recovers_a_linear_expert_whose_actions_saturate():
    bc = make_bc()
    first, last = learned(bc, make_sampler(rows=4096), 1500)
    assert last < 0.2 * first
    found = errors(bc, VECTORS)
    assert found.mean() < 0.05  # Of an expert whose actions are 0.6 from zero on average.
    assert np.quantile(found, 0.95) < 0.2


def test_noise_that_a_limit_turns_inward_does_not_move_what_is_learned():
    """A gripper held at 1 with noise on it is seen at 0.84 on average."""
    rng = np.random.default_rng(0)
    records = demonstrations()
    records["action"] = np.clip(1.0 + rng.normal(0.0, 0.4, records["action"].shape), -1, 1)
    assert records["action"].mean() < 0.86
    memory = ReplayBuffer(VECTORS, 512, 0)
    memory.append(records)
    bc = make_bc()
    learned(bc, MixedSampler(VECTORS, ReplayBuffer(VECTORS, 1, 0), memory, 1.0, CPU), 300)
    policy = policy_of(bc, VECTORS)
    acted = [policy.act({"state": row}, True) for row in rng.normal(size=(50, 5)).astype(np.float32)]
    assert np.mean(acted) > 0.95


def test_it_acts_by_its_mean_and_while_learning_with_the_spread_about_it():
    bc = make_bc(spread=0.1)
    learned(bc, make_sampler(), 500)
    policy, observation = policy_of(bc, VECTORS), {"state": np.zeros(5, np.float32)}
    mean = policy.act(observation, deterministic=True)
    assert np.array_equal(mean, policy.act(observation, deterministic=True))
    samples = np.array([policy.act(observation, deterministic=False) for _ in range(400)])
    assert samples.mean(0) == pytest.approx(mean, abs=0.03)
    assert samples.std(0) == pytest.approx(0.1, rel=0.3)


def test_it_learns_what_only_the_image_tells():
    bc = make_bc(IMAGES, learning_rate=3e-3)
    before = bc.state_dict()
    learned(bc, make_sampler(IMAGES), 400)
    after = bc.state_dict()
    encoder = [name for name in before if name.startswith("encoder.")]
    assert encoder
    assert not [name for name in encoder if torch.equal(before[name], after[name])]
    assert errors(bc, IMAGES)[:, 0].mean() < 0.15  # Without the image 0.45 is the best.


def test_images_are_shifted_while_it_learns():
    batch = make_sampler(IMAGES).sample(1, 32)
    batch["observation.front"] = torch.randint(0, 256, (32, 16, 16, 3), dtype=torch.uint8)
    shifted = [
        make_bc(IMAGES, shift_pixels=pixels).learn_offline(batch)["imitation_loss"] for pixels in (0, 4)
    ]
    assert shifted[0] != shifted[1]
    with pytest.raises(ValueError, match="shift_pixels 101"):
        BCConfig(shift_pixels=101)


@pytest.mark.parametrize("spec", [VECTORS, IMAGES], ids=["vectors", "images"])
def test_save_and_load_continue_bit_for_bit(spec):
    first, second = make_bc(spec, seed=1, utd_ratio=2), make_bc(spec, seed=2, utd_ratio=2)
    sampler = make_sampler(spec)
    for _ in range(3):
        first.update(sampler.sample(2, 32))
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        batch = sampler.sample(2, 32)
        assert first.update(batch) == second.update(batch)
    one, other = first.state_dict(), second.state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_seed_decides_everything_and_nothing_else_is_touched():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    states = []
    for seed in (7, 7, 8):
        bc = make_bc(IMAGES, seed=seed)
        learned(bc, make_sampler(IMAGES), 2)
        states.append(bc.state_dict())
    assert torch.equal(torch.rand(3), expected)
    same, other = [
        all(torch.equal(states[0][name], state[name]) for name in state if "generator" not in name)
        for state in states[1:]
    ]
    assert same
    assert not other


def test_every_step_of_an_update_has_a_slice_of_its_own():
    bc, stepwise = make_bc(utd_ratio=3), make_bc()
    batch = make_sampler().sample(3, 32)
    bc.update(batch)
    for k in range(3):
        stepwise.learn_offline({name: values[32 * k : 32 * (k + 1)] for name, values in batch.items()})
    one, other = bc.policy_weights(), stepwise.policy_weights()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_choice_is_read_strictly_and_makes_both_sides():
    choice = AlgorithmConfig("bc", "agent.bc.BC", {"batch_size": 8, "encoder": {"channels": [4, 4]}})
    algorithm, config = load_algorithm(choice)
    bc = algorithm(config, IMAGES, CPU, 0)
    assert isinstance(bc, LearnsOffline)
    assert isinstance(bc, KeepsFeatures)
    assert algorithm.demonstrations_only
    policy = make_policy(choice, IMAGES, 0)
    policy.load_weights(bc.policy_weights())
    with pytest.raises(InputError, match=r"`critics`.*agent\.bc\.BC knows batch_size"):
        load_algorithm(AlgorithmConfig("bc", "agent.bc.BC", {"critics": 2}))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"offline_updates": 0}, "offline_updates 0"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"learning_rate": 0.0}, "learning_rate 0"),
        ({"spread": 0.0}, "spread 0"),
        ({"hidden_sizes": ()}, "hidden_sizes"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes, reason):
    with pytest.raises(ValueError, match=reason):
        BCConfig(**changes)


def moved(before, after):
    return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}


def test_a_warm_start_of_sac_makes_its_actor_act_like_the_expert_and_leaves_its_critics():
    sac = SAC(SACConfig(hidden_sizes=(32, 32), actor_learning_rate=1e-3, offline_updates=9), VECTORS, CPU, 0)
    assert isinstance(sac, LearnsOffline)
    sampler, before = make_sampler(), sac.state_dict()
    for _ in range(1000):
        sac.learn_offline(sampler.sample(1, 32))
    after = sac.state_dict()
    assert moved(before, after) == {"actor"}
    policy = SAC.make_policy(sac.config, VECTORS, 0)
    policy.load_weights(sac.policy_weights())
    unseen = demonstrations(rows=200, seed=99)
    acted = np.array([policy.act({"state": row}, True) for row in unseen["observation.state"]])
    assert np.abs(acted - unseen["action"]).mean() < 0.07


def test_a_warm_start_begins_with_the_entropy_that_the_temperature_aims_at():
    sac = SAC(SACConfig(hidden_sizes=(32, 32), actor_learning_rate=3e-3, offline_updates=9), VECTORS, CPU, 0)
    records = demonstrations()
    records["action"] = 0.0  # Where squashing changes little.
    memory = ReplayBuffer(VECTORS, 512, 0)
    memory.append(records)
    sampler = MixedSampler(VECTORS, ReplayBuffer(VECTORS, 1, 0), memory, 1.0, CPU)
    for _ in range(500):
        sac.learn_offline(sampler.sample(1, 64))
    with torch.no_grad():
        _, density = sac.actor.sample(torch.randn(500, 5), torch.randn(500, 2))
    assert float(-density.mean()) == pytest.approx(-0.5 * 2, abs=0.2)


def test_a_warm_start_of_drq_trains_the_encoder_and_continues_bit_for_bit():
    config = DrQConfig(hidden_sizes=(16, 16), batch_size=8, encoder=ENCODER, offline_updates=9)
    drq, again = DrQ(config, IMAGES, CPU, 0), DrQ(config, IMAGES, CPU, 1)
    sampler, before = make_sampler(IMAGES), drq.state_dict()
    drq.learn_offline(sampler.sample(1, 8))
    assert moved(before, drq.state_dict()) == {"actor", "encoder", "generator"}
    again.load_state_dict(drq.state_dict())
    for _ in range(2):
        batch = sampler.sample(1, 8)
        assert drq.learn_offline(batch) == again.learn_offline(batch)
    batch = sampler.sample(2, 8)
    assert drq.update(batch) == again.update(batch)
    one, other = drq.state_dict(), again.state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_negative_warm_start_is_refused():
    with pytest.raises(ValueError, match="offline_updates -1"):
        SACConfig(offline_updates=-1)
