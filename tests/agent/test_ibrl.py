"""The clone beside the policy: who acts, what is bootstrapped from, and what survives."""

import gymnasium
import numpy as np
import pytest
import torch

from agent.algorithm_config import AlgorithmConfig, load_algorithm, make_policy
from agent.bc import BC, BCConfig
from agent.config import InputError
from agent.ibrl import IBRL, IBRLConfig, IBRLPolicy
from agent.sac import SAC, SACConfig
from agent.transition import TransitionSpec

SMALL = {"hidden_sizes": (16, 16), "batch_size": 8, "utd_ratio": 2, "offline_updates": 2, "actor_delay": 0}


def make(spec, seed=0, **changes):
    return IBRL(IBRLConfig(**{**SMALL, **changes}), spec, torch.device("cpu"), seed)


class Prefers(torch.nn.Module):
    """Critics that value the first action entry."""

    def __init__(self, sign):
        super().__init__()
        self.sign = sign

    def forward(self, features, action, members=None):
        return self.sign * action[:, 0].expand(2, -1)


def constant(actor, value):
    """Let an actor always say `value`, as good as without noise."""
    with torch.no_grad():
        for layer, bias in ((actor.mean, float(np.arctanh(value))), (actor.log_std, -20.0)):
            layer.weight.zero_()
            layer.bias.fill_(bias)


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize(("sign", "chosen"), [(1.0, 0.5), (-1.0, -0.5)])
def test_the_critics_choose_between_clone_and_policy(spec, sign, chosen, deterministic):
    policy = IBRLPolicy(IBRLConfig(**SMALL), spec, 0)
    constant(policy.actor, 0.5)
    constant(policy.clone, -0.5)
    policy.critic = Prefers(sign)
    policy._alone = False
    action = policy.act({"state": np.zeros(5, np.float32)}, deterministic)
    np.testing.assert_allclose(action, chosen, atol=1e-2)
    assert action.dtype == np.float32


def test_the_clone_acts_alone_until_the_critics_have_learned(spec, make_batch):
    ibrl = make(spec, actor_delay=2)
    ibrl.learn_offline(make_batch(8))
    constant(ibrl.clone, -0.5)
    ibrl.critic = Prefers(1.0)
    ibrl.update_critic = lambda *_: {"critic_loss": torch.tensor(0.0)}
    acted = []
    for seed in range(4):
        constant(ibrl.actor, 0.5)
        policy = ibrl.make_policy(ibrl.config, spec, 0)
        policy.critic = Prefers(1.0)
        policy.load_weights(ibrl.policy_weights())
        acted.append(round(float(policy.act({"state": np.zeros(5, np.float32)}, deterministic=True)[0]), 1))
        ibrl.update(make_batch(16, seed))
    assert acted == [-0.5, -0.5, -0.5, 0.5]


def test_an_editing_policy_stays_near_the_clone(spec):
    policy = IBRLPolicy(IBRLConfig(**SMALL, edit_scale=0.2), spec, 0)
    constant(policy.actor, 0.99)
    constant(policy.clone, -0.5)
    policy.critic = Prefers(1.0)
    policy._alone = False
    action = policy.act({"state": np.zeros(5, np.float32)}, deterministic=True)
    np.testing.assert_allclose(action, -0.5 + 0.2 * 0.99, atol=1e-2)
    constant(policy.clone, 0.95)
    assert policy.act({"state": np.zeros(5, np.float32)}, deterministic=True).max() <= 1.0


def test_an_editing_policy_begins_by_changing_nothing_and_learns_from_what_it_really_does(spec, make_batch):
    ibrl = make(spec, edit_scale=0.2, actor_learning_rate=1e-12)
    ibrl.learn_offline(make_batch(8))
    ibrl.update(make_batch(16))
    state = make_batch(8)["observation.state"]
    cloned = ibrl.clone(state)[0].tanh()
    actions, _ = ibrl._sample(state, torch.zeros(8, 2))
    torch.testing.assert_close(actions, cloned, atol=1e-5, rtol=0)
    farthest, _ = ibrl._sample(state, torch.full((8, 2), 1e6))
    assert float((farthest - cloned).abs().max()) <= 0.2 + 1e-6


