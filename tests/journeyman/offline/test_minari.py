"""Minari's data sets as transitions, from folders and from its store."""

import json
import sys
from pathlib import Path

import gymnasium
import h5py
import numpy as np
import pytest

from agent.config import InputError
from agent.transition import Provenance, TransitionSpec
from controllers.config import InputError as RobotSideInputError
from journeyman.offline.reading import is_data_set, load_offline, read_offline

BOX = gymnasium.spaces.Box


def edit(folder, **changes):
    path = folder / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_every_step_is_kept_with_what_it_led_to(spec, write_minari):
    folder = write_minari()
    data = load_offline(folder, spec)
    with h5py.File(folder / "main_data.hdf5") as file:
        for number in range(2):
            stored, found = file[f"episode_{number}"], data.records[data.records["episode"] == number]
            observations = stored["observations"][()].astype(np.float32)
            np.testing.assert_array_equal(found["observation.state"], observations[:-1])
            np.testing.assert_array_equal(found["next_observation.state"], observations[1:])
            np.testing.assert_array_equal(found["action"], stored["actions"][()])
            assert found["terminated"].tolist() == [False] * 3 + [number == 0]
            assert found["truncated"].tolist() == [False] * 3 + [number == 1]
            assert found["reward"].tolist() == [0.0, 0.0, 0.0, 1.0 - number]
            assert found["step"].tolist() == [0, 1, 2, 3]
    assert (data.records["provenance"] == Provenance.DEMONSTRATION).all()
    assert (data.dropped, data.clipped, len(data.records)) == (0, 0, 8)


def test_the_folder_above_and_the_store_are_the_same(spec, write_minari, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "store"))
    home = tmp_path / "store" / "demo" / "e-v0"
    write_minari(home / "data")
    paths = [home, home / "data", Path("minari:demo/e-v0")]
    assert all(is_data_set(path) for path in paths)
    records = [read_offline(path, spec) for path in paths]
    np.testing.assert_array_equal(records[0], records[1])
    np.testing.assert_array_equal(records[0], records[2])
    for name, expected in [
        ("minari:demo/f-v0", r"has no data set demo/f-v0 .*minari download demo/f-v0"),
        ("minari:../e-v0", "cannot name a data set"),
        ("minari:demo/e", "cannot name a data set"),
        ("minari:", "cannot name a data set"),
    ]:
        with pytest.raises(InputError, match=expected):
            read_offline(Path(name), spec)


def test_without_a_last_observation_the_last_step_is_dropped_unless_it_terminates(spec, write_minari):
    folder = write_minari()
    with h5py.File(folder / "main_data.hdf5", "a") as file:
        for number in range(2):
            rows = file[f"episode_{number}/observations"][:4]
            del file[f"episode_{number}/observations"]
            file[f"episode_{number}/observations"] = rows
    data = load_offline(folder, spec)
    assert data.dropped == 1
    assert data.records["episode"].tolist() == [0] * 4 + [1] * 3
    assert data.records["terminated"].nonzero()[0].tolist() == [3]
    assert data.records["truncated"].nonzero()[0].tolist() == [6]
    np.testing.assert_array_equal(
        data.records["next_observation.state"][3], data.records["observation.state"][3]
    )


def test_an_episode_without_an_end_is_truncated(spec, write_minari):
    records = read_offline(write_minari(terminations=np.zeros(4, bool), truncations=np.zeros(4, bool)), spec)
    assert not records["terminated"].any()
    assert records["truncated"].nonzero()[0].tolist() == [3, 7]


