"""Small episodes in which success is an orange square, and classifiers fitted to them."""

import numpy as np
import pytest
import torch

from controllers.state import RobotState
from reward_models.success_classifier.fitting import FitConfig, fit
from reward_models.success_classifier.frames import read_frames, views_of
from reward_models.success_classifier.labels import LabelFile, add_truth
from reward_models.success_classifier.network import NetworkConfig
from reward_models.success_classifier.preprocessing import Preprocessing
from robot_env.episodes import EpisodeWriter

STATE_NAMES = ("gripper_width", "goal")
TASK = {"name": "squares", "reward": {"kind": "sparse", "success": 0.0, "step": -1.0}}
SMALL = FitConfig(
    epochs=8, network=NetworkConfig(channels=(8, 8, 8), features=16), shift=1, batch_size=32, held_out=0.4
)


def _robot_state(stamp_s):
    zero = np.zeros(3)
    return RobotState(
        stamp_s, *np.zeros((3, 2)), zero, np.array([1.0, 0.0, 0.0, 0.0]), zero, zero, np.zeros(6), 0.04
    )


@pytest.fixture(scope="session")
def observe():
    """An observation: grey noise, with an orange square somewhere if it shows success."""

    def make(success, rng, height=24, width=32):
        front, wrist = (rng.integers(80, 140, (height, width, 3), np.uint8) for _ in range(2))
        if success:
            top, left = rng.integers(2, height - 10), rng.integers(2, width - 10)
            front[top : top + 8, left : left + 8] = (240, 120, 20)
        state = np.array([0.02 if success else 0.08, 0.0], np.float32)
        return {"state": state, "front": front, "wrist": wrist}

    return make


@pytest.fixture(scope="session")
def record(observe):
    """Record an episode in whose last `successes` of `steps` steps the square is there."""

    def make(path, seed, steps=8, successes=3, task=TASK):
        rng = np.random.default_rng(seed)
        writer = EpisodeWriter(
            path, task=task, robot="fake", state_names=STATE_NAMES, action_size=2, provenance="twin"
        )
        writer.start(observe(False, rng), _robot_state(0.0))
        for step in range(1, steps + 1):
            success = step > steps - successes
            seen = observe(success, rng)
            last = step == steps
            writer.step(np.zeros(2), 0.0 if success else -1.0, seen, False, last, _robot_state(0.1 * step))
        writer.finish(success=successes > 0)

    return make


@pytest.fixture(scope="session")
def make_folder(record, tmp_path_factory):
    """A folder of episodes, half of them without success, labelled from the truth."""

    def make(episodes=10, seed=0, labelled=True):
        folder = tmp_path_factory.mktemp("episodes")
        for number in range(episodes):
            record(folder / f"{number:04d}.mcap", 1000 * seed + number, successes=3 * (number % 2))
        if labelled:
            add_truth(LabelFile(folder))
        return folder

    return make


@pytest.fixture(scope="session")
def folder(make_folder):
    return make_folder()


@pytest.fixture(scope="session")
def preprocessing(folder):
    return Preprocessing(cameras=views_of([folder], ["front"], {}), size=24)


@pytest.fixture(scope="session")
def frames(folder, preprocessing):
    return read_frames([folder], preprocessing)


@pytest.fixture(scope="session")
def small():
    return SMALL


@pytest.fixture(scope="session")
def made(frames, preprocessing):
    torch.set_num_threads(1)
    return fit(frames, preprocessing, SMALL, "squares")
