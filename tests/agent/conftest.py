"""Shared pieces of the learning tests."""

import gymnasium
import numpy as np
import pytest
import torch

from agent.replay import MixedSampler, ReplayBuffer
from agent.transition import TransitionSpec


@pytest.fixture
def spec():
    return TransitionSpec.of(
        gymnasium.spaces.Dict({"state": gymnasium.spaces.Box(-np.inf, np.inf, (5,), np.float32)}),
        gymnasium.spaces.Box(-1, 1, (2,), np.float32),
    )


@pytest.fixture(scope="session")
def camera_spec():
    return TransitionSpec.of(
        gymnasium.spaces.Dict(
            {
                "state": gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32),
                "front": gymnasium.spaces.Box(0, 255, (4, 6, 3), np.uint8),
                "wrist": gymnasium.spaces.Box(0, 255, (2, 2, 3), np.uint8),
            }
        ),
        gymnasium.spaces.Box(-1, 1, (2,), np.float32),
    )


@pytest.fixture(scope="session")
def camera_step(camera_spec):
    """A transition every pixel of which names its origin; the actor's number is its reward and the wrist's image."""

    def paint(row, prefix, actor, episode, step):
        row[f"{prefix}.state"] = episode, step
        row[f"{prefix}.front"] = episode % 250, step, 7
        row[f"{prefix}.wrist"] = actor

    def make(actor, episode, step, **values):
        row = np.zeros(1, camera_spec.dtype)
        paint(row, "observation", actor, episode, step)
        paint(row, "next_observation", actor, episode, step + 1)
        row["episode"], row["step"], row["reward"] = episode, step, actor
        for key, value in values.items():
            row[key] = value
        return row

    return make


@pytest.fixture(scope="session")
def assert_whole():
    """That no transition of a batch mixes what belongs to different actors, episodes or steps."""

    def check(batch):
        for prefix in ("observation", "next_observation"):
            episode, step = batch[f"{prefix}.state"].T
            origin = torch.stack([episode % 250, step, torch.full_like(step, 7)], -1)
            front, wrist = batch[f"{prefix}.front"].float(), batch[f"{prefix}.wrist"].float()
            assert torch.equal(front, origin[:, None, None].expand_as(front))
            assert torch.equal(wrist, batch["reward"][:, None, None, None].expand_as(wrist))
        moved = batch["next_observation.state"] - batch["observation.state"]
        assert torch.equal(moved, torch.tensor([0.0, 1.0]).expand_as(moved))

    return check


@pytest.fixture
def make_records(spec):
    """Random transitions; `episode` and `step` say where each belongs."""

    def make(count, seed=0, **values):
        rng = np.random.default_rng(seed)
        rows = np.zeros(count, spec.dtype)
        for key in ("observation.state", "next_observation.state"):
            rows[key] = rng.normal(size=(count, 5))
        rows["action"] = rng.uniform(-1, 1, (count, 2))
        rows["reward"] = rng.normal(size=count)
        for key, value in values.items():
            rows[key] = value
        return rows

    return make


@pytest.fixture
def make_batch(spec, make_records):
    """A batch as the learner's sampler makes it."""

    def make(rows, seed=0, **values):
        buffer = ReplayBuffer(spec, 256, seed)
        buffer.append(make_records(256, seed, **values))
        sampler = MixedSampler(spec, buffer, ReplayBuffer(spec, 1, 0), 0.5, torch.device("cpu"))
        return sampler.sample(1, rows)

    return make