def test_keys_and_images(write_minari):
    space = gymnasium.spaces.Dict(
        {
            "arm": gymnasium.spaces.Dict({"q": BOX(-9, 9, (2,), np.float64)}),
            "front": BOX(0, 255, (8, 8, 3), np.uint8),
        }
    )
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    folder = write_minari(
        space=space, observations={"arm": {"q": np.arange(10.0).reshape(5, 2)}, "front": images}
    )
    data = load_offline(folder)
    assert data.spec.observation_keys == ("arm.q", "front")
    np.testing.assert_array_equal(data.records["next_observation.front"][:4], images[1:])
    np.testing.assert_array_equal(data.records["observation.arm.q"][5], [2.0, 3.0])
    other = TransitionSpec.of(BOX(-9, 9, (2,), np.float32), BOX(-1, 1, (2,), np.float32))
    with pytest.raises(InputError, match=r"observations/arm\.q \[2\].* but .* observations/state \[2\]"):
        read_offline(folder, other)


def test_actions_that_are_announced_in_other_units_are_refused(spec, write_minari):
    folder = write_minari(high=2.0)
    with pytest.raises(InputError, match=r"action_space is from \[-2.0, -2.0\] .*episodes convert"):
        read_offline(folder, spec)
    assert load_offline(folder).spec.action_space.high.tolist() == [2.0, 2.0]  # Nothing to differ from.


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"actions": np.full((4, 2), 1.5, np.float32)},
            r"actions hold 1.5 \(entry 0\) in step 0 of episode_0",
        ),
        ({"rewards": np.array([0.0, 0.0, np.nan, 0.0])}, "rewards holds nan in step 2 of episode_0"),
        ({"observations": np.zeros((3, 3))}, "episode_0 has 4 actions, but of observations 3 rows"),
        ({"rewards": np.zeros(3)}, "episode_0 has 4 actions, but of rewards 3 rows"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_field_and_step(spec, write_minari, changes, expected):
    with pytest.raises(InputError, match=expected):
        read_offline(write_minari(**changes), spec)


@pytest.mark.parametrize("field", ["observations", "actions", "rewards", "terminations", "truncations"])
def test_a_missing_field_is_named(spec, write_minari, field):
    folder = write_minari()
    with h5py.File(folder / "main_data.hdf5", "a") as file:
        del file[f"episode_1/{field}"]
    with pytest.raises(RobotSideInputError, match=f"episode_1: it has no {field}"):
        read_offline(folder, spec)


def test_episodes_that_differ_or_are_missing_are_refused(spec, write_minari):
    folder = write_minari()
    with h5py.File(folder / "main_data.hdf5", "a") as file:
        del file["episode_1/actions"]
        file["episode_1/actions"] = np.zeros((4, 5))
    with pytest.raises(InputError, match=r"episode_1 holds .*'actions': \[5\].* first episode .*\[2\]"):
        read_offline(folder, spec)
    with h5py.File(folder / "main_data.hdf5", "a") as file:
        del file["episode_1"]
    with pytest.raises(RobotSideInputError, match=r"episode_1: metadata\.json counts it"):
        read_offline(folder, spec)
    edit(folder, total_episodes=0)
    with h5py.File(folder / "main_data.hdf5", "a") as file:
        del file["episode_0"]
    with pytest.raises(InputError, match="holds no step"):
        read_offline(folder, spec)


def test_a_description_of_other_actions_is_refused(spec, write_minari):
    folder = write_minari()
    with h5py.File(folder / "main_data.hdf5", "a") as file:
        for number in range(2):
            del file[f"episode_{number}/actions"]
            file[f"episode_{number}/actions"] = np.zeros((4, 5))
    for layout in (spec, None):
        with pytest.raises(InputError, match=r"action_space has shape \[2\], but its actions \[5\]"):
            load_offline(folder, layout)


def test_a_missing_library_is_named(spec, write_minari, monkeypatch):
    folder = write_minari()
    for module in list(sys.modules):
        if module.split(".")[0] == "minari":
            monkeypatch.setitem(sys.modules, module, None)
    for path in (folder, Path("minari:demo/e-v0")):
        with pytest.raises(RobotSideInputError, match=r"minari.*pip install 'journeyman\[convert\]'"):
            read_offline(path, spec)
