"""CQL and Cal-QL: the conservative term, what it is for, and how far it may go."""

import math

import gymnasium
import msgspec
import numpy as np
import pytest
import torch

from agent.algorithm import NeedsReturns
from agent.config import InputError
from agent.cql import CQL, CQLConfig
from agent.sac import SAC, SACConfig
from agent.transition import TransitionSpec

CPU = torch.device("cpu")
SMALL = {"hidden_sizes": (16, 16), "batch_size": 8, "utd_ratio": 2}


def make(spec, seed=0, **changes):
    return CQL(CQLConfig(**{**SMALL, **changes}), spec, CPU, seed)


class Linear(torch.nn.Module):
    """Q(s, a) = k times the first action, by member."""

    def __init__(self, slopes):
        super().__init__()
        self.slopes = torch.tensor(slopes)

    def forward(self, features, action, members=None):
        return self.slopes[:, None] * action[:, 0]


def test_the_term_is_the_log_mean_exp_over_all_actions_less_the_value_of_the_datas(spec, make_batch):
    """With many samples the estimate is the integral over the box, which is known for a linear value."""
    cql = make(spec, sampled_actions=4000)
    cql.critic = Linear([1.0, -2.0])
    batch = make_batch(8)
    got = float(cql.conservative_term(cql._transitions(batch)).detach())
    # log of the integral of exp(k a) over [-1, 1], times the 2 of the other action.
    integral = sum(math.log(2.0 * 2.0 * math.sinh(abs(k)) / abs(k)) for k in (1.0, 2.0))
    expected = integral - float((1.0 - 2.0) * batch["action"][:, 0].mean())
    assert got == pytest.approx(expected, abs=0.1)


def test_without_weight_it_is_sac(spec, make_batch):
    cql, sac = make(spec, conservative_weight=0.0), SAC(SACConfig(**SMALL), spec, CPU, 0)
    noise, subset = torch.randn(8, 2), torch.tensor([0, 1])
    transitions = sac._transitions(make_batch(8))
    expected, _ = sac._critic_loss(transitions, noise, subset)
    loss, _ = cql._critic_loss(transitions, noise, subset)
    torch.testing.assert_close(loss, expected)


def test_a_calibrated_term_pushes_no_action_of_the_policy_below_the_return(spec, make_batch):
    """All values are far below the returns: only the uniform actions are still lowered."""
    batch = make_batch(8)
    gradients = {}
    for calibrated in (False, True):
        cql = make(spec, calibrated=calibrated, sampled_actions=2)
        transitions = cql._transitions({**batch, "mc_return": torch.full((8,), 50.0)})
        cql.conservative_term(transitions).backward()
        gradients[calibrated] = cql.critic.head.bias.grad.flatten()
    # Of log sum exp minus the data's value the bias has gradient 1 - 1; what is clipped takes its share away.
    torch.testing.assert_close(gradients[False], torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(gradients[True], torch.full((2,), -1.0), atol=1e-3, rtol=0)


def test_an_unknown_return_is_no_bound(spec, make_batch):
    batch = make_batch(8)
    terms = []
    for calibrated in (False, True):
        cql = make(spec, calibrated=calibrated)
        transitions = cql._transitions({**batch, "mc_return": torch.full((8,), -math.inf)})
        terms.append(float(cql.conservative_term(transitions).detach()))
    assert terms[0] == terms[1]


def test_returns_are_asked_for_by_the_calibrated_one_alone(spec, make_batch):
    assert isinstance(make(spec), NeedsReturns)
    assert make(spec).returns_discount is None
    assert make(spec, calibrated=True, discount=0.9).returns_discount == 0.9
    with pytest.raises(InputError, match="mc_return"):
        make(spec, calibrated=True).update(make_batch(16))


def test_the_best_of_several_actions_bootstraps(spec):
    cql = make(spec, max_target_backup=True, sampled_actions=200)
    cql.target_critic = Linear([1.0, 1.0])
    value = cql._next_value(torch.zeros(4, 5), torch.zeros(4, 2), torch.tensor([0, 1]))
    assert value.shape == (4,)
    assert float(value.min()) > float(cql.actor(torch.zeros(4, 5))[0].tanh()[:, 0].max())


@pytest.mark.parametrize("calibrated", [False, True])
def test_save_and_load_continue_bit_for_bit(spec, make_batch, calibrated):
    def batch(rows, seed):
        return {**make_batch(rows, seed), "mc_return": torch.linspace(-1, 1, rows)}

    one, other = make(spec, calibrated=calibrated), make(spec, 7, calibrated=calibrated)
    one.learn_offline(batch(8, 0))
    one.update(batch(16, 1))
    other.load_state_dict(one.state_dict())
    for cql in (one, other):
        cql.learn_offline(batch(8, 2))
        cql.update(batch(16, 3))
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"conservative_weight": -1.0}, "conservative_weight -1"),
        ({"sampled_actions": 0}, "sampled_actions 0"),
        ({"compile": True}, "compile must be false"),
        ({"max_target_backup": True, "entropy_backup": True}, "exclude each other"),
    ],
)
def test_what_cannot_be_meant_is_refused(values, words):
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.convert(values, CQLConfig)