@pytest.mark.parametrize("scale", [0.0, -1.0, 3.0, float("nan")])
def test_edits_of_no_size_are_refused(scale):
    with pytest.raises(ValueError, match="edit_scale"):
        IBRLConfig(edit_scale=scale)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_targets_bootstrap_from_the_better_of_the_two(spec, sign):
    ibrl = make(spec)
    constant(ibrl.actor, 0.5)
    constant(ibrl.clone, -0.5)
    ibrl.target_critic = Prefers(sign)
    value = ibrl._next_value(torch.randn(4, 5), torch.zeros(4, 2), torch.arange(2))
    torch.testing.assert_close(value, torch.full((4,), 0.5), atol=1e-2, rtol=0)


def test_the_clone_is_what_was_imitated_and_stays(spec, make_batch):
    ibrl = make(spec)
    for seed in range(2):
        ibrl.learn_offline(make_batch(8, seed))
    cloned = {name: value.clone() for name, value in ibrl.clone.state_dict().items()}
    assert all(torch.equal(cloned[name], value) for name, value in ibrl.actor.state_dict().items())
    for seed in range(3):
        ibrl.update(make_batch(16, seed))
    assert all(torch.equal(cloned[name], value) for name, value in ibrl.clone.state_dict().items())
    assert not all(torch.equal(cloned[name], value) for name, value in ibrl.actor.state_dict().items())


def test_the_actors_side_acts_as_the_learner_would(spec, make_batch):
    ibrl = make(spec)
    ibrl.learn_offline(make_batch(8))
    for seed in range(3):
        ibrl.update(make_batch(16, seed))
    choice = AlgorithmConfig(name="ibrl", algorithm="agent.ibrl.IBRL", config=dict(SMALL))
    policy = make_policy(choice, spec, 1)
    policy.load_weights(ibrl.policy_weights())
    state = make_batch(8)["observation.state"]
    with torch.no_grad():
        actions = [net(state)[0].tanh() for net in (ibrl.actor, ibrl.clone)]
        values = [ibrl.critic(state, action).mean(0) for action in actions]
    for row in range(8):
        expected = actions[int(values[1][row] > values[0][row])][row]
        acted = policy.act({"state": state[row].numpy()}, deterministic=True)
        np.testing.assert_allclose(acted, expected, atol=1e-5)


def test_save_and_load_continue_bit_for_bit(spec, make_batch):
    first = make(spec, seed=1)
    first.learn_offline(make_batch(8))
    for seed in range(3):
        first.update(make_batch(16, seed))
    second = make(spec, seed=2)
    second.load_state_dict(first.state_dict())
    for seed in range(3, 5):
        assert first.update(make_batch(16, seed)) == second.update(make_batch(16, seed))
    for name, value in first.policy_weights().items():
        assert torch.equal(value, second.policy_weights()[name]), name


def acted(algorithm, spec):
    policy = algorithm.make_policy(algorithm.config, spec, 0)
    policy.load_weights(algorithm.policy_weights())
    return policy.act({"state": np.zeros(5, np.float32)}, deterministic=True)


@pytest.mark.parametrize("edit_scale", [None, 0.3])
def test_the_policy_of_another_run_is_the_clone_that_acts_first(spec, make_batch, edit_scale):
    small = {"hidden_sizes": (16, 16), "batch_size": 8}
    for other in (
        BC(BCConfig(**small), spec, torch.device("cpu"), 3),
        SAC(SACConfig(**small), spec, torch.device("cpu"), 3),
    ):
        ibrl = make(spec, edit_scale=edit_scale, actor_delay=1)
        ibrl.begin_from(other.state_dict())
        np.testing.assert_allclose(acted(ibrl, spec), acted(other, spec), atol=1e-6)
        ibrl.update(make_batch(16))
        np.testing.assert_allclose(acted(ibrl, spec), acted(other, spec), atol=1e-6)


