"""`journeyman episodes play FILE`: do again what was recorded, and see how far it departs from the recording.

The recorded actions go through `RobotEnv.step`, so that on a real arm the safety filter stands between them and the
motors as in every run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.config import Config, InputError
from controllers.rotations import conjugate, multiply, to_rotation_vector
from journeyman.config import RunConfig, compose
from journeyman.episodes.description import outcome, state_groups, state_scales, unit_of
from journeyman.episodes.recordings import examine
from journeyman.episodes.words import make_console, make_table, one_file, split_words
from journeyman.options import read_options
from journeyman.video import Film
from journeyman.wiring import judged_by_task, make_env
from robot_env.contracts import Observation
from robot_env.env import RobotEnv
from robot_env.episode import Episode
from robot_env.realtime import prefer_control_loop
from robot_env.robot import RobotError
from robot_env.task import Task

Array = NDArray[np.float64]

# Where the safety filter changed a command, the executed action stands for it up to the rounding of float32.
_ROUNDING = 1e-6


class PlayOptions(Config):
    """Options of `journeyman episodes play`, besides those of the robot (`robot=ros2`, `robot.config.arm=franka`).

    Attributes:
        video: MP4 of the replay.
        max_start_m: The arm must start this near to where the recording does.
        max_start_rad: And be turned by no more than this against it.
    """

    video: str | None = None
    max_start_m: float = 0.02
    max_start_rad: float = 0.1

    def __post_init__(self) -> None:
        """Refuse bounds that bound nothing."""
        if not 0.0 < self.max_start_m < np.inf or not 0.0 < self.max_start_rad < np.inf:
            raise ValueError(
                f"max_start_m {self.max_start_m} and max_start_rad {self.max_start_rad} must be positive and finite"
            )


@dataclass
class Replay:
    """What came of doing an episode again, beside what was recorded of it.

    Attributes:
        observations: As in `Episode`, one more than steps were done.
        rewards: Paid at each step.
        success: Whether the task was done at some step.
    """

    observations: list[Observation] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    success: bool = False


def run(words: list[str]) -> int:
    """Play and compare.

    Raises:
        InputError: The file is no episode, or does not fit the robot.
        RobotError: The robot cannot be driven, or does not start where the recording does.
    """
    paths, rest = split_words(words)
    of_robot = [word for word in rest if word.startswith(("robot=", "robot."))]
    options = read_options(PlayOptions, [word for word in rest if word not in of_robot], "episodes play")
    path = one_file(paths, "play")
    recording = examine(path, images=True)
    if recording.episode is None:
        raise InputError(f"{recording.path}: {recording.fault}")
    episode = recording.episode
    config = configure(episode, path, of_robot)
    env = make_env(config, render=options.video is not None)
    film = Film(Path(options.video), config.task.control_rate_hz) if options.video else None
    if not config.robot.simulated_time:
        prefer_control_loop()
    try:
        replay = play(env, episode, path, options, film)
    finally:
        env.close()
        if film:
            film.close()
    _print(episode, replay, env)
    if film:
        print(f"Film: {film.refused or options.video}")
    return 0


def configure(episode: Episode, path: Path, of_robot: Sequence[str]) -> RunConfig:
    """The recording's own task, on the robot that `of_robot`, Hydra overrides, choose.

    Raises:
        InputError: The recording has no task of ours.
    """
    try:
        task = msgspec.convert(episode.metadata.task, Task, strict=False)
    except msgspec.ValidationError as error:
        raise InputError(
            f"{path} cannot be played: its task is not one of this program ({error}); play what `journeyman collect` "
            "or a run recorded."
        ) from None
    return judged_by_task(msgspec.structs.replace(compose(of_robot), task=task))


def play(
    env: RobotEnv, episode: Episode, path: Path, options: PlayOptions, film: Film | None = None
) -> Replay:
    """Reset by the recording's seed, then do its actions, one per control period.

    Raises:
        InputError: The environment does not have the recording's actions and states.
        RobotError: The robot cannot be driven, or does not start where the recording does; then it has not moved
            since the reset.
    """
    metadata = episode.metadata
    if (env.task.action.size, env.state_names) != (metadata.action_size, metadata.state_names):
        raise InputError(
            f"{path} has {metadata.action_size} action and {len(metadata.state_names)} state entries, but its task on "
            f"this robot has {env.task.action.size} and {len(env.state_names)}, or other ones; play it on the robot "
            f"that recorded it ({metadata.robot})."
        )
    observation, _ = env.reset(seed=metadata.seed)
    _check_start(env, episode, path, options)
    replay = Replay(observations=[observation])
    for step, action in enumerate(episode.actions, start=1):
        observation, reward, terminated, _, _ = env.step(action)
        replay.observations.append(observation)
        replay.rewards.append(float(reward))
        replay.success = replay.success or terminated
        if film and film.refused is None:
            film.add(env, f"{path.stem}  {step} of {len(episode.actions)}", terminated)
    return replay


def _check_start(env: RobotEnv, episode: Episode, path: Path, options: PlayOptions) -> None:
    """Refuse a start elsewhere: the same actions would lead the arm along a way that nobody has seen."""
    state, robot = env.robot.observe(), episode.robot
    if not {"ee_position_m", "ee_quaternion_xyzw"} <= robot.keys():
        raise InputError(f"{path} does not tell where the arm was, so nobody knows whether it starts there.")
    apart_m = float(np.linalg.norm(state.ee_position_m - robot["ee_position_m"][0]))
    turn = multiply(state.ee_quaternion_xyzw, conjugate(robot["ee_quaternion_xyzw"][0]))
    apart_rad = float(np.linalg.norm(to_rotation_vector(turn)))
    # Negated, because every comparison with NaN is false.
    if not (apart_m <= options.max_start_m and apart_rad <= options.max_start_rad):
        seed = episode.metadata.seed
        why = "it was recorded without a seed" if seed is None else f"reset with its seed {seed}"
        raise RobotError(
            f"{path} is not played: the arm starts {apart_m:.3f} m and {apart_rad:.2f} rad from where the recording "
            f"does ({why}), but max_start_m is {options.max_start_m:g} and max_start_rad {options.max_start_rad:g}; "
            "bring it nearer to that start, choose the recording's robot and task, or allow more."
        )


def departures(episode: Episode, replay: Replay, scales: Array) -> dict[str, Array]:
    """How far each observable is from the recording at every instant.

    Args:
        episode: The recording.
        replay: Of the same length.
        scales: Of the entries of `state`, shape (S,).

    Returns:
        By observable the largest difference of its entries in its own unit, by camera the mean one in grey levels of
        255; each of shape (T + 1,).
    """
    recorded = episode.observations
    again = {key: np.stack([seen[key] for seen in replay.observations]) for key in replay.observations[0]}
    difference = np.abs(again["state"].astype(np.float64) - recorded["state"]) * scales
    found = {name: difference[:, entries].max(1) for name, entries in state_groups(episode.metadata).items()}
    for name in sorted(again.keys() & recorded.keys() - {"state"}):
        if again[name].shape == recorded[name].shape:
            apart = np.abs(again[name].astype(np.int16) - recorded[name])
            found[f"camera {name}"] = apart.mean((1, 2, 3))
    return found


def _print(episode: Episode, replay: Replay, env: RobotEnv) -> None:
    console = make_console()
    found: dict[str, Any] = departures(episode, replay, state_scales(episode.metadata))
    table = make_table("Departure from the recording", "observable", ">mean", ">largest", ">at step", "unit")
    for name, apart in found.items():
        unit = "of 255" if name.startswith("camera ") else unit_of(name)
        table.add_row(name, f"{apart.mean():.3g}", f"{apart.max():.3g}", str(int(apart.argmax())), unit)
    console.print(table)
    furthest = max(float(apart.max()) for apart in found.values())
    if replay.rewards == episode.rewards.tolist() and furthest < _ROUNDING:
        how = (
            "to the bit"
            if furthest == 0.0
            else "but for rounding: the executed actions were stored as float32"
        )
        console.print(f"The replay is the recording, {how}.")
    again = "success" if replay.success else "failure"
    same = "as recorded" if again == outcome(episode) else f"but recorded was {outcome(episode)}"
    console.print(
        f"{len(replay.rewards)} steps of {env.task.name}: {again}, {same}; return {sum(replay.rewards):g}, recorded "
        f"{episode.rewards.sum():g}"
    )
    if hits := env.robot.limit_hits:
        console.print(
            f"Safety limits that were hit: {', '.join(f'{k} {n}' for k, n in sorted(hits.items()))}"
        )
