"""What is said about a data set before anything learns from it."""

import gymnasium
import numpy as np
import pytest

from agent.transition import TransitionSpec
from journeyman.offline.report import check_offline, count_successes, warnings_of

BOX = gymnasium.spaces.Box


@pytest.fixture
def records(spec):
    """Three episodes of 2, 3 and 2 steps: success, time-out, and the first again."""
    rng = np.random.default_rng(0)
    records = np.zeros(7, spec.dtype)
    records["observation.state"] = rng.normal(size=(7, 3))
    records["observation.state"][:, 1] = 4.0
    records["action"] = rng.uniform(-0.5, 0.5, (7, 2))
    records["action"][[2, 3], 0] = 1.0, -0.9995
    records["episode"] = [0, 0, 1, 1, 1, 2, 2]
    records["reward"] = [0, 1, 0, 0, 0, 0, 1]
    records["terminated"][[1, 6]] = True
    records["truncated"][4] = True
    for name in ("observation.state", "action"):
        records[name][5:] = records[name][:2]
    return records


def test_counts_ranges_returns_and_what_is_suspicious(spec, records):
    report = check_offline(records, spec, dropped=3, clipped=2)
    assert (report.transitions, report.episodes) == (7, 3)
    assert report.terminated_share == pytest.approx(2 / 7)
    assert report.truncated_share == pytest.approx(1 / 7)
    assert report.timeout_share == pytest.approx(1 / 3)
    assert (report.dropped, report.clipped, report.successes) == (3, 2, 2)
    assert report.action_low[0] == pytest.approx(-0.9995)
    assert report.action_high[0] == 1.0
    assert report.action_at_limits == pytest.approx((2 / 7, 0.0))
    assert (report.reward_low, report.reward_high) == (0.0, 1.0)
    assert report.returns["0"] == 0.0
    assert report.returns["0.5"] == 1.0
    assert report.constant == ("state[1]",)
    assert report.duplicates == 1
    assert report.warnings == ()


def test_an_episode_that_differs_in_one_number_is_no_duplicate(spec, records):
    for name in ("observation.state", "action", "reward"):
        changed = records.copy()
        changed[name][5] += 0.25
        assert check_offline(changed, spec).duplicates == 0


def test_a_camera_that_shows_one_picture_is_constant():
    space = gymnasium.spaces.Dict({"front": BOX(0, 255, (2, 2, 3), np.uint8)})
    spec = TransitionSpec.of(space, BOX(-np.inf, np.inf, (1,), np.float32))
    records = np.zeros(4, spec.dtype)
    assert check_offline(records, spec).constant == ("front",)
    assert check_offline(records, spec).action_at_limits == (0.0,)  # There are none.
    records["observation.front"][2, 0, 0, 0] = 1
    assert check_offline(records, spec).constant == ()


@pytest.mark.parametrize(
    ("rewards", "terminated", "successes", "warned"),
    [
        ([0, 1, 0, 0], [1], 1, []),
        ([-1, 0, -1, -1], [1], 1, []),  # Every step costs 1, and success nothing.
        ([-1, -1, -1, 0], [1], 0, ["No episode succeeds"]),
        ([0, 0, 0, 1], [1], 0, ["No episode succeeds"]),
        ([0, 1, 0, 1], [], 0, ["No episode succeeds"]),
        ([1, -9, 1, -9], [1, 3], 0, ["No episode succeeds"]),
        ([0, 0, 0, 0], [1, 3], 0, ["All rewards are 0", "No episode succeeds"]),
        ([-1, -1, -1, -1], [1, 3], 0, ["All rewards are -1", "No episode succeeds"]),
        ([1, 1, 1, 1], [1, 3], 2, ["All rewards are 1"]),
    ],
)
def test_rewards_that_teach_nothing_are_warned_of(spec, rewards, terminated, successes, warned):
    records = np.zeros(4, spec.dtype)
    records["reward"], records["episode"] = rewards, [0, 0, 1, 1]
    records["terminated"][terminated] = True
    assert count_successes(records) == successes
    said = list(warnings_of(records))
    assert len(said) == len(warned)
    assert all(sentence.startswith(words) for sentence, words in zip(said, warned, strict=True))


def test_of_nothing_nothing_is_said(spec):
    assert not list(warnings_of(np.zeros(0, spec.dtype)))
    assert count_successes(np.zeros(0, spec.dtype)) == 0
