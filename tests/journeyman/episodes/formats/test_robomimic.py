"""robomimic's HDF5: there and back without loss, others' files, and what they lack."""

import json

import h5py
import numpy as np
import pytest

END = [(True, False), (False, True), (False, False), (True, True)]


@pytest.fixture
def exported(make_episode, write_folder, convert, tmp_path):
    """Four episodes and the file they were exported to."""
    episodes = [make_episode(seed, 3 + seed, end=END[seed], seed=seed) for seed in range(4)]
    target = tmp_path / "there.hdf5"
    assert convert(write_folder(*episodes), target, "to=robomimic").code == 0
    return episodes, target


def test_there_and_back_is_the_same(exported, convert, read_folder, assert_same, tmp_path):
    episodes, target = exported
    outcome = convert(target, tmp_path / "back", "to=mcap")
    assert outcome.code == 0
    assert not outcome.lines("dropped")
    assert not outcome.lines("note")
    for found, wanted in zip(read_folder(tmp_path / "back"), episodes, strict=True):
        assert_same(found, wanted)


def test_it_is_laid_out_as_robomimic_reads_it(exported):
    episodes, target = exported
    with h5py.File(target) as file:
        data = file["data"]
        assert sorted(data) == [f"demo_{i}" for i in range(4)]
        assert data.attrs["total"] == sum(len(e.actions) for e in episodes)
        assert json.loads(data.attrs["env_args"]).keys() == {"env_name", "type", "env_kwargs"}
        for number, episode in enumerate(episodes):
            demo = data[f"demo_{number}"]
            assert demo.attrs["num_samples"] == len(episode.actions)
            assert {"actions", "rewards", "dones", "states", "obs", "next_obs"} <= set(demo)
            assert all(
                len(demo[k]) == len(episode.actions) for k in ("actions", "rewards", "dones", "states")
            )
            np.testing.assert_array_equal(demo["obs/wrist_image"], episode.observations["wrist"][:-1])
            np.testing.assert_array_equal(demo["next_obs/state"], episode.observations["state"][1:])
            assert demo["dones"][-1] == any(END[number])


