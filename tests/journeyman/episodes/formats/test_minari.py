"""Minari datasets: there and back without loss, and with the official package on the other side."""

import json

import gymnasium
import h5py
import minari
import numpy as np
import pytest
from minari import MinariDataset
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage

END = [(True, False), (False, True), (False, False), (True, True)]


@pytest.fixture
def exported(make_episode, write_folder, convert, tmp_path):
    """Four episodes and the dataset they were exported to."""
    episodes = [make_episode(number, 3 + number, end=END[number], seed=number) for number in range(4)]
    target = tmp_path / "there"
    assert convert(write_folder(*episodes), target, "to=minari").code == 0
    return episodes, target


def test_there_and_back_is_the_same(exported, convert, read_folder, assert_same, tmp_path):
    episodes, target = exported
    outcome = convert(target, tmp_path / "back", "to=mcap")
    assert outcome.code == 0
    assert not outcome.lines("dropped")
    assert not outcome.lines("note")
    for found, wanted in zip(read_folder(tmp_path / "back"), episodes, strict=True):
        assert_same(found, wanted)


def test_the_official_package_reads_what_we_write(exported):
    episodes, target = exported
    dataset = MinariDataset(target)
    assert dataset.total_episodes == 4
    assert dataset.total_steps == sum(len(e.actions) for e in episodes)
    assert dataset.id == "journeyman/reach-v0"
    assert dataset.action_space == gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    for found, wanted in zip(dataset.iterate_episodes(), episodes, strict=True):
        assert found.observations.keys() == wanted.observations.keys()
        for key in found.observations:
            np.testing.assert_array_equal(found.observations[key], wanted.observations[key])
            assert dataset.observation_space[key].contains(found.observations[key][0])
        np.testing.assert_array_equal(found.actions, wanted.actions)
        np.testing.assert_array_equal(found.rewards, wanted.rewards)
        assert found.terminations.tolist() == wanted.terminated.tolist()
        assert found.truncations.tolist() == wanted.truncated.tolist()
        assert found.infos["intervened"].tolist() == [False, *wanted.intervened]
        assert found.infos["success"][-1] == wanted.success
    assert [m["seed"] for m in dataset.storage.get_episode_metadata(range(4))] == [0, 1, 2, 3]


def theirs(path, space, observations, *, low=-1.0, high=1.0, infos=None, jpeg=True, steps=6):
    """A dataset of the official package, in which every episode has these observations."""
    rng = np.random.default_rng(1)
    actions = gymnasium.spaces.Box(low, high, (2,), np.float32)
    storage = MinariStorage.new(path, space, actions, jpeg_encoding=jpeg)
    rewards = np.zeros(steps)
    rewards[-1] = 1.0
    for number in range(2):
        ends = np.zeros((2, steps), bool)
        ends[number, -1] = True
        buffer = EpisodeBuffer(
            seed=number,
            observations=observations,
            actions=rng.uniform(low, high, (steps, 2)).astype(np.float32),
            rewards=rewards,
            terminations=ends[0],
            truncations=ends[1],
            infos=infos or {},
        )
        storage.update_episodes([buffer])
    storage.update_metadata({"dataset_id": "d/e-v0", "minari_version": minari.__version__})
    return MinariDataset(path)


def test_we_read_what_the_official_package_writes(convert, read_folder, tmp_path):
    rng = np.random.default_rng(0)
    box = gymnasium.spaces.Box
    space = gymnasium.spaces.Dict(
        {
            "arm": gymnasium.spaces.Dict({"q": box(-9, 9, (3,), np.float64)}),
            "rgb": box(0, 255, (32, 40, 3), np.uint8),
            "small": box(0, 255, (8, 8, 3), np.uint8),
        }
    )
    smooth = np.linspace(0, 200, 32)[None, :, None, None] + np.zeros((7, 32, 40, 3))
    observations = {
        "arm": {"q": rng.normal(size=(7, 3))},
        "rgb": smooth.astype(np.uint8),
        "small": rng.integers(0, 256, (7, 8, 8, 3), np.uint8),
    }
    dataset = theirs(tmp_path / "d", space, observations, low=-2.0, high=4.0)
    outcome = convert(tmp_path / "d", tmp_path / "ours", "to=mcap", "control_rate_hz=5")
    assert outcome.code == 0
    assert any("scaled from [-2, 4]" in note for note in outcome.lines("note"))
    found = read_folder(tmp_path / "ours")
    assert [e.success for e in found] == [True, False]
    assert [bool(e.truncated[-1]) for e in found] == [False, True]
    assert [e.metadata.seed for e in found] == [0, 1]
    for ours, data in zip(found, dataset.iterate_episodes(), strict=True):
        assert ours.metadata.state_names == ("arm.q.0", "arm.q.1", "arm.q.2")
        np.testing.assert_array_equal(ours.observations["state"], observations["arm"]["q"].astype(np.float32))
        np.testing.assert_allclose(ours.actions, (data.actions + 2) / 3 - 1, atol=1e-6)
        np.testing.assert_array_equal(ours.observations["small"], observations["small"])
        # Minari stores large images as JPEG; two decoders differ by a little.
        np.testing.assert_allclose(
            ours.observations["rgb"].astype(int), data.observations["rgb"].astype(int), atol=3
        )


def test_a_plain_vector_is_the_state(convert, read_folder, tmp_path):
    states = np.arange(14, dtype=np.float32).reshape(7, 2)
    infos = {"success": np.array([False] * 6 + [True])}
    theirs(tmp_path / "d", gymnasium.spaces.Box(-99, 99, (2,), np.float32), states, infos=infos)
    words = ["to=mcap", "control_rate_hz=5", "state={observation: q}"]
    assert convert(tmp_path / "d", tmp_path / "ours", *words).code == 0
    found = read_folder(tmp_path / "ours")
    assert found[0].metadata.state_names == ("q.0", "q.1")
    np.testing.assert_array_equal(found[0].observations["state"], states)
    assert [e.success for e in found] == [True, True]


def edit_description(folder, **changes):
    path = folder / "metadata.json"
    description = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in description.items() if v is not None}))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"data_format": "arrow"}, "'arrow'"),
        ({"observation_space": None, "env_spec": '{"entry_point": "os:system"}'}, "observation_space"),
        ({"action_space": '{"type": "Wormhole"}'}, "cannot be read"),
        ({"total_episodes": "many"}, "cannot be read"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(exported, convert, tmp_path, changes, expected):
    _, target = exported
    edit_description(target, **changes)
    outcome = convert(target, tmp_path / "back", "to=mcap")
    assert outcome.code == 2
    assert expected in outcome.err


def test_what_is_missing_or_changed_is_said(exported, convert, read_folder, assert_same, tmp_path):
    episodes, target = exported
    with h5py.File(target / "main_data.hdf5", "a") as file:
        del file["episode_0"]
        del file["episode_1/rewards"]
        file["episode_2/terminations"][0] = True
    outcome = convert(target, tmp_path / "back", "to=mcap")
    assert outcome.code == 1
    for words, line in zip(
        ["does not hold it", "no rewards", "not those that were exported"],
        outcome.lines("dropped"),
        strict=True,
    ):
        assert words in line
    (found,) = read_folder(tmp_path / "back")
    assert_same(found, episodes[3])


def test_a_camera_with_a_slash_is_dropped(make_episode, write_folder, convert, tmp_path):
    folder = write_folder(make_episode(0), make_episode(1, cameras=["front/left"]))
    outcome = convert(folder, tmp_path / "there", "to=minari")
    assert outcome.code == 1
    assert "'front/left' has a slash" in outcome.lines("dropped")[0]
