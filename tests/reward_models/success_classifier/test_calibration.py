import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from agent.evaluation import wilson_interval
from reward_models.success_classifier.calibration import (
    choose_threshold,
    failures_needed,
    fit_temperature,
    negative_log_likelihood,
    sigmoid,
)


@given(factor=st.floats(0.2, 8.0), seed=st.integers(0, 20))
def test_the_temperature_undoes_over_and_underconfidence(factor, seed):
    rng = np.random.default_rng(seed)
    honest = rng.normal(0.0, 2.0, 4000)
    success = rng.random(4000) < sigmoid(honest)
    said = factor * honest
    temperature = fit_temperature(said, success)
    assert temperature == pytest.approx(factor, rel=0.2)
    assert negative_log_likelihood(said / temperature, success) <= negative_log_likelihood(said, success)


@given(
    logits=arrays(np.float64, 12, elements=st.floats(-50, 50)),
    success=arrays(np.bool_, 12).filter(lambda s: s.any() and not s.all()),
)
def test_calibration_never_makes_it_worse(logits, success):
    temperature = fit_temperature(logits, success)
    assert negative_log_likelihood(logits / temperature, success) <= negative_log_likelihood(logits, success)


def test_probabilities_of_huge_logits():
    np.testing.assert_allclose(sigmoid(np.array([-1e6, 0.0, 1e6])), [0.0, 0.5, 1.0])


@given(
    failures=arrays(np.float64, st.integers(1, 400), elements=st.floats(0, 1)),
    rate=st.sampled_from([0.01, 0.05, 0.2]),
)
def test_no_more_failures_pass_than_wanted(failures, rate):
    threshold = choose_threshold(failures, rate)
    assert threshold.false_positives == (failures > threshold.probability).sum()
    assert threshold.false_positives <= rate * (len(failures) + 1)
    assert 0.5 <= threshold.probability <= 1.0


def test_the_last_digits_of_a_probability_decide_nothing():
    failures = np.array([0.1] * 150 + [0.7, 0.9943])
    threshold = choose_threshold(failures, 0.01)
    assert threshold.false_positives == (failures * (1.0 + 1e-7) > threshold.probability).sum() == 0
    assert threshold.probability < 0.9944


def test_new_failures_pass_as_rarely_as_wanted():
    """Over many data sets, the rate of the next failure is at most what was asked for."""
    rng = np.random.default_rng(0)
    passed = []
    for _ in range(2000):
        failures = 0.5 + 0.5 * rng.random(151) ** 0.5
        passed.append(failures[-1] > choose_threshold(failures[:-1], 0.05).probability)
    assert np.mean(passed) == pytest.approx(0.05, abs=0.012)


def test_too_few_failures_are_not_made_more_of():
    threshold = choose_threshold(np.linspace(0.0, 0.3, 20), 0.01)
    assert threshold.probability == 0.5
    said = threshold.describe(0.01)
    assert "0 of 20" in said
    assert "not the wanted 1.0%" in said
    assert str(threshold.needed) in said
    assert "as wanted" in choose_threshold(np.zeros(1000), 0.01).describe(0.01)


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1])
def test_so_many_failures_are_needed(rate):
    needed = failures_needed(rate)
    assert wilson_interval(0, needed)[1] <= rate < wilson_interval(0, needed - 1)[1]
