"""What groups of runs came to: each by itself, over the tasks that all share, and pair by pair."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.evaluation import wilson_interval
from journeyman import statistics
from journeyman.adastop import AdaStopConfig, Outcome, adastop
from journeyman.compared_runs import Group, Run, other_differences
from journeyman.run_command import train_command
from journeyman.statistics import Estimate

REACHED = 0.9
"""Success rate whose first appearance is told."""
THRESHOLDS: NDArray[np.float64] = np.linspace(0.0, 1.0, 101)
"""Of performance profiles."""


class Spread(msgspec.Struct, frozen=True):
    """Of one number per run: median and range, and how many runs have it. None stands for infinity.

    Attributes:
        median: Of all runs. One that never got there counts as later than any other.
        low: The smallest.
        high: The largest.
        having: Runs with a finite number.
        runs: All of them.
    """

    median: float | None
    low: float | None
    high: float | None
    having: int
    runs: int


class Dip(msgspec.Struct, frozen=True):
    """What online learning cost first, after an offline phase.

    Of one run: its success at 0 environment steps, less the lowest of all later evaluations, the report's among them; 0
    if none is lower. Not only until success is back for the first time: a policy may act unchanged for a while (WSRL's
    warm-up), and fall when it begins to learn.

    Attributes:
        drop: In success rate, over the runs.
        recovered: Runs of them that came back to what they had after their lowest point, or never lost it.
    """

    drop: Spread
    recovered: int


class CurvePoint(msgspec.Struct, frozen=True):
    """Interquartile mean of the success of all seeds after so many environment steps."""

    step: int
    success: Estimate


class GroupResult(msgspec.Struct, frozen=True):
    """One algorithm on one task.

    Attributes:
        task: Name.
        algorithm: Label.
        seeds: Of its runs.
        successes: In the final evaluations of all seeds together.
        episodes: Of those evaluations.
        wilson: 95 % interval of their share: about these policies, not about further seeds.
        iqm: Interquartile mean of the final success of the seeds: about the algorithm.
        steps_to_reach: Environment steps of the first evaluation at or above `REACHED`.
        offline_runs: Runs that had an offline phase, or began with another run.
        dip: Of those that were evaluated right after it and later; None if there are none.
        cpu_minutes: Of learner and actor.
        curve: Where all seeds were evaluated.
    """

    task: str
    algorithm: str
    seeds: list[int]
    successes: int
    episodes: int
    wilson: tuple[float, float]
    iqm: Estimate
    steps_to_reach: Spread
    offline_runs: int
    dip: Dip | None
    cpu_minutes: Spread
    curve: list[CurvePoint]


class Improvement(msgspec.Struct, frozen=True):
    """Probability that a run of the first does better than one of the second."""

    first: str
    second: str
    probability: Estimate


class OverTasks(msgspec.Struct, frozen=True):
    """All algorithms over the tasks that all were run on.

    Attributes:
        tasks: Those.
        left_out: Tasks that some algorithm was not run on.
        iqm: By algorithm.
        optimality_gap: By algorithm.
        profiles: By algorithm, one for each of `THRESHOLDS`.
        improvements: For each pair.
    """

    tasks: list[str]
    left_out: list[str]
    iqm: dict[str, Estimate]
    optimality_gap: dict[str, Estimate]
    profiles: dict[str, list[Estimate]]
    improvements: list[Improvement]


class TaskDecisions(msgspec.Struct, frozen=True):
    """AdaStop on one task.

    Attributes:
        outcome: What is decided.
        next_seeds: That algorithms need for the next look.
        commands: That train these; None if no command line makes the configuration.
    """

    outcome: Outcome
    next_seeds: dict[str, list[int]]
    commands: dict[str, str | None]


class Comparison(msgspec.Struct, frozen=True):
    """Everything that is known.

    Attributes:
        groups: By task and algorithm.
        over_tasks: All together.
        plan: Of AdaStop.
        decisions: By task with at least two algorithms.
        other_differences: By task, key and algorithm: what the algorithms differ in beside themselves.
        left_out: Why runs are left out, by folder.
    """

    groups: list[GroupResult]
    over_tasks: OverTasks
    plan: AdaStopConfig
    decisions: dict[str, TaskDecisions]
    other_differences: dict[str, dict[str, dict[str, Any]]]
    left_out: dict[str, str]


def compare(groups: Sequence[Group], plan: AdaStopConfig, left_out: dict[str, str]) -> Comparison:
    """Work it all out; the same runs give the same figures."""
    by_task: dict[str, list[Group]] = {}
    for one in groups:
        by_task.setdefault(one.task, []).append(one)
    return Comparison(
        groups=[_result(one) for one in groups],
        over_tasks=_over_tasks(groups),
        plan=plan,
        decisions={task: _decide(found, plan) for task, found in by_task.items() if len(found) > 1},
        other_differences={
            task: differ for task, found in by_task.items() if (differ := other_differences(found))
        },
        left_out=left_out,
    )


def _result(one: Group) -> GroupResult:
    finals = [run.curve[-1] for run in one.runs]
    successes, episodes = sum(p.successes for p in finals), sum(p.episodes for p in finals)
    return GroupResult(
        task=one.task,
        algorithm=one.label,
        seeds=one.seeds,
        successes=successes,
        episodes=episodes,
        wilson=wilson_interval(successes, episodes),
        iqm=statistics.interquartile_mean_of([np.array(one.scores)]),
        steps_to_reach=_spread([_steps_to(run, REACHED) for run in one.runs]),
        offline_runs=sum(run.is_pretrained for run in one.runs),
        dip=_dip(one.runs),
        cpu_minutes=_spread([run.summary.cpu_s / 60 for run in one.runs]),
        curve=_curve(one.runs),
    )


def _steps_to(run: Run, share: float) -> float:
    return next((float(point.step) for point in run.curve if point.score >= share), math.inf)


def _spread(values: Sequence[float]) -> Spread:
    """Of an even number the median is infinite as soon as one of the two in the middle is."""
    low, median, high = (
        None if math.isinf(value) else value for value in (min(values), float(np.median(values)), max(values))
    )
    return Spread(median, low, high, sum(map(math.isfinite, values)), len(values))


def _dip(runs: Sequence[Run]) -> Dip | None:
    went_online = (run for run in runs if run.curve[0].step == 0 < run.curve[-1].step)
    found = [_dip_of(run) for run in went_online if run.is_pretrained]
    if not found:
        return None
    return Dip(_spread([drop for drop, _ in found]), sum(recovered for _, recovered in found))


def _dip_of(run: Run) -> tuple[float, bool]:
    """How far success fell, and whether it came back."""
    before, *later = [point.score for point in run.curve]
    lowest = min(later)
    came_back = any(score >= before for score in later[later.index(lowest) :])
    return max(0.0, before - lowest), came_back


def _curve(runs: Sequence[Run]) -> list[CurvePoint]:
    """Evaluations come at the end of the episode in which they are due: those due at the same step stand together."""
    every = max(1, runs[0].config.actor.evaluate_every)
    by_step = [{point.step // every * every: point.score for point in run.curve} for run in runs]
    shared = sorted(set.intersection(*map(set, by_step)))
    estimates = statistics.interquartile_means(
        np.array([[scores[step] for scores in by_step] for step in shared])
    )
    return [CurvePoint(step, success) for step, success in zip(shared, estimates, strict=True)]


def _over_tasks(groups: Sequence[Group]) -> OverTasks:
    scores = {(one.label, one.task): np.array(one.scores) for one in groups}
    labels, tasks = (sorted({key[index] for key in scores}) for index in (0, 1))
    shared = [task for task in tasks if all((label, task) in scores for label in labels)]
    of = {label: [scores[label, task] for task in shared] for label in labels if shared}
    return OverTasks(
        tasks=shared,
        left_out=[task for task in tasks if task not in shared],
        iqm={label: statistics.interquartile_mean_of(found) for label, found in of.items()},
        optimality_gap={label: statistics.optimality_gap_of(found) for label, found in of.items()},
        profiles={label: statistics.performance_profile(found, THRESHOLDS) for label, found in of.items()},
        improvements=[
            Improvement(x, y, statistics.probability_of_improvement(of[x], of[y]))
            for x, y in itertools.combinations(of, 2)
        ],
    )


def _decide(groups: Sequence[Group], plan: AdaStopConfig) -> TaskDecisions:
    outcome = adastop({one.label: one.scores for one in groups}, plan)
    # Behind those that there are: seeds come to the test in their order, and a block must stay what it was.
    next_seeds = {
        one.label: [max(one.seeds) + 1 + n for n in range(outcome.missing[one.label])]
        for one in groups
        if one.label in outcome.missing
    }
    commands = {
        one.label: train_command(one.runs[0].config, next_seeds[one.label])
        for one in groups
        if one.label in next_seeds
    }
    return TaskDecisions(outcome, next_seeds, commands)
