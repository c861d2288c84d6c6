"""Ages in bins: percentiles within the width of a bin, whatever the ages."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_env.age import EDGES_S, AgeStatistics

BIN = float(EDGES_S[1] / EDGES_S[0])


def counted(ages_s):
    statistics = AgeStatistics()
    for age_s in ages_s:
        statistics.add(age_s)
    return statistics


@given(st.lists(st.floats(1.01e-4, 9.9), min_size=1, max_size=50), st.floats(1.0, 100.0))
def test_a_percentile_is_the_upper_edge_of_its_bin(ages_s, percent):
    found_s = counted(ages_s).percentile_s(percent)
    exact_s = float(np.percentile(ages_s, percent, method="inverted_cdf"))
    assert exact_s <= found_s * (1.0 + 1e-9)
    assert found_s <= exact_s * BIN * (1.0 + 1e-9)


def test_bins_are_narrow_enough_for_twelve_percent():
    assert abs(BIN - 10 ** (1 / 20)) < 1e-9
    assert BIN - 1.0 < 0.1221


@pytest.mark.parametrize("age_s", [-1.0, 0.0, 1e-9, 10.5, 1e9, np.inf])
def test_an_age_outside_of_all_bins_is_counted(age_s):
    statistics = counted([age_s])
    assert statistics.counts.sum() == 1
    assert statistics.percentile_s(50.0) in (EDGES_S[0], EDGES_S[-1])


def test_median_and_tail_are_told_apart():
    summary = counted([0.002] * 98 + [0.5] * 2).summary()
    assert summary["median_s"] == pytest.approx(0.002, rel=0.13)
    assert summary["p99_s"] == pytest.approx(0.5, rel=0.13)


def test_nothing_counted_says_nothing_and_clearing_begins_anew():
    statistics = counted([0.1])
    statistics.clear()
    assert statistics.percentile_s(50.0) is None
    assert statistics.summary() == {}
    statistics.add(0.01)
    assert statistics.summary()["median_s"] == pytest.approx(0.01, rel=0.13)
