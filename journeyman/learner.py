"""`journeyman learner`: first hop to the gradient; `Learner.run` is the second, `SAC.update` the third."""

import argparse
from contextlib import closing
from pathlib import Path

import msgspec

from agent.config import InputError
from agent.parallel.ranks import place
from journeyman.checks import check
from journeyman.collect import record_demonstrations
from journeyman.config import RewardModelConfig, RunConfig, compose, read_config, write_config
from journeyman.initialisation import begun_from
from journeyman.offline.minari import STORED
from journeyman.process import never_fail_to_print, on_stop, take_descriptors, yield_to_control_loop
from journeyman.run_directory import RunDirectory
from journeyman.run_log import run_log
from journeyman.several_processes import assist, leading, refuse_to_begin_again
from journeyman.sinks.assembly import JournalTap, make_sinks
from journeyman.sinks.sink import Outlets
from journeyman.wiring import make_learners
from robot_env.program import INTERRUPTED

DEFAULT_ADDRESS = "tcp://127.0.0.1:5488"
_FILES = ("model", "goals", "cache")  # Keys of `reward.config` that name some.
_FIXED = ("task", "algorithm", "robot", "reward", "practice", "seed", "init", "init_checkpoint")


def run(options: argparse.Namespace) -> int:
    """Serve one run until it is complete or stopped."""
    never_fail_to_print()
    take_descriptors()
    here = place()
    if here.rank > 0:
        return assist(here)
    refuse_to_begin_again(here, resumes=split_run(options.overrides)[0] is not None)
    config, directory = open_or_create(options.overrides, options.supervised)
    with run_log(directory.logs, "learner"):
        return _learn(options, config, directory)


def _learn(options: argparse.Namespace, config: RunConfig, directory: RunDirectory) -> int:
    if not options.supervised:
        record_missing_demonstrations(config, directory)
    elif not config.robot.simulated_time:
        yield_to_control_loop()  # Before torch starts its threads, which inherit it.
    outlets = Outlets(make_sinks(config, directory.path, "learner"))
    tap = JournalTap(outlets, directory, config.practice.agents)
    with closing(outlets), leading(place()) as ranks:
        learner, servers = make_learners(config, directory, address(config), tap, ranks)
        on_stop(learner.request_stop, options.supervised)
        try:
            print(f"Learner of {directory.path} listens on {address(config)}.", flush=True)
            complete = learner.run()
        finally:
            for server in servers:
                server.close()
        learner.collect()
    done = f"{learner.run_steps} environment steps, {learner.updates} updates; saved in {directory.path}."
    print(f"Complete: {done}" if complete else f"Stopped at {done}")
    return 0 if complete else INTERRUPTED


def open_or_create(overrides: list[str], supervised: bool = False) -> tuple[RunConfig, RunDirectory]:
    """Resume the run that `run=DIR` names, or begin a new one. No folder is made for what cannot be run.

    A resumed run keeps the other overrides for later resumes, and is held by this process; under a supervisor it
    is held already, and the overrides are for this process alone.

    Raises:
        InputError: Something in the configuration is wrong, or another process has the run.
    """
    folder, rest = split_run(overrides)
    if folder is None:
        config = begun_from(with_absolute_paths(compose(rest)))
        check(config)
        directory = RunDirectory.create(config)
        directory.hold()
        return config, directory
    directory, stored = RunDirectory.open(folder, [])
    config = with_absolute_paths(read_config(directory.config, rest))
    changed = [key for key in _FIXED if getattr(config, key) != getattr(stored, key)]
    if changed:
        raise InputError(
            f"{', '.join(changed)} cannot change within a run, whose data and networks depend on it: leave out the "
            "override, or begin a new run."
        )
    check(config, begins=False)
    if not supervised:
        directory.hold()
        write_config(config, directory.config)
    return config, directory


def record_missing_demonstrations(config: RunConfig, directory: RunDirectory) -> None:
    """Let the scripted expert record what the configuration asks for and does not name a folder of."""
    wanted = config.demonstrations
    if wanted.episodes and wanted.folder is None:
        record_demonstrations(config, directory.demonstrations, wanted.episodes, announced=False)


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """The same configuration, fit to be resumed from another folder."""

    def absolute(path: str | None) -> str | None:
        return None if path is None else str(Path(path).absolute())

    def data(path: str | None) -> str | None:
        return path if path is not None and path.startswith(STORED) else absolute(path)

    def found(reward: RewardModelConfig) -> RewardModelConfig:
        files = {
            key: absolute(path)
            for key, path in reward.config.items()
            if key in _FILES and isinstance(path, str)
        }
        return msgspec.structs.replace(reward, config={**reward.config, **files})

    demonstrations, transport, practice = config.demonstrations, config.transport, config.practice
    tasks = {
        name: msgspec.structs.replace(task, reward=found(task.reward))
        for name, task in practice.tasks.items()
    }
    return msgspec.structs.replace(
        config,
        init=absolute(config.init),
        reward=found(config.reward),
        practice=msgspec.structs.replace(practice, tasks=tasks),
        demonstrations=msgspec.structs.replace(demonstrations, folder=data(demonstrations.folder)),
        transport=msgspec.structs.replace(transport, keys=absolute(transport.keys)),
    )


def split_run(overrides: list[str]) -> tuple[Path | None, list[str]]:
    """Take `run=DIR` out of the overrides."""
    folders = [o.removeprefix("run=") for o in overrides if o.startswith("run=")]
    rest = [o for o in overrides if not o.startswith("run=")]
    if len(folders) > 1:
        raise InputError(f"run= is given {len(folders)} times: give it once.")
    return (Path(folders[0]) if folders else None), rest


def address(config: RunConfig) -> str:
    """Where the learner listens and actors connect."""
    given = config.transport.address
    return DEFAULT_ADDRESS if given == "auto" else given
