"""Parts of a run: what is named by its dotted path, and what a learner samples from."""

import re

import numpy as np
import pytest
import torch

from agent.config import InputError as InputErrorOfAgent
from agent.demonstrations import Demonstrations
from agent.record_log import RecordLog
from agent.replay import MixedSampler, ReplayBuffer
from controllers.config import InputError
from journeyman.config import compose
from journeyman.wiring import (
    make_env,
    make_sampler,
    make_spec,
    make_teleoperator,
    replay_capacities,
    task_description,
)


class Hand:
    """Pushes along x."""

    def __init__(self, env, config):
        self.config = config

    def get_action(self, state, last_action):
        return np.eye(1, 3, dtype=np.float32)[0]


def device(factory, *overrides):
    return compose(["task=reach", f"device.factory={factory}", *overrides])


def test_nobody_drives_unless_a_device_is_chosen():
    config = compose(["task=reach"])
    assert make_teleoperator(config, make_env(config)) is None


def test_a_device_is_made_for_the_environment_with_its_configuration(monkeypatch):
    monkeypatch.setattr("sim.registration.Hand", Hand, raising=False)
    config = device("sim.registration.Hand", "device.config.strength=2")
    made = make_teleoperator(config, make_env(config))
    assert isinstance(made, Hand)
    assert made.config == {"strength": 2}


@pytest.mark.parametrize(
    ("factory", "complaint"),
    [
        ("robot_env.nothing.make", "cannot be loaded"),
        ("os.getcwd", "cannot be called"),
        ("operator.is_", "makes no teleoperator"),
    ],
)
def test_what_makes_no_device_is_refused(factory, complaint):
    config = device(factory)
    with pytest.raises((InputError, InputErrorOfAgent), match=complaint):
        make_teleoperator(config, make_env(config))


def test_learner_and_actor_must_judge_by_the_same_file(tmp_path):
    model = tmp_path / "model.safetensors"

    def described(content):
        model.write_bytes(content)
        overrides = ["reward.name=classifier", f"reward.config.model={model}"]
        return task_description(compose(overrides))

    assert described(b"one") == described(b"one")
    assert described(b"one") != described(b"two")
    assert str(tmp_path) not in str(described(b"one"))


def test_a_resumed_learner_samples_what_an_uninterrupted_one_does(tmp_path):
    """Also of interventions; those recorded before the run are there once."""
    config = compose(["task=reach", "learner.replay_capacity=70", "learner.intervention_capacity=20"])
    spec = make_spec(make_env(config))
    rng = np.random.default_rng(0)
    rows = np.zeros(200, spec.dtype)
    rows["reward"], rows["intervened"] = rng.normal(size=200), rng.random(200) < 0.3
    demonstrations = rows[:30].copy()
    log = RecordLog.open(tmp_path / "replay.log", spec.dtype)
    shown = Demonstrations(spec, demonstrations, 20, config.seed + 1)
    online = ReplayBuffer(spec, 70, config.seed + 2)
    uninterrupted = MixedSampler(spec, online, shown, 0.5, torch.device("cpu"))
    for records in np.split(rows[30:], np.sort(rng.integers(1, 170, 25))):
        log.append(records)
        uninterrupted.append(records)
    resumed = make_sampler(config, spec, demonstrations, log, torch.device("cpu"), None)
    log.close()
    for _ in range(3):
        batches = uninterrupted.sample(2, 64), resumed.sample(2, 64)
        assert torch.equal(batches[0]["reward"], batches[1]["reward"])


@pytest.mark.parametrize("interventions", [1, 20_000, 100_000_000])
def test_the_replay_that_is_advised_fits(interventions):
    many = "learner.max_environment_steps=100000000", f"learner.intervention_capacity={interventions}"
    pixels = "task=lift_cube_pixels", "algorithm=drq"
    config = compose([*pixels, *many, "learner.replay_capacity=100000000"])
    spec = make_spec(make_env(config))
    with pytest.raises(InputErrorOfAgent, match=f"{interventions:,} interventions") as refused:
        replay_capacities(config, spec)
    advised = re.search(r"replay_capacity to ([\d,]+) or less", str(refused.value))[1].replace(",", "")
    config = compose([*pixels, *many, f"learner.replay_capacity={advised}"])
    assert replay_capacities(config, spec) == (int(advised), min(interventions, int(advised)))
