"""Environments of the twin, made once per task: a reset restores everything."""

from collections.abc import Callable

import numpy as np
import pytest

from robot_env.env import RobotEnv
from sim.registration import make_env


@pytest.fixture(scope="session")
def twin_env() -> Callable[[str], RobotEnv]:
    made: dict[str, RobotEnv] = {}

    def get(task: str) -> RobotEnv:
        if task not in made:
            made[task] = make_env(task)
        return made[task]

    return get


@pytest.fixture
def lift_cube(twin_env) -> RobotEnv:
    env = twin_env("lift_cube")
    env.reset(seed=0)
    return env


@pytest.fixture(scope="session")
def expert_successes() -> Callable[[RobotEnv, int, float], list[int]]:
    """Steps of every successful episode of the expert, with noise on its actions."""

    def play(env: RobotEnv, episodes: int, noise: float) -> list[int]:
        steps: list[int] = []
        for seed in range(episodes):
            rng = np.random.default_rng(seed)
            env.reset(seed=seed)
            expert = env.scene.make_expert()
            for step in range(1, env.task.episode_steps + 1):
                action = expert.act()
                noisy = np.clip(action + rng.normal(0.0, noise, action.shape), -1.0, 1.0)
                _, _, terminated, truncated, _ = env.step(noisy.astype(np.float32))
                if terminated:
                    steps.append(step)
                if terminated or truncated:
                    break
        return steps

    return play
