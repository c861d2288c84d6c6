"""`journeyman collect`: record demonstrations as MCAP episodes, by hand or by a script."""

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import track

from agent.config import InputError
from journeyman.collect_options import CollectOptions
from journeyman.config import DeviceConfig, RunConfig, compose
from journeyman.episodes.description import task_name
from journeyman.episodes.recordings import examine
from journeyman.options import read_options
from journeyman.practice import practise
from journeyman.recording import (
    Recipe,
    demonstrator,
    make_folder,
    missing_numbers,
    record_in_turn,
    record_missing,
)
from journeyman.wiring import make_env, make_teleoperator
from robot_env.assisted_env import AssistedEnv
from robot_env.episodes import list_episodes

DEMONSTRATION_SEED = 2_000_000
MIXED_SEED = 3_000_000
_MAX_ATTEMPTS_PER_EPISODE = 5
_LINGER_STEPS = 5
# Else who calls with another device wonders why it does not begin.
_NOTHING_NEW = (
    ": nothing was recorded, as they were there before. episodes=N asks for more in all, folder=DIR puts others "
    "elsewhere."
)
# Short for what everybody changes.
_ALIASES = {"episodes": "demonstrations.episodes", "folder": "demonstrations.folder"}


def run(options: argparse.Namespace) -> int:
    """Record until `demonstrations.folder` holds `demonstrations.episodes`; what is there counts."""
    own = [word for word in options.overrides if word.partition("=")[0] in CollectOptions.__struct_fields__]
    chosen = read_options(CollectOptions, own, "collect")
    rest = [word for word in options.overrides if word not in own]
    _refuse_slips(rest)
    config = compose([_unshortened(word) for word in rest])
    kind = "mixed" if options.mixed else "demos"
    folder = Path(config.demonstrations.folder or f"{kind}/{config.task.name}")
    episodes = config.demonstrations.episodes
    for name in config.practice.agents:
        _refuse_other_task(config, folder / name)
    full = not any(missing_numbers(folder / name, episodes) for name in config.practice.agents)
    if options.mixed:
        record_mixed(config, folder, episodes)
    elif config.device.factory is None:
        record_demonstrations(config, folder, episodes, chosen.keep_failures)
    elif config.device.person:
        from journeyman.session import record_by_hand  # Draws.

        record_by_hand(config, folder, episodes, chosen)
    else:
        _record(config, folder, episodes, _recipe(config, config.device.name, chosen.keep_failures))
    for name in config.practice.agents:
        count = len(list_episodes(folder / name))
        print(
            f"{count} {'episode' if count == 1 else 'episodes'} in {folder / name}{_NOTHING_NEW if full else ''}"
        )
    return 0


def record_demonstrations(
    config: RunConfig, folder: Path, episodes: int, keep_failures: bool = False, announced: bool = True
) -> None:
    """Let the task's scripted expert act until `folder` holds `episodes` successes; what is there counts.

    Args:
        config: Of the run.
        folder: Of the episodes.
        episodes: So many.
        keep_failures: Whether a failure is an episode like any other.
        announced: Whether a line tells of each, where no terminal shows a bar.

    Raises:
        InputError: The folder cannot be written, or the expert does not succeed.
    """
    _record(
        _by_expert(config), folder, episodes, _recipe(config, "scripted expert", keep_failures), announced
    )


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
    recipe = Recipe(
        operator="scripted expert with lapses",
        seed=lambda number, _: MIXED_SEED + 100_000 * config.seed + number,
        keep_failures=True,
        linger_steps=_LINGER_STEPS,
        provenance="twin",
    )
    _record(_by_expert(config, lapses=True), folder, episodes, recipe)


def _by_expert(config: RunConfig, lapses: bool = False) -> RunConfig:
    """The same configuration, driven by the scripted expert."""
    device = DeviceConfig(
        name="expert",
        factory="sim.experts.make_expert",
        config={"noise": config.demonstrations.noise, "lapses": lapses},
        person=False,
    )
    return msgspec.structs.replace(config, device=device)


def _recipe(config: RunConfig, operator: str, keep_failures: bool) -> Recipe:
    return Recipe(
        operator=operator,
        seed=lambda number, attempt: DEMONSTRATION_SEED + 1000 * config.seed + number + 100_000 * attempt,
        attempts=_MAX_ATTEMPTS_PER_EPISODE,
        keep_failures=keep_failures,
    )


def _record(config: RunConfig, folder: Path, episodes: int, recipe: Recipe, announced: bool = True) -> None:
    """Record what is missing, with a bar in a terminal and, if announced, a line per episode elsewhere."""
    folders = {name: folder / name for name in config.practice.agents}
    for each in folders.values():
        make_folder(each)
    missing = {name: missing_numbers(each, episodes) for name, each in folders.items()}
    if not any(missing.values()):
        return
    config = demonstrator(config)
    robot_env = make_env(config)
    teleoperator = make_teleoperator(config, robot_env)
    assert teleoperator is not None  # Whoever calls this has chosen one.
    env = AssistedEnv(practise(robot_env, config), teleoperator)
    console = Console(stderr=True)
    try:
        if config.practice.tasks:
            paths = record_in_turn(env, config, folders, episodes, recipe)
        else:
            paths = record_missing(env, config, folder, missing[""], recipe)
        total = sum(len(numbers) for numbers in missing.values())
        for path in track(paths, f"{config.task.name}: {recipe.operator}", total, console=console):
            if announced and not sys.stdout.isatty():
                print(f"{path.name} is finished.", flush=True)
    finally:
        env.close()


def _refuse_other_task(config: RunConfig, folder: Path) -> None:
    """What is in a folder counts: so it must be of this task, or come from elsewhere and not say of which it is.

    Raises:
        InputError: An episode in it is of another one.
    """
    for path in list_episodes(folder):
        recording = examine(path)
        task = task_name(recording.episode.metadata) if recording.episode else config.task.name
        if task not in (config.task.name, "unknown"):
            raise InputError(
                f"{path} is an episode of task {task!r}, not of {config.task.name!r}: give another folder=DIR."
            )


def _refuse_slips(words: Sequence[str]) -> None:
    """Refuse what is no key of a run, and nearly one that only this verb has: a run's own refusal would not name it."""
    own = (*_ALIASES, *CollectOptions.__struct_fields__)
    runs = RunConfig.__struct_fields__
    for key in (word.partition("=")[0] for word in words):
        if key in own or key.lstrip("+~").partition(".")[0] in runs:
            continue
        near = difflib.get_close_matches(key, (*own, *runs), 1)
        if near and near[0] in own:
            raise InputError(
                f"There is no key {key!r}; besides those of a run there are {', '.join(own)}. Did you mean {near[0]!r}?"
            )


def _unshortened(word: str) -> str:
    key, equals, value = word.partition("=")
    return f"{_ALIASES.get(key, key)}{equals}{value}"
