"""A run that is killed at random moments. `python bench/kills.py` does it fifty times."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bench():
    path = Path(__file__).parents[2] / "bench" / "kills.py"
    spec = importlib.util.spec_from_file_location("kills", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_step_is_stored_once_and_every_finished_recording_is_whole(bench, tmp_path):
    run = bench.Run(tmp_path, np.random.default_rng(5))
    victims = [run.kill_once() for _ in range(2)]
    assert victims == ["actor", "all"]  # `test_train.py` kills learners.
    assert run.finish() == 0
    transitions, finished, _ = bench.check(run.path)
    assert transitions > 50, victims
    assert finished > 0, victims
