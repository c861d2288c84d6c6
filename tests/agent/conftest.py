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
