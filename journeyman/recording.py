"""What recording episodes of the scripted expert needs, whatever is recorded."""

from pathlib import Path
from typing import Any

import msgspec

from agent.config import InputError
from journeyman.config import RunConfig
from journeyman.wiring import judged_by_task
from robot_env.env import RobotEnv


def make_folder(folder: Path) -> None:
    """Make the folder of episodes if it is not there.

    Raises:
        InputError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Demonstrations cannot be written to {folder}: {error.strerror}.") from None


def demonstrator(config: RunConfig) -> RunConfig:
    """The configuration with the robot that the scripted expert acts on, which a real arm lacks, and its own reward."""
    config = judged_by_task(config)
    robot = config.robot
    if robot.demonstrator is None or robot.provenance != "twin":
        return config
    robot = msgspec.structs.replace(robot, factory=robot.demonstrator, config={})
    return msgspec.structs.replace(config, robot=robot)


def episode_path(folder: Path, number: int) -> Path:
    """The file of a numbered episode."""
    return folder / f"{number:04d}.mcap"


def episode_metadata(env: RobotEnv, config: RunConfig, seed: int | None) -> dict[str, Any]:
    """What `EpisodeWriter` wants to know of an episode of the scripted expert."""
    return {
        "task": msgspec.to_builtins(config.task),
        "robot": config.robot.name,
        "state_names": env.state_names,
        "action_size": config.task.action.size,
        "joint_names": env.robot.joint_names,
        "operator": "scripted expert",
        "seed": seed,
    }
