"""Estimates and intervals against known values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeyman import statistics
from journeyman.statistics import (
    interquartile_mean,
    interquartile_mean_of,
    interquartile_means,
    optimality_gap_of,
    performance_profile,
    probability_of_improvement,
)


@pytest.fixture
def _quick(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 500)


def array(*values):
    return np.array(values, float)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (array(0, 1, 2, 3), 1.5),
        (array(0, 0, 10, 11, 12, 13, 90, 91), 11.5),
        (array(5, 1, 3, 2, 90), 10 / 3),  # A quarter of five, rounded down, is one at each end.
        (array(0, 0, 9), 3.0),  # A quarter of three is none.
    ],
)
def test_the_interquartile_mean_drops_a_quarter_at_each_end(scores, expected):
    assert interquartile_mean(scores) == pytest.approx(expected)


def test_the_interquartile_mean_pools_the_scores_of_all_tasks():
    assert interquartile_mean_of([array(0, 1), array(0.2, 0.6)]).value == pytest.approx(0.4)


def test_the_optimality_gap_gives_every_task_the_same_weight():
    estimate = optimality_gap_of([array(1, 1, 1), array(0.4, 0.5, 0.6, 0.5, 0.5, 0.5)])
    assert estimate.value == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([array(1, 2, 3)], [array(0, 0, 0)], 1.0),
        ([array(1, 1, 1)], [array(1, 1)], 0.5),
        ([array(0, 2)], [array(1, 2)], (0 + 0 + 1 + 0.5) / 4),
        ([array(1, 2, 3), array(0, 0, 0)], [array(0, 0, 0), array(1, 2, 3)], 0.5),
    ],
)
def test_a_draw_is_half_an_improvement(first, second, expected):
    assert probability_of_improvement(first, second).value == pytest.approx(expected)


def test_a_profile_is_the_share_of_runs_above_each_threshold():
    profile = performance_profile([array(0.2, 0.8), array(0.5, 0.9)], np.array([0.0, 0.2, 0.5, 0.85, 1.0]))
    assert [point.value for point in profile] == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_a_curve_has_an_estimate_for_each_point_in_time():
    scores = np.array([[0.0, 0.1, 0.5, 0.2], [0.9, 0.8, 1.0, 0.7]])
    early, late = interquartile_means(scores)
    assert (early.value, late.value) == (pytest.approx(0.15), pytest.approx(0.85))
    assert 0.0 <= early.low < early.value < early.high <= 0.5
    assert [point.why_no_interval for point in interquartile_means(scores[:, :2])] == [
        "2 seeds: too few for an interval"
    ] * 2


@given(
    st.lists(st.lists(st.integers(0, 50), min_size=3, max_size=8), min_size=1, max_size=3),
    st.lists(st.integers(0, 50), min_size=3, max_size=8),
)
@settings(max_examples=30, deadline=None)
def test_an_estimate_lies_in_its_interval_or_says_why_there_is_none(tasks, other):
    statistics_of = [
        interquartile_mean_of([np.array(scores) / 50 for scores in tasks]),
        optimality_gap_of([np.array(scores) / 50 for scores in tasks]),
        probability_of_improvement([np.array(tasks[0])], [np.array(other)]),
    ]
    for estimate in statistics_of:
        if estimate.why_no_interval:
            assert (estimate.low, estimate.high) == (None, None)
        else:
            assert 0 <= estimate.low <= estimate.value + 1e-9
            assert estimate.value <= estimate.high + 1e-9 <= 1 + 2e-9
            assert estimate.low < estimate.high


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_seeds_on_any_task_make_no_interval(count):
    few = [array(0.1, 0.5, 0.9), np.linspace(0, 1, count)]
    many = [array(0.1, 0.5, 0.9), array(0.2, 0.3, 0.4)]
    for estimate in (
        interquartile_mean_of(few),
        optimality_gap_of(few),
        probability_of_improvement(many, few),
        *performance_profile(few, np.array([0.5])),
    ):
        assert estimate.low is None
        assert f"{count} seed" in estimate.why_no_interval
        assert "too few" in estimate.why_no_interval


def test_seeds_that_are_all_alike_are_not_called_certain():
    estimate = interquartile_mean_of([array(1, 1, 1, 1)])
    assert estimate.low is None
    assert estimate.why_no_interval == "no spread among 4 seeds: no interval"
    better = probability_of_improvement([array(1, 1, 1)], [array(0.1, 0.2, 0.3, 0.4)])
    assert better.why_no_interval == "no spread among 3 to 4 seeds: no interval"


def test_tasks_are_drawn_each_for_itself():
    """Between tasks of very different difficulty nothing is exchanged: the interval is as narrow as within them."""
    estimate = optimality_gap_of([array(0.0, 0.01, 0.02), array(0.98, 0.99, 1.0)])
    assert estimate.high - estimate.low < 0.02


def test_resampled_medians_agree_with_an_enumeration():
    """All 27 resamples of three seeds: the ends of the interval are those of the exact bootstrap distribution."""
    values = array(0.0, 0.3, 0.9)
    exact = sorted(
        np.mean([values[i], values[j], values[k]]) for i in range(3) for j in range(3) for k in range(3)
    )
    estimate = interquartile_mean_of([values])
    # The lowest and the highest have a probability of 1/27 each, more than the 2.5 % beyond the ends.
    assert (estimate.low, estimate.high) == (pytest.approx(exact[0]), pytest.approx(exact[-1]))


@pytest.mark.usefixtures("_quick")
def test_more_seeds_make_intervals_that_cover_better():
    """How often the interval holds the truth, over drawn experiments; docs/compare.md has finer figures."""
    generator = np.random.default_rng(5)
    covered = {}
    for seeds in (3, 12):
        draws = generator.normal(0.5, 0.1, size=(150, seeds))
        estimates = [interquartile_mean_of([scores]) for scores in draws]
        covered[seeds] = np.mean([e.low <= 0.5 <= e.high for e in estimates])
    assert covered[3] < 0.87
    assert 0.87 < covered[12] < 0.99
