"""Environments by name, by gymnasium id, and for other people's learners."""

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import sim  # noqa: F401 - registers the ids
from controllers.config import InputError
from sim.registration import gymnasium_id, load, make_env, make_twin, task_names

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
