"""`journeyman collect`: record demonstrations as MCAP episodes."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from agent.config import InputError
from journeyman.config import RunConfig, compose
from journeyman.lapses import record_mixed
from journeyman.recording import demonstrator, episode_metadata, episode_path, make_folder
from journeyman.wiring import make_env
from robot_env.env import RobotEnv
from robot_env.episodes import EpisodeWriter, list_episodes
from sim.scene import TwinScene

DEMONSTRATION_SEED = 2_000_000
_MAX_ATTEMPTS_PER_EPISODE = 5


def run(options: argparse.Namespace) -> int:
    """Record `demonstrations.episodes` successful episodes, or mixed ones, into `demonstrations.folder`."""
    config = compose(options.overrides)
    folder = Path(
        config.demonstrations.folder or f"{'mixed' if options.mixed else 'demos'}/{config.task.name}"
    )
    if options.mixed:
        record_mixed(config, folder, config.demonstrations.episodes)
    else:
        record_demonstrations(config, folder, config.demonstrations.episodes)
    print(f"{len(list_episodes(folder))} episodes in {folder}")
    return 0


def record_demonstrations(config: RunConfig, folder: Path, episodes: int) -> None:
    """Let the task's scripted expert act until `folder` holds `episodes` successes; what is there counts.

    Noise on the expert's actions spreads the demonstrations around its path, so that the critic learns what
    happens beside it.

    Raises:
        InputError: The folder cannot be written, or the expert does not succeed.
    """
    make_folder(folder)
    missing = [number for number in range(episodes) if not episode_path(folder, number).exists()]
    if not missing:
        return
    env = make_env(demonstrator(config))
    if not isinstance(env.scene, TwinScene):
        raise InputError(
            f"Robot {config.robot.name!r} has no scripted expert: only the twin knows where everything is; give "
            "recorded episodes as demonstrations.folder, or set demonstrations.episodes=0."
        )
    try:
        console = Console(stderr=True)
        for number in track(missing, f"{config.task.name}: scripted demonstrations", console=console):
            _record_success(env, env.scene, config, folder, number)
    finally:
        env.close()


def _record_success(env: RobotEnv, scene: TwinScene, config: RunConfig, folder: Path, number: int) -> None:
    """One successful episode; failures are discarded and tried again from another start."""
    for attempt in range(_MAX_ATTEMPTS_PER_EPISODE):
        seed = DEMONSTRATION_SEED + 1000 * config.seed + number + 100_000 * attempt
        if _record(env, scene, config, episode_path(folder, number), seed):
            return
    raise InputError(
        f"The scripted expert of {config.task.name!r} failed {_MAX_ATTEMPTS_PER_EPISODE} times in a row with "
        f"demonstrations.noise={config.demonstrations.noise}: choose less noise."
    )


def _record(env: RobotEnv, scene: TwinScene, config: RunConfig, path: Path, seed: int) -> bool:
    """Record one episode; keep it if it succeeds."""
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    expert = scene.make_expert()
    writer = EpisodeWriter(path, **episode_metadata(env, config, seed))
    writer.start(observation, env.robot.observe())
    done, info = False, dict[str, Any]()
    while not done:
        action = expert.act()
        noisy = np.clip(action + rng.normal(0.0, config.demonstrations.noise, action.shape), -1, 1)
        observation, reward, terminated, truncated, info = env.step(noisy.astype(np.float32))
        executed = info["executed_action"]
        writer.step(executed, float(reward), observation, terminated, truncated, env.robot.observe())
        done = terminated or truncated
    if info["success"]:
        writer.finish(success=True)
    else:
        writer.discard()
    return bool(info["success"])
