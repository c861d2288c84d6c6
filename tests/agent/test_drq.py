"""Learning from images: what the critics' loss trains, what the policy is given, and that it is the same again."""

from copy import deepcopy

import gymnasium
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from agent.algorithm import KeepsFeatures
from agent.algorithm_config import AlgorithmConfig, load_algorithm, make_policy
from agent.backbones import ResNet10Backbone
from agent.config import InputError
from agent.drq import DrQ, DrQConfig
from agent.encoders import EncoderConfig
from agent.replay import MixedSampler, ReplayBuffer
from agent.sac import SAC, SACConfig
from agent.transition import TransitionSpec

CPU = torch.device("cpu")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
SMALL = {
    "hidden_sizes": (16, 16),
    "batch_size": 8,
    "encoder": EncoderConfig(channels=(4, 4), features=6, precision="float32"),
}
SPEC = TransitionSpec.of(
    gymnasium.spaces.Dict(
        {
            "state": gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32),
            "front": gymnasium.spaces.Box(0, 255, (16, 16, 3), np.uint8),
        }
    ),
    gymnasium.spaces.Box(-1, 1, (2,), np.float32),
)


def make_records(rows, seed=0):
    rng = np.random.default_rng(seed)
    records = np.zeros(rows, SPEC.dtype)
    for name in ("observation.state", "next_observation.state", "action", "reward"):
        records[name] = rng.uniform(-1, 1, records[name].shape)
    for name in ("observation.front", "next_observation.front"):
        records[name] = rng.integers(0, 256, records[name].shape)
    return records


def make_batch(rows, seed=0):
    buffer = ReplayBuffer(SPEC, rows, seed)
    buffer.append(make_records(rows, seed))
    return MixedSampler(SPEC, buffer, ReplayBuffer(SPEC, 1, 0), 0.0, CPU).sample(1, rows)


def make_drq(seed=0, **changes):
    return DrQ(DrQConfig(**{**SMALL, **changes}), SPEC, CPU, seed)


def moved(before, after, prefix):
    return {k for k in before if k.startswith(prefix) and not torch.equal(before[k], after[k])}


@pytest.mark.parametrize(
    "encoder",
    [
        SMALL["encoder"],
        EncoderConfig(kind="resnet10", features=6, precision="float32"),
        EncoderConfig(kind="timm/small.v1", features=6),
        EncoderConfig(kind="torchvision/small", features=6, frozen=False),
    ],
)
def test_the_critics_loss_trains_the_encoder_and_the_actors_does_not(encoder, vision):
    drq = make_drq(encoder=encoder)
    backbone = deepcopy(drq.encoder.cameras["front"].backbone.state_dict())
    drq.update(make_batch(16))
    before = drq.state_dict()
    batch = make_batch(8, 1)
    drq.update_actor(drq._observation(batch, "observation"))
    after = drq.state_dict()
    assert not moved(before, after, "encoder.")
    assert not moved(before, after, "critic.")
    assert moved(before, after, "actor.")
    drq.update_critic(drq._transitions(batch))
    last = drq.state_dict()
    assert not moved(after, last, "actor.")
    assert moved(after, last, "encoder.") == {
        k for k in after if k.startswith("encoder.") and not k.endswith(STATISTICS)
    }
    kept = drq.encoder.cameras["front"].backbone.state_dict()
    stays = {k for k in kept if encoder.is_frozen or k.endswith(STATISTICS)}
    assert {k for k in kept if torch.equal(kept[k], backbone[k])} == stays


def test_gradients_of_convolutions_are_followed_as_backward_lays_them_out():
    one = make_drq()
    other = deepcopy(one)
    optimizer = other._optimizers["critic"]

    def by_backward(*inputs):
        loss, beside = other._critic_loss(*inputs)
        optimizer.zero_grad()
        loss.backward()
        return loss.detach(), beside, tuple(p.grad for p in optimizer.param_groups[0]["params"])

    other._critic_gradients = by_backward
    for seed in range(3):
        for drq in (one, other):
            drq.update(make_batch(16, seed))
    assert not moved(one.state_dict(), other.state_dict(), "")


