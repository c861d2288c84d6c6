"""One run of bench/external.py: its plan, how it is made, and the file that it leaves. No bench itself."""

import argparse
import json
import math
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import msgspec
import numpy as np
import torch

from agent.algorithm import AlgorithmConfig, load_algorithm
from agent.config import Config, InputError
from bench.external_suites import Shown, Suite, demonstrate, make_env, make_spec, read_data
from bench.in_process import Point, evaluate, train
from journeyman.config import compose
from journeyman.files import write_whole

REACHED = 0.9
_FINAL_SEED = 20_000  # Not the starts that said when to end.


class Plan(Config):
    """What decides a run. A file of another plan is not taken for it.

    Attributes:
        suite: With this task alone.
        task: One of its.
        algorithm: Class and parameters.
        seed: Of everything.
        steps: Of the environment, at most; 0 for the offline phase alone.
        start_steps: Before the first update.
        random_steps: First steps that are uniformly random.
        data_ratio: Share of demonstrations in each batch.
        data: Path of a data set instead of the suite's demonstrations.
        evaluate_every: Environment steps between two evaluations.
        episodes: Of each evaluation.
        final_episodes: Of the last one, from other starts.
        stop_at: Two evaluations in a row with this success end the run; above 1 nothing does.
    """

    suite: Suite
    task: str
    algorithm: AlgorithmConfig
    seed: int
    steps: int
    start_steps: int
    random_steps: int
    data_ratio: float
    data: str | None
    evaluate_every: int
    episodes: int
    final_episodes: int
    stop_at: float

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.steps < 0 or min(self.evaluate_every, self.episodes, self.final_episodes) < 1:
            raise ValueError(
                f"steps {self.steps} must not be negative, evaluate_every {self.evaluate_every}, episodes "
                f"{self.episodes} and final_episodes {self.final_episodes} must be at least 1"
            )


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


def make_plan(suite: Suite, task: str, name: str, seed: int, options: argparse.Namespace) -> Plan:
    """What one run is: the algorithm's file, then what the suite gives, then what was said.

    Raises:
        InputError: There is no such algorithm, it cannot begin here, or does not know a parameter.
    """
    config = compose([f"algorithm={name}"])
    if config.algorithm.needs_init:
        raise InputError(
            f"algorithm={name} goes on from a run of another algorithm; choose one that begins by itself."
        )
    algorithm, _ = load_algorithm(config.algorithm)
    given = {"discount": suite.discount, **suite.algorithm}
    known = {key: value for key, value in given.items() if key in algorithm.Config.__struct_fields__}
    config = compose(
        [
            f"algorithm={name}",
            *(f"algorithm.config.{key}={json.dumps(value)}" for key, value in known.items()),
            *options.overrides,
        ]
    )
    load_algorithm(config.algorithm)
    try:
        return Plan(
            suite=msgspec.structs.replace(suite, tasks=(task,)),
            task=task,
            algorithm=config.algorithm,
            seed=seed,
            steps=0 if getattr(algorithm, "demonstrations_only", False) else options.steps,
            start_steps=config.learner.start_steps,
            random_steps=config.actor.random_steps,
            data_ratio=config.learner.demonstration_ratio,
            data=None if options.data is None else str(options.data),
            evaluate_every=options.evaluate_every,
            episodes=options.episodes,
            final_episodes=options.final_episodes,
            stop_at=options.stop_at,
        )
    except ValueError as error:
        raise InputError(f"{error}.") from None


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
    write_whole(path, msgspec.json.format(msgspec.json.encode(run), indent=1))
    return run


def run_name(suite: str, plan: Plan) -> str:
    """Of its file and in its lines."""
    return f"{suite}-{plan.task.replace('/', '_')}-{plan.algorithm.name}-seed{plan.seed}"


def make_run(suite: str, plan: Plan) -> Run:
    """Train, evaluating on the way and once more at the end.

    Raises:
        InputError: The algorithm wants recorded data and there are none.
    """
    began_s = time.process_time()
    torch.set_num_threads(1)
    env, test_env = make_env(plan.suite, plan.task), make_env(plan.suite, plan.task)
    spec = make_spec(env)
    make, config = load_algorithm(plan.algorithm)
    shown = _demonstrations(plan)
    if shown is None and getattr(config, "offline_updates", 0):
        raise InputError(
            f"{plan.algorithm.name} begins with recorded data, but nobody demonstrates: give --data."
        )
    if getattr(config, "compile", False):
        torch.compiler.reset()  # It keeps eight versions of a function, one for each run, and then compiles no more.
    algorithm = make(config, spec, torch.device("cpu"), plan.seed)
    policy = algorithm.make_policy(config, spec, plan.seed)
    name, curve = run_name(suite, plan), list[Evaluated]()

    def evaluate_with(step: int) -> Point:
        point = evaluate(test_env, spec, policy, plan.episodes, step)
        successes, value = sum(point.successes), float(np.mean(point.returns))
        curve.append(
            Evaluated(step=step, mean_return=value, successes=successes, cpu_s=time.process_time() - began_s)
        )
        print(
            f"{name}: {step:,} steps, {successes} of {plan.episodes}, {curve[-1].cpu_s:.0f} CPU s", flush=True
        )
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
    steps = points[-1].step if points and is_enough(points, plan.stop_at) else plan.steps
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
