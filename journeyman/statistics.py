"""Point estimates with intervals over runs, as "Deep RL at the Edge of the Statistical Precipice" recommends them.

Definitions of arXiv:2108.13264 and of its reference implementation: interquartile mean and optimality gap of the
scores, probability of improvement, performance profiles, each with a percentile interval of the bootstrap that is
stratified by task. The package `rliable` itself is not used: 1.2.0 wants arch below 8, which does not import beside
pandas 3, draws from NumPy's global generator whatever seed it is given, and has no room for tasks with different
numbers of seeds. SciPy brings the same resampling, for all resamples at once.

Scores are success rates in [0, 1]; those of one algorithm are a list with an array of shape (seeds,) for each task.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.config import InputError

Scores = NDArray[np.float64]

FEWEST_SEEDS = 3
"""For an interval over seeds; two values say next to nothing about how far others may lie."""
RESAMPLES = 50_000
CURVE_RESAMPLES = 2_000
_SEED = 0  # The same runs give the same intervals.
_BATCH = 1_000  # Resamples at once: bounds memory.


class Estimate(msgspec.Struct, frozen=True):
    """A figure and how well it is known.

    Attributes:
        value: The figure for the runs that there are.
        low: Lower end of the 95 % interval, None where there is none.
        high: Upper end.
        why_no_interval: In words, for people; empty where there is one.
    """

    value: float
    low: float | None = None
    high: float | None = None
    why_no_interval: str = ""


def interquartile_mean(scores: Scores) -> Scores:
    """Mean without the lowest and the highest quarter of the scores, rounded down, along the last axis.

    Of fewer than four scores this drops none.
    """
    drop = scores.shape[-1] // 4
    return np.asarray(np.sort(scores, axis=-1)[..., drop : scores.shape[-1] - drop].mean(axis=-1))


def interquartile_mean_of(tasks: Sequence[Scores]) -> Estimate:
    """Of the scores of all tasks together: a task with more seeds weighs more."""
    return _with_interval(tasks, lambda *parts: interquartile_mean(np.concatenate(parts, axis=-1)))


def optimality_gap_of(tasks: Sequence[Scores]) -> Estimate:
    """How far scores fall short of certain success, on average over tasks, each with the same weight."""
    return _with_interval(tasks, lambda *parts: 1.0 - _over_tasks([part.mean(axis=-1) for part in parts]))


def probability_of_improvement(first: Sequence[Scores], second: Sequence[Scores]) -> Estimate:
    """How often a run of the first is better than one of the second on the same task; a draw counts half.

    Args:
        first: For each task shape (seeds,).
        second: The same tasks; the numbers of seeds may differ.
    """

    def share(*parts: Scores) -> Scores:
        half = len(parts) // 2
        return _over_tasks([_wins(x, y) for x, y in zip(parts[:half], parts[half:], strict=True)])

    return _with_interval([*first, *second], share)


def performance_profile(tasks: Sequence[Scores], thresholds: Scores) -> list[Estimate]:
    """Share of runs with a score above each threshold, on average over tasks; intervals hold for each by itself.

    Args:
        tasks: For each task shape (seeds,).
        thresholds: Shape (T,).
    """
    above = [(scores > thresholds[:, None]).astype(float) for scores in tasks]  # (T, seeds)
    return _curve(above, lambda *parts: _over_tasks([part.mean(axis=-1) for part in parts]))


def interquartile_means(scores: Scores) -> list[Estimate]:
    """Of the same seeds at several points in time; intervals hold for each by itself.

    Args:
        scores: Shape (T, seeds).
    """
    return _curve([scores], interquartile_mean)


def _wins(x: Scores, y: Scores) -> Scores:
    """P(X > Y) + P(X = Y) / 2 of independent draws from the values along the last axes."""
    difference = x[..., :, None] - y[..., None, :]
    return (np.sign(difference).mean(axis=(-1, -2)) + 1.0) / 2.0


def _over_tasks(values: Sequence[Scores]) -> Scores:
    return np.asarray(np.mean(np.stack(values), axis=0))


def _curve(strata: Sequence[Scores], statistic: Callable[..., Scores]) -> list[Estimate]:
    """Of strata of shape (T, seeds) a figure for each of T; where all seeds agree the interval has no width."""
    values = statistic(*strata)
    if why := _too_few(strata):
        return [Estimate(float(value), why_no_interval=why) for value in values]
    low, high = _bootstrap(strata, statistic, CURVE_RESAMPLES)
    return [Estimate(float(v), float(lo), float(hi)) for v, lo, hi in zip(values, low, high, strict=True)]


def _with_interval(strata: Sequence[Scores], statistic: Callable[..., Scores]) -> Estimate:
    value = float(statistic(*strata))
    if why := _too_few(strata):
        return Estimate(value, why_no_interval=why)
    low, high = map(float, _bootstrap(strata, statistic, RESAMPLES))
    if low == high:
        # It would read as certainty, and only says that the bootstrap cannot draw what it has not seen.
        return Estimate(value, why_no_interval=_no_spread(strata))
    return Estimate(value, low, high)


def _too_few(strata: Sequence[Scores]) -> str:
    """Why there can be no interval; empty where there can."""
    fewest = min(scores.shape[-1] for scores in strata)
    if fewest >= FEWEST_SEEDS:
        return ""
    return f"{fewest} seed{'s' if fewest > 1 else ''}: too few for an interval"


def _no_spread(strata: Sequence[Scores]) -> str:
    counts = sorted({scores.shape[-1] for scores in strata})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"no spread among {seeds} seeds: no interval"


def _bootstrap(
    strata: Sequence[Scores], statistic: Callable[..., Scores], resamples: int
) -> tuple[Scores, Scores]:
    """Ends of the 95 % percentile interval: every stratum is drawn anew, with replacement, along its last axis."""
    interval = (
        _scipy_stats()
        .bootstrap(
            tuple(strata),
            lambda *parts, axis: statistic(*parts),
            n_resamples=resamples,
            batch=_BATCH,
            vectorized=True,
            axis=-1,
            confidence_level=0.95,
            method="percentile",
            rng=np.random.default_rng(_SEED),
        )
        .confidence_interval
    )
    return interval.low, interval.high


def _scipy_stats() -> Any:
    """SciPy, late: nothing else of journeyman needs it.

    Raises:
        InputError: It is not there.
    """
    try:
        return import_module("scipy.stats")
    except ImportError:
        raise InputError(
            "journeyman compare needs SciPy 1.15 or newer, which is not installed: pip install 'journeyman[compare]'."
        ) from None
