"""Frames are kept once, and every transition gets back exactly its own."""

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agent.frames import FrameStore
from agent.replay import MixedSampler, ReplayBuffer, replay_bytes
from agent.transition import TransitionSpec

CPU = torch.device("cpu")


@given(
    # Length, whether it terminates, and after how many of its steps a person broke it off, if at all.
    lengths=st.lists(
        st.tuples(st.integers(1, 12), st.booleans(), st.none() | st.integers(1, 12)), min_size=1, max_size=40
    ),
    actors=st.integers(1, 4),
    capacity=st.integers(5, 100),
    same_numbers=st.booleans(),
    data=st.data(),
)
def test_every_transition_gets_back_its_own_frames(
    camera_spec, camera_step, assert_whole, lengths, actors, capacity, same_numbers, data
):
    """Whatever the lengths and ends of episodes, however actors' streams interleave, also if their numbers collide."""
    streams = [[] for _ in range(actors)]
    for number, (length, terminated, broken_off) in enumerate(lengths):
        actor = number % actors
        episode = number // actors if same_numbers else number
        for step in range(min(length, broken_off or length)):
            ends = terminated and step == length - 1
            streams[actor].append(camera_step(actor, episode, step, terminated=ends))
    buffer = ReplayBuffer(camera_spec, capacity, 0)
    while any(streams):
        actor = data.draw(st.sampled_from([i for i, s in enumerate(streams) if s]))
        count = data.draw(st.integers(1, 5))
        buffer.append(np.concatenate(streams[actor][:count]))
        del streams[actor][:count]
    assert len(buffer) == min(capacity, buffer.total_added)
    batch = MixedSampler(camera_spec, buffer, ReplayBuffer(camera_spec, 1, 0), 0.5, CPU).sample(2, 64)
    assert_whole(batch)


def test_a_shared_frame_is_kept_once(camera_step):
    store = FrameStore.for_transitions({"front": (4, 6, 3), "wrist": (2, 2, 3)}, 100)
    before, after = store.add(np.concatenate([camera_step(0, 0, step) for step in range(10)]))
    assert store.total == 11
    assert before.tolist() == list(range(10))
    assert after.tolist() == list(range(1, 11))
    # The same moment seen otherwise by one camera is another frame.
    other = camera_step(0, 0, 10)
    other["observation.wrist"][0, 1, 1, 1] = 1
    store.add(other)
    assert store.total == 13


def test_frames_of_interleaved_actors_are_shared_too(camera_step):
    store = FrameStore.for_transitions({"front": (4, 6, 3), "wrist": (2, 2, 3)}, 100)
    for step in range(10):
        for actor in range(3):
            store.add(camera_step(actor, 100 * actor, step))
    assert store.total == 3 * 11


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("length", [1, 3, 20])
def test_transitions_go_with_their_frames(camera_spec, camera_step, length, at_once):
    """Of one-step episodes every transition takes two frames, more than there is room for."""
    capacity = 4000
    buffer = ReplayBuffer(camera_spec, capacity, 0)
    episodes = [
        np.concatenate([camera_step(0, episode, step) for step in range(length)])
        for episode in range(capacity * 2 // length)
    ]
    for records in [np.concatenate(episodes)] if at_once else episodes:
        buffer.append(records)
    assert len(buffer) <= capacity
    if length == 20:
        assert len(buffer) == capacity
    batch = MixedSampler(camera_spec, buffer, ReplayBuffer(camera_spec, 1, 0), 0.0, CPU).sample(1, 4000)
    for prefix in ("observation", "next_observation"):
        episodes = batch[f"{prefix}.state"][:, 0] % 250
        assert torch.equal(batch[f"{prefix}.front"][:, 0, 0, 0].float(), episodes)
    assert float(batch["observation.state"][:, 0].min()) >= 2 * capacity // length - capacity / length - 1


def test_what_stands_for_an_image_is_made_once_of_each(camera_spec, camera_step):
    length, episodes = 20, 30
    made = []

    def convert(frames):
        made.append(len(frames["front"]))
        return {key: images.mean((1, 2, 3), dtype=np.float16)[:, None] for key, images in frames.items()}

    buffer = ReplayBuffer(camera_spec, 1000, 0, convert)
    for episode in range(episodes):
        buffer.append(np.concatenate([camera_step(episode, episode, step) for step in range(length)]))
    assert sum(made) == episodes * (length + 1) + 1  # One to see what it looks like.
    batch = MixedSampler(camera_spec, buffer, ReplayBuffer(camera_spec, 1, 0), 0.0, CPU).sample(1, 500)
    for prefix in ("observation", "next_observation"):
        state, kept = batch[f"{prefix}.state"], batch[f"{prefix}.front"]
        assert kept.dtype == torch.float16
        expected = (state.sum(-1) + 7) / 3
        torch.testing.assert_close(kept[:, 0].float(), expected, rtol=1e-2, atol=1e-2)


def test_two_cameras_of_128_pixels_and_100_000_steps_take_10_gb():
    spaces = {name: gymnasium.spaces.Box(0, 255, (128, 128, 3), np.uint8) for name in ("front", "wrist")}
    spaces["state"] = gymnasium.spaces.Box(-np.inf, np.inf, (20,), np.float32)
    spec = TransitionSpec.of(gymnasium.spaces.Dict(spaces), gymnasium.spaces.Box(-1, 1, (4,), np.float32))
    assert replay_bytes(spec, 100_000) < 10e9
    assert replay_bytes(spec, 100_000) > 100_000 * 2 * 128 * 128 * 3
