"""A recording that drives: the actions of episodes, one after the other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from controllers.config import Config, InputError
from controllers.state import RobotState
from robot_env.devices.driving import read_device_config
from robot_env.env import RobotEnv
from robot_env.episodes import list_episodes, read_episode
from robot_env.task import Task
from robot_env.teleoperator import Event

Action = NDArray[np.float32]

# Parts of a task that decide what an action does.
_MEANING = ("action", "control_rate_hz")


class ReplayConfig(Config):
    """What is replayed.

    Attributes:
        episodes: An episode (`*.mcap`), or a folder of them, which are replayed by name, and then again.
    """

    episodes: str | None = None


class Replay:
    """Implements `robot_env.teleoperator.Teleoperator`: after the last action of an episode the hand is off.

    It leads where it led only from where it began: see the episode's `seed` for a reset of the twin.

    Args:
        recordings: The actions of each episode, each of shape (T, A); at least one.
    """

    def __init__(self, recordings: Sequence[Action]) -> None:
        self._recordings = recordings
        self._episode = -1
        self._step = 0

    def connect(self) -> None:
        """Nothing is to be opened."""

    def restart(self, state: RobotState) -> None:
        """Begin the next episode."""
        self._episode = (self._episode + 1) % len(self._recordings)
        self._step = 0

    def get_action(self, state: RobotState, last_action: Action) -> Action | None:
        """The next action."""
        recording = self._recordings[self._episode]
        if self._step == len(recording):
            return None
        self._step += 1
        return recording[self._step - 1]

    def get_events(self) -> tuple[Event, ...]:
        """It says nothing."""
        return ()

    def disconnect(self) -> None:
        """Nothing is to be closed."""


def make_replay(env: RobotEnv, config: Mapping[str, Any]) -> Replay:
    """Factory named by `device=replay`.

    Raises:
        InputError: `config` is not a `ReplayConfig`, or an episode is missing, damaged, or of another task.
    """
    given = read_device_config(ReplayConfig, config).episodes
    if given is None:
        raise InputError("device.config.episodes says what is replayed: an episode (*.mcap) or a folder.")
    path = Path(given)
    paths = list_episodes(path) if path.is_dir() else [path]
    if not paths:
        raise InputError(f"There are no episodes (*.mcap) in {path} to replay; give a folder that has some.")
    return Replay([_actions(path, env.task) for path in paths])


def _actions(path: Path, task: Task) -> Action:
    episode = read_episode(path)
    ours, theirs = msgspec.to_builtins(task), episode.metadata.task
    for key in _MEANING:
        if theirs.get(key) != ours[key]:
            raise InputError(
                f"Episode {path} was recorded with task.{key} = {theirs.get(key)}, this task has {ours[key]}: replay "
                "it on the task that it was recorded with."
            )
    return episode.actions
