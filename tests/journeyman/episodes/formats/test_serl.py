"""SERL's and HIL-SERL's pickles."""

import os
import pickle

import numpy as np
import pytest


def transitions(episodes=((4, True), (3, True)), stack=1, seed=0, infos=True):
    """What HIL-SERL records: a flat list, images and state with a leading stack dimension."""
    rng = np.random.default_rng(seed)
    found = []
    for steps, done in episodes:
        seen = [
            {
                "state": rng.normal(size=(stack, 3)).astype(np.float32),
                "wrist_1": rng.integers(0, 256, (stack, 6, 8, 3), np.uint8),
            }
            for _ in range(steps + 1)
        ]
        for k in range(steps):
            last = k == steps - 1
            info = {"succeed": np.bool_(last and done), "left": False}
            if k % 2:
                info["intervene_action"] = rng.uniform(-1, 1, 7)
            found.append(
                {
                    "observations": seen[k],
                    "actions": rng.uniform(-1, 1, 7),
                    "next_observations": seen[k + 1],
                    "rewards": int(last and done),
                    "masks": 1.0 - (last and done),
                    "dones": last and done,
                    **({"infos": info} if infos else {}),
                }
            )
    return found


def dump(path, thing, protocol=4):
    path.write_bytes(pickle.dumps(thing, protocol))
    return path


@pytest.mark.parametrize("stack", [1, 2])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_transitions_become_episodes(convert, read_folder, tmp_path, stack, protocol):
    given = transitions(stack=stack)
    source = dump(tmp_path / "demos.pkl", given, protocol)
    outcome = convert(source, tmp_path / "ours", "to=mcap", "control_rate_hz=10", "robot=franka")
    assert outcome.code == 0
    first, second = read_folder(tmp_path / "ours")
    assert (len(first.actions), len(second.actions)) == (4, 3)
    np.testing.assert_array_equal(
        first.actions, np.stack([t["actions"] for t in given[:4]]).astype(np.float32)
    )
    for k in range(4):
        np.testing.assert_array_equal(
            first.observations["wrist_1"][k], given[k]["observations"]["wrist_1"][-1]
        )
        np.testing.assert_array_equal(first.observations["state"][k], given[k]["observations"]["state"][-1])
    np.testing.assert_array_equal(first.observations["state"][4], given[3]["next_observations"]["state"][-1])
    assert first.metadata.state_names == ("state.0", "state.1", "state.2")
    assert first.rewards.tolist() == [0, 0, 0, 1]
    assert first.terminated.tolist() == [False] * 3 + [True]
    assert not first.truncated.any()
    assert first.intervened.tolist() == [False, True, False, True]
    assert first.provenance.tolist() == ["demonstration", "human"] * 2
    assert first.success


def test_a_folder_of_files(convert, read_folder, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    for number in range(2):
        dump(folder / f"{number}.pkl", transitions(seed=number))
    (folder / "2.pkl").write_bytes(b"not a pickle")
    outcome = convert(folder, tmp_path / "ours", "to=mcap", "control_rate_hz=10")
    assert outcome.code == 1
    assert "2.pkl is no pickle or is damaged" in outcome.lines("dropped")[0]
    assert len(read_folder(tmp_path / "ours")) == 4


def test_where_steps_do_not_follow_an_episode_ends(convert, read_folder, tmp_path):
    """A time-out has no mark in this format: only what is seen next tells of it."""
    source = dump(tmp_path / "demos.pkl", transitions([(3, False), (2, True), (4, False)]))
    outcome = convert(source, tmp_path / "ours", "to=mcap", "control_rate_hz=10")
    assert outcome.code == 0
    notes = outcome.lines("note")
    assert any("ends before entry 3" in note for note in notes)
    assert any("last episode ends" in note for note in notes)
    found = read_folder(tmp_path / "ours")
    assert [len(e.actions) for e in found] == [3, 2, 4]
    assert [bool(e.truncated[-1]) for e in found] == [True, False, True]
    assert [e.success for e in found] == [False, True, False]


def test_done_with_a_mask_is_a_time_out(convert, read_folder, tmp_path):
    given = transitions([(2, True)], infos=False)
    given[-1]["masks"] = 1.0
    given[-1]["rewards"] = np.float64(0.0)
    source = dump(tmp_path / "demos.pkl", given)
    assert convert(source, tmp_path / "ours", "to=mcap", "control_rate_hz=10").code == 0
    (found,) = read_folder(tmp_path / "ours")
    assert (found.terminated[-1], found.truncated[-1], found.success) == (False, True, False)


class Evil:
    def __init__(self, flag):
        self.flag = flag

    def __reduce__(self):
        return os.system, (f"touch {self.flag}",)


def test_a_malicious_pickle_does_nothing(convert, tmp_path):
    given = transitions()
    given[3]["infos"]["left"] = Evil(tmp_path / "ran")
    outcome = convert(dump(tmp_path / "demos.pkl", given), tmp_path / "ours", "to=mcap", "control_rate_hz=10")
    assert outcome.code == 2
    assert "asks for posix.system" in outcome.lines("dropped")[0]
    assert not (tmp_path / "ran").exists()


def spoilt(index, **changes):
    given = transitions()
    given[index] = {key: value for key, value in {**given[index], **changes}.items() if value is not None}
    return given


@pytest.mark.parametrize(
    ("given", "words", "expected"),
    [
        ({"a": 1}, [], "no list of transitions"),
        ([], [], "no list of transitions"),
        ([1], [], "entry 0 is no transition"),
        (spoilt(2, dones=None), [], "entry 2 is no transition of SERL, as it has no dones"),
        (spoilt(2, rewards="much"), [], "entry 2"),
        (spoilt(2, observations={"state": "abc"}), [], "entry 2"),
        (spoilt(2, observations={"state": np.zeros((1, 3))}), [], "do not hold the same"),
        (spoilt(5, infos=[1]), [], "its infos are a list"),
        (spoilt(0, actions=np.zeros(6)), [], "differ in shape"),
        (spoilt(0, actions=np.full(7, 2.0)), [], "outside the bounds"),
        (transitions(), ["max_gb=0.000001"], "max_gb"),
        (transitions(), ["cameras={wrist_2: wrist}"], "no images 'wrist_2'"),
    ],
)
def test_what_makes_no_sense_is_said(convert, tmp_path, given, words, expected):
    source = dump(tmp_path / "demos.pkl", given)
    outcome = convert(source, tmp_path / "ours", "to=mcap", "control_rate_hz=10", *words)
    assert outcome.code in (1, 2)
    assert expected in " ".join(outcome.lines("dropped"))


def test_it_is_only_read(make_episode, write_folder, convert, tmp_path):
    outcome = convert(write_folder(make_episode(0)), tmp_path / "there", "to=serl")
    assert outcome.code == 2
    assert "only read" in outcome.err
