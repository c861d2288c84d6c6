"""A camera behind ROS 2: the right pixels in RGB, or an error that names the topic."""

import threading
import time
from array import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from robot_env.robot import RobotUnavailableError
from robot_env.task import CameraConfig

pytestmark = pytest.mark.ros

WIDTH, HEIGHT = 32, 16
RNG = np.random.default_rng(0)
# Smooth, so that JPEG keeps it; and left differs from right, top from bottom, red from blue.
PICTURE = np.stack(
    [
        np.tile(np.linspace(20, 220, WIDTH), (HEIGHT, 1)),
        np.tile(np.linspace(200, 40, HEIGHT)[:, None], (1, WIDTH)),
        np.full((HEIGHT, WIDTH), 60.0),
    ],
    axis=-1,
).astype(np.uint8)


def image(pixels, encoding="rgb8", padding=0, age_s=0.0, **changes):
    from sensor_msgs.msg import Image

    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    padded = np.concatenate([rows, RNG.integers(0, 255, (height, padding), np.uint8)], axis=1)
    message = Image(
        height=height,
        width=width,
        encoding=encoding,
        step=padded.shape[1],
        data=array("B", np.ascontiguousarray(padded).tobytes()),
    )
    for name, value in changes.items():
        setattr(message, name, value)
    return stamped(message, age_s)


def compressed(pixels, kind=".jpg", age_s=0.0):
    from sensor_msgs.msg import CompressedImage

    _, data = cv2.imencode(kind, pixels[..., ::-1])
    message = CompressedImage(format=f"rgb8; {kind[1:]} compressed", data=array("B", data.tobytes()))
    return stamped(message, age_s)


def stamped(message, age_s):
    from robot_env.ros.messages import to_time

    message.header.stamp = to_time(time.time_ns() - round(age_s * 1e9))
    return message


class Setup:
    """A camera and who feeds it, on one node."""

    def __init__(self, runtime, wait_until, wanted=(WIDTH, HEIGHT), **source):
        from sensor_msgs.msg import CompressedImage, Image

        from robot_env.ros.camera import Ros2Camera
        from robot_env.ros.description import CameraTopic
        from robot_env.ros.ros_clock import WallRosClock

        self.robot = SimpleNamespace(last_state=None)
        config = {"width": WIDTH, "height": HEIGHT, "compressed": False, "max_age_s": 5.0} | source
        topic = CameraTopic(topic="front/color/image_raw", **config)
        self.camera = Ros2Camera("front", topic, CameraConfig(width=wanted[0], height=wanted[1]), self.robot)
        self.camera.attach(runtime.node, WallRosClock())
        name = topic.topic + "/compressed" * topic.compressed
        self._publisher = runtime.node.create_publisher(
            CompressedImage if topic.compressed else Image, name, 1
        )
        self._wait_until = wait_until

    def see(self, make):
        """Publish until it is read; returns the frame, or the complaint."""
        before_s = self.camera.measured_s

        def sees():
            self._publisher.publish(make())
            time.sleep(0.01)
            try:
                frame = self.camera.read()
            except RobotUnavailableError as error:
                return "" if "No image has come" in str(error) else str(error)
            return (frame,) if self.camera.measured_s != before_s else ()

        found = self._wait_until(sees)
        return found if isinstance(found, str) else found[0]

    def until_usable(self, make):
        """As `see`, after something was complained of: that stands until a better image is decoded."""

        def sees():
            found = self.see(make)
            return () if isinstance(found, str) else (found,)

        return self._wait_until(sees)[0]


@pytest.fixture
def setup(runtime, wait_until):
    return lambda **options: Setup(runtime, wait_until, **options)


@pytest.mark.parametrize("padding", [0, 5, 32])
@pytest.mark.parametrize(
    ("encoding", "sent", "seen"),
    [
        ("rgb8", PICTURE, PICTURE),
        ("bgr8", PICTURE[..., ::-1], PICTURE),
        ("rgba8", np.dstack([PICTURE, np.full((HEIGHT, WIDTH), 9, np.uint8)]), PICTURE),
        ("bgra8", np.dstack([PICTURE[..., ::-1], np.full((HEIGHT, WIDTH), 9, np.uint8)]), PICTURE),
        ("mono8", PICTURE[..., :1], np.repeat(PICTURE[..., :1], 3, axis=2)),
    ],
)
def test_every_encoding_becomes_rgb_with_padded_rows_or_without(setup, encoding, sent, seen, padding):
    found = setup().see(lambda: image(sent, encoding, padding))
    assert found.dtype == np.uint8
    assert np.array_equal(found, seen)


@pytest.mark.parametrize(("kind", "error"), [(".jpg", 12), (".png", 0)])
def test_compressed_images_are_taken_from_their_own_topic(setup, kind, error):
    found = setup(compressed=True).see(lambda: compressed(PICTURE, kind))
    assert found.shape == PICTURE.shape
    assert np.abs(found.astype(int) - PICTURE.astype(int)).max() <= error


@pytest.mark.parametrize(
    ("wanted", "left", "top", "wide", "high"),
    [((16, 16), 8, 0, 16, 16), ((32, 8), 0, 4, 32, 8), ((8, 8), 8, 0, 16, 16), ((32, 16), 0, 0, 32, 16)],
)
def test_the_middle_of_the_wanted_shape_is_used(setup, wanted, left, top, wide, high):
    found = setup(wanted=wanted).see(lambda: image(PICTURE))
    part = PICTURE[top : top + high, left : left + wide]
    expected = part if wanted == (wide, high) else cv2.resize(part, wanted, interpolation=cv2.INTER_AREA)
    assert found.shape == (wanted[1], wanted[0], 3)
    assert np.array_equal(found, expected)


