"""Damaged files by the hundred: each is converted to what it was, or refused in one sentence, never more or less."""

import pickle
import random
import shutil

import numpy as np
import pytest

from journeyman.episodes.convert import run
from robot_env.episodes import list_episodes, read_episode

# How many damaged copies of each format's files. Together with those in test_rosbag.py a thousand.
COUNTS = {"mcap": 120, "robomimic": 160, "minari": 160, "lerobot": 180, "lerobot_video": 40, "serl": 200}


def damaged(data, rng):
    """Bytes with one of the things that happen to files."""
    data = bytearray(data)
    kind = rng.choice(["flip", "flips", "cut", "zeros", "noise", "shift"])
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.randint(1, 64))
    if kind in ("flip", "flips"):
        for _ in range(1 if kind == "flip" else rng.randint(2, 20)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del data[start:]
    elif kind == "zeros":
        data[start:end] = bytes(end - start)
    elif kind == "noise":
        data[start:end] = rng.randbytes(end - start)
    else:
        del data[start:end]
    return bytes(data)


def copied(source, target):
    (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    return target


def attempt(words):
    """Exit code and complaint; anything but wrong input is a defect and goes on up."""
    try:
        return run(words), ""
    except ValueError as error:
        if getattr(error, "exit_code", None) != 2:
            raise
        return 2, str(error)


def removed(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def files_of(path):
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


@pytest.fixture
def originals(make_episode):
    found = [make_episode(number, 3, end=(True, False), cameras=("front",)) for number in range(2)]
    for episode in found:
        rng = np.random.default_rng(0)
        episode.observations.update(front=rng.integers(0, 256, (4, 8, 8, 3), np.uint8))
    return found


def transitions(episodes):
    """What SERL would have recorded of them."""
    return [
        {
            "observations": {k: v[step][None] for k, v in episode.observations.items()},
            "next_observations": {k: v[step + 1][None] for k, v in episode.observations.items()},
            "actions": episode.actions[step],
            "rewards": episode.rewards[step],
            "masks": 1.0 - episode.terminated[step],
            "dones": bool(episode.terminated[step]),
        }
        for episode in episodes
        for step in range(len(episode.actions))
    ]


@pytest.fixture
def source(request, originals, write_folder, convert, tmp_path):
    """An undamaged file or folder of the format, and the word to convert it with."""
    ours, name = write_folder(*originals), request.param
    if name == "mcap":
        return ours, ["to=robomimic"]
    if name == "serl":
        (tmp_path / "demos.pkl").write_bytes(pickle.dumps(transitions(originals)))
        return tmp_path / "demos.pkl", ["to=mcap", "from=serl", "control_rate_hz=10"]
    name, _, video = name.partition("_")
    words = ["images=h264_lossless"] if video else []
    assert convert(ours, tmp_path / "there", f"to={name}", *words).code == 0
    return tmp_path / "there", ["to=mcap", f"from={name}"]


@pytest.mark.slow
@pytest.mark.parametrize(("source", "count"), COUNTS.items(), indirect=["source"])
def test_a_damaged_file_is_refused_or_harmless(source, count, originals, assert_same, tmp_path, capsys):
    path, words = source
    rng, outcomes = random.Random(count), {0: 0, 1: 0, 2: 0}
    for number in range(count):
        copy = copied(path, tmp_path / f"copy{number}{path.suffix}")
        files = files_of(copy)
        victim = files[number % len(files)]
        victim.write_bytes(damaged(victim.read_bytes(), rng))
        target = tmp_path / f"target{number}"
        code, complaint = attempt([str(copy), str(target), *words])
        assert complaint.count("\n") == 0
        assert target.exists() == (code < 2)
        outcomes[code] += 1
        said = capsys.readouterr().out
        if code == 1:
            assert "dropped " in said
        if code < 2 and words[0] == "to=mcap":
            check(target, originals, assert_same, exact="serl" not in words[1])
        removed(copy)
        removed(target)
    assert not list(tmp_path.glob(".*.partial"))
    assert outcomes[1] + outcomes[2] > 0.2 * count, outcomes


def check(target, originals, assert_same, exact):
    """Every episode that came through is one of the originals."""
    for path in list_episodes(target):
        found = read_episode(path)
        if exact:
            (wanted,) = [e for e in originals if e.actions.tobytes() == found.actions.tobytes()]
            assert_same(found, wanted)
