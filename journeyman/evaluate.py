"""`journeyman evaluate`: how good a run's newest policy is, through the pipeline that acting uses."""

import argparse
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch

from agent.actor import EVALUATION_SEED
from agent.algorithm import Policy
from agent.algorithm_config import make_policy
from agent.checkpoint import load_policy
from agent.config import InputError
from agent.evaluation import Evaluation, evaluate_agents
from agent.tensors import Tensors
from agent.transition import TransitionSpec
from agent.weights import encode_weights
from journeyman.config import RunConfig
from journeyman.deploy_gate import raise_if_held
from journeyman.learner import split_run
from journeyman.practice import practise
from journeyman.run_directory import RunDirectory
from journeyman.wiring import make_env, make_spec
from robot_env.env import RobotEnv
from robot_env.realtime import prefer_control_loop
from robot_env.robot import RobotUnavailableError

_FAULT_RETRY_S = 1.0


def run(options: argparse.Namespace) -> int:
    """Evaluate and print."""
    directory, config = open_run(options.overrides, "evaluate")
    env = make_env(config, run=directory)
    try:
        for name, result in evaluate_newest(config, directory, env).items():
            print(describe(result, name))
    finally:
        env.close()
    return 0


def open_run(overrides: list[str], verb: str) -> tuple[RunDirectory, RunConfig]:
    """The run that `run=DIR` names.

    Raises:
        InputError: No run is named, or it is none.
    """
    folder, rest = split_run(overrides)
    if folder is None:
        raise InputError(f"{verb} needs a run: journeyman {verb} run=runs/latest.")
    return RunDirectory.open(folder, rest)


def evaluate_newest(
    config: RunConfig,
    directory: RunDirectory,
    env: RobotEnv,
    after_step: Callable[[int, dict[str, Any]], None] = lambda _episode, _info: None,
) -> dict[str, Evaluation]:
    """Evaluate the policies of the newest checkpoints, or of the best ones, by the name of the agent.

    Raises:
        InputError: An agent has no checkpoint yet, or one that `deploy_gate` holds back from the robot.
    """
    spec = make_spec(env)
    policies: dict[str, Policy] = {}
    at: dict[str, dict[str, int]] = {}
    for name in config.practice.agents:
        weights, values = load_policy(_chosen(config, directory, name))
        raise_if_held(config, directory, values["blocks"], encode_weights(weights))
        policies[name] = _acting_by(weights, config, spec)
        steps = values.get("run_steps", values["environment_steps"])
        at[name] = {"policy_version": values["blocks"], "environment_steps": steps}
    torch.set_num_threads(1)
    if not config.robot.simulated_time:
        prefer_control_loop()
    results = evaluate_agents(
        practise(env, config, directory),
        policies,
        spec,
        episodes=config.evaluation.episodes,
        seed=EVALUATION_SEED,
        after_step=after_step,
        faults=(RobotUnavailableError,),
        wait_after_fault=_WaitAfterFault(),
    )
    return {name: msgspec.structs.replace(result, **at[name]) for name, result in results.items()}


def newest_policy(
    config: RunConfig, directory: RunDirectory, spec: TransitionSpec, name: str
) -> tuple[Policy, dict[str, Any]]:
    """Of an agent's newest checkpoint, or its best one if `evaluation.checkpoint` says so, and the checkpoint's values.

    Raises:
        InputError: There is none yet.
    """
    weights, values = load_policy(_chosen(config, directory, name))
    return _acting_by(weights, config, spec), values


def _acting_by(weights: Tensors, config: RunConfig, spec: TransitionSpec) -> Policy:
    policy = make_policy(config.algorithm, spec, config.seed)
    policy.load_weights(weights)
    return policy


def _chosen(config: RunConfig, directory: RunDirectory, name: str) -> Path:
    """The checkpoint that is wanted.

    Raises:
        InputError: There is none yet.
    """
    checkpoints, which = directory.agent(name).checkpoints(), config.evaluation.checkpoint
    path = checkpoints.find(which)
    whose = f"Agent {name} of run" if name else "Run"
    if path is None and checkpoints.newest() is not None:
        raise InputError(
            f"{whose} {directory.path} was never evaluated while it learned, so no checkpoint is the {which}: set "
            "evaluation.checkpoint=newest."
        )
    if path is None:
        raise InputError(f"{whose} {directory.path} has no checkpoint yet: train it first.")
    return path


class _WaitAfterFault:
    """Says what is wrong with the robot, once for each reason, and lets a second pass."""

    def __init__(self) -> None:
        self._reason = ""

    def __call__(self, error: Exception) -> None:
        reason = re.sub(r"\d", "", str(error))  # The age of the last message grows.
        if reason != self._reason:
            print(f"{error} The episode is done again; trying every {_FAULT_RETRY_S:g} s.", flush=True)
        self._reason = reason
        time.sleep(_FAULT_RETRY_S)


def describe(result: Evaluation, agent: str = "") -> str:
    """One line."""
    whose = f"{agent}: " if agent else ""
    return (
        f"{whose}{result.successes} of {result.episodes} episodes succeed: {result.success_rate:.0%} (95 % interval "
        f"{result.success_low:.0%} to {result.success_high:.0%}), {result.mean_length:.1f} steps on average, "
        f"after {result.environment_steps:,} environment steps"
    )
