import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reward_models.success_classifier.frames import Frames
from reward_models.success_classifier.measurement import measure, roc_area, worst_errors
from reward_models.success_classifier.preprocessing import Inputs

BOTH = arrays(np.bool_, 15).filter(lambda s: s.any() and not s.all())


def make_frames(success, episode=None):
    count = len(success)
    inputs = Inputs(np.zeros((count, 1, 3, 2, 2), np.uint8), np.zeros((count, 0), np.float32))
    episode = np.zeros(count, np.int64) if episode is None else np.array(episode)
    return Frames(inputs, np.array(success, bool), episode, np.arange(count), ("0.mcap", "1.mcap", "2.mcap"))


@given(success=BOTH, probability=arrays(np.float64, 15, elements=st.sampled_from([0.0, 0.1, 0.5, 0.7, 1.0])))
def test_the_area_is_the_chance_of_the_right_order(success, probability):
    difference = probability[success][:, None] - probability[~success][None]
    assert roc_area(probability, success) == pytest.approx(
        np.mean((difference > 0) + 0.5 * (difference == 0))
    )


@given(success=BOTH, probability=arrays(np.float64, 15, elements=st.floats(0, 1)))
def test_the_shares_count_frames(success, probability):
    measured = measure(make_frames(success), probability, np.zeros(15), 0.5, 2, 3)
    called = probability > 0.5
    assert measured.false_positive_rate.count == (called & ~success).sum()
    assert measured.recall.share == (called & success).sum() / success.sum()
    assert measured.precision.of == called.sum()
    assert sum(count for _, _, count in measured.reliability) == 15
    assert measured.recall.low - 1e-9 <= measured.recall.share <= measured.recall.high + 1e-9


def test_episodes_are_judged_by_votes():
    success = [0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
    called = [0, 1, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0]
    episode = np.repeat([0, 1, 2], 5)
    frames = make_frames(success, episode)
    probability = 0.1 + 0.8 * np.array(called)
    measured = measure(frames, probability, np.zeros(15), 0.5, 2, 3)
    assert (measured.episodes_ended_early.count, measured.episodes_ended_early.of) == (1, 3)
    assert (measured.episodes_recognised.count, measured.episodes_recognised.of) == (1, 2)


@given(success=BOTH, probability=arrays(np.float64, 15, elements=st.floats(0, 1)))
def test_the_worst_errors_are_errors_worst_first(success, probability):
    frames = make_frames(success)
    worst = worst_errors(frames, probability, 0.5, 5)
    wrong = (probability > 0.5) != success
    assert len(worst) == min(5, wrong.sum())
    assert wrong[worst].all()
    distance = np.abs(probability - success)
    assert list(distance[worst]) == sorted(distance[wrong], reverse=True)[:5]
