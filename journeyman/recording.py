"""What recording episodes needs, whoever acts."""

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from agent.config import InputError
from journeyman.config import RunConfig
from journeyman.wiring import judged_by_task
from robot_env.assisted_env import AssistedEnv
from robot_env.contracts import Observation
from robot_env.env import RobotEnv
from robot_env.episode_writer import EpisodeWriter


class Recipe(NamedTuple):
    """How episodes are recorded that need nobody.

    Attributes:
        operator: Who acts, for the metadata.
        seed: Of a number and an attempt, of the reset.
        attempts: So many failures in a row are discarded; then it is given up.
        keep_failures: Whether a failure is an episode like any other.
        linger_steps: Go on for so long after success.
        provenance: What the steps are marked with.
    """

    operator: str
    seed: Callable[[int, int], int]
    attempts: int = 1
    keep_failures: bool = False
    linger_steps: int = 0
    provenance: str = "demonstration"


def record_missing(
    env: AssistedEnv, config: RunConfig, folder: Path, numbers: list[int], recipe: Recipe
) -> Iterator[Path]:
    """Record episodes of these numbers; gives the path of each once it is whole.

    Raises:
        InputError: One failed too often.
    """
    for number in numbers:
        yield _record(env, config, _always(episode_path(folder, number)), number, recipe)


def record_in_turn(
    env: AssistedEnv, config: RunConfig, folders: Mapping[str, Path], episodes: int, recipe: Recipe
) -> Iterator[Path]:
    """Record in one stream, without resets, until each agent has `episodes`; gives the path of each that is whole.

    Args:
        env: Says at its resets whose turn it is.
        config: Of the run.
        folders: Of each agent.
        episodes: So many for each; one more than is wanted may be there.
        recipe: How.

    Raises:
        InputError: One failed too often.
    """

    def where(started: dict[str, Any]) -> Path:
        folder = folders[started["agent"]]
        return next(path for n in count() if not (path := episode_path(folder, n)).exists())

    number = 0
    while any(missing_numbers(folder, episodes) for folder in folders.values()):
        yield _record(env, config, where, number, recipe)
        number += 1


def _always(path: Path) -> Callable[[dict[str, Any]], Path]:
    return lambda _started: path


def _record(
    env: AssistedEnv, config: RunConfig, where: Callable[[dict[str, Any]], Path], number: int, recipe: Recipe
) -> Path:
    for attempt in range(recipe.attempts):
        path = _attempt(env, config, where, recipe.seed(number, attempt), recipe)
        if path is not None:
            return path
    raise InputError(
        f"The {recipe.operator} of {config.task.name!r} failed {recipe.attempts} times in a row; choose less "
        "noise, or something better to record."
    )


def _attempt(
    env: AssistedEnv, config: RunConfig, where: Callable[[dict[str, Any]], Path], seed: int, recipe: Recipe
) -> Path | None:
    observation, started = env.reset(seed=seed)
    metadata = episode_metadata(env.robot_env, config, seed)
    metadata |= {"operator": recipe.operator, "provenance": recipe.provenance}
    path = where(started)
    writer = EpisodeWriter(path, **metadata)
    success = False
    for _, info in recorded_steps(env, writer, observation, recipe.linger_steps):
        success = success or info["success"]
    if success or recipe.keep_failures:
        writer.finish(success)
        return path
    writer.discard()
    return None


def recorded_steps(
    env: AssistedEnv,
    writer: EpisodeWriter,
    observation: Observation,
    linger_steps: int = 0,
    by_person: bool = False,
) -> Iterator[tuple[Observation, dict[str, Any]]]:
    """Let whoever holds the device act, and record it, until the episode ends. Gives observation and `info` per step.

    While no hand is on the device the arm rests, and the gripper stays as it was last told to be.

    Args:
        env: After its reset.
        writer: Is started here; to finish or discard it is the caller's.
        observation: What is seen now.
        linger_steps: Go on for so long after success; then the episode has no termination.
        by_person: Whether the steps of a hand are a person's.
    """
    robot_env = env.robot_env
    rest = robot_env.action_at_rest(robot_env.state)
    arm = len(rest) - robot_env.task.action.gripper
    writer.start(observation, robot_env.state)
    left, is_over, step = linger_steps, False, 0
    while not is_over:
        observation, reward, terminated, truncated, info = env.step(rest)
        step += 1
        left -= terminated or left < linger_steps
        is_over = left < 0 or truncated or step == robot_env.task.episode_steps
        ends = terminated and not linger_steps
        writer.step(
            info["executed_action"],
            float(reward),
            observation,
            ends,
            is_over and not ends,
            robot_env.state,
            intervened=by_person and info["intervened"],
        )
        rest = np.append(np.zeros(arm, np.float32), info["executed_action"][arm:])
        yield observation, info


def missing_numbers(folder: Path, episodes: int) -> list[int]:
    """The numbers of `episodes` that `folder` does not hold yet."""
    return [number for number in range(episodes) if not episode_path(folder, number).exists()]


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