def test_the_policy_gets_encoder_and_actor_and_no_critics():
    drq = make_drq()
    drq.update(make_batch(16))
    weights = drq.policy_weights()
    assert {name.split(".")[0] for name in weights} == {"actor", "encoder"}
    policy = make_policy(choice(), SPEC, 0)
    policy.load_weights(weights)
    batch = make_batch(4)
    observation = {
        "state": batch["observation.state"][1].numpy(),
        "front": batch["observation.front"][1].numpy(),
    }
    with torch.no_grad():
        features = drq.encoder({key: torch.from_numpy(value)[None] for key, value in observation.items()})
        expected = drq.actor(features)[0].tanh().numpy()[0]
    np.testing.assert_allclose(policy.act(observation, deterministic=True), expected, rtol=1e-5, atol=1e-6)


def choice():
    config = {**SMALL, "encoder": {"channels": [4, 4], "features": 6, "precision": "float32"}}
    return AlgorithmConfig("drq", "agent.drq.DrQ", config)


def test_the_configuration_is_read_from_plain_values_and_unknown_keys_are_refused():
    algorithm, config = load_algorithm(choice())
    assert algorithm is DrQ
    assert config.encoder.channels == (4, 4)
    with pytest.raises(InputError, match="shift_pixel`"):
        load_algorithm(AlgorithmConfig("drq", "agent.drq.DrQ", {"shift_pixel": 3}))
    with pytest.raises(InputError, match="target_subset 3 must lie between 1 and critics 2"):
        load_algorithm(AlgorithmConfig("drq", "agent.drq.DrQ", {"target_subset": 3}))


def test_images_are_shifted_and_vectors_are_not():
    drq, batch = make_drq(), make_batch(8)
    shifted = drq._observation(batch, "observation")
    assert not torch.equal(shifted["front"], batch["observation.front"])
    assert torch.equal(shifted["state"], batch["observation.state"])
    plain = make_drq(shift_pixels=0)._observation(batch, "observation")
    assert torch.equal(plain["front"], batch["observation.front"])


def test_save_and_load_continue_bit_for_bit():
    drq = make_drq()
    for seed in range(3):
        drq.update(make_batch(16, seed))
    again = make_drq(seed=9)
    again.load_state_dict(drq.state_dict())
    for seed in range(3, 6):
        first, second = drq.update(make_batch(16, seed)), again.update(make_batch(16, seed))
        assert first == second
    one, other = drq.state_dict(), again.state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_it_learns_what_only_the_image_tells():
    """A contextual bandit: reward is highest where the action equals the brightness of the image."""
    drq = make_drq(
        batch_size=64,
        utd_ratio=1,
        actor_learning_rate=3e-3,
        critic_learning_rate=3e-3,
        initial_temperature=0.01,
    )
    rng = np.random.default_rng(0)
    brightness = rng.uniform(-0.8, 0.8, 512)
    records = np.zeros(512, SPEC.dtype)
    records["action"] = rng.uniform(-1, 1, (512, 2))
    records["observation.front"] = ((brightness + 1) * 127)[:, None, None, None].astype(np.uint8)
    records["reward"] = -np.square(records["action"] - brightness[:, None]).sum(-1)
    records["terminated"] = True
    buffer = ReplayBuffer(SPEC, 512, 0)
    buffer.append(records)
    sampler = MixedSampler(SPEC, buffer, ReplayBuffer(SPEC, 1, 0), 0.0, CPU)
    for _ in range(600):
        drq.update(sampler.sample(1, 64))
    policy = DrQ.make_policy(drq.config, SPEC, 0)
    policy.load_weights(drq.policy_weights())
    errors = [
        np.abs(
            policy.act({"state": np.zeros(3, np.float32), "front": records["observation.front"][i]}, True)
            - brightness[i]
        ).max()
        for i in range(100)
    ]
    assert np.mean(errors) < 0.15  # Without the image 0.4 is the best.


