"""Episodes to fit a success classifier to: a scripted expert with lapses, who lingers after success."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from agent.config import InputError
from journeyman.config import RunConfig
from journeyman.recording import demonstrator, episode_metadata, episode_path, make_folder
from journeyman.wiring import make_env
from robot_env.env import RobotEnv
from robot_env.episodes import EpisodeWriter
from sim.scene import Expert, TwinScene

MIXED_SEED = 3_000_000
# Chance per step that a lapse begins, one drawn for each episode: from hardly any to hardly anything else.
_LAPSE_CHANCES = (0.0, 0.05, 0.15, 0.4)
_LONGEST_LAPSE = 6
_LINGER_STEPS = 5
_FASTEST_LINGERING = 0.5


def record_mixed(config: RunConfig, folder: Path, episodes: int) -> None:
    """Record successes and failures of many kinds until `folder` holds `episodes`; what is there counts.

    Every frame's reward is the twin's own knowledge, also in the steps after success. Such episodes
    are for `journeyman label`, not for learning: they do not end at success.

    Raises:
        InputError: The folder cannot be written, or the robot has no scripted expert or no cameras.
    """
    if not config.task.cameras:
        raise InputError(
            f"Task {config.task.name!r} has no cameras, so there is nothing to label; give some, such as "
            "task.cameras='{front: {width: 64, height: 64}}'."
        )
    make_folder(folder)
    missing = [number for number in range(episodes) if not episode_path(folder, number).exists()]
    if not missing:
        return
    env = make_env(demonstrator(config))
    if not isinstance(env.scene, TwinScene):
        raise InputError(f"Robot {config.robot.name!r} has no scripted expert: record by hand, and label.")
    try:
        console = Console(stderr=True)
        for number in track(missing, f"{config.task.name}: successes and failures", console=console):
            seed = MIXED_SEED + 100_000 * config.seed + number
            _record(env, env.scene, config, episode_path(folder, number), seed)
    finally:
        env.close()


class LapsingExpert:
    """The scripted expert with noise on its actions; now and then it repeats one random action for some steps.

    Args:
        expert: What to do otherwise.
        noise: Standard deviation, in action units.
        chance: Per step, of a lapse.
        rng: Source of randomness.
    """

    def __init__(self, expert: Expert, noise: float, chance: float, rng: np.random.Generator) -> None:
        self._expert = expert
        self._noise = noise
        self._chance = chance
        self._rng = rng
        self._left = 0
        self._lapse: NDArray[np.float64] = np.zeros(0)

    def act(self) -> NDArray[np.float32]:
        """The action to take now, in [-1, 1]."""
        action = np.asarray(self._expert.act(), np.float64)
        if self._left == 0 and self._rng.random() < self._chance:
            self._left = int(self._rng.integers(1, _LONGEST_LAPSE + 1))
            self._lapse = self._rng.uniform(-1.0, 1.0, action.shape)
        if self._left:
            self._left -= 1
            action = self._lapse
        noisy: NDArray[np.float64] = np.clip(action + self._rng.normal(0.0, self._noise, action.shape), -1, 1)
        return noisy.astype(np.float32)


def _record(env: RobotEnv, scene: TwinScene, config: RunConfig, path: Path, seed: int) -> None:
    """Record one episode up to the time limit, or until the arm has lingered after success."""
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    noise, chance = config.demonstrations.noise, float(rng.choice(_LAPSE_CHANCES))
    expert = scene.make_expert()
    lapsing = LapsingExpert(expert, noise, chance, rng)
    metadata = {**episode_metadata(env, config, seed), "operator": "scripted expert with lapses"}
    writer = EpisodeWriter(path, **metadata, provenance="twin")
    writer.start(observation, env.robot.observe())
    pace = rng.uniform(0.0, _FASTEST_LINGERING)
    to_linger, success, last = _LINGER_STEPS, False, False
    info: dict[str, Any] = {}
    for step in range(1, config.task.episode_steps + 1):
        action = _lingering(expert, pace, config) if success else lapsing.act()
        observation, reward, terminated, _, info = env.step(action)
        success = success or terminated
        to_linger -= success
        last = step == config.task.episode_steps or to_linger < 0
        writer.step(info["executed_action"], float(reward), observation, False, last, env.robot.observe())
        if last:
            break
    writer.finish(success=success)


def _lingering(expert: Expert, pace: float, config: RunConfig) -> NDArray[np.float32]:
    """Go on as the expert would, but slowly: a policy does not stop at the first instant of success either."""
    action = expert.act()
    arm = len(action) - config.task.action.gripper
    action[:arm] *= pace
    return action
