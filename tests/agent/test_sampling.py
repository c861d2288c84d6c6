"""What is drawn by priority: how often, how much it counts, and what it is good for."""

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.bc import BC, BCConfig
from agent.demonstrations import Demonstrations
from agent.prefetch import Prefetcher
from agent.priorities import Priorities
from agent.replay import MixedSampler, ReplayBuffer
from agent.sac import SAC, SACConfig
from agent.sampling import SamplingConfig, draw_as, return_weights
from agent.transition import TransitionSpec

CPU = torch.device("cpu")
BOX = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
SPEC = TransitionSpec.of(BOX, BOX)


def make_rows(count, **values):
    rows = np.zeros(count, SPEC.dtype)
    rows["reward"] = np.arange(count)
    for key, value in values.items():
        rows[key] = value
    return rows


def make_sampler(kind, online, recorded=None, ratio=0.0, seed=0, capacity=None, steps=1, **options):
    """As `journeyman.wiring` makes one."""
    recorded = make_rows(0) if recorded is None else recorded
    replay = ReplayBuffer(SPEC, capacity or max(1, len(online)), seed)
    shown = Demonstrations(SPEC, recorded, 50, seed + 1)
    config = SamplingConfig(kind=kind, **options)
    read = draw_as(config, replay, shown, recorded, plain, steps)
    sampler = MixedSampler(SPEC, replay, shown, ratio, CPU, read)
    sampler.append(online)
    return sampler


def plain(replay, names, rows):
    return {name: replay.take(name, rows) for name in names}


# Priorities ----------------------------------------------------------------------------------------------------------


