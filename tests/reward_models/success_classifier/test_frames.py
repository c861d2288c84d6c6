import shutil

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.config import InputError
from reward_models.success_classifier.frames import Frames, read_frames, sample, split_by_episode, views_of
from reward_models.success_classifier.labels import LabelFile
from reward_models.success_classifier.preprocessing import Inputs, Preprocessing


def make_frames(successes_of_episodes, length=4):
    """Episodes of that many frames, the last of which are successes."""
    episode = np.repeat(np.arange(len(successes_of_episodes)), length)
    step = np.tile(np.arange(length), len(successes_of_episodes))
    success = step >= length - np.repeat(np.array(successes_of_episodes), length)
    inputs = Inputs(
        np.zeros((len(step), 1, 3, 2, 2), np.uint8), np.arange(len(step), dtype=np.float32)[:, None]
    )
    return Frames(
        inputs, success, episode, step, tuple(f"{n}.mcap" for n in range(len(successes_of_episodes)))
    )


@given(
    successes=st.lists(st.integers(0, 4), min_size=1, max_size=25),
    share=st.floats(0.05, 0.95),
    seed=st.integers(0, 100),
)
def test_no_episode_is_on_both_sides(successes, share, seed):
    frames = make_frames(successes)
    try:
        fitted, held_out = split_by_episode(frames, share, np.random.default_rng(seed))
    except InputError:
        hypothesis.reject()  # Too few episodes of a class; the next test says how many are enough.
    assert not set(fitted.episode) & set(held_out.episode)
    everything = np.concatenate([fitted.inputs.state, held_out.inputs.state]).ravel()
    assert sorted(everything) == sorted(frames.inputs.state.ravel()), "no frame is lost or doubled"
    for side in (fitted, held_out):
        assert min(side.counts()) > 0


@given(
    with_success=st.integers(2, 20),
    without=st.integers(0, 20),
    share=st.floats(0.2, 0.6),
    seed=st.integers(0, 9),
)
def test_two_episodes_of_both_classes_are_enough(with_success, without, share, seed):
    frames = make_frames([2] * with_success + [0] * without)
    split_by_episode(frames, share, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("successes", "missing"),
    [([0, 0, 0], "no success"), ([4, 4, 4], "no failure"), ([0, 2, 0], "no success")],
)
def test_a_class_that_is_missing_is_named(successes, missing):
    with pytest.raises(InputError, match=missing):
        split_by_episode(make_frames(successes), 0.3, np.random.default_rng(0))


@given(successes=st.integers(0, 9), failures=st.integers(0, 9))
def test_a_sample_has_at_most_so_many_of_each(successes, failures):
    frames = make_frames([1, 2, 3])
    wanted = [
        min(limit or count, count)
        for limit, count in zip((successes, failures), frames.counts(), strict=True)
    ]
    assert list(sample(frames, successes, failures, np.random.default_rng(0)).counts()) == wanted


def test_frames_have_the_labels_of_their_steps(folder, preprocessing, frames):
    assert frames.counts() == (15, 65)
    assert frames.inputs.images.shape == (80, 1, 3, 24, 24)
    orange = (frames.inputs.images[:, 0, 0].astype(int) - frames.inputs.images[:, 0, 2] > 150).any((1, 2))
    np.testing.assert_array_equal(orange, frames.success)


def test_skipped_frames_are_left_out(make_folder, preprocessing):
    folder = make_folder(episodes=2)
    LabelFile(folder).add("0001.mcap", range(9), "skip", "ada")
    assert read_frames([folder], preprocessing).counts() == (0, 8)
    LabelFile(folder).add("0000.mcap", range(9), "skip", "ada")
    with pytest.raises(InputError, match="says skip"):
        read_frames([folder], preprocessing)


def test_the_cameras_of_an_episode_can_be_chosen_and_cropped(folder):
    assert sorted(views_of([folder], [], {})) == ["front", "wrist"]
    assert views_of([folder], ["wrist"], {"wrist": (0, 0, 10, 10)})["wrist"].crop == (0, 0, 10, 10)
    with pytest.raises(InputError, match="no camera 'top'; there are front, wrist"):
        views_of([folder], ["top"], {})
    with pytest.raises(InputError, match="'wrist', which is not among front"):
        views_of([folder], ["front"], {"wrist": (0, 0, 10, 10)})
    with pytest.raises(InputError, match="within the frame"):
        views_of([folder], [], {"front": (0, 0, 100, 10)})


def test_labels_without_their_episode_and_damaged_episodes(make_folder, preprocessing):
    folder = make_folder(episodes=2)
    path = folder / "0001.mcap"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:2000] + bytes(200) + whole[2200:], b""):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"0001\.mcap"):
            read_frames([folder], preprocessing)
    path.unlink()
    with pytest.raises(InputError, match=r"0001\.mcap cannot be read"):
        read_frames([folder], preprocessing)


def test_labels_of_another_episode_of_that_name(make_folder, preprocessing):
    folder = make_folder(episodes=2)
    LabelFile(folder).add("0000.mcap", [77], "failure", "ada")
    with pytest.raises(InputError, match="name step 77, but it has 0 to 8"):
        read_frames([folder], preprocessing)


def test_an_episode_of_other_cameras_is_named(make_folder, preprocessing, tmp_path):
    folder = make_folder(episodes=2)
    shutil.copy(folder / "labels.jsonl", tmp_path)
    other = Preprocessing(cameras={"top": preprocessing.cameras["front"]})
    with pytest.raises(InputError, match=r"camera 'top', but episode .*0000\.mcap has 'front', 'wrist'"):
        read_frames([folder], other)


def test_without_labels_there_is_nothing_to_read(make_folder, preprocessing):
    with pytest.raises(InputError, match=r"no labels .* `journeyman label`"):
        read_frames([make_folder(episodes=1, labelled=False)], preprocessing)