def test_cameras_are_refused(camera_spec):
    with pytest.raises(InputError, match=r"from vectors, not from the images \['front', 'wrist'\]"):
        make(camera_spec)


# Small problems whose answer is known.

LITTLE = {"hidden_sizes": (32, 32), "batch_size": 64, "sampled_actions": 4, "critic_learning_rate": 3e-3}
EDGE = TransitionSpec.of(
    gymnasium.spaces.Box(-1, 1, (1,), np.float32), gymnasium.spaces.Box(-1, 1, (1,), np.float32)
)


def edge_batch(generator, rows):
    """What was tried beside an edge: the farther the better, up to 0.5. Beyond it nobody went; one falls."""
    action = torch.rand(rows, 1, generator=generator) - 0.5
    here = 2 * torch.rand(rows, 1, generator=generator) - 1
    return {
        "observation.state": here,
        "next_observation.state": here,
        "action": action,
        "reward": action[:, 0],
        "terminated": torch.ones(rows, dtype=torch.bool),
        "mc_return": action[:, 0],
    }


def earned_at_the_edge(cql):
    policy = cql.make_policy(cql.config, EDGE, 0)
    policy.load_weights(cql.policy_weights())
    actions = [policy.act({"state": np.float32([x])}, deterministic=True)[0] for x in np.linspace(-1, 1, 41)]
    return float(np.mean([a if a <= 0.6 else -1.0 for a in actions]))


@pytest.mark.seeds(2, soak=1)
@pytest.mark.parametrize(("weight", "falls"), [(1.0, False), (0.0, True)])
def test_it_stays_with_what_was_tried_and_without_its_term_it_falls(seed, weight, falls):
    """The data earn 0 on average and 0.5 at best: CQL does better than they, and does not leave them."""
    options = {**LITTLE, "actor_learning_rate": 3e-3, "initial_temperature": 0.01}
    cql = make(EDGE, seed, conservative_weight=weight, **options)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(150):
        cql.learn_offline(edge_batch(generator, 64))
    earned = earned_at_the_edge(cql)
    assert earned < -0.5 if falls else earned > 0.2


@pytest.mark.seeds(2, soak=1)
def test_a_calibrated_value_of_the_policy_is_not_below_what_the_data_earn(seed):
    """They earn 0 on average. A heavy term lowers CQL's values about as far as it can, and Cal-QL's not below that."""
    values = {}
    here = torch.linspace(-1, 1, 41)[:, None]
    for calibrated in (False, True):
        options = {**LITTLE, "batch_size": 32}
        cql = make(EDGE, seed, calibrated=calibrated, conservative_weight=10.0, **options)
        generator = torch.Generator().manual_seed(seed)
        for _ in range(120):
            cql.learn_offline(edge_batch(generator, 32))
        with torch.no_grad():
            values[calibrated] = float(cql.critic(here, cql._sample(here, torch.zeros(41, 1))[0]).mean())
    assert values[True] > 0.0
    assert values[True] - values[False] > 0.2