@given(places=st.integers(1, 70), data=st.data())
def test_rows_are_drawn_in_proportion_whatever_happened_to_them(places, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    priorities, wanted, greatest = Priorities(places), np.zeros(places), 1.0
    for _ in range(data.draw(st.integers(1, 12))):
        rows = np.unique(rng.integers(0, places, rng.integers(1, places + 1)))
        values = rng.uniform(0.01, 3.0, len(rows))
        what = data.draw(st.sampled_from(["add", "remove", "learn"]))
        if what == "add":
            priorities.add(rows)
            wanted[rows] = greatest
        elif what == "remove":
            priorities.remove(rows)
            wanted[rows] = 0.0
        elif len(there := np.flatnonzero(wanted[rows])):
            priorities.learn(priorities.marks(rows[there]), values[there])
            wanted[rows[there]] = values[there]
            greatest = max(greatest, values[there].max())
    assert priorities.held == (wanted > 0).sum()
    if not priorities.held:
        return
    frequency = np.bincount(priorities.draw(rng, 20_000), minlength=places) / 20_000
    share = wanted / wanted.sum()
    assert (frequency[share == 0] == 0).all()
    assert (np.abs(frequency - share) <= 5 * np.sqrt(share * (1 - share) / 20_000) + 1e-4).all()
    rows = np.flatnonzero(wanted)
    np.testing.assert_allclose(priorities.weights(rows, 0.7), (len(rows) * share[rows]) ** -0.7)
    assert priorities.greatest_weight(0.7) == pytest.approx(priorities.weights(rows, 0.7).max())


def test_tiny_and_huge_priorities_are_never_mistaken_for_nothing():
    priorities, rng = Priorities(1000), np.random.default_rng(0)
    rows = np.arange(0, 1000, 3)
    priorities.add(rows)
    priorities.assign(rows, 10.0 ** rng.uniform(-12, 12, len(rows)))
    assert np.isin(priorities.draw(rng, 200_000), rows).all()


def test_what_was_learned_about_a_transition_is_not_said_of_the_one_in_its_place():
    priorities = Priorities(4)
    priorities.add(np.arange(4))
    marks = priorities.marks(np.arange(4))
    priorities.add(np.array([1]))
    priorities.learn(marks, np.full(4, 0.25))
    assert priorities.weights(np.arange(4), 1.0) == pytest.approx(
        1.75 / 4 / np.array([0.25, 1.0, 0.25, 0.25])
    )


# Batches -------------------------------------------------------------------------------------------------------------


def test_uniform_draws_as_it_did_before():
    online, recorded = make_rows(40), make_rows(20)
    sampler = make_sampler("uniform", online, recorded, 0.5, seed=3)
    replay, shown = ReplayBuffer(SPEC, 40, 3), Demonstrations(SPEC, recorded, 50, 4)
    replay.append(online)
    batch, before = sampler.sample(2, 16), MixedSampler(SPEC, replay, shown, 0.5, CPU).sample(2, 16)
    assert batch.keys() == before.keys()
    assert all(torch.equal(batch[name], before[name]) for name in before)


@pytest.mark.parametrize(("beta", "steps"), [(1.0, 10**9), (0.0, 100)])
def test_weighted_means_are_those_of_uniform_draws(beta, steps):
    """Of each part of a batch; also when beta, which grows with the run, has got to 1."""
    sampler = make_sampler(
        "prioritised", make_rows(100), make_rows(30, reward=np.arange(500, 530)), 0.25, beta=beta, steps=steps
    )
    batch = sampler.sample(4, 256)
    sampler.learn(batch, batch["reward"] % 500 + 1.0)
    batch = sampler.sample(100, 256)
    recorded = batch["reward"] >= 500
    assert float(recorded.float().mean()) == 0.25
    for part, mean in ((~recorded, 49.5), (recorded, 514.5)):
        weight = batch["weight"][part]
        assert float((weight * batch["reward"][part]).sum() / weight.sum()) == pytest.approx(mean, rel=0.03)
        assert float(batch["reward"][part].mean()) != pytest.approx(mean, rel=0.003)
    # The demonstrations count for a quarter, as without priorities.
    assert float(batch["weight"][recorded].mean() / batch["weight"].mean()) == pytest.approx(1.0, rel=0.05)
    assert 0.9 < float(batch["weight"].max()) <= 1.0


def test_priorities_are_errors_to_the_power_of_alpha_and_nothing_counts_less_without_beta():
    sampler = make_sampler("prioritised", make_rows(4), alpha=0.5, beta=0.0, steps=10**9)
    batch = sampler.sample(1, 64)
    sampler.learn(batch, -((batch["reward"] + 1.0) ** 2))
    drawn = sampler.sample(1, 40_000)
    counts = torch.bincount(drawn["reward"].long(), minlength=4) / 40_000
    assert counts.numpy() == pytest.approx(np.array([0.1, 0.2, 0.3, 0.4]), abs=0.02)
    assert drawn["weight"].numpy() == pytest.approx(1.0, abs=1e-6)


@given(appended=st.lists(st.integers(1, 30), min_size=1, max_size=10), ahead=st.booleans())
def test_what_is_drawn_is_held_and_depends_on_the_random_state_alone(appended, ahead):
    def batches():
        sampler = make_sampler("prioritised", make_rows(5), make_rows(6), 0.5, capacity=20, steps=100)
        prefetcher, total = Prefetcher(sampler, ahead), 5
        for count in appended:
            rows = make_rows(count, reward=np.arange(total, total + count))
            rows["intervened"] = rows["reward"] % 3 == 0
            prefetcher.append(rows)
            total += count
            batch = prefetcher.sample(2, 16, another=True)
            prefetcher.learn(batch, batch["reward"])
            yield batch, total
        prefetcher.close()

    for (batch, total), (again, _) in zip(batches(), batches(), strict=True):
        assert all(torch.equal(batch[name], again[name]) for name in batch)
        online = batch["reward"].view(2, 16)[:, :8]
        newest = total - 30 if ahead else total  # Begun before the newest were there.
        assert (online >= newest - 20).all()


def test_frames_that_run_out_take_their_transitions_out_of_the_draws(camera_spec, camera_step):
    buffer = ReplayBuffer(camera_spec, 12, 0)
    buffer.draw_by_priority()
    for episode in range(40):  # Of one step each, with two frames a step.
        buffer.append(camera_step(1, episode, 0))
        assert buffer.priorities.held == len(buffer)
    assert set(buffer.draw(500).tolist()) == set(buffer.rows().tolist())


# By return -----------------------------------------------------------------------------------------------------------


@given(lengths=st.lists(st.integers(1, 6), min_size=2, max_size=8), temperature=st.floats(0.05, 5.0))
def test_better_episodes_are_more_likely_by_the_softmax_of_their_returns(lengths, temperature):
    rows = make_rows(sum(lengths), episode=np.repeat(np.arange(len(lengths)), lengths), reward=0.0)
    ends = np.cumsum(lengths) - 1
    rows["reward"][ends] = returns = np.arange(len(lengths)) * 3.0 - 5.0
    weights = return_weights(rows, temperature)
    assert weights.mean() == pytest.approx(1.0)
    ratio = np.exp((returns - returns[0]) / (returns[-1] - returns[0]) / temperature)
    np.testing.assert_allclose(weights, weights[0] * np.repeat(ratio, lengths), rtol=1e-5)


def test_episodes_that_earn_the_same_are_drawn_alike():
    assert return_weights(make_rows(6, reward=2.0, terminated=[0, 1, 0, 0, 0, 1]), 0.1).max() > 1.0
    assert (return_weights(make_rows(6, reward=2.0, terminated=[0, 0, 1, 0, 0, 1]), 0.1) == 1.0).all()


def test_recorded_data_are_drawn_by_return_and_interventions_beside_them_as_before():
    recorded = make_rows(20, reward=np.repeat([0.0, 1.0], 10), episode=np.repeat([0, 1], 10))
    sampler = make_sampler("return_weighted", make_rows(40, reward=7.0, intervened=True), recorded, 1.0)
    batch = sampler.sample(1, 30_000)
    assert float((batch["reward"] == 7.0).float().mean()) == pytest.approx(40 / 60, abs=0.02)
    assert float((batch["reward"] == 0.0).float().mean()) < 0.001
    assert "weight" not in batch


# What it is good for -------------------------------------------------------------------------------------------------


def blocks_until_known(kind, seed):
    """How many blocks of 4 critic updates it takes until the one success among 500 failures is known to be one."""
    rng = np.random.default_rng(seed)
    rows = make_rows(501, reward=0.0, terminated=True)
    rows["observation.state"], rows["action"] = rng.uniform(-1, 1, (2, 501, 2))
    rows["reward"][234] = 10.0
    sampler = make_sampler(kind, rows, seed=seed, steps=10**9)
    config = SACConfig(
        hidden_sizes=(64, 64), batch_size=16, utd_ratio=4, critic_learning_rate=2e-3, actor_delay=1000
    )
    sac = SAC(config, SPEC, CPU, seed)
    state, action = (torch.from_numpy(rows[name][234:235]) for name in ("observation.state", "action"))
    for block in range(150):
        batch = sampler.sample(sac.utd_ratio, sac.batch_size)
        sac.update(batch)
        if (errors := sac.take_errors()) is not None:
            sampler.learn(batch, errors)
        if float(sac.critic(state, action).detach().mean()) > 5.0:
            return block
    return 150


@pytest.mark.seeds(2, soak=1)
def test_the_one_success_among_many_failures_is_found_sooner(seed):
    prioritised, uniform = (blocks_until_known(kind, seed) for kind in ("prioritised", "uniform"))
    assert prioritised < 60
    assert uniform > 1.5 * prioritised


def test_weights_are_in_the_loss_and_errors_are_distances_from_the_target():
    sac = SAC(SACConfig(hidden_sizes=(8,), batch_size=16), SPEC, CPU, 0)
    rows = make_rows(64, terminated=True)
    batch = make_sampler("uniform", rows).sample(1, 16)
    batch["weight"] = torch.linspace(0, 1, 16)
    transitions = sac._transitions(batch)
    values = sac.critic(transitions.observation["state"], transitions.action)
    loss, (_, errors) = sac._critic_loss(transitions, torch.zeros(16, 2), torch.arange(2))
    error = values - batch["reward"]
    torch.testing.assert_close(loss, (error.square() * batch["weight"]).mean(-1).sum())
    torch.testing.assert_close(errors, error.detach().abs().mean(0))
    assert sac.take_errors() is None
    sac.update_critic(transitions)
    torch.testing.assert_close(sac.take_errors(), errors)


def distance_from_the_good(kind, seed):
    """How far a clone is from what the better of two people do, of whom the other recorded five times as much."""
    rng = np.random.default_rng(seed)
    rows = make_rows(3000, reward=0.0, episode=np.arange(3000) // 10)
    rows["observation.state"] = rng.uniform(-1, 1, (3000, 2))
    good = (np.arange(3000) // 10 % 6 == 0)[:, None]
    rows["action"] = np.where(good, 1, -1) * 0.7 * rows["observation.state"]
    rows["reward"] = good[:, 0] + rng.normal(0, 0.1, 3000)
    sampler = make_sampler(kind, make_rows(0), rows, 1.0, seed=seed)
    config = BCConfig(hidden_sizes=(64,), batch_size=64, learning_rate=3e-3, offline_updates=1)
    clone = BC(config, SPEC, CPU, seed)
    for _ in range(150):
        clone.learn_offline(sampler.sample_demonstrations(64))
    policy = BC.make_policy(config, SPEC, 0)
    policy.load_weights(clone.policy_weights())
    states = rng.uniform(-1, 1, (100, 2)).astype(np.float32)
    acted = np.array([policy.act({"state": state}, deterministic=True) for state in states])
    return float(np.abs(acted - 0.7 * states).mean())


@pytest.mark.seeds(2, soak=1)
def test_a_clone_of_mixed_data_is_one_of_the_better_episodes(seed):
    weighted, uniform = (distance_from_the_good(kind, seed) for kind in ("return_weighted", "uniform"))
    assert weighted < 0.15
    assert uniform > 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 1.5}, "alpha 1.5"),
        ({"beta": -0.1}, "beta -0.1"),
        ({"temperature": 0.0}, "temperature 0.0 must be"),
        ({"temperature": float("nan")}, "temperature nan must be"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        SamplingConfig(**changes)


@given(data=st.data(), capacity=st.integers(1, 12), before=st.integers(0, 20), after=st.integers(0, 20))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_priorities_go_with_their_transitions_into_a_replay_that_is_ahead(
    make_records, spec, data, capacity, before, after
):
    """Transitions may have come since the state was taken, and pushed out others."""
    rows = make_records(before + after, intervened=True)
    recorded = make_records(data.draw(st.integers(0, 4)), seed=1)

    def filled(until):
        replay = Demonstrations(spec, recorded, capacity, 0)
        priorities = replay.draw_by_priority()
        for row in range(until):
            replay.append(rows[row : row + 1])
        return replay, priorities

    then, priorities = filled(before)
    held = then.rows()
    values = data.draw(st.lists(st.floats(0.1, 9.0), min_size=len(held), max_size=len(held)))
    priorities.learn(priorities.marks(held), np.array(values, np.float64))
    now, restored = filled(before + after)
    now.load_state_dict(then.state_dict())
    kept = {tuple(then.take("observation.state", held[i : i + 1])[0]): values[i] for i in range(len(held))}
    greatest = max([1.0, *values])
    of_all, _ = restored.state()
    for row in now.rows():
        state = tuple(now.take("observation.state", np.array([row]))[0])
        assert of_all[row] == kept.get(state, greatest)
    assert (of_all > 0).sum() == restored.held == len(now)
    other = Demonstrations(spec, recorded, capacity + 1, 0)
    other.draw_by_priority()
    other.load_state_dict(then.state_dict())  # Of another size: nothing is taken over.
    assert set(other.priorities.state()[0]) <= {0.0, 1.0}
