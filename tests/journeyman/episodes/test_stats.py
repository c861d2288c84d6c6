"""`journeyman episodes stats`, and what it measures."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from journeyman.cli import main
from journeyman.episodes import measures
from robot_env.episodes import read_episode


def measured(capsys, *words):
    assert main(["episodes", "stats", *map(str, words), "json=-"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def folder(tmp_path, record):
    """Returns -2, -4 and -6; the last a failure with a gap, and a human's for half."""
    for name in ("data", "random", "expert"):
        (tmp_path / name).mkdir()
    record(tmp_path / "data/0000.mcap", steps=3)
    record(tmp_path / "data/0001.mcap", steps=5, seed=1)
    late = {2: 1.0}
    record(tmp_path / "data/0002.mcap", steps=6, success=False, seed=2, late=late, intervened=(2, 3, 6))
    record(tmp_path / "random/0000.mcap", steps=10, success=False, seed=3)
    record(tmp_path / "expert/0000.mcap", steps=1, seed=4)
    return tmp_path


def test_counts(folder, capsys):
    found = measured(capsys, folder / "data")
    assert (found["episodes"], found["successes"]) == (3, 2)
    assert found["success_rate"] == pytest.approx(2 / 3)
    # The interval of agent.evaluation, which has tests of its own.
    assert 0.2 < found["success_low"] < 2 / 3 < found["success_high"] < 0.95
    assert found["steps"] == {"lowest": 3, "mean": pytest.approx(14 / 3), "median": 5, "highest": 6}
    assert found["returns"]["lowest"] == -6
    assert found["intervened_share"] == pytest.approx(3 / 14)
    assert (found["takeovers"], found["intervened_episodes"]) == (2, 1)
    assert found["gaps"] == 1


def test_quality_is_scaled_as_asked_for(folder, capsys):
    plain = measured(capsys, folder / "data")["trajectory_quality"]
    assert plain["tq"] == pytest.approx((-4 - -6) / (-2 - -6))
    assert "worst and the best episode here" in plain["scaled_by"]
    by_numbers = measured(capsys, folder / "data", "random=-20", "expert=-1")["trajectory_quality"]
    assert by_numbers["tq"] == pytest.approx(16 / 19)
    by_folders = measured(
        capsys, folder / "data", f"random={folder / 'random'}", f"expert={folder / 'expert'}"
    )["trajectory_quality"]
    assert (by_folders["return_at_0"], by_folders["return_at_1"]) == (-10, 0)
    assert by_folders["tq"] == pytest.approx(0.6)


def test_quality_of_equal_returns_is_none(folder, capsys):
    assert measured(capsys, folder / "random")["trajectory_quality"]["tq"] is None
    assert main(["episodes", "stats", str(folder / "random")]) == 0
    assert "both ends of its scale are equal" in capsys.readouterr().out


def test_coverage_needs_a_reference(folder, capsys):
    alone = measured(capsys, folder / "data")["coverage"]
    assert (alone["pairs"], alone["unique_pairs"], alone["saco"]) == (14, 14, None)
    with_itself = measured(capsys, folder / "data", f"reference={folder / 'data'}")["coverage"]
    assert with_itself["saco"] == 1.0
    with_other = measured(capsys, folder / "data", f"reference={folder / 'random'}")["coverage"]
    assert with_other["saco"] == pytest.approx(14 / 10)
    one_cell = measured(capsys, folder / "data", f"reference={folder / 'random'}", "bins=1")["coverage"]
    assert (one_cell["unique_pairs"], one_cell["saco"]) == (1, 1.0)


def test_entries(folder, capsys):
    found = measured(capsys, folder / "data")
    assert set(found["actions"]) == {"x", "y", "z", "gripper"}
    position = found["states"]["ee_position.0"]
    assert 0.2 <= position["lowest"] < position["mean"] < position["highest"] <= 0.4


def test_tables_and_files_say_the_same(folder, capsys):
    assert main(["episodes", "stats", str(folder / "data"), f"json={folder / 'stats.json'}"]) == 0
    shown = capsys.readouterr().out
    found = json.loads((folder / "stats.json").read_text())
    assert "2 of 3 episodes succeed: 67%" in shown
    assert f"Trajectory quality (TQ): {found['trajectory_quality']['tq']:.3f}" in shown
    assert "jerk [m/s^3]" in shown
    assert "SACo needs reference=DIR" in shown
    assert "2 takeovers in 1 episodes" in shown
    assert not list(folder.glob(".*"))


