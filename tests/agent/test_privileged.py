"""Critics that see what no policy may: Pinto et al., arXiv:1710.06542."""

import gymnasium
import numpy as np
import pytest
import torch

from agent.algorithm_config import AlgorithmConfig, load_algorithm, make_policy
from agent.config import InputError
from agent.drq import DrQ, DrQConfig
from agent.encoders import EncoderConfig
from agent.sac import SAC, SACConfig
from agent.transition import PRIVILEGED, TransitionSpec

CPU = torch.device("cpu")
BOX = gymnasium.spaces.Box
SPACES = {"state": BOX(-5, 5, (2,), np.float32), PRIVILEGED: BOX(-5, 5, (1,), np.float32)}
SPEC = TransitionSpec.of(gymnasium.spaces.Dict(SPACES), BOX(-1, 1, (1,), np.float32))
SMALL = {"hidden_sizes": (16, 16), "batch_size": 8, "utd_ratio": 1}


def batch_of(spec, rows=8, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def values(key):
        shape, kind = spec.dtype[key].shape, spec.dtype[key].base
        if kind == np.uint8:
            return torch.randint(256, (rows, *shape), generator=generator).to(torch.uint8)
        return torch.rand(rows, *shape, generator=generator)

    batch = {
        name: values(name)
        for name in (*spec.dtype.names[: 2 * len(spec.observation_keys)], "action", "reward")
    }
    return batch | {"terminated": torch.zeros(rows, dtype=torch.bool)}


def test_what_a_policy_sees_lacks_it_and_without_it_a_layout_is_unchanged():
    assert SPEC.is_privileged
    assert SPEC.seen().observation_keys == ("state",)
    plain = SPEC.seen()
    assert plain.seen() is plain


def test_the_policy_acts_without_it_and_as_the_learners_actor():
    sac = SAC(SACConfig(**SMALL), SPEC, CPU, 0)
    for seed in range(3):
        sac.update(batch_of(SPEC, seed=seed))
    # That of the twin, and that of a robot which cannot observe it.
    for spec in (SPEC, SPEC.seen()):
        policy = make_policy(AlgorithmConfig(name="x", algorithm="agent.sac.SAC", config=SMALL), spec, 0)
        policy.load_weights(sac.policy_weights())
        state = np.float32([0.3, -0.2])
        with torch.no_grad():
            expected = sac.actor(torch.tensor(state)[None])[0].tanh()[0].numpy()
        assert policy.act({"state": state}, deterministic=True) == pytest.approx(expected, abs=1e-6)


def test_the_critics_see_it_and_the_actor_does_not():
    sac = SAC(SACConfig(**SMALL), SPEC, CPU, 0)
    transitions = sac._transitions(batch_of(SPEC))
    changed = transitions.observation | {PRIVILEGED: transitions.observation[PRIVILEGED] + 1.0}
    ours, theirs = sac._features(transitions.observation), sac._features(changed)
    assert not torch.allclose(sac.critic(ours, transitions.action), sac.critic(theirs, transitions.action))
    noise = torch.zeros(8, 1)
    assert torch.equal(sac._sample(ours, noise)[0], sac._sample(theirs, noise)[0])


def test_of_images_too():
    spec = TransitionSpec.of(
        gymnasium.spaces.Dict({**SPACES, "wrist": BOX(0, 255, (16, 16, 3), np.uint8)}), SPEC.action_space
    )
    config = DrQConfig(**SMALL, shift_pixels=0, encoder=EncoderConfig(channels=(4,)))
    drq = DrQ(config, spec, CPU, 0)
    drq.update(batch_of(spec))
    policy = DrQ.make_policy(config, spec, 0)
    policy.load_weights(drq.policy_weights())
    observation = {
        key: batch_of(spec)[f"observation.{key}"][0].numpy() for key in spec.seen().observation_keys
    }
    assert policy.act(observation, deterministic=True).shape == (1,)


def test_save_and_load_continue_bit_for_bit():
    one, other = (SAC(SACConfig(**SMALL), SPEC, CPU, seed) for seed in (0, 1))
    one.update(batch_of(SPEC))
    other.load_state_dict(one.state_dict())
    for sac in (one, other):
        sac.update(batch_of(SPEC, seed=1))
    ours, theirs = one.state_dict(), other.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("name", ["cql.CQL", "expo.EXPO", "ibrl.IBRL", "iql.IQL", "td3_bc.TD3BC", "bc.BC"])
def test_others_refuse_it(name):
    algorithm, config = load_algorithm(AlgorithmConfig(name="x", algorithm=f"agent.{name}"))
    with pytest.raises(InputError, match=r"no critic of its own for task\.privileged: choose algorithm=rlpd"):
        algorithm(config, SPEC, CPU, 0)


# One step: the nearer the action is to what is seen, the better; what is hidden moves the reward far more.


def recorded(spec, rows=100, seed=0):
    rng = np.random.default_rng(seed)
    state, action, hidden = (rng.uniform(-1, 1, (rows, size)).astype(np.float32) for size in (2, 1, 1))
    seen = {"state": torch.tensor(state), PRIVILEGED: torch.tensor(hidden)}
    reward = -np.abs(action - 0.7 * state[:, :1])[:, 0] + 5.0 * hidden[:, 0]
    batch = {f"{p}observation.{key}": seen[key] for key in spec.observation_keys for p in ("", "next_")}
    batch |= {"action": torch.tensor(action), "reward": torch.tensor(reward)}
    return batch | {"terminated": torch.ones(rows, dtype=torch.bool)}


def lost_by_policy(spec, seed, updates=140):
    config = SACConfig(
        batch_size=64, utd_ratio=2, hidden_sizes=(64, 64), actor_learning_rate=1e-3, critic_learning_rate=1e-3,
        initial_temperature=0.01,
    )  # fmt: skip
    sac, data = SAC(config, spec, CPU, seed), recorded(spec, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(updates):
        rows = torch.randint(100, (128,), generator=generator)
        sac.update({name: values[rows] for name, values in data.items()})
    test = torch.rand(500, 2, generator=generator) * 2 - 1
    with torch.no_grad():
        action = sac.actor(test)[0].tanh()[:, 0]
    return float((action - 0.7 * test[:, 0]).abs().mean())


@pytest.mark.seeds(2, soak=1)
def test_what_is_hidden_from_the_actor_is_no_noise_to_critics_that_see_it(seed):
    informed, blind = lost_by_policy(SPEC, seed), lost_by_policy(SPEC.seen(), seed)
    assert informed < 0.2
    assert blind > informed + 0.15
