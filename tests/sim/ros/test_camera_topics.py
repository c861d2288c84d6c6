"""The twin's cameras as topics: the right pixels with the right intrinsics, and nothing drawn that nobody wants."""

import os
import time

import cv2
import mujoco
import numpy as np
import pytest

from controllers.config import InputError

pytestmark = pytest.mark.ros

TOPIC = "front/color/image_raw"


@pytest.fixture(scope="module")
def world():
    from sim.registration import load
    from sim.ros.world import TwinWorld

    world = TwinWorld(load("lift_cube"))
    assert world.reset(5) == ""
    return world


@pytest.fixture(scope="module")
def drawn(world):
    """What the cameras should see: `drawn(name, width, height)`, from the state as it stands."""
    from sim.cameras import TRAINING, Studio, TwinCamera

    studio = Studio(world.twin.model, world.twin.data)

    def draw(name, width, height):
        return TwinCamera(studio, name, width, height, TRAINING).read()

    try:
        draw("front", 8, 8)
    except InputError as error:
        if os.environ.get(
            "CI"
        ):  # Continuous integration installs a graphics library: a skip would hide its loss.
            raise
        pytest.skip(str(error))
    return draw


@pytest.fixture
def film(runtime, world, wait_until, drawn, monkeypatch):
    """Cameras in a thread, whose asking for the state the test answers as the physics does."""
    from robot_env.ros.description import CameraTopic
    from robot_env.ros.runtime import Inbox
    from sim.cameras import Studio
    from sim.ros.camera_topics import CameraTopics

    made = []

    class Film:
        frames = 0

        def start(self, **sizes):
            cameras = {
                name: CameraTopic(topic=f"{name}/color/image_raw", width=width, height=height)
                for name, (width, height) in sizes.items()
            }
            self.topics = CameraTopics(runtime.node, cameras, world)
            made.append(self.topics)
            return self

        def subscribe(self, kind, topic):
            return Inbox(runtime.node, kind, topic)

        def wait(self, inbox):
            def take():
                self.topics.tick()
                return inbox.take()

            return wait_until(take)[-1].message

    film = Film()
    render = Studio.render

    def count(self, *arguments):
        film.frames += 1
        return render(self, *arguments)

    monkeypatch.setattr(Studio, "render", count)
    yield film
    for topics in made:
        topics.close()


def test_a_raw_image_is_what_the_camera_sees(film, drawn):
    from sensor_msgs.msg import Image

    from robot_env.ros.messages import stamp_ns_of

    before_ns = time.time_ns()
    message = film.start(front=(64, 48)).wait(film.subscribe(Image, TOPIC))
    assert (message.width, message.height, message.step) == (64, 48, 192)
    assert (message.encoding, message.header.frame_id) == ("rgb8", "front_optical")
    assert before_ns <= stamp_ns_of(message.header) <= time.time_ns()
    pixels = np.frombuffer(message.data, np.uint8).reshape(48, 64, 3)
    assert np.array_equal(pixels, drawn("front", 64, 48))
    assert pixels.std() > 5.0


def test_a_compressed_image_is_the_same_picture_as_jpeg(film, drawn):
    from sensor_msgs.msg import CompressedImage

    message = film.start(wrist=(64, 64)).wait(
        film.subscribe(CompressedImage, "wrist/color/image_raw/compressed")
    )
    assert message.format == "rgb8; jpeg compressed bgr8"
    assert message.header.frame_id == "wrist_optical"
    data = np.frombuffer(message.data, np.uint8)
    assert data[:2].tobytes() == b"\xff\xd8"
    rgb = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
    difference = np.abs(rgb.astype(int) - drawn("wrist", 64, 64).astype(int))
    assert difference.mean() < 4.0


@pytest.mark.parametrize("size", [(128, 128), (96, 64)])
def test_the_intrinsics_put_the_cube_onto_its_pixels(film, world, size):
    from sensor_msgs.msg import CameraInfo, Image

    film.start(front=size)
    infos, images = film.subscribe(CameraInfo, "front/color/camera_info"), film.subscribe(Image, TOPIC)
    info, image = film.wait(infos), film.wait(images)
    assert (info.width, info.height) == (image.width, image.height) == size
    assert info.header.frame_id == image.header.frame_id == "front_optical"
    assert (info.distortion_model, list(info.d)) == ("plumb_bob", [0.0] * 5)
    k, p = np.array(info.k).reshape(3, 3), np.array(info.p).reshape(3, 4)
    assert np.array_equal(p[:, :3], k)
    assert not p[:, 3].any()
    assert np.array_equal(np.array(info.r).reshape(3, 3), np.eye(3))

    cube_m, _ = world.scene.poses()["cube"]
    camera = world.twin.data.camera("front")
    # MuJoCo's cameras look along -z with y up; optical frames look along z with y down (REP-103).
    seen_m = np.diag((1.0, -1.0, -1.0)) @ camera.xmat.reshape(3, 3).T @ (cube_m - camera.xpos)
    u, v, w = k @ seen_m
    rgb = np.frombuffer(image.data, np.uint8).reshape(size[1], size[0], 3).astype(int)
    orange = (rgb[..., 0] > rgb[..., 2] + 60) & (rgb[..., 0] > rgb[..., 1] + 40)
    assert orange.sum() > 5
    rows, columns = np.nonzero(orange)
    assert columns.mean() + 0.5 == pytest.approx(u / w, abs=1.5)
    assert rows.mean() + 0.5 == pytest.approx(v / w, abs=1.5)


