import numpy as np
import pytest

from journeyman import baseline
from journeyman.config import compose
from journeyman.learner import record_missing_demonstrations
from journeyman.run_directory import RunDirectory
from journeyman.wiring import make_env

SMALL = ("task=reach", "demonstrations.episodes=3", "evaluation.episodes=4")


@pytest.fixture
def run(tmp_path):
    def make(*overrides):
        config = compose([*SMALL, *overrides])
        directory = RunDirectory.create(config, tmp_path / "runs")
        record_missing_demonstrations(config, directory)
        return config, directory, make_env(config)

    return make


def test_the_clone_of_the_demonstrations_is_measured_once(run):
    config, directory, env = run("demonstrations.episodes=10")
    measured = baseline.measure(config, directory, env, updates=1500)
    assert measured.episodes == 4
    assert measured.successes >= 2  # Of a policy that does nothing none succeeds.
    assert baseline.measure(config, directory, None) == measured
    assert "behaviour cloning" in baseline.describe(measured)


def test_the_same_demonstrations_and_seed_give_the_same_baseline(run):
    results = []
    for _ in range(2):
        config, directory, env = run()
        results.append(baseline.measure(config, directory, env, updates=30))
    assert results[0] == results[1]
    assert np.isfinite(results[0].mean_return)


@pytest.mark.parametrize(
    "overrides",
    [
        ("evaluation.baseline=false",),
        ("demonstrations.episodes=0",),
        ("algorithm=bc",),
        ("robot.simulated_time=false",),
    ],
)
def test_it_is_left_out_where_it_means_nothing_or_costs_robot_time(run, overrides):
    config, directory, env = run(*overrides)
    assert baseline.measure(config, directory, env) is None
    assert not (directory.path / "baseline.json").exists()


def test_without_the_demonstrations_the_report_goes_on(run, capsys):
    config, directory, env = run()
    for path in directory.demonstrations.iterdir():
        path.unlink()
    assert baseline.measure(config, directory, env) is None
    assert "No baseline" in capsys.readouterr().out
