"""Environments by name, by gymnasium id, and for other people's learners."""

import subprocess
import sys
import warnings

import gymnasium
import msgspec
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import sim  # noqa: F401 - registers the ids
from controllers.config import InputError
from sim.registration import gymnasium_id, load, make_env, make_twin, make_vec_env, task_names

IDS = [gymnasium_id(name) for name in task_names()]


def test_the_names_are_those_of_the_files() -> None:
    assert {"lift_cube", "reach"} <= set(task_names())
    assert {"journeyman/LiftCube-v0", "journeyman/Reach-v0"} <= set(IDS)
    assert all(load(name).name == name for name in task_names())


def test_an_unknown_task_is_answered_with_the_choices() -> None:
    with pytest.raises(
        InputError,
        match=r"no task 'lift_cub'; choose from lift_cube, lift_cube_pixels, reach.*Did you mean 'lift_cube'",
    ):
        make_env("lift_cub")


@pytest.mark.parametrize("identifier", IDS)
def test_gymnasium_accepts_it(identifier: str) -> None:
    env = gymnasium.make(identifier)
    with warnings.catch_warnings():
        # It finds unbounded boxes suspicious; positions of a tracker have no bound.
        warnings.simplefilter("ignore")
        check_env(env.unwrapped, skip_render_check=True)
    env.close()


@pytest.mark.parametrize("identifier", IDS)
def test_the_time_limit_is_the_environments_own(identifier: str) -> None:
    env = gymnasium.make(identifier)
    env.reset(seed=0)
    still = np.zeros(env.action_space.shape, np.float32)
    ends = [env.step(still)[2:4] for _ in range(env.unwrapped.task.episode_steps)]
    assert ends[-1] == (False, True)
    assert not any(terminated or truncated for terminated, truncated in ends[:-1])


def test_importing_registers_without_loading_mujoco() -> None:
    code = """
import sys
import gymnasium, sim
assert "journeyman/LiftCube-v0" in gymnasium.registry
sys.exit("mujoco" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_stable_baselines3_trains_on_it_unchanged() -> None:
    sac = pytest.importorskip("stable_baselines3").SAC
    env = gymnasium.make("journeyman/LiftCube-v0")
    learner = sac(
        "MultiInputPolicy", env, learning_starts=100, batch_size=32, policy_kwargs={"net_arch": [32]}, seed=0
    )
    learner.learn(300)
    assert learner.num_timesteps == 300
    assert learner.replay_buffer.size() == 300


def test_the_factory_refuses_what_is_not_the_twins() -> None:
    with pytest.raises(InputError, match=r"robot\.config does not fit the twin: .*stiffness"):
        make_twin(load("reach"), {"stiffness": 1.0})
    assert make_twin(load("reach"), {"realtime": True}).robot.twin.config.realtime


@pytest.mark.parametrize("processes", [True, False])
def test_twins_side_by_side_do_what_each_does_alone(processes: bool) -> None:
    task = msgspec.structs.replace(load("lift_cube"), episode_length_s=0.5)
    several = make_vec_env(task, 2, processes=processes)
    alone = [make_env(task) for _ in range(2)]
    try:
        seen, _ = several.reset(seed=7)
        for number, env in enumerate(alone):
            np.testing.assert_array_equal(seen["state"][number], env.reset(seed=7 + number)[0]["state"])
        assert np.abs(seen["state"][0] - seen["state"][1]).max() > 1e-3
        rng = np.random.default_rng(0)
        for _ in range(task.episode_steps):
            actions = rng.uniform(-1, 1, several.action_space.shape).astype(np.float32)
            seen, rewards, terminated, truncated, infos = several.step(actions)
            for number, env in enumerate(alone):
                observation, reward, *ends, info = env.step(actions[number])
                np.testing.assert_array_equal(seen["state"][number], observation["state"])
                np.testing.assert_array_equal(infos["executed_action"][number], info["executed_action"])
                assert [rewards[number], terminated[number], truncated[number]] == [reward, *ends]
        assert truncated.all()
        # The next episode of each begins as that of one that goes on without a seed.
        seen, *_ = several.step(actions)
        np.testing.assert_array_equal(seen["state"], [env.reset()[0]["state"] for env in alone])
    finally:
        several.close()


def test_gymnasium_makes_several_by_id() -> None:
    several = gymnasium.make_vec("journeyman/LiftCube-v0", num_envs=2, vectorization_mode="sync")
    ours = make_vec_env("lift_cube", 2, processes=False)
    np.testing.assert_array_equal(several.reset(seed=1)[0]["state"], ours.reset(seed=1)[0]["state"])


def test_no_twins_and_no_task_are_refused() -> None:
    with pytest.raises(InputError, match="0 twins"):
        make_vec_env("lift_cube", 0)
    with pytest.raises(InputError, match="no task 'lift'"):
        make_vec_env("lift", 2)