def test_a_run_goes_on_from_one_of_its_kind_and_no_other_takes_its_edits_for_a_policy(spec, make_batch):
    one = make(spec, edit_scale=0.3, actor_delay=1)
    one.learn_offline(make_batch(8))
    for seed in range(3):
        one.update(make_batch(16, seed))
    other = make(spec, seed=5, edit_scale=0.3, actor_delay=1)
    other.begin_from(one.state_dict())
    theirs, ours = one.policy_weights(), other.policy_weights()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert not ours["clone_acts_alone"]
    edits = other.actor.mean.weight.detach().clone()
    other.update(make_batch(16))  # Edits go on as well, and do not begin with nothing again.
    torch.testing.assert_close(other.actor.mean.weight, edits, atol=1e-2, rtol=0)
    assert float(edits.abs().max()) > 0.0
    with pytest.raises(InputError, match=r"of another architecture: clone\."):
        make(spec, hidden_sizes=(4, 4)).begin_from(one.state_dict())
    with pytest.raises(InputError, match="go on with algorithm=ibrl"):
        SAC(SACConfig(hidden_sizes=(16, 16)), spec, torch.device("cpu"), 0).begin_from(one.state_dict())


@pytest.mark.parametrize(("theirs", "ours"), [(None, 0.3), (0.3, None)])
def test_a_policy_that_edits_is_told_from_one_that_does_not(spec, theirs, ours):
    state = make(spec, edit_scale=theirs).state_dict()
    said = [f"{scale or 'null'}" for scale in (theirs, ours)]
    with pytest.raises(InputError, match=f"edit_scale {said[0]} and this run has {said[1]}: a policy that"):
        make(spec, edit_scale=ours).begin_from(state)
    make(spec, edit_scale=theirs).begin_from(state)
    if theirs:
        make(spec, edit_scale=2 * theirs).begin_from(state)  # Of the same kind.
    del state["edit_scale"]  # Of an older checkpoint nobody knows.
    make(spec, edit_scale=ours).begin_from(state)
    make(spec, edit_scale=ours).load_state_dict(state)


def test_without_a_clone_or_with_cameras_it_is_refused(camera_spec):
    with pytest.raises(InputError, match="must be at least 1: the clone is made by them"):
        load_algorithm(
            AlgorithmConfig(name="ibrl", algorithm="agent.ibrl.IBRL", config={"offline_updates": 0})
        )
    with pytest.raises(InputError, match=r"cameras \['front', 'wrist'\]: use algorithm=drq"):
        make(camera_spec)


def test_the_policy_takes_over_from_the_clone_where_it_is_better():
    """A bandit: the clone knows an action worth 0.5, the policy finds the best one and is preferred then."""
    spec = TransitionSpec.of(
        gymnasium.spaces.Box(-1, 1, (1,), np.float32), gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    )
    ibrl = make(spec, batch_size=64, actor_learning_rate=3e-3, critic_learning_rate=3e-3, discount=0.5)
    constant(ibrl.clone, -0.5)
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        action = 2 * torch.rand(128, 1, generator=generator) - 1
        ibrl.update(
            {
                "observation.state": torch.zeros(128, 1),
                "next_observation.state": torch.zeros(128, 1),
                "action": action,
                "reward": 1.0 - (action[:, 0] - 0.6).abs(),
                "terminated": torch.ones(128, dtype=torch.bool),
                "provenance": torch.zeros(128, dtype=torch.uint8),
            }
        )
    policy = ibrl.make_policy(ibrl.config, spec, 0)
    policy.load_weights(ibrl.policy_weights())
    assert policy.act({"state": np.zeros(1, np.float32)}, deterministic=True)[0] == pytest.approx(
        0.6, abs=0.15
    )
