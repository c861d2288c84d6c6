"""D4RL's HDF5 files as transitions: what ends an episode, what nobody knows, and what is refused."""

import sys
from pathlib import Path

import gymnasium
import h5py
import numpy as np
import pytest

from agent.config import InputError
from agent.transition import Provenance, TransitionSpec
from controllers.config import InputError as RobotSideInputError
from journeyman.offline.reading import load_offline, read_offline

BOX = gymnasium.spaces.Box


def fields_of(path):
    with h5py.File(path) as file:
        return {
            name: file[name][()] for name in ("observations", "actions", "rewards", "terminals", "timeouts")
        }


def test_without_next_observations_the_following_row_is_it_and_an_unknown_one_is_dropped(spec, write_d4rl):
    path = write_d4rl()
    stored = fields_of(path)
    data = load_offline(path, spec)
    records = data.records
    kept = [0, 1, 2, 3, 5, 6]  # Not the last of the episode that was timed out, nor the last of the file.
    assert data.dropped == 2
    np.testing.assert_array_equal(
        records["observation.state"], stored["observations"][kept].astype(np.float32)
    )
    np.testing.assert_array_equal(records["action"], stored["actions"][kept].astype(np.float32))
    assert records["reward"].tolist() == [0, 0, 1, 0, 0, 0]
    # The observation again behind the terminal, never the first of the next episode.
    np.testing.assert_array_equal(
        records["next_observation.state"], stored["observations"][[1, 2, 2, 4, 6, 7]].astype(np.float32)
    )
    assert records["episode"].tolist() == [0, 0, 0, 1, 2, 2]
    assert records["step"].tolist() == [0, 1, 2, 0, 0, 1]
    assert records["terminated"].tolist() == [False, False, True, False, False, False]
    # What is the last of an episode now that the one behind it was dropped.
    assert records["truncated"].tolist() == [False, False, False, True, False, True]
    assert (records["provenance"] == Provenance.DEMONSTRATION).all()
    assert not records["intervened"].any()
    assert records.dtype == spec.dtype


def test_with_next_observations_every_step_is_kept(spec, write_d4rl):
    following = np.random.default_rng(5).normal(size=(8, 3)).astype(np.float32)
    data = load_offline(write_d4rl(next_observations=following), spec)
    assert data.dropped == 0
    np.testing.assert_array_equal(data.records["next_observation.state"], following)
    assert data.records["terminated"].nonzero()[0].tolist() == [2]
    assert data.records["truncated"].nonzero()[0].tolist() == [4, 7]  # The time-out, and the end of the file.
    assert data.records["episode"].tolist() == [0, 0, 0, 1, 1, 2, 2, 2]


def test_a_terminal_that_is_a_time_out_too_is_kept_as_both(spec, write_d4rl):
    timeouts = np.array([0, 0, 1, 0, 1, 0, 0, 0], bool)
    records = read_offline(write_d4rl(timeouts=timeouts), spec)
    assert records["terminated"].nonzero()[0].tolist() == [2]
    assert records["truncated"].nonzero()[0].tolist() == [2, 3, 5]


def test_an_episode_of_one_step_that_was_cut_is_gone_and_the_others_are_counted_on(spec, write_d4rl):
    timeouts = np.array([1, 0, 0, 0, 1, 0, 0, 0], bool)
    data = load_offline(write_d4rl(timeouts=timeouts), spec)
    assert data.records["episode"].tolist() == [0, 0, 1, 2, 2]
    assert data.dropped == 3


def test_numbers_and_columns_mark_steps_as_well(spec, write_d4rl):
    plain = read_offline(write_d4rl(), spec)
    stored = fields_of(write_d4rl())
    columns = {
        name: stored[name].astype(np.float64)[:, None] for name in ("rewards", "terminals", "timeouts")
    }
    np.testing.assert_array_equal(read_offline(write_d4rl(**columns), spec), plain)


def test_observations_by_key_must_be_those_of_the_layout(write_d4rl):
    space = gymnasium.spaces.Dict(
        {"arm": BOX(-9, 9, (3,), np.float32), "front": BOX(0, 255, (4, 6, 3), np.uint8)}
    )
    spec = TransitionSpec.of(space, BOX(-1, 1, (2,), np.float32))
    images = np.random.default_rng(0).integers(0, 256, (8, 4, 6, 3), np.uint8)
    arm = np.arange(24.0).reshape(8, 3)
    records = read_offline(write_d4rl(observations={"arm": arm, "front": images}), spec)
    np.testing.assert_array_equal(records["observation.front"], images[[0, 1, 2, 3, 5, 6]])
    np.testing.assert_array_equal(records["next_observation.arm"], arm[[1, 2, 2, 4, 6, 7]])
    for observations, expected in [
        ({"arm": arm}, r"holds per step observations/arm \[3\], but .* observations/front \[4, 6, 3\]"),
        (arm, r"holds per step observations \[3\], but .* observations/arm \[3\]"),
        (
            {"arm": arm, "front": images.astype(np.float32)},
            "observations/front has type float32, but must be uint8",
        ),
        ({"arm": arm, "front": images[:, :2]}, r"observations/front \[2, 6, 3\]"),
    ]:
        with pytest.raises(InputError, match=expected):
            read_offline(write_d4rl(observations=observations), spec)


