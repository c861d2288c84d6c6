"""One run of bench/external.py: how it is made, and the file that it leaves. No bench itself."""

import math
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from agent.algorithm_config import load_algorithm
from agent.config import Config, InputError
from agent.processor import use_processor
from agent.storage import write_atomically
from agent.transition import TransitionSpec
from bench.external_plans import Plan, run_name
from bench.external_suites import Shown, demonstrate, make_env, make_spec, read_data
from bench.in_process import Point, evaluate, train

REACHED = 0.9
_FINAL_SEED = 20_000  # Not the starts that said when to end.


class Evaluated(Config):
    """One evaluation.

    Attributes:
        step: Environment steps before it.
        mean_return: Undiscounted.
        successes: Of its episodes.
        cpu_s: Of the run so far.
    """

    step: int
    mean_return: float
    successes: int
    cpu_s: float


class Run(Config):
    """A run that has ended.

    Attributes:
        plan: What decided it.
        suite: Name of the suite.
        shown_steps: Transitions that were demonstrated.
        shown_episodes: That the expert tried, or that the data set has; 0 without demonstrations.
        shown_successes: Of them; null where the data do not tell.
        curve: Evaluations on the way; the first one at 0 steps if there was an offline phase.
        final_successes: Of the final episodes.
        steps: Of the environment that were made.
        cpu_s: Of the process, demonstrations and evaluations included.
        versions: Of what it ran with.
    """

    plan: Plan
    suite: str
    shown_steps: int
    shown_episodes: int
    shown_successes: int | None
    curve: tuple[Evaluated, ...]
    final_successes: int
    steps: int
    cpu_s: float
    versions: dict[str, str]

    @property
    def stopped_early(self) -> bool:
        """Whether success ended it."""
        return self.steps < self.plan.steps

    @property
    def reached(self) -> float:
        """Environment steps of the first evaluation with 90 % success; infinity if there is none."""
        enough = REACHED * self.plan.episodes
        return next((float(point.step) for point in self.curve if point.successes >= enough), math.inf)

    @property
    def dip(self) -> float | None:
        """What going online cost at first: as `journeyman.comparison.Dip` has it; None without either phase."""
        if not self.curve or self.curve[0].step > 0 or self.steps == 0:
            return None
        before, *later = [point.successes / self.plan.episodes for point in self.curve]
        return max(0.0, before - min([*later, self.final_successes / self.plan.final_episodes]))


def run_in(folder: Path, suite: str, plan: Plan) -> Run:
    """The run in a folder, made if it is not there.

    Raises:
        InputError: What is there is another one, or damaged.
    """
    path = folder / f"{run_name(suite, plan)}.json"
    if path.is_file():
        return _read(path, plan)
    folder.mkdir(parents=True, exist_ok=True)
    run = make_run(suite, plan)
    write_atomically(path, msgspec.json.format(msgspec.json.encode(run), indent=1))
    return run


def make_run(suite: str, plan: Plan) -> Run:
    """Train, evaluating on the way and once more at the end.

    Raises:
        InputError: The algorithm wants recorded data and there are none.
    """
    began_s = time.process_time()
    use_processor(threads=1)
    env, test_env = make_env(plan.suite, plan.task), make_env(plan.suite, plan.task)
    spec = make_spec(env)
    shown = _demonstrations(plan)
    algorithm, policy = _make_learner(plan, spec, offline=shown is not None)
    curve: list[Evaluated] = []

    def evaluate_with(step: int) -> Point:
        point = evaluate(test_env, spec, policy, plan.episodes, step)
        curve.append(_evaluated(point, time.process_time() - began_s))
        _say(run_name(suite, plan), curve[-1], plan.episodes)
        return point

    points = train(
        algorithm,
        policy,
        env,
        spec,
        seed=plan.seed,
        steps=plan.steps,
        start_steps=plan.start_steps,
        evaluate_every=plan.evaluate_every,
        evaluate_with=evaluate_with,
        data=None if shown is None else shown.records,
        data_ratio=plan.data_ratio,
        random_steps=plan.random_steps,
        enough=lambda points: is_enough(points, plan.stop_at),
    )
    steps = points[-1].step if is_enough(points, plan.stop_at) else plan.steps
    policy.load_weights(algorithm.policy_weights())
    final = evaluate(test_env, spec, policy, plan.final_episodes, steps, first_seed=_FINAL_SEED)
    return Run(
        plan=plan,
        suite=suite,
        shown_steps=0 if shown is None else len(shown.records),
        shown_episodes=0 if shown is None else shown.episodes,
        shown_successes=0 if shown is None else shown.successes,
        curve=tuple(curve),
        final_successes=sum(final.successes),
        steps=steps,
        cpu_s=time.process_time() - began_s,
        versions=_versions(),
    )


def is_enough(points: Sequence[Point], share: float) -> bool:
    """Whether the two last evaluations after steps of the environment both succeeded this often."""
    last = [np.mean(point.successes) for point in points if point.step > 0][-2:]
    return len(last) == 2 and min(last) >= share


def _demonstrations(plan: Plan) -> Shown | None:
    if plan.data is not None:
        return read_data(plan.suite, plan.task, Path(plan.data))
    return demonstrate(plan.suite, plan.task, plan.seed)


def _make_learner(plan: Plan, spec: TransitionSpec, offline: bool) -> tuple[Any, Any]:
    """The algorithm and its policy."""
    make, config = load_algorithm(plan.algorithm)
    if getattr(config, "offline_updates", 0) and not offline:
        raise InputError(
            f"{plan.algorithm.name} begins with recorded data, but nobody demonstrates: give --data."
        )
    if getattr(config, "compile", False):
        torch.compiler.reset()  # It keeps eight versions of a function, one for each run, and then compiles no more.
    algorithm = make(config, spec, torch.device("cpu"), plan.seed)
    return algorithm, algorithm.make_policy(config, spec, plan.seed)


def _evaluated(point: Point, cpu_s: float) -> Evaluated:
    value, successes = float(np.mean(point.returns)), sum(point.successes)
    return Evaluated(step=point.step, mean_return=value, successes=successes, cpu_s=cpu_s)


def _say(name: str, result: Evaluated, episodes: int) -> None:
    print(
        f"{name}: {result.step:,} steps, {result.successes} of {episodes}, {result.cpu_s:.0f} CPU s",
        flush=True,
    )


def _read(path: Path, plan: Plan) -> Run:
    try:
        run = msgspec.json.decode(path.read_bytes(), type=Run)
    except msgspec.DecodeError as error:
        raise InputError(f"{path} is damaged ({error}); remove it, and the run is made again.") from None
    if run.plan != plan:
        there, wanted = msgspec.to_builtins(run.plan), msgspec.to_builtins(plan)
        differing = ", ".join(key for key in wanted if there[key] != wanted[key])
        raise InputError(f"{path} is a run with another {differing}; choose another --folder.")
    return run


def _versions() -> dict[str, str]:
    installed = {
        name: _version(name)
        for name in ("torch", "mujoco", "gymnasium", "metaworld", "gymnasium-robotics", "gym-hil")
    }
    return {name: version for name, version in installed.items() if version}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