@pytest.mark.parametrize("kind", ["resnet10", "timm/small.v1", "torchvision/small"])
def test_cached_features_are_learned_from_as_the_images_themselves(kind, vision, tmp_path):
    torch.manual_seed(0)
    save_file(ResNet10Backbone().state_dict() if kind == "resnet10" else vision.state, tmp_path / "weights")
    frozen = {
        "kind": kind,
        "weights": str(tmp_path / "weights"),
        "frozen": True,
        "precision": "float32",
    }
    learners, batches = [], []
    for cache in (False, True):
        drq = make_drq(shift_pixels=0, encoder=EncoderConfig(**frozen, features=6, cache=cache))
        assert isinstance(drq, KeepsFeatures)
        assert (drq.kept_of_frames is None) == (not cache)
        buffer = ReplayBuffer(SPEC, 32, 0, drq.kept_of_frames)
        buffer.append(make_records(32))
        learners.append(drq)
        batches.append(MixedSampler(SPEC, buffer, ReplayBuffer(SPEC, 1, 0), 0.0, CPU).sample(2, 8))
    assert batches[0]["observation.front"].dtype == torch.uint8
    assert batches[1]["observation.front"].dtype == torch.float16
    one, other = (learner.update(batch) for learner, batch in zip(learners, batches, strict=True))
    assert one == pytest.approx(other, rel=1e-2, abs=1e-3)
    assert not any(".backbone." in name for name in learners[1].policy_weights())
    policy = DrQ.make_policy(learners[1].config, SPEC, 0)
    policy.load_weights(learners[1].policy_weights())  # The actor has images.
    image = np.zeros((16, 16, 3), np.uint8)
    assert policy.act({"state": np.zeros(3, np.float32), "front": image}, True).shape == (2,)


def test_features_of_shifted_images_cannot_be_cached(tmp_path):
    encoder = EncoderConfig(kind="resnet10", weights="somewhere", frozen=True, cache=True)
    with pytest.raises(ValueError, match=r"shift_pixels 4 must be 0 with encoder\.cache"):
        DrQConfig(encoder=encoder)


def test_the_algorithm_for_vectors_refuses_images():
    with pytest.raises(InputError, match=r"\['front'\]: choose algorithm=drq"):
        SAC(SACConfig(), SPEC, CPU, 0)


@pytest.mark.parametrize("shift_pixels", [-1, 101])
def test_a_shift_that_cannot_be_meant_is_refused(shift_pixels):
    with pytest.raises(ValueError, match="shift_pixels"):
        DrQConfig(shift_pixels=shift_pixels)


def test_a_frozen_backbone_sees_each_image_once_and_learning_is_the_same(tmp_path):
    torch.manual_seed(0)
    save_file(ResNet10Backbone().state_dict(), tmp_path / "weights")
    choice = {"kind": "resnet10", "weights": str(tmp_path / "weights"), "frozen": True, "features": 6}
    encoder, batch = EncoderConfig(**choice, precision="float32"), make_batch(16)
    once, again = (make_drq(encoder=encoder) for _ in range(2))
    again.encoder.with_frozen_maps = lambda observation, rows: observation
    seen = {"once": 0, "again": 0}
    for name, algorithm in (("once", once), ("again", again)):

        def count(_, given, name=name):
            seen[name] += len(given[0])

        algorithm.encoder.cameras["front"].backbone.register_forward_pre_hook(count)
    metrics = [algorithm.update(batch) for algorithm in (once, again)]
    assert seen == {"once": 2 * 16, "again": 2 * 16 + 8}  # The actor learns from what the critics had last.
    assert metrics[0] == pytest.approx(metrics[1], rel=1e-4, abs=1e-6)
    torch.testing.assert_close(once.state_dict(), again.state_dict(), rtol=1e-4, atol=1e-6)