def test_a_part_that_was_chosen_is_used_instead(setup):
    found = setup(crop=(4, 2, 8, 8), wanted=(8, 8)).see(lambda: image(PICTURE))
    assert np.array_equal(found, PICTURE[2:10, 4:12])


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: image(PICTURE[:8]), "sends images of 32 x 8 pixels, but 32 x 16 are expected"),
        (lambda: image(PICTURE, encoding="bayer_rggb8"), "encoded as 'bayer_rggb8'; rgb8, bgr8, rgba8"),
        (lambda: image(PICTURE, step=WIDTH), "bytes for 32 x 16 pixels"),
        (lambda: image(PICTURE, data=array("B", bytes(100))), "sends 100 bytes for 32 x 16 pixels"),
        (lambda: image(PICTURE, data=array("B")), "sends 0 bytes for 32 x 16 pixels"),
        (lambda: image(PICTURE, age_s=30.0), "is stale: its newest image is 30."),
        (lambda: image(PICTURE, age_s=-30.0), "in the future"),
    ],
)
def test_an_image_that_cannot_be_used_names_its_topic(setup, make, complaint):
    camera = setup()
    said = camera.see(make)
    assert said.startswith("/front/color/image_raw ")
    assert complaint in said


@pytest.mark.parametrize(
    ("break_it", "complaint"),
    [
        (lambda m: setattr(m, "data", m.data[: len(m.data) // 8]), "that are no image"),
        (lambda m: setattr(m, "data", m.data[:-8]), "that are no image"),
        (lambda m: setattr(m, "data", array("B")), "sends 0 bytes"),
        (
            lambda m: setattr(m, "data", array("B", b"not an image at all")),
            "'rgb8; jpg compressed' that are no",
        ),
    ],
)
def test_a_broken_jpeg_names_its_topic(setup, break_it, complaint):
    def make():
        message = compressed(PICTURE)
        break_it(message)
        return message

    camera = setup(compressed=True)
    said = camera.see(make)
    assert said.startswith("/front/color/image_raw/compressed sends")
    assert complaint in said


def test_the_frame_from_before_a_broken_image_is_not_used_again(setup):
    camera = setup()
    camera.see(lambda: image(PICTURE))
    assert "pixels" in camera.see(lambda: image(PICTURE[:8]))
    with pytest.raises(RobotUnavailableError, match="32 x 8 pixels"):
        camera.camera.read()
    seen = camera.until_usable(lambda: image(PICTURE))
    assert np.array_equal(seen, PICTURE)


def test_images_are_decoded_and_scaled_while_the_reader_does_something_else(setup, monkeypatch):
    from robot_env.ros import camera as module

    threads = set()

    def noting(act):
        def noted(*arguments):
            threads.add(threading.current_thread())
            return act(*arguments)

        return noted

    for name in ("image_of", "fitted"):
        monkeypatch.setattr(module, name, noting(getattr(module, name)))
    assert setup(compressed=True, wanted=(8, 4)).see(lambda: compressed(PICTURE)).shape == (4, 8, 3)
    assert threads
    assert threading.current_thread() not in threads


def test_a_camera_that_was_never_started_is_named(setup):
    camera = setup()
    with pytest.raises(RobotUnavailableError, match="No image has come on /front/color/image_raw: start the"):
        camera.camera.read()


def test_a_camera_that_dies_goes_stale(setup):
    camera = setup(max_age_s=0.3)
    camera.see(lambda: image(PICTURE))
    time.sleep(0.4)
    with pytest.raises(
        RobotUnavailableError, match=r"is stale: .* at most 0.3 s is allowed; see to .*'front'"
    ):
        camera.camera.read()


def test_ages_and_the_distance_to_the_joint_states_are_counted(setup):
    camera = setup()
    camera.see(lambda: image(PICTURE))
    assert camera.camera.skew.summary() == {}  # No state yet that it was observed with.
    camera.robot.last_state = SimpleNamespace(stamp_s=time.monotonic() + 1.0)
    camera.see(lambda: image(PICTURE, age_s=1.0))
    assert 0.9 < camera.camera.skew.summary()["median_s"] < 20.0
    assert 0.9 < camera.camera.ages.summary()["p99_s"] < 20.0


def test_a_frame_may_be_changed_without_harm(setup):
    camera = setup()
    frame = camera.see(lambda: image(PICTURE))
    frame[:] = 0
    assert np.array_equal(camera.see(lambda: image(PICTURE)), PICTURE)


@pytest.mark.parametrize("crop", [(0, 0, 33, 16), (-1, 0, 8, 8), (30, 10, 8, 8), (0, 0, 0, 8)])
def test_a_part_that_reaches_out_of_the_image_is_refused_when_the_robot_is_read(crop):
    import msgspec

    from robot_env.ros.description import CameraTopic

    source = {"topic": "c", "width": WIDTH, "height": HEIGHT, "crop": crop}
    with pytest.raises(msgspec.ValidationError, match="crop"):
        msgspec.convert(source, CameraTopic)