def test_without_a_task_the_layout_is_that_of_the_file(write_d4rl):
    data = load_offline(write_d4rl())
    assert data.spec.observation_keys == ("state",)
    assert data.spec.dtype["observation.state"].shape == (3,)
    assert data.spec.action_space == BOX(-1, 1, (2,), np.float32)
    images = np.zeros((8, 4, 6, 3), np.uint8)
    data = load_offline(write_d4rl(observations={"front": images, "q": np.zeros((8, 2), np.float64)}))
    assert data.spec.image_keys == ("front",)
    assert data.spec.dtype["observation.q"].shape == (2,)


def with_value(values, row, value):
    changed = np.array(values, np.float64)
    changed[row] = value
    return changed


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"terminals": None}, "no field 'terminals'"),
        ({"timeouts": None}, "no field 'timeouts'"),
        ({"rewards": None, "actions": None}, "no field 'actions', 'rewards'"),
        ({"observations": None, "data": {"demo_0": np.zeros(1)}}, "'observations'.*journeyman episodes convert"),
        ({"observations": np.zeros((8, 4))}, r"observations \[4\], but the observations are observations \[3\]"),
        ({"actions": np.zeros((8, 3))}, r"actions \[3\], but the actions are \[2\]"),
        ({"rewards": np.zeros(7)}, "'rewards': 7"),
        ({"next_observations": np.zeros((7, 3))}, "'next_observations': 7"),
        ({"observations": np.zeros((7, 3))}, "'observations': 7"),
        ({"next_observations": {"a": np.zeros((8, 3))}}, r"next_observations \['a'\]"),
        ({"observations": {"a": np.zeros(8), "b/c": np.zeros(8)}}, r"group observations .* groups such as \['b'\]"),
        ({"terminals": np.full(8, 3)}, "terminals holds 3"),
        ({"terminals": np.zeros((8, 2))}, "terminals has type"),
        ({"rewards": np.array(["a"] * 8, "S1")}, "rewards has type"),
        ({"observations": np.full((8, 3), b"a")}, "observations has type"),
        ({"actions": 3.0}, "actions must be an array"),
        (
            {"actions": with_value(np.zeros((8, 2)), (5, 1), -1.5)},
            r"actions hold -1.5 \(entry 1\) in row 5, outside of \[-1, 1\], as 1 of 8 steps",
        ),
        ({"actions": with_value(np.zeros((8, 2)), 3, np.nan)}, "actions holds nan in row 3"),
        ({"observations": with_value(np.zeros((8, 3)), (4, 2), np.inf)}, "observations holds inf in row 4"),
        ({"next_observations": with_value(np.zeros((8, 3)), 2, np.nan)}, "next_observations holds nan in row 2"),
        ({"rewards": with_value(np.zeros(8), 6, -np.inf)}, "rewards holds -inf in row 6"),
        ({"rewards": with_value(np.zeros(8), 6, 1e300)}, "rewards holds inf in row 6"),  # In float32 it is.
        ({"timeouts": np.ones(8), "terminals": np.zeros(8)}, "no step of which"),
        (
            {
                name: np.zeros((0, *shape))
                for name, shape in (
                    ("observations", (3,)), ("actions", (2,)), ("rewards", ()), ("terminals", ()), ("timeouts", ()),
                )
            },
            "holds no step",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_by_field_and_row(spec, write_d4rl, changes, expected):
    path = write_d4rl(**changes)
    with pytest.raises(InputError, match=expected) as refused:
        read_offline(path, spec)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_actions_beyond_their_bounds_by_rounding_are_clipped_and_counted(spec, write_d4rl):
    actions = with_value(np.zeros((8, 2)), (1, 0), 1.0 + 1e-4)
    actions[4] = -1.0 - 1e-4  # Of the step that is dropped.
    data = load_offline(write_d4rl(actions=actions), spec)
    assert data.clipped == 1
    assert data.records["action"].max() == 1.0


@pytest.mark.parametrize("name", ["absent.hdf5", "absent.h5"])
def test_a_missing_file_is_said(spec, tmp_path, name):
    with pytest.raises(InputError, match="There is no file"):
        read_offline(tmp_path / name, spec)


def test_what_is_no_data_set_is_refused(spec, tmp_path):
    (tmp_path / "broken.hdf5").write_bytes(b"x" * 100)
    with pytest.raises(RobotSideInputError, match="cannot be read"):
        read_offline(tmp_path / "broken.hdf5", spec)
    (tmp_path / "demos").mkdir()
    (tmp_path / "demos" / "0000.mcap").touch()
    with pytest.raises(InputError, match="recorded episodes.*journeyman episodes inspect"):
        read_offline(tmp_path / "demos", spec)
    for path in (tmp_path, tmp_path / "data.csv", Path("minari")):
        with pytest.raises(InputError, match="is no data set"):
            read_offline(path, spec)


def test_a_missing_library_is_named(spec, write_d4rl, monkeypatch):
    path = write_d4rl()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(RobotSideInputError, match=r"h5py.*journeyman\[convert\]"):
        read_offline(path, spec)
