import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.config import InputError
from reward_models.success_classifier.preprocessing import Preprocessing, View

FRONT, WRIST = View(height=20, width=30), View(height=20, width=30, crop=(2, 3, 16, 16))
BOTH = Preprocessing(cameras={"wrist": WRIST, "front": FRONT}, size=16)


def observations(count=3, **changes):
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (count, 20, 30, 3), np.uint8) for name in ("front", "wrist")}
    return {"state": rng.normal(size=(count, 2)).astype(np.float32), **images, **changes}


def test_cameras_come_in_alphabetical_order_cropped_and_scaled():
    seen = observations()
    inputs = BOTH.prepare(seen, ("a", "b"))
    assert inputs.images.shape == (3, 2, 3, 16, 16)
    assert inputs.images.dtype == np.uint8
    assert inputs.state.shape == (3, 0)
    # The crop has the wanted size already: its pixels are the frame's own.
    np.testing.assert_array_equal(inputs.images[:, 1], seen["wrist"][:, 2:18, 3:19].transpose(0, 3, 1, 2))


@given(order=st.permutations(range(5)))
def test_a_frame_is_prepared_alike_alone_and_in_a_batch(order):
    seen = observations(5)
    together = BOTH.prepare({name: values[order] for name, values in seen.items()}, ("a", "b"))
    for place, index in enumerate(order):
        alone = BOTH.prepare({name: values[[index]] for name, values in seen.items()}, ("a", "b"))
        np.testing.assert_array_equal(alone.images[0], together.images[place])


def test_entries_of_the_state_are_taken_by_name():
    chosen = msgspec.structs.replace(BOTH, state_names=("b",))
    seen = observations()
    np.testing.assert_array_equal(chosen.prepare(seen, ("a", "b")).state, seen["state"][:, [1]])
    np.testing.assert_array_equal(chosen.prepare(seen, ("b", "a")).state, seen["state"][:, [0]])


def test_the_hash_tells_every_difference():
    others = [
        {"size": 32},
        {"mean": 0.4},
        {"deviation": 0.3},
        {"state_names": ("a",)},
        {"cameras": {"front": FRONT}},
        {"cameras": {"front": FRONT, "wrist": View(height=20, width=30, crop=(2, 3, 16, 15))}},
    ]
    hashes = {msgspec.structs.replace(BOTH, **change).hash for change in others}
    assert len(hashes | {BOTH.hash}) == len(others) + 1
    assert Preprocessing(cameras={"front": FRONT, "wrist": WRIST}, size=16).hash == BOTH.hash


@pytest.mark.parametrize(
    ("shapes", "names", "message"),
    [
        ({"front": (20, 30, 3)}, (), "camera 'wrist', but the robot has 'front'"),
        ({}, (), "camera 'front', but the robot has no camera"),
        ({"front": (20, 30, 3), "wrist": (20, 31, 3)}, (), r"'wrist' of shape \[20, 30, 3\].*\[20, 31, 3\]"),
    ],
)
def test_other_cameras_are_refused_by_name(shapes, names, message):
    with pytest.raises(InputError, match=message):
        BOTH.check_source(shapes, names, "the robot")


def test_another_state_is_refused_by_name():
    chosen = msgspec.structs.replace(BOTH, state_names=("gripper_width",))
    with pytest.raises(InputError, match="'gripper_width' of the state"):
        chosen.prepare(observations(), ("a", "b"))


@pytest.mark.parametrize("crop", [(0, 0, 21, 5), (-1, 0, 5, 5), (0, 28, 5, 5), (0, 0, 0, 5)])
def test_a_crop_outside_the_frame_is_refused(crop):
    with pytest.raises(ValueError, match="within the frame"):
        View(height=20, width=30, crop=crop)


@pytest.mark.parametrize("values", [{"cameras": {}}, {"size": 4}, {"deviation": 0.0}])
def test_what_gives_no_picture_is_refused(values):
    with pytest.raises(ValueError, match=r"must|needs"):
        Preprocessing(**{"cameras": {"front": FRONT}, **values})
