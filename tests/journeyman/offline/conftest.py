"""Small data sets of others: real files, made by h5py and by the official package of Minari."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import minari
import numpy as np
import pytest
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage

from agent.transition import TransitionSpec

BOX = gymnasium.spaces.Box


@pytest.fixture
def spec() -> TransitionSpec:
    """Three numbers, two actions."""
    return TransitionSpec.of(BOX(-9, 9, (3,), np.float32), BOX(-1, 1, (2,), np.float32))


@pytest.fixture
def write_d4rl(tmp_path: Path) -> Callable[..., Path]:
    """Makes a file of 8 steps: an episode of 3 that terminates, one of 2 that is timed out, one of 3 without an end."""

    def write(name: str = "data.hdf5", **changes: Any) -> Path:
        rng = np.random.default_rng(0)
        fields: dict[str, Any] = {
            "observations": rng.normal(size=(8, 3)),
            "actions": rng.uniform(-0.9, 0.9, (8, 2)),
            "rewards": np.array([0, 0, 1, 0, 0, 0, 0, 0], np.float32),
            "terminals": np.array([0, 0, 1, 0, 0, 0, 0, 0], bool),
            "timeouts": np.array([0, 0, 0, 0, 1, 0, 0, 0], bool),
        }
        with h5py.File(tmp_path / name, "w") as file:
            # What D4RL's files hold besides is of no concern.
            file["infos/qpos"] = np.zeros((8, 5))
            file["metadata/algorithm"] = "SAC"
            for field, values in (fields | changes).items():
                if isinstance(values, dict):
                    for key, array in values.items():
                        file[f"{field}/{key}"] = array
                elif values is not None:
                    file[field] = values
        return tmp_path / name

    return write


@pytest.fixture
def write_minari(tmp_path: Path) -> Callable[..., Path]:
    """Makes a data set of two episodes of 4 steps, of which one terminates and one is truncated."""

    def write(
        folder: Path | None = None,
        space: gymnasium.Space[Any] | None = None,
        observations: Any = None,
        high: float = 1.0,
        **changes: Any,
    ) -> Path:
        folder = folder or tmp_path / "minari"
        folder.mkdir(parents=True, exist_ok=True)
        space = space or BOX(-9, 9, (3,), np.float32)
        rng = np.random.default_rng(1)
        storage = MinariStorage.new(folder, space, BOX(-high, high, (2,), np.float32), jpeg_encoding=False)
        for number in range(2):
            ends = np.zeros((2, 4), bool)
            ends[number, -1] = True
            fields: dict[str, Any] = {
                "observations": rng.normal(size=(5, 3)) if observations is None else observations,
                "actions": rng.uniform(-0.9, 0.9, (4, 2)).astype(np.float32),
                "rewards": np.array([0.0, 0.0, 0.0, 1.0 - number]),
                "terminations": ends[0],
                "truncations": ends[1],
                "infos": {},
            }
            storage.update_episodes([EpisodeBuffer(seed=number, **(fields | changes))])
        storage.update_metadata({"dataset_id": "d/e-v0", "minari_version": minari.__version__})
        return folder

    return write