def test_files_that_are_no_episodes_are_told_and_not_used(folder, capsys):
    (folder / "data/0009.mcap").write_text("something else")
    found = measured(capsys, folder / "data")
    assert found["episodes"] == 3
    assert list(found["not_used"]) == [str(folder / "data/0009.mcap")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data", "random=1"], "must be given both or not at all"),
        (["data", "random=nan", "expert=1"], "not finite"),
        (["data", "random=absent", "expert=1"], "nothing at absent"),
        (["data", "reference=odd"], "reference=odd has another state"),
        (["data", "bins=0"], "bins 0 must lie between"),
        (["data", "odd"], "odd/0000.mcap has another state or other actions than data/0000.mcap"),
        (["empty"], "no whole episode in empty"),
    ],
)
def test_wrong_input_is_one_sentence(folder, record, monkeypatch, capsys, words, message):
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir()
    (folder / "odd").mkdir()
    record(folder / "odd/0000.mcap", state_names=("a", "b", "c", "d"))
    assert main(["episodes", "stats", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


# Measures.


@given(arrays(np.float64, (20, 3), elements=st.floats(-5, 5)), st.integers(1, 50))
def test_unique_pairs_are_counted_as_a_set_would(pairs, bins):
    low, high = pairs.min(0), pairs.max(0)
    width = np.where(high > low, high - low, 1.0)
    cells = {
        tuple(min(int((x - lo) / w * bins), bins - 1) for x, lo, w in zip(row, low, width, strict=True))
        for row in pairs
    }
    assert measures.unique_pairs(pairs, low, high, bins) == len(cells)
    again = np.concatenate([pairs, pairs[::-1]])
    assert measures.unique_pairs(again, low, high, bins) == len(cells)


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_takeovers_are_beginnings(intervened):
    found = measures.takeovers(np.array(intervened))
    assert found == sum(
        now and not before for before, now in zip([False, *intervened], intervened, strict=False)
    )


def motion(record, tmp_path, velocity_m_s, period_s):
    """The smoothness of an episode, with a velocity in place of the recorded one."""
    record(tmp_path / "0000.mcap", steps=1)
    episode = read_episode(tmp_path / "0000.mcap")
    episode.robot["ee_linear_velocity_m_s"] = np.outer(velocity_m_s, (0.6, 0.0, 0.8))
    return measures.smoothness(episode, period_s)


def test_smoothness_of_a_minimum_jerk_motion_is_the_known_one(record, tmp_path):
    """Of x = 10 s^3 - 15 s^4 + 6 s^5 the integral is 720 and the peak speed 1.875: ln(720 / 1.875^2) = 5.323."""
    s = np.linspace(0.0, 1.0, 801)
    velocity = 30 * s**2 - 60 * s**3 + 30 * s**4
    found = motion(record, tmp_path, 0.3 * velocity, 2.0 / 800)
    assert found.log_dimensionless_jerk == pytest.approx(-math.log(720 / 1.875**2), abs=0.02)
    # 0.3 m/s is the scale of the velocity and 2 s the duration, so that jerk is 0.3 / 2^2 of the unit motion's.
    assert found.jerk_rms_m_s3 == pytest.approx(math.sqrt(720) * 0.3 / 4, rel=0.02)


def test_smoothness_does_not_depend_on_speed_and_a_jolt_shows(record, tmp_path):
    s = np.linspace(0.0, 1.0, 101)
    velocity = 30 * s**2 - 60 * s**3 + 30 * s**4
    shares = [tmp_path / str(n) for n in range(3)]
    for share in shares:
        share.mkdir()
    slow = motion(record, shares[0], 0.1 * velocity, 0.2)
    fast = motion(record, shares[1], 0.9 * velocity, 0.05)
    assert slow.log_dimensionless_jerk == pytest.approx(fast.log_dimensionless_jerk)
    jolted = velocity.copy()
    jolted[50] = 0.0
    assert motion(record, shares[2], jolted, 0.1).log_dimensionless_jerk < slow.log_dimensionless_jerk - 1.0


@pytest.mark.parametrize("velocity", [np.zeros(10), np.ones(3)])
def test_no_motion_and_too_short_a_one_have_no_smoothness(record, tmp_path, velocity):
    assert motion(record, tmp_path, velocity, 0.1) is None


def test_an_arm_that_stands_still_idles(record, tmp_path):
    record(tmp_path / "0000.mcap", steps=4)
    episode = read_episode(tmp_path / "0000.mcap")
    assert measures.idle_share(episode, 0.1) == 0.0
    episode.robot["ee_position_m"][1:3] = episode.robot["ee_position_m"][0]
    episode.robot["gripper_width_m"][1:3] = episode.robot["gripper_width_m"][0]
    assert measures.idle_share(episode, 0.1) == 0.5
    turn = math.sin(0.1), math.cos(0.1)  # By 0.2 rad.
    episode.robot["ee_quaternion_xyzw"][2] = (turn[1], turn[0], 0.0, 0.0)
    assert measures.idle_share(episode, 0.1) == 0.25


def test_saturation_is_counted_by_entry():
    actions = np.array([[1.0, 0.0], [-1.0, 0.5], [0.9, -1.0], [0.0, 0.0]], np.float32)
    np.testing.assert_array_equal(measures.saturation(actions), [0.5, 0.25])
