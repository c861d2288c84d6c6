"""What can be found out before a run begins."""

import sys
from pathlib import Path

import numpy as np
import torch

from agent.algorithm_config import load_algorithm, make_policy
from agent.config import InputError
from agent.parallel.ranks import place
from agent.transition import TransitionSpec, differing_layout
from agent.transport.curve import check_exposure, load_secret
from journeyman.config import RunConfig
from journeyman.curriculum import check_curriculum
from journeyman.demonstrations import demonstration_folder, read_demonstrations, remarks
from journeyman.deploy_gate_twin import on_twin
from journeyman.initialisation import check_initialisation
from journeyman.practice import practise
from journeyman.sampling import check_recorded, check_sampling, goals_in_hindsight
from journeyman.several_processes import check_processes
from journeyman.several_steps import make_reader
from journeyman.sinks.assembly import make_sinks
from journeyman.wiring import (
    make_device,
    make_env,
    make_reward_learner,
    make_spec,
    make_teleoperator,
    replay_capacities,
    server_keys,
)


def check(config: RunConfig, begins: bool = True) -> None:
    """Find out what is wrong before a folder is made or a process started; say what is only suspicious.

    Args:
        config: Of the run.
        begins: Whether the run is a new one: of one that goes on, what it began with need not be there any more.

    Raises:
        InputError: The robot, task, device, algorithm, reward or a demonstration cannot be used, or memory is short.
    """
    make_device(config.learner.device)
    make_sinks(config, Path(), "learner")
    _check_address(config)
    check_sampling(config)
    check_processes(config, place().count)
    _check_demonstrations(config)
    if begins:
        _check_learning_reward(config)
    env = make_env(config)
    spec = make_spec(env)
    refuse_unknown_privileged(config, spec)
    make_policy(config.algorithm, spec, config.seed)
    make_reader(config, goals_in_hindsight(config, env))
    if begins:
        check_initialisation(config, spec)
    replay_capacities(config, spec)
    # Of demonstrations that may not be recorded yet one stands for all.
    one = np.zeros(min(1, config.demonstrations.episodes), spec.dtype)
    one["terminated"] = True
    make_reward_learner(config, env, spec, one, torch.device("cpu"))
    make_teleoperator(config, env)
    practise(env, config)
    check_deploy_gate(config, spec)
    check_curriculum(env, config)
    for name in config.practice.agents:
        folder = demonstration_folder(config, None, name)
        if folder is not None:
            records = read_demonstrations(folder, config, env, spec)
            check_recorded(config, records)
            for remark in remarks(folder, config, records, spec):
                print(remark, file=sys.stderr, flush=True)
    env.close()


def _check_address(config: RunConfig) -> None:
    """Whether a learner may listen there: it finds out itself, but after a folder was made and demonstrations recorded.

    Raises:
        InputError: The address is none, or wants keys, or those that are named cannot be read.
    """
    keys = server_keys(config)
    if keys is not None:
        load_secret(keys.secret_file)
    if config.transport.address != "auto":
        check_exposure(config.transport.address, keys)


def refuse_unknown_privileged(config: RunConfig, spec: TransitionSpec) -> None:
    """Critics cannot learn from what this robot cannot observe.

    Args:
        config: Of the run.
        spec: Of its environment.

    Raises:
        InputError: There is something of that kind.
    """
    if config.task.privileged and not spec.is_privileged:
        raise InputError(
            f"robot={config.robot.name} observes nothing of task.privileged: train with robot=twin, whose policy then "
            "acts here as well, or set task.privileged=[]."
        )


def check_deploy_gate(config: RunConfig, spec: TransitionSpec) -> None:
    """See that policies of a run can be tried on the twin of its gate, if it has one.

    Args:
        config: Of the run.
        spec: Of its environment.

    Raises:
        InputError: They cannot.
    """
    if config.deploy_gate.factory is None:
        return
    if len(config.practice.agents) > 1:
        raise InputError(
            f"deploy_gate={config.deploy_gate.name} tries one policy, but practice={config.practice.name} has "
            f"{len(config.practice.agents)}: choose deploy_gate=none."
        )
    twin = make_env(on_twin(config))
    differing = differing_layout(spec.description(), make_spec(twin).description())
    twin.close()
    if differing:
        raise InputError(
            f"The twin of deploy_gate={config.deploy_gate.name} does not observe and act as the robot does "
            f"({differing[0]}): choose deploy_gate=none, or a task that both know."
        )


def _check_demonstrations(config: RunConfig) -> None:
    """See that an algorithm which learns from demonstrations has some, and nothing else where it must not.

    Raises:
        InputError: It has not, or the algorithm does not exist.
    """
    algorithm, parameters = load_algorithm(config.algorithm)
    ratio = config.learner.demonstration_ratio
    if getattr(algorithm, "demonstrations_only", False) and ratio != 1:
        raise InputError(
            f"learner.demonstration_ratio is {ratio:g}, but {config.algorithm.algorithm} learns from demonstrations "
            "alone: set it to 1."
        )
    updates = getattr(parameters, "offline_updates", 0)
    if updates and not config.demonstrations.episodes and config.init is None:
        raise InputError(
            f"algorithm.config.offline_updates is {updates}, but demonstrations.episodes is 0: there is nothing to "
            "learn from; use some demonstrations, or another algorithm without an offline phase."
        )


def _check_learning_reward(config: RunConfig) -> None:
    """See that no value is learned from other rewards than those which the run's reward pays.

    Raises:
        InputError: The reward pays anew in every update, and the algorithm takes recorded rewards as well.
    """
    _, parameters = load_algorithm(config.algorithm)
    changes = getattr(parameters, "of_recorded_rewards", ())
    if config.reward.learner is None or not changes:
        return
    wanted = " and ".join(f"algorithm.config.{change}" for change in changes)
    raise InputError(
        f"reward={config.reward.name} pays anew in every update while the robot acts, but algorithm="
        f"{config.algorithm.name} also takes rewards as they were recorded: set {wanted}, or choose another reward or "
        "an algorithm such as rlpd."
    )