def test_images_of_a_scene_that_goes_on_are_of_one_moment(film, world, drawn):
    """The physics steps while the cameras draw: both images of a round show the state that was copied."""
    from sensor_msgs.msg import Image

    from robot_env.ros.messages import stamp_ns_of

    film.start(front=(32, 32), wrist=(32, 32))
    inboxes = [film.subscribe(Image, f"{name}/color/image_raw") for name in ("front", "wrist")]
    stamps = [set(), set()]
    deadline_s = time.monotonic() + 20.0
    while len(stamps[0] & stamps[1]) < 3:
        assert time.monotonic() < deadline_s
        film.topics.tick()
        for inbox, found in zip(inboxes, stamps, strict=True):
            found.update(stamp_ns_of(received.message.header) for received in inbox.take())


def test_nothing_is_drawn_that_nobody_wants(film, wait_until):
    from sensor_msgs.msg import Image

    film.start(front=(16, 16), wrist=(16, 16))
    deadline_s = time.monotonic() + 0.3
    while time.monotonic() < deadline_s:
        film.topics.tick()
        time.sleep(0.002)
    assert film.frames == 0
    film.wait(film.subscribe(Image, TOPIC))
    assert film.frames > 0


def test_nothing_is_packed_or_compressed_that_nobody_wants(film, monkeypatch):
    from sensor_msgs.msg import CameraInfo, CompressedImage

    for name in ("_image", "_jpeg"):
        monkeypatch.setattr(f"sim.ros.camera_topics.{name}", lambda *_: pytest.fail("made for nobody"))
    film.start(front=(16, 16))
    film.wait(film.subscribe(CameraInfo, "front/color/camera_info"))
    monkeypatch.undo()
    film.wait(film.subscribe(CompressedImage, f"{TOPIC}/compressed"))


def test_at_most_thirty_images_a_second_are_drawn(film):
    from sensor_msgs.msg import Image

    inbox = film.start(front=(16, 16)).subscribe(Image, TOPIC)
    film.wait(inbox)
    before, began_s = film.frames, time.monotonic()
    while time.monotonic() - began_s < 0.5:
        film.topics.tick()
        time.sleep(0.001)
    assert 1 <= film.frames - before <= 30.0 * (time.monotonic() - began_s) + 2


def test_a_camera_that_the_model_lacks_is_refused_at_the_start(film):
    with pytest.raises(InputError, match=r"no camera 'ceiling'; choose from .*wrist"):
        film.start(ceiling=(16, 16))


def test_closing_ends_the_thread_with_and_without_subscribers(film):
    import threading

    from sensor_msgs.msg import Image

    film.start(front=(16, 16))
    film.topics.close()
    film.start(front=(16, 16))
    film.wait(film.subscribe(Image, TOPIC))
    film.topics.close()
    assert "cameras" not in {thread.name for thread in threading.enumerate()}


def test_an_image_shows_the_moment_of_its_stamp_while_the_physics_goes_on(film, world, drawn, monkeypatch):
    from sensor_msgs.msg import Image

    copy, kept = mujoco.mj_copyData, world.twin.data.qpos.copy()
    expected = []

    def copy_then_go_on(target, model, source):
        expected.append(drawn("front", 32, 32))
        copy(target, model, source)
        source.qpos[:] = kept
        source.qpos[7:] += 0.1 * (len(expected) % 3)
        mujoco.mj_forward(model, source)

    monkeypatch.setattr(mujoco, "mj_copyData", copy_then_go_on)
    monkeypatch.setattr(world, "stamp_ns", lambda: len(expected) * 10**9)
    inbox = film.start(front=(32, 32)).subscribe(Image, TOPIC)
    try:
        for _ in range(6):
            message = film.wait(inbox)
            pixels = np.frombuffer(message.data, np.uint8).reshape(32, 32, 3)
            assert np.array_equal(pixels, expected[message.header.stamp.sec - 1])
        assert not np.array_equal(expected[-1], expected[-2])
    finally:
        film.topics.close()
        world.twin.data.qpos[:] = kept
        mujoco.mj_forward(world.twin.model, world.twin.data)
