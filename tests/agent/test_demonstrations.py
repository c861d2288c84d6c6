"""What people showed: recorded demonstrations stay, interventions come and go, and both are sampled as one."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from agent.demonstrations import Demonstrations
from agent.replay import MixedSampler, ReplayBuffer
from agent.transition import Provenance

CPU = torch.device("cpu")
NAMES = ("reward", "episode", "step", "provenance")


def held(buffer):
    """(actor, episode, step, provenance) of all that a buffer gives out."""
    if len(buffer) == 0:
        return set()
    rows = np.unique(buffer.draw(6000))
    return set(zip(*(buffer.take(name, rows).tolist() for name in NAMES), strict=True))


def origins(records):
    return [tuple(row) for row in zip(*(records[name].tolist() for name in NAMES), strict=True)]


@given(
    # Whether a person acted, step by step, for each episode.
    episodes=st.lists(st.lists(st.booleans(), min_size=1, max_size=12), min_size=1, max_size=20),
    recorded=st.integers(0, 15),
    capacities=st.tuples(st.integers(1, 60), st.integers(1, 30)),
    same_numbers=st.booleans(),
    data=st.data(),
)
def test_an_intervention_is_experience_and_demonstration(
    camera_spec, camera_step, assert_whole, episodes, recorded, capacities, same_numbers, data
):
    """Whatever the segments, of two actors whose streams interleave, also if their episodes have the same numbers."""
    streams = [[], []]
    for number, intervened in enumerate(episodes):
        actor = number % 2
        for step, by_hand in enumerate(intervened):
            provenance = Provenance.HUMAN if by_hand else Provenance.ROBOT
            streams[actor].append(
                camera_step(
                    actor, number // 2 if same_numbers else number, step,
                    intervened=by_hand, provenance=provenance,
                )
            )  # fmt: skip
    shown = np.concatenate(
        [np.zeros(0, camera_spec.dtype)]
        + [camera_step(9, i // 4, i % 4, provenance=Provenance.DEMONSTRATION) for i in range(recorded)]
    )
    replay = ReplayBuffer(camera_spec, capacities[0], 0)
    demonstrations = Demonstrations(camera_spec, shown, capacities[1], 1)
    sampler = MixedSampler(camera_spec, replay, demonstrations, 0.5, CPU)
    arrived = []
    while any(streams):
        actor = data.draw(st.sampled_from([i for i, s in enumerate(streams) if s]))
        count = data.draw(st.integers(1, 6))
        arrived.append(np.concatenate(streams[actor][:count]))
        del streams[actor][:count]
        sampler.append(arrived[-1])
    came = np.concatenate(arrived)
    interventions = came[came["intervened"]]
    assert sampler.environment_steps == len(came)
    assert held(replay) == set(origins(came)[-capacities[0] :])
    assert held(demonstrations) == set(origins(shown) + origins(interventions)[-capacities[1] :])
    assert len(demonstrations) == recorded + min(len(interventions), capacities[1])
    assert_whole(sampler.sample(2, 64))


def test_recorded_ones_stay_also_if_each_is_one_step(camera_spec, camera_step, assert_whole):
    """Such episodes have two frames a step, more than a ring has room for."""
    recorded = np.concatenate([camera_step(1, episode, 0) for episode in range(1500)])
    demonstrations = Demonstrations(camera_spec, recorded, 10, 0)
    for episode in range(2000, 2100):
        demonstrations.append(camera_step(1, episode, 0))
    assert len(demonstrations) == 1510
    batch = MixedSampler(
        camera_spec, ReplayBuffer(camera_spec, 1, 0), demonstrations, 0.5, CPU
    ).sample(1, 20_000)  # fmt: skip
    assert set(batch["observation.state"][:, 0].tolist()) == {*range(1500), *range(2090, 2100)}
    assert_whole(batch)


def test_both_parts_are_sampled_uniformly_and_resume_where_they_were(spec, make_records):
    first = Demonstrations(spec, make_records(7, step=np.arange(7)), 5, 3)
    # One more than there is room for: the ring's oldest has moved on.
    first.append(make_records(6, step=np.arange(6, 12)))
    steps = first.take("step", first.draw(24_000))
    counts = np.bincount(steps, minlength=12)
    assert counts[:7].min() > 1800
    assert counts[7:].min() > 1800
    second = Demonstrations(spec, make_records(7), 5, 99)
    second.append(make_records(6))
    second.set_random_state(first.random_state())
    assert np.array_equal(first.draw(50), second.draw(50))


def test_without_interventions_it_is_a_replay_of_the_demonstrations(spec, make_records):
    records = make_records(30)
    buffer = ReplayBuffer(spec, 30, 4)
    buffer.append(records)
    demonstrations = Demonstrations(spec, records, 10, 4)
    for name in ("reward", "observation.state"):
        rows = buffer.draw(200), demonstrations.draw(200)
        assert np.array_equal(buffer.take(name, rows[0]), demonstrations.take(name, rows[1]))
