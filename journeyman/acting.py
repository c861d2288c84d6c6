"""The environment that an actor acts in: the robot, watched for trouble, assisted by a person, and recorded."""

import sys
from pathlib import Path
from typing import Any

import gymnasium

from controllers.config import InputError
from journeyman.config import RunConfig
from journeyman.curriculum import follow_curriculum
from journeyman.practice import practise
from journeyman.recording import episode_metadata
from journeyman.run_directory import RunDirectory
from journeyman.wiring import make_env, make_teleoperator
from reward_models.success_classifier.labels import LabelFile, Verdict, user_name
from robot_env.assisted_env import AssistedEnv
from robot_env.env import RobotEnv
from robot_env.recorded_env import RecordedEnv
from robot_env.teleoperator import Event
from robot_env.watched_env import WatchedEnv


def make_acting_env(
    config: RunConfig, episodes: Path, run: RunDirectory | None
) -> tuple[gymnasium.Env[Any, Any], RobotEnv]:
    """The environment to act in, and the robot's own inside it.

    Args:
        config: Says what is trouble, who assists, and whether is recorded.
        episodes: Folder of the recordings, unless the configuration names one.
        run: What the actor works for; None if it is on another machine.

    Raises:
        InputError: The robot, the reward or the device cannot be used.
    """
    robot_env = make_env(config, run=run)
    env = practise(robot_env, config, run)
    if config.reset.trouble is not None:
        env = WatchedEnv(env, config.reset.trouble)
    teleoperator = make_teleoperator(config, robot_env)
    if teleoperator is not None:
        env = AssistedEnv(env, teleoperator)
    env = follow_curriculum(env, config, run)
    if config.recording.episodes:
        folder = Path(config.recording.folder) if config.recording.folder else episodes
        metadata = _metadata(config, robot_env)
        env = RecordedEnv(env, folder, config.actor.name, metadata, lambda *said: _label(folder, *said))
    return env, robot_env


def _metadata(config: RunConfig, env: RobotEnv) -> dict[str, Any]:
    """What is known of every episode of a run."""
    return {
        **episode_metadata(env, config, seed=None),
        "operator": f"policy of {config.algorithm.name}",
        "provenance": config.robot.provenance,
        "judge": config.reward.name,
    }


def _label(folder: Path, episode: str, step: int, verdict: Event) -> None:
    """What a person says of an episode's last frame is a label for the next `journeyman reward fit`."""
    label: Verdict = "success" if verdict is Event.SUCCESS else "failure"
    try:
        LabelFile(folder).add(episode, [step], label, user_name())
    except (InputError, OSError) as error:  # No reason to end an actor.
        print(f"The verdict on {episode} is not kept as a label: {error}", file=sys.stderr, flush=True)
