"""`journeyman gate run=NEW against=OLD`: whether a policy may take over from another, judged by recorded data alone."""

import argparse
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from agent.algorithm import Policy
from agent.config import InputError
from agent.off_policy_evaluation import Difference, Evaluator, EvaluatorConfig, difference
from agent.record_log import RecordLog
from agent.transition import Records, TransitionSpec, differing_layout
from journeyman.config import RunConfig
from journeyman.demonstrations import demonstration_folder, read_demonstrations
from journeyman.evaluate import newest_policy
from journeyman.options import read_options
from journeyman.run_directory import RunDirectory
from journeyman.wiring import make_env, make_spec
from robot_env.env import RobotEnv


class GateOptions(EvaluatorConfig, kw_only=True):
    """Options of `journeyman gate`: those of the judgement, and these.

    Attributes:
        run: Of the policy that may take over.
        against: Of the one that acts today.
        discount: Of the judgement, whatever the two learned with.
        least_explained: Share of how states change that the dynamics must explain; below it nothing is known.
        tolerance: By how much the new policy may be worth less, as a part of the deviation between what the old one is
            worth in one state and another: what data tell has a limit, also of a policy that is as good.
        seed: Of everything random.
    """

    run: str
    against: str
    least_explained: float = 0.5
    tolerance: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        super().__post_init__()
        if not 0 <= self.least_explained <= 1:
            raise ValueError(f"least_explained {self.least_explained} must lie in [0, 1]")
        if not 0 <= self.tolerance <= 1:
            raise ValueError(f"tolerance {self.tolerance} must lie in [0, 1]")


class Verdict(msgspec.Struct, frozen=True):
    """What the gate says of one agent.

    Attributes:
        passes: Whether the policy may take over.
        reason: One sentence.
        difference: Of what the two are worth.
    """

    passes: bool
    reason: str
    difference: Difference


def run(options: argparse.Namespace) -> int:
    """Judge; exit code 0 lets the new policy pass, 1 holds it back."""
    chosen = read_options(GateOptions, options.overrides, "gate")
    torch.set_num_threads(1)
    verdicts = judge(chosen)
    for name, verdict in verdicts.items():
        whose = f"{name}: " if name else ""
        print(f"{whose}{'PASS' if verdict.passes else 'HOLD'}: {verdict.reason}")
    return 0 if all(verdict.passes for verdict in verdicts.values()) else 1


def judge(options: GateOptions) -> dict[str, Verdict]:
    """The verdict of each agent, by its name.

    Raises:
        InputError: A run cannot be read, has no checkpoint, or the two do not fit together or are not paid alike.
    """
    runs = [RunDirectory.open(Path(path), []) for path in (options.run, options.against)]
    (_, new), (_, old) = runs
    envs = [make_env(config, run=directory) for directory, config in runs]
    try:
        specs = [make_spec(env) for env in envs]
        if differing := differing_layout(specs[0].description(), specs[1].description()):
            raise InputError(
                f"{options.run} and {options.against} do not observe and act alike ({differing[0]}): compare runs of "
                "the same task."
            )
        if new.practice.agents != old.practice.agents:
            raise InputError(
                f"{options.run} has the agents {list(new.practice.agents)}, {options.against} has "
                f"{list(old.practice.agents)}: compare runs of the same practice."
            )
        _refuse_other_pay(options, new, old)
        return {name: _judge_agent(options, runs, envs, specs[0], name) for name in new.practice.agents}
    finally:
        for env in envs:
            env.close()


def _refuse_other_pay(options: GateOptions, new: RunConfig, old: RunConfig) -> None:
    """What both recorded is judged as one: its rewards must mean the same, and be what the policies were to earn.

    Raises:
        InputError: They are not.
    """
    for path, config in ((options.run, new), (options.against, old)):
        if config.reward.learner is not None:
            raise InputError(
                f"{path} has reward={config.reward.name}, which is paid anew in every update and recorded nowhere: "
                "evaluate its policy on the twin."
            )
    ours, theirs = _pay(new), _pay(old)
    if differing := [name for name in ours if ours[name] != theirs[name]]:
        raise InputError(
            f"{options.run} and {options.against} differ in {differing[0]}, so their recorded rewards do not mean the "
            "same: compare runs that pay alike, or evaluate both on the twin."
        )


def _pay(config: RunConfig) -> dict[str, Any]:
    """What decides on recorded rewards, by its key."""
    task, practice = config.task, config.practice
    by_task = {name: one.reward for name, one in practice.tasks.items()}
    return {
        "reward": config.reward,
        "task.reward": task.reward,
        "task.goal": task.goal,
        "practice": (practice.factory, by_task),
    }


def _judge_agent(
    options: GateOptions,
    runs: list[tuple[RunDirectory, RunConfig]],
    envs: list[RobotEnv],
    spec: TransitionSpec,
    name: str,
) -> Verdict:
    policies = [single_step_policy(directory, config, spec, name) for directory, config in runs]
    records = recorded(runs, envs, spec, name)
    parameters = {key: getattr(options, key) for key in EvaluatorConfig.__struct_fields__}
    evaluator = Evaluator(EvaluatorConfig(**parameters), spec, records, options.seed)
    new, old = (evaluator.values(policy) for policy in policies)
    worse = options.tolerance * float(old.std())
    return verdict_of(difference(new, old, options.seed), worse, evaluator.explained, options)


def verdict_of(by: Difference, worse: float, explained: float, options: GateOptions) -> Verdict:
    """Passes if the interval of the difference lies above what may be lost, and the dynamics are worth something."""
    told = (
        f"by recorded data {options.run} is worth {by.mean:+.3g} beside {options.against} (95 % interval {by.low:+.3g} "
        f"to {by.high:+.3g}; {-worse:+.3g} is allowed); of how states change {explained:.0%} is explained."
    )
    if not explained >= options.least_explained:
        few = "The data are too few or too noisy to judge by: evaluate on the twin, or give more"
        return Verdict(False, f"{few}; {told}", by)
    return Verdict(by.low >= -worse, told, by)


def single_step_policy(directory: RunDirectory, config: RunConfig, spec: TransitionSpec, name: str) -> Policy:
    """Of an agent's newest checkpoint.

    Raises:
        InputError: There is none yet, or it decides on several actions at once.
    """
    if config.algorithm.chunk > 1:
        raise InputError(
            f"Run {directory.path} decides on {config.algorithm.chunk} actions at once (algorithm.chunk), but the gate "
            "asks for one: evaluate it on the twin."
        )
    return newest_policy(config, directory, spec, name)[0]


def recorded(
    runs: list[tuple[RunDirectory, RunConfig]], envs: list[RobotEnv], spec: TransitionSpec, name: str
) -> Records:
    """What both runs have recorded: their experience, and their demonstrations, once where they share them."""
    parts, folders = [np.zeros(0, spec.dtype)], set()
    for (directory, config), env in zip(runs, envs, strict=True):
        folder = demonstration_folder(config, directory, name)
        if folder is not None and folder.resolve() not in folders:
            folders.add(folder.resolve())
            parts.append(read_demonstrations(folder, config, env, spec))
        home = directory.agent(name)
        if home.replay_log.is_file():
            log = RecordLog.open(home.replay_log, spec.dtype)
            parts += list(log.records())
            log.close()
    return np.concatenate(parts)
