"""Episodes written from arrays: what comes back is what went in, and nonsense is refused."""

import dataclasses

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.config import InputError
from robot_env.episode import MEASUREMENTS
from robot_env.episodes import read_episode, write_episode

GROUPS = (MEASUREMENTS[:1], MEASUREMENTS[1:2], MEASUREMENTS[2:3], MEASUREMENTS[3:5], MEASUREMENTS[5:7])
GROUPS += (MEASUREMENTS[7:8], MEASUREMENTS[8:])


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    steps=st.integers(1, 6),
    joints=st.integers(0, 3),
    groups=st.sets(st.sampled_from(GROUPS)),
    cameras=st.sets(st.sampled_from(["wrist", "front/left"])),
    end=st.tuples(st.booleans(), st.booleans()),
)
def test_an_episode_comes_back_bit_for_bit(
    make_episode, assert_same, tmp_path_factory, seed, steps, joints, groups, cameras, end
):
    measured = [name for name in MEASUREMENTS if any(name in group for group in groups)]
    episode = make_episode(seed, steps, joints, measured, sorted(cameras), end)
    path = tmp_path_factory.mktemp("copy") / "0.mcap"
    write_episode(path, episode)
    assert_same(read_episode(path), episode)
    assert [p.name for p in path.parent.iterdir()] == ["0.mcap"]


def changed(episode, **changes):
    return dataclasses.replace(episode, **changes)


def with_metadata(episode, **changes):
    return changed(episode, metadata=msgspec.structs.replace(episode.metadata, **changes))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda e: changed(e, rewards=e.rewards[1:]), "rewards at step 3 is one of 3, but must be one of 4"),
        (lambda e: changed(e, rewards=e.rewards * np.nan), "reward at step 0 is nan"),
        (lambda e: changed(e, terminated=~e.truncated), "terminated or truncated at step 0"),
        (lambda e: changed(e, actions=2 + e.actions), "within [-1, 1]"),
        (lambda e: changed(e, provenance=np.full(4, "alien")), "provenance at step 0 is 'alien'"),
        (lambda e: changed(e, elapsed_s=-e.elapsed_s), "elapsed_s at step 1"),
        (lambda e: changed(e, elapsed_s=e.elapsed_s + np.nan), "elapsed_s at step 0"),
        (lambda e: changed(e, elapsed_s=e.elapsed_s + 1e5), "elapsed_s at step 0"),
        (lambda e: changed(e, success=None), "no end"),
        (lambda e: changed(e, robot={}), "measured"),
        (lambda e: with_metadata(e, joint_names=("a",)), "joint_position_rad at step 0 is of shape [2]"),
        (lambda e: with_metadata(e, recorded_at="yesterday"), "'yesterday'"),
        (
            lambda e: with_metadata(
                changed(e, robot={"ee_position_m": e.robot["ee_position_m"]}), measured=("ee_position_m",)
            ),
            "only one of ee_position_m and ee_quaternion_xyzw",
        ),
        (
            lambda e: changed(e, observations={**e.observations, "wrist": e.observations["wrist"][..., :2]}),
            "observation.wrist at step 0",
        ),
        (
            lambda e: changed(e, observations={**e.observations, "wrist": e.observations["wrist"][1:]}),
            "observation.wrist at step 4 is one of 4",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_nothing(make_episode, tmp_path, spoil, words):
    with pytest.raises(InputError) as caught:
        write_episode(tmp_path / "0.mcap", spoil(make_episode(0)))
    assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept(make_episode, tmp_path):
    path = tmp_path / "0.mcap"
    write_episode(path, make_episode(0))
    before = path.read_bytes()
    with pytest.raises(InputError, match="exists"):
        write_episode(path, make_episode(1))
    assert path.read_bytes() == before
