"""Rewards that learn beside the policy: whom they tell apart, what they pay, and that they go on where they were."""

import gymnasium
import numpy as np
import pytest
import torch

from agent.algorithm import Batch
from agent.replay import MixedSampler, ReplayBuffer
from agent.transition import Provenance, TransitionSpec
from controllers.config import InputError
from reward_models.adversarial import AdversarialConfig, AdversarialReward, make_adversarial_reward

CPU = torch.device("cpu")
NAMES = ("place", "size")
GOAL = np.array([0.5, -0.5], np.float32)
SPEC = TransitionSpec.of(
    gymnasium.spaces.Box(-1, 1, (2,), np.float32), gymnasium.spaces.Box(-1, 1, (2,), np.float32)
)


def walk(count, provenance, rng, towards_goal):
    """Episodes of ten steps; those to the goal end there."""
    rows = np.zeros(count, SPEC.dtype)
    rows["step"] = np.arange(count) % 10
    share = (rows["step"][:, None] + 1) / 10
    start = rng.uniform(-1, 1, (count // 10 + 1, 2)).repeat(10, 0)[:count]
    end = GOAL if towards_goal else rng.uniform(-1, 1, (count // 10 + 1, 2)).repeat(10, 0)[:count]
    rows["observation.state"] = start + (share - 0.1) * (end - start)
    rows["next_observation.state"] = start + share * (end - start)
    rows["action"] = rng.normal(0.0, 0.02, (count, 2)) + (0.6 if towards_goal else -0.6)
    rows["terminated"] = towards_goal & (rows["step"] == 9)
    rows["reward"], rows["provenance"] = -7.0, provenance
    return rows


@pytest.fixture(scope="module")
def demonstrations():
    return walk(200, Provenance.DEMONSTRATION, np.random.default_rng(0), True)


@pytest.fixture(scope="module")
def sampler(demonstrations):
    online, memory = ReplayBuffer(SPEC, 2000, 1), ReplayBuffer(SPEC, 200, 2)
    online.append(walk(2000, Provenance.TWIN, np.random.default_rng(3), False))
    memory.append(demonstrations)
    return MixedSampler(SPEC, online, memory, 0.5, CPU)


def make(demonstrations, method, seed=0, **changes):
    config = AdversarialConfig(method=method, learning_rate=1e-3, hidden_sizes=(64, 64), **changes)
    return AdversarialReward(config, SPEC, NAMES, demonstrations, CPU, seed)


def at(state, action=(0.0, 0.0)) -> Batch:
    state = torch.tensor(np.array([state], np.float32))
    return {
        "observation.state": state, "next_observation.state": state, "action": torch.tensor([action]),
        "reward": torch.zeros(1), "terminated": torch.ones(1, dtype=torch.bool),
    }  # fmt: skip


def test_vice_pays_at_the_goal_as_the_sparse_reward_does(demonstrations, sampler):
    reward = make(demonstrations, "vice")
    for _ in range(400):
        metrics = reward.update(sampler.sample(1, 64))
    assert metrics["reward_negatives_seen"] > 0.8
    goal, beside, far = (float(reward.relabel(at(s))["reward"]) for s in (GOAL, GOAL + 0.1, (-0.8, 0.8)))
    assert goal > beside > far
    assert goal > -0.3
    assert far < -0.8
    assert -1.0 <= far <= goal <= 0.0


def test_dac_pays_for_what_a_demonstrator_would_do(demonstrations, sampler):
    reward = make(demonstrations, "dac")
    for _ in range(300):
        reward.update(sampler.sample(1, 64))
    like, unlike = (float(reward.relabel(at((0.0, 0.0), (a, a)))["reward"]) for a in (0.6, -0.6))
    assert like > -0.3
    assert unlike < -0.5


def test_only_what_is_named_of_the_state_is_judged(demonstrations, sampler):
    reward = make(demonstrations, "vice", state=("size",))
    for _ in range(100):
        reward.update(sampler.sample(1, 64))
    paid = [float(reward.relabel(at((place, -0.5)))["reward"]) for place in (-1.0, 0.5, 1.0)]
    assert len(set(paid)) == 1
    assert paid[0] > float(reward.relabel(at((0.5, 0.9)))["reward"])


@pytest.mark.parametrize("method", ["vice", "dac"])
def test_a_relabelled_batch_differs_in_reward_and_termination_alone(demonstrations, sampler, method):
    batch = sampler.sample(8, 64)
    relabelled = make(demonstrations, method).relabel(batch)
    assert batch["terminated"].any()
    ends = torch.zeros_like(batch["terminated"]) if method == "vice" else batch["terminated"]
    assert torch.equal(relabelled["terminated"], ends)
    assert ((relabelled["reward"] >= -1.0) & (relabelled["reward"] <= 0.0)).all()
    assert relabelled["reward"].shape == batch["reward"].shape
    assert (batch["reward"] == -7.0).all()  # The batch itself is left alone.
    assert not relabelled["reward"].requires_grad
    same = set(batch) - {"reward", "terminated"}
    assert all(torch.equal(batch[name], relabelled[name]) for name in same)


@pytest.mark.parametrize("provenance", [Provenance.DEMONSTRATION, Provenance.HUMAN])
@pytest.mark.parametrize("method", ["vice", "dac"])
def test_what_people_did_is_never_taken_for_the_policys_own(demonstrations, method, provenance):
    """It is half of a batch; taught as negatives, too, demonstrations would be told apart from themselves."""
    shown = demonstrations.copy()
    shown["provenance"] = provenance
    memory = ReplayBuffer(SPEC, 200, 2)
    memory.append(shown)
    batch = MixedSampler(SPEC, ReplayBuffer(SPEC, 1, 0), memory, 0.5, CPU).sample(1, 32)
    reward = make(demonstrations, method)
    before = reward.state_dict()
    assert reward.update(batch) == {}
    after = reward.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("method", ["vice", "dac"])
def test_save_and_load_continue_bit_for_bit(demonstrations, sampler, method):
    batches = [sampler.sample(1, 32) for _ in range(6)]
    one = make(demonstrations, method)
    for batch in batches[:3]:
        one.update(batch)
    other = make(demonstrations, method, seed=5)
    other.load_state_dict(one.state_dict())
    for batch in batches[3:]:
        assert one.update(batch) == other.update(batch)
    assert torch.equal(one.relabel(batches[0])["reward"], other.relabel(batches[0])["reward"])


def test_images_are_judged_too():
    spaces = {"camera": gymnasium.spaces.Box(0, 255, (16, 16, 3), np.uint8)}
    spec = TransitionSpec.of(gymnasium.spaces.Dict(spaces), gymnasium.spaces.Box(-1, 1, (2,), np.float32))
    rng = np.random.default_rng(0)

    def pictures(count, brightness, provenance):
        rows = np.zeros(count, spec.dtype)
        rows["next_observation.camera"] = rng.integers(0, 100, (count, 16, 16, 3)) + brightness
        rows["terminated"], rows["provenance"] = True, provenance
        return rows

    bright = pictures(20, 150, Provenance.DEMONSTRATION)
    config = {"encoder": {"channels": [4, 4], "features": 8}, "learning_rate": 1e-3}
    reward = make_adversarial_reward(config, spec, (), bright, CPU, 0)
    online = ReplayBuffer(spec, 200, 0)
    online.append(pictures(200, 0, Provenance.ROBOT))
    sampler = MixedSampler(spec, online, ReplayBuffer(spec, 1, 0), 0.0, CPU)
    before = reward.state_dict()
    for _ in range(150):
        batch = sampler.sample(1, 32)
        reward.update(batch)
    after = reward.state_dict()
    assert not [k for k in before if k.startswith("encoder.") and torch.equal(before[k], after[k])]
    dark = float(reward.relabel(batch)["reward"].mean())
    shown = {**batch, "next_observation.camera": torch.from_numpy(bright["next_observation.camera"])}
    shown = {name: value[:20] for name, value in shown.items()}
    assert float(reward.relabel(shown)["reward"].mean()) > dark + 0.4


@pytest.mark.parametrize(
    ("method", "words"), [("vice", "demonstration that ends with success"), ("dac", "one demonstration, but")]
)
def test_without_positives_there_is_no_such_reward(demonstrations, method, words):
    failures = demonstrations[~demonstrations["terminated"]] if method == "vice" else demonstrations[:0]
    with pytest.raises(InputError, match=words):
        make(failures, method)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"methd": "dac"}, "methd.*known are batch_size"),
        ({"method": "gan"}, "gan"),
        ({"batch_size": 1}, "batch_size 1"),
        ({"learning_rate": 0.0}, "learning_rate 0.0"),
        ({"largest_slope": 0.0}, "largest_slope 0.0"),
        ({"floor": 0.0}, "floor 0.0"),
        ({"gradient_penalty": -1.0}, "gradient_penalty -1.0"),
        ({"label_smoothing": 0.5}, "label_smoothing 0.5"),
        ({"state": ["speed"]}, r"\['speed'\], but the state of this task has place, size"),
        ({"state": []}, "nothing to judge by"),
        ({"hidden_sizes": []}, "hidden_sizes"),
    ],
)
def test_what_cannot_be_meant_is_refused(demonstrations, config, words):
    with pytest.raises(InputError, match=words):
        make_adversarial_reward(config, SPEC, NAMES, demonstrations, CPU, 0)
