"""The suites of bench/external.yaml with their packages: run in the environment of `make external`, else skipped."""

import msgspec
import numpy as np
import pytest

from bench.external_suites import demonstrate, load_suite, make_env, make_spec

SUITES = {name: load_suite(name) for name in ("metaworld", "adroit", "fetch", "gym_hil")}
PACKAGES = {
    "metaworld": "metaworld",
    "adroit": "gymnasium_robotics",
    "fetch": "gymnasium_robotics",
    "gym_hil": "gym_hil",
}
TASKS = [(name, task) for name, suite in SUITES.items() for task in suite.tasks]


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_every_task_is_made_and_stepped_and_starts_as_its_seed_says(name, task):
    pytest.importorskip(PACKAGES[name])
    env, rng = make_env(SUITES[name], task), np.random.default_rng(0)
    spec = make_spec(env)
    starts = [spec.observation(env.reset(seed=seed)[0])["state"] for seed in (3, 4, 3)]
    np.testing.assert_array_equal(starts[0], starts[2])
    assert np.abs(starts[0] - starts[1]).max() > 1e-3
    assert (env.action_space.low == -1).all()
    assert (env.action_space.high == 1).all()
    steps, over = 0, False
    while not over:
        raw, reward, terminated, truncated, info = env.step(rng.uniform(-1, 1, env.action_space.shape))
        assert np.isfinite(spec.observation(raw)["state"]).all()
        lost = terminated and not info["success"]
        assert reward == (0 if info["success"] else pytest.approx(-100) if lost else -1)
        assert terminated or not info["success"]
        steps, over = steps + 1, terminated or truncated
    limit = SUITES[name].time_limit or env.spec.max_episode_steps
    assert terminated or steps == limit
    # Without a seed an episode starts elsewhere.
    again = [spec.observation(env.reset()[0])["state"] for _ in range(2)]
    assert np.abs(again[0] - again[1]).max() > 1e-3


@pytest.mark.parametrize("task", SUITES["metaworld"].tasks)
def test_the_expert_of_every_metaworld_task_succeeds_under_noise(task):
    pytest.importorskip("metaworld")
    shown = demonstrate(SUITES["metaworld"], task, seed=0)
    assert shown.successes == 20
    assert shown.episodes <= 24
    records = shown.records
    assert records["terminated"].sum() == 20
    assert (records["reward"] == np.where(records["terminated"], 0, -1)).all()
    starts = records["observation.state"][records["step"] == 0]
    assert len(np.unique(starts, axis=0)) == 20
    # The goal is among the observations.
    assert (records["observation.state"][:, -3:] != 0).any()


def test_goals_can_stay_apart():
    pytest.importorskip("gymnasium_robotics")
    suite = load_suite("fetch")
    env = make_env(msgspec.structs.replace(suite, flatten=False), "FetchReach-v4")
    assert make_spec(env).observation_keys == ("achieved_goal", "desired_goal", "observation")
