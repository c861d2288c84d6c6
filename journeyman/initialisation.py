"""`init=RUN`: a run that begins with what another one has learned."""

from pathlib import Path

import msgspec
import torch

from agent.algorithm_config import make_algorithm
from agent.config import InputError
from agent.learner import begin_from
from agent.transition import TransitionSpec
from journeyman.config import RunConfig
from journeyman.run_directory import RunDirectory


def begun_from(config: RunConfig) -> RunConfig:
    """The configuration with the demonstrations of the run that it begins from, if it names no others.

    Raises:
        InputError: `init` is no run.
    """
    if config.init is None or config.demonstrations.folder is not None:
        return config
    run, theirs = RunDirectory.open(Path(config.init), [])
    folder = theirs.demonstrations.folder
    if folder is None and run.demonstrations.is_dir():
        folder = str(run.demonstrations)
    demonstrations = msgspec.structs.replace(config.demonstrations, folder=folder)
    return msgspec.structs.replace(config, demonstrations=demonstrations)


def origin(config: RunConfig) -> RunConfig | None:
    """The configuration of the run that `init` names; None for a run that began anew.

    Raises:
        InputError: It is no run, or not here any more.
    """
    return None if config.init is None else RunDirectory.open(Path(config.init), [])[1]


def as_given(config: RunConfig) -> RunConfig:
    """The configuration without the demonstrations that `begun_from` filled in.

    Raises:
        InputError: See `origin`.
    """
    demonstrations = msgspec.structs.replace(config.demonstrations, folder=None)
    bare = msgspec.structs.replace(config, demonstrations=demonstrations)
    return bare if begun_from(bare) == config else config


def initial_checkpoint(config: RunConfig, agent: str) -> Path | None:
    """The checkpoint that an agent begins from; None for one that begins anew.

    Raises:
        InputError: `init` is no run, or one without a checkpoint.
    """
    if config.init is None:
        return None
    run, _ = RunDirectory.open(Path(config.init), [])
    checkpoints = run.agent(agent).checkpoints()
    path = checkpoints.find(config.init_checkpoint)
    if path is None and checkpoints.newest() is not None:
        raise InputError(
            f"init_checkpoint={config.init_checkpoint}, but init={config.init} was never evaluated: set "
            "init_checkpoint=newest."
        )
    if path is None:
        raise InputError(
            f"init={config.init} has no checkpoint yet: let it learn for longer, or name another run."
        )
    return path


def check_initialisation(config: RunConfig, spec: TransitionSpec) -> None:
    """See that the algorithm can begin with what `init` names, and has it where it needs it.

    Raises:
        InputError: It cannot; the message names the tensor that does not fit.
    """
    if config.init is None:
        if config.algorithm.needs_init:
            raise InputError(
                f"algorithm={config.algorithm.name} goes on with a pretrained policy, but init is null: give "
                "init=RUN, a run of `journeyman pretrain`."
            )
        return
    for agent in config.practice.agents:
        path = initial_checkpoint(config, agent)
        assert path is not None
        begin_from(make_algorithm(config.algorithm, spec, torch.device("cpu"), config.seed), path)
