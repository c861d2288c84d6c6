"""`journeyman episodes convert`: its words, what it leaves behind, and random episodes through every format."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeyman.episodes.convert import run
from journeyman.episodes.formats import MODULES, load_format
from robot_env.episode import MEASUREMENTS
from robot_env.episodes import list_episodes, read_episode, write_episode

GROUPS = (MEASUREMENTS[:1], MEASUREMENTS[1:2], MEASUREMENTS[2:3], MEASUREMENTS[3:5], MEASUREMENTS[5:7])
GROUPS += (MEASUREMENTS[7:8], MEASUREMENTS[8:])
BOTH_WAYS = [name for name in MODULES if name != "mcap" and load_format(name).write]


def test_every_format_says_what_it_is():
    for name in MODULES:
        found = load_format(name)
        assert found.about
        assert found.read or found.write
    assert BOTH_WAYS == ["lerobot", "minari", "robomimic"]


@pytest.mark.parametrize("name", BOTH_WAYS)
@settings(max_examples=8)
@given(
    seed=st.integers(0, 2**32),
    steps=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    joints=st.integers(0, 3),
    groups=st.sets(st.sampled_from(GROUPS)),
    cameras=st.sets(st.sampled_from(["wrist", "front_left", "state_image"])),
    states=st.integers(0, 3),
    actions=st.integers(1, 3),
    end=st.tuples(st.booleans(), st.booleans()),
)
def test_random_episodes_come_back_bit_for_bit(
    make_episode,
    assert_same,
    tmp_path_factory,
    name,
    seed,
    steps,
    joints,
    groups,
    cameras,
    states,
    actions,
    end,
):
    folder = tmp_path_factory.mktemp("convert")
    measured = [m for m in MEASUREMENTS if any(m in group for group in groups)]
    sizes = {"state_names": tuple(f"s{i}" for i in range(states)), "action_size": actions}
    wanted = [
        make_episode(seed + k, count, joints, measured, sorted(cameras), end, **sizes, seed=k)
        for k, count in enumerate(steps)
    ]
    (folder / "ours").mkdir()
    for k, episode in enumerate(wanted):
        write_episode(folder / f"ours/{k:04d}.mcap", episode)
    assert run([str(folder / "ours"), str(folder / "there"), f"to={name}"]) == 0
    assert run([str(folder / "there"), str(folder / "back"), "to=mcap"]) == 0
    for path, episode in zip(list_episodes(folder / "back"), wanted, strict=True):
        assert_same(read_episode(path), episode)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["one source and one target"]),
        (["a"], ["one source and one target"]),
        (["a", "b", "c"], ["one source and one target", "'c'"]),
        (["ours", "new"], ["to=FORMAT", "lerobot", "minari", "robomimic"]),
        (["ours", "new", "to=vhs"], ["'vhs'", "lerobot", "rosbag"]),
        (["ours", "new", "from=vhs", "to=mcap"], ["'vhs'"]),
        (["ours", "new", "to=mcap"], ["none of the formats", "from=NAME"]),
        (["ours", "new", "from=mcap", "to=mcap"], ["in one go"]),
        (["ours", "new", "from=minari", "to=robomimic"], ["in one go"]),
        (["ours", "new", "to=rosbag"], ["only read"]),
        (["ours", "new", "to=minari", "speed=3"], ["speed"]),
        (["ours", "ours", "to=minari"], ["exists"]),
        (["ours", "no/new", "to=minari"], ["no folder no"]),
        (["nowhere", "new", "to=minari"], ["nothing at nowhere"]),
        (["empty", "new", "to=minari"], ["no episodes"]),
    ],
)
def test_wrong_words_are_one_sentence(
    make_episode, write_folder, tmp_path, monkeypatch, capsys, words, expected
):
    from journeyman.cli import main

    monkeypatch.chdir(tmp_path)
    write_folder(make_episode(0))
    (tmp_path / "empty").mkdir()
    assert main(["episodes", "convert", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for word in expected:
        assert word in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "ours"]


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_relative_paths(
    make_episode, assert_same, write_folder, convert, read_folder, tmp_path, monkeypatch, name
):
    wanted = make_episode(0)
    write_folder(wanted)
    monkeypatch.chdir(tmp_path)
    assert convert(Path("ours"), Path("there"), f"to={name}").code == 0
    assert convert(Path("there"), Path("back"), "to=mcap").code == 0
    (found,) = read_folder(Path("back"))
    assert_same(found, wanted)


def test_an_unknown_action_names_the_known(capsys):
    from journeyman.cli import main

    assert main(["episodes", "juggle"]) == 2
    assert "convert" in capsys.readouterr().err


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_a_missing_library_is_said(make_episode, write_folder, convert, tmp_path, monkeypatch, name):
    package = {"lerobot": "pyarrow", "minari": "minari", "robomimic": "h5py"}[name]
    for module in [package, *sys.modules]:  # Also where nobody has imported it yet.
        if module.split(".")[0] == package:
            monkeypatch.setitem(sys.modules, module, None)
    outcome = convert(write_folder(make_episode(0)), tmp_path / "there", f"to={name}")
    assert outcome.code == 2
    assert "pip install 'journeyman[convert]'" in outcome.err


def test_damaged_episodes_are_dropped_and_the_others_kept(
    make_episode, write_folder, convert, read_folder, assert_same, tmp_path
):
    episodes = [make_episode(number) for number in range(3)]
    folder = write_folder(*episodes)
    data = (folder / "0001.mcap").read_bytes()
    (folder / "0001.mcap").write_bytes(data[: len(data) // 2])
    outcome = convert(folder, tmp_path / "there", "to=robomimic")
    assert outcome.code == 1
    assert "0001.mcap" in outcome.lines("dropped")[0]
    assert len(outcome.lines("kept")) == 2
    assert convert(tmp_path / "there", tmp_path / "back", "to=mcap").code == 0
    for found, wanted in zip(read_folder(tmp_path / "back"), [episodes[0], episodes[2]], strict=True):
        assert_same(found, wanted)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"joints": 3}, "joint_names is"),
        ({"cameras": ()}, "camera wrist is absent"),
        ({"cameras": ("wrist", "front")}, "camera front is"),
        ({"action_size": 4}, "action_size is 4, but 2"),
        ({"state_names": ("a", "b", "d")}, "state_names is"),
        ({"measured": MEASUREMENTS[:3]}, "measured is"),
        ({"task": {"name": "reach", "control_rate_hz": 20.0}}, "control_rate_hz is 20.0, but 10.0"),
    ],
)
@pytest.mark.parametrize("name", BOTH_WAYS)
def test_episodes_of_another_robot_or_task_do_not_mix(
    make_episode, write_folder, convert, tmp_path, changes, expected, name
):
    folder = write_folder(make_episode(0), make_episode(1, **changes), make_episode(2))
    outcome = convert(folder, tmp_path / "there", f"to={name}")
    assert outcome.code == 1
    (dropped,) = outcome.lines("dropped")
    assert "0001.mcap" in dropped
    assert expected in dropped
    assert len(outcome.lines("kept")) == 2


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_what_fails_in_the_middle_leaves_nothing(make_episode, write_folder, tmp_path, monkeypatch, name):
    """A full disk, say: the target does not appear, nor does anything beside it."""
    from journeyman.episodes.formats import report

    folder = write_folder(make_episode(0), make_episode(1))
    monkeypatch.setattr(report.Report, "keep", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run([str(folder), str(tmp_path / "there"), f"to={name}"])
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]


def test_a_target_that_appears_meanwhile_is_kept(make_episode, write_folder, tmp_path, monkeypatch):
    from journeyman.episodes.formats import report

    folder, target = write_folder(make_episode(0)), tmp_path / "there"
    monkeypatch.setattr(
        report.Report, "keep", keep_and(lambda: target.write_text("mine"), report.Report.keep)
    )
    with pytest.raises(ValueError, match="appeared meanwhile"):
        run([str(folder), str(target), "to=robomimic"])
    assert target.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours", "there"]


def keep_and(act, keep):
    def both(*arguments):
        act()
        return keep(*arguments)

    return both


def test_a_task_is_fitted(make_episode, write_folder, convert, read_folder, tmp_path):
    import h5py

    from journeyman.config import compose

    task = compose(["task=reach"]).task
    rng = np.random.default_rng(0)
    seen = {name: rng.normal(size=(6, 3)) for name in ("pos", "vel", "goal", "rel")}
    with h5py.File(tmp_path / "reach.hdf5", "w") as file:
        demo = file.create_group("data/demo_0")
        for key, values in seen.items():
            demo[f"obs/{key}"], demo[f"next_obs/{key}"] = values[:-1], values[1:]
        demo["actions"], demo["rewards"] = rng.uniform(-1, 1, (5, 3)), np.array([-1.0, -1, -1, -1, 0])
    mapping = "state={pos: ee_position, vel: ee_linear_velocity, goal: goal_position, rel: goal_from_ee}"
    words = ["to=mcap", "task=reach", "success=true", mapping]
    assert convert(tmp_path / "reach.hdf5", tmp_path / "ours", *words).code == 0
    (found,) = read_folder(tmp_path / "ours")
    wanted = np.concatenate(
        [seen["pos"] / 0.3, seen["vel"] / 0.3, seen["goal"] / 0.3, seen["rel"] / 0.1], axis=1
    )
    np.testing.assert_allclose(found.observations["state"], wanted, rtol=1e-6)
    assert found.metadata.state_names[0] == "ee_position.0"
    assert found.metadata.task["action"]["translation_m"] == task.action.translation_m
    mixed = mapping.replace(
        "pos: ee_position, vel: ee_linear_velocity", "vel: ee_linear_velocity, pos: ee_position"
    )
    outcome = convert(tmp_path / "reach.hdf5", tmp_path / "mixed", *words[:3], mixed)
    assert outcome.code == 2
    assert "in that order" in outcome.out
