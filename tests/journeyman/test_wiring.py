"""Parts of a run that are named by their dotted path."""

import numpy as np
import pytest

from agent.config import InputError as InputErrorOfAgent
from controllers.config import InputError
from journeyman.config import compose
from journeyman.wiring import make_env, make_teleoperator, task_description


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
