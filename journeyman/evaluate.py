"""`journeyman evaluate`: how good a run's newest policy is, through the pipeline that acting uses."""

import argparse
import re
import time
from collections.abc import Callable
from typing import Any

import torch

from agent.actor import EVALUATION_SEED
from agent.algorithm import make_policy
from agent.checkpoint import load_policy
from agent.config import InputError
from agent.evaluation import Evaluation, evaluate
from journeyman.config import RunConfig
from journeyman.learner import split_run
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
        print(describe(evaluate_newest(config, directory, env)))
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
) -> Evaluation:
    """Evaluate the policy of the newest checkpoint.

    Raises:
        InputError: The run has no checkpoint yet.
    """
    path = directory.checkpoints().newest()
    if path is None:
        raise InputError(f"Run {directory.path} has no checkpoint yet: train it first.")
    weights, values = load_policy(path)
    torch.set_num_threads(1)
    if not config.robot.simulated_time:
        prefer_control_loop()
    spec = make_spec(env)
    policy = make_policy(config.algorithm, spec, config.seed)
    policy.load_weights(weights)
    return evaluate(
        env,
        policy,
        spec,
        episodes=config.evaluation.episodes,
        seed=EVALUATION_SEED,
        policy_version=values["blocks"],
        environment_steps=values["environment_steps"],
        after_step=after_step,
        faults=(RobotUnavailableError,),
        wait_after_fault=_WaitAfterFault(),
    )


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


def describe(result: Evaluation) -> str:
    """One line."""
    return (
        f"{result.successes} of {result.episodes} episodes succeed: {result.success_rate:.0%} (95 % interval "
        f"{result.success_low:.0%} to {result.success_high:.0%}), {result.mean_length:.1f} steps on average, "
        f"after {result.environment_steps:,} environment steps"
    )