def foreign(path, demos=2, steps=5, next_obs=True, **changes):
    """A file as robosuite's collection makes them: two kinds of numbers, one camera, no group of ours."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": {}})
        data.attrs["total"] = demos * steps
        for number in range(demos):
            demo = data.create_group(f"demo_{number + 8}")
            demo.attrs["num_samples"] = steps
            demo.attrs["model_file"] = "<mujoco/>"
            seen = {
                "robot0_eef_pos": rng.normal(size=(steps + 1, 3)),
                "robot0_gripper_qpos": rng.normal(size=(steps + 1, 1)),
                "agentview_image": rng.integers(0, 256, (steps + 1, 4, 4, 3), np.uint8),
            }
            for key, values in seen.items():
                demo[f"obs/{key}"] = values[:-1]
                if next_obs:
                    demo[f"next_obs/{key}"] = values[1:]
            rewards = np.zeros(steps)
            rewards[-1] = number % 2
            arrays = {
                "actions": rng.uniform(-1, 1, (steps, 7)),
                "rewards": rewards,
                "dones": rewards.astype(int),
                "states": rng.normal(size=(steps, 20)),
            }
            for key, values in {**arrays, **changes}.items():
                if values is not None:
                    demo[key] = values


def test_a_file_of_others(convert, read_folder, tmp_path):
    foreign(tmp_path / "lift.hdf5", demos=3)
    outcome = convert(
        tmp_path / "lift.hdf5", tmp_path / "ours", "to=mcap", "control_rate_hz=20", "robot=panda"
    )
    assert outcome.code == 0
    assert len(outcome.lines("note")) == 2
    found = read_folder(tmp_path / "ours")
    assert [e.success for e in found] == [False, True, False]
    assert [bool(e.terminated[-1]) for e in found] == [False, True, False]
    assert [bool(e.truncated[-1]) for e in found] == [True, False, True]
    assert found[0].metadata.state_names == (
        *(f"robot0_eef_pos.{i}" for i in range(3)),
        "robot0_gripper_qpos",
    )
    assert found[0].metadata.task == {"name": "Lift", "control_rate_hz": 20.0}
    assert found[0].metadata.robot == "panda"
    assert found[0].metadata.measured == ()
    np.testing.assert_allclose(found[0].elapsed_s, np.arange(6) / 20, atol=1e-9)
    with h5py.File(tmp_path / "lift.hdf5") as file:
        # In the order of their numbers: 8, 9, 10.
        np.testing.assert_array_equal(found[2].actions, file["data/demo_10/actions"][:].astype(np.float32))
        wanted = file["data/demo_8/next_obs/agentview_image"][-1]
    np.testing.assert_array_equal(found[0].observations["agentview"][-1], wanted)


def test_names_scales_and_bounds_are_applied(convert, read_folder, tmp_path):
    foreign(tmp_path / "lift.hdf5", demos=1, actions=np.linspace(0, 10, 5)[:, None].repeat(2, 1))
    words = ["to=mcap", "control_rate_hz=20", "action_low=0", "action_high=[10, 20]", "success=true"]
    words += ["state={robot0_eef_pos: ee_position}", "cameras={agentview: front}"]
    assert convert(tmp_path / "lift.hdf5", tmp_path / "ours", *words).code == 0
    (found,) = read_folder(tmp_path / "ours")
    np.testing.assert_allclose(found.actions[:, 0], np.linspace(-1, 1, 5))
    np.testing.assert_allclose(found.actions[:, 1], np.linspace(-1, 0, 5))
    assert found.metadata.state_names == ("ee_position.0", "ee_position.1", "ee_position.2")
    assert set(found.observations) == {"state", "front"}
    assert found.success


@pytest.mark.parametrize(
    ("changes", "words", "expected"),
    [
        ({}, [], "control_rate_hz"),
        ({}, ["control_rate_hz=20", "task=reach"], "control rate is given as"),
        ({}, ["task=reach"], "task reach observes"),
        ({}, ["control_rate_hz=20", "state={joint_position: q}"], "'joint_position'"),
        ({}, ["control_rate_hz=20", "cameras={wrist: wrist}"], "no images 'wrist'"),
        ({}, ["control_rate_hz=20", "action_low=[0, 0]", "action_high=2"], "must have 7 entries"),
        ({"actions": np.full((5, 7), 1.5)}, ["control_rate_hz=20"], "outside the bounds"),
        ({"actions": np.full((5, 7), np.nan)}, ["control_rate_hz=20"], "outside the bounds"),
        ({"actions": None}, ["control_rate_hz=20"], "no actions"),
        ({"actions": np.zeros((4, 7))}, ["control_rate_hz=20"], "observation.state"),
        ({"rewards": np.zeros(3)}, ["control_rate_hz=20"], "rewards"),
        ({"rewards": None}, ["control_rate_hz=20"], "success=true or success=false"),
    ],
)
def test_what_does_not_fit_is_dropped_and_said(convert, tmp_path, changes, words, expected):
    foreign(tmp_path / "lift.hdf5", demos=2, **changes)
    outcome = convert(tmp_path / "lift.hdf5", tmp_path / "ours", "to=mcap", *words)
    assert outcome.code == 2
    assert len(outcome.lines("dropped")) == 2
    assert expected in outcome.out


def test_a_hole_is_noticed(convert, read_folder, tmp_path):
    foreign(tmp_path / "lift.hdf5", demos=2)
    with h5py.File(tmp_path / "lift.hdf5", "a") as file:
        file["data/demo_9/obs/robot0_eef_pos"][3, 1] += 0.01
    outcome = convert(tmp_path / "lift.hdf5", tmp_path / "ours", "to=mcap", "control_rate_hz=20")
    assert outcome.code == 1
    assert "next_obs of step 2 is not obs of step 3" in outcome.lines("dropped")[0]
    assert len(read_folder(tmp_path / "ours")) == 1


def test_without_next_observations_the_last_action_is_dropped(convert, read_folder, tmp_path):
    foreign(tmp_path / "lift.hdf5", demos=2, next_obs=False)
    words = ["to=mcap", "control_rate_hz=20", "success=true"]
    outcome = convert(tmp_path / "lift.hdf5", tmp_path / "ours", *words)
    assert outcome.code == 0
    assert any("that action is dropped" in note for note in outcome.lines("note"))
    for found in read_folder(tmp_path / "ours"):
        assert len(found.actions) == 4
        assert (found.terminated[-1], found.truncated[-1]) == (False, True)
        assert found.rewards.tolist() == [0, 0, 0, 0]


def test_or_the_last_observation_is_repeated(convert, read_folder, tmp_path):
    foreign(tmp_path / "lift.hdf5", demos=2, next_obs=False)
    words = ["to=mcap", "control_rate_hz=20", "last_observation=repeat"]
    outcome = convert(tmp_path / "lift.hdf5", tmp_path / "ours", *words)
    assert outcome.code == 0
    for number, found in enumerate(read_folder(tmp_path / "ours")):
        assert len(found.actions) == 5
        assert found.success == bool(number)
        assert (found.terminated[-1], found.rewards[-1]) == (bool(number), number)
        np.testing.assert_array_equal(found.observations["state"][-1], found.observations["state"][-2])


@pytest.mark.parametrize(
    ("edit", "code", "expected"),
    [
        (lambda d: d["actions"].__setitem__((0, 0), 0.123), 1, "not those that were exported"),
        (lambda d: d["journeyman"].attrs.__delitem__("journeyman"), 1, "missing"),
        (lambda d: d.__delitem__("journeyman"), 1, "missing"),
        (lambda d: d["journeyman"].__delitem__("robot.ee_wrench"), 1, "robot.ee_wrench is missing"),
        (lambda d: d["journeyman"].attrs.__setitem__("journeyman", "{}"), 1, "cannot be read"),
        (lambda d: d["obs"].__delitem__("state"), 1, "must hold the same"),
    ],
)
def test_an_edited_export_is_noticed(exported, convert, tmp_path, edit, code, expected):
    _, target = exported
    with h5py.File(target, "a") as file:
        edit(file["data/demo_1"])
    outcome = convert(target, tmp_path / "back", "to=mcap")
    assert outcome.code == code
    assert len(outcome.lines("dropped")) == 1
    assert expected in outcome.lines("dropped")[0]


def test_an_edit_may_be_accepted(exported, convert, read_folder, tmp_path):
    _, target = exported
    with h5py.File(target, "a") as file:
        file["data/demo_1/rewards"][0] = 7.0
    assert convert(target, tmp_path / "back", "to=mcap", "accept_changes=true").code == 0
    assert read_folder(tmp_path / "back")[1].rewards[0] == 7.0
