"""`journeyman learner`: first hop to the gradient; `Learner.run` is the second, `SAC.update` the third."""

import argparse
from pathlib import Path

from agent.config import InputError
from journeyman.config import RunConfig, compose, write_config
from journeyman.process import on_stop, yield_to_control_loop
from journeyman.run_directory import RunDirectory
from journeyman.wiring import check, make_learner

DEFAULT_ADDRESS = "tcp://127.0.0.1:5488"


def run(options: argparse.Namespace) -> int:
    """Serve one run until it is complete or stopped."""
    config, directory = open_or_create(options.overrides, remember=not options.supervised)
    if options.supervised and not config.robot.simulated_time:
        yield_to_control_loop()  # Before torch starts its threads, which inherit it.
    learner, server = make_learner(config, directory, address(config))
    on_stop(learner.request_stop, options.supervised)
    try:
        print(f"Learner of {directory.path} listens on {address(config)}.", flush=True)
        learner.run()
    finally:
        server.close()
    print(
        f"{learner.environment_steps} environment steps, {learner.updates} updates; saved in {directory.path}."
    )
    return 0


def open_or_create(overrides: list[str], remember: bool = True) -> tuple[RunConfig, RunDirectory]:
    """Resume the run that `run=DIR` names, or begin a new one. No folder is made for what cannot be run.

    Args:
        overrides: Hydra overrides, `run=DIR` among them or not.
        remember: Whether a resumed run keeps the other overrides, for all its processes and later resumes.

    Raises:
        InputError: Something in the configuration is wrong.
    """
    folder, rest = split_run(overrides)
    if folder is not None:
        directory, config = RunDirectory.open(folder, rest)
        check(config)
        if rest and remember:
            write_config(config, directory.config)
        return config, directory
    config = compose(rest)
    check(config)
    return config, RunDirectory.create(config)


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
