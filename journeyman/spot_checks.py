"""Spot checks: a person looks at a sample of a run's episodes, where nobody else knows whether the reward was right."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from agent.config import Config, InputError
from agent.storage import write_atomically
from journeyman import reward_watch
from reward_models.success_classifier.labels import TRUTH, LabelFile
from robot_env.episodes import list_episodes, read_episode

_FILE_NAME = "spot_checks.json"


class Check(Config):
    """An episode that was drawn.

    Attributes:
        episode: Name of the file.
        steps: Number of its last frame, which is what is judged.
        success: What the reward model said.
        environment_steps: Of the run, when it ended, as far as episodes are recorded.
    """

    episode: str
    steps: int
    success: bool
    environment_steps: int


def draw(folder: Path, count: int, seed: int = 0) -> list[Check]:
    """Choose episodes at random, half of them from what was judged a success; what was drawn before comes first.

    Args:
        folder: The episodes of one run.
        count: Number of episodes in all.
        seed: Of the choice.

    Raises:
        InputError: There are no episodes, or one is damaged.
    """
    drawn = read(folder)
    known = {check.episode for check in drawn}
    left = [check for check in _outlines(folder) if check.episode not in known]
    rng = np.random.default_rng([seed, len(drawn)])
    for check in rng.permutation(np.array(left, object)).tolist():
        same = sum(other.success == check.success for other in drawn)
        if len(drawn) < count and same < count / 2:
            drawn.append(check)
    write_atomically(folder / _FILE_NAME, msgspec.json.format(msgspec.json.encode(drawn), indent=1))
    return drawn


def read(folder: Path) -> list[Check]:
    """What was drawn; nothing if nobody has.

    Raises:
        InputError: The file is damaged.
    """
    path = folder / _FILE_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Check])
    except FileNotFoundError:
        return []
    except msgspec.MsgspecError as error:
        raise InputError(f"{path} is damaged ({error}): remove it, and draw again.") from None


def results(folder: Path) -> list[dict[str, bool | int]]:
    """What the reward model and a person said of every drawn episode that was looked at, as `reward_watch` reads it."""
    checks = read(folder)
    if not checks:
        return []
    said = LabelFile(folder).read()
    found = []
    for check in checks:
        label = said.get((check.episode, check.steps))
        if label is not None and label.who != TRUTH and label.label != "skip":
            found.append(
                {
                    "environment_steps": check.environment_steps,
                    "success": check.success,
                    "true_success": label.label == "success",
                }
            )
    return sorted(found, key=lambda one: one["environment_steps"])


def watch(folder: Path) -> dict[str, Any] | None:
    """The comparison, as of `reward_watch`; None if nobody has looked at any."""
    return reward_watch.watch(results(folder))


def describe(watched: dict[str, Any]) -> str:
    """One line."""
    return reward_watch.describe(watched, "Spot checks of {} episodes")


def _outlines(folder: Path) -> list[Check]:
    """Every episode of a folder."""
    paths = list_episodes(folder)
    if not paths:
        raise InputError(
            f"There are no episodes (*.mcap) in {folder}; give the folder that has them, such as runs/latest/episodes."
        )
    found, total = [], 0
    for path in paths:
        episode = read_episode(path)
        steps = len(episode.actions)
        total += steps
        found.append(
            Check(episode=path.name, steps=steps, success=bool(episode.success), environment_steps=total)
        )
    return found
