"""The twin's cameras as topics, drawn by a thread of their own: drawing takes as long as a tick of physics."""

import threading
import time
from array import array
from typing import Any

import cv2
import mujoco
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from controllers.config import InputError
from robot_env.ros.description import CameraTopic
from robot_env.ros.messages import to_time
from robot_env.ros.node_log import NodeLog
from sim.cameras import TRAINING, VIDEO, Studio, TwinCamera
from sim.ros.world import TwinWorld

_RATE_HZ = 30.0
_JPEG_QUALITY = 95
_VIDEO = "video"


class CameraTopics:
    """Publishes images that somebody subscribes to, raw and as JPEG, each with its camera_info.

    Args:
        node: Publishes.
        cameras: Topics and sizes by the name of a camera of the model.
        world: The twin.

    Raises:
        InputError: The model has no camera of such a name.
    """

    def __init__(self, node: Any, cameras: dict[str, CameraTopic], world: TwinWorld) -> None:
        for name in cameras:
            Studio(world.twin.model, world.twin.data).camera_id(name)
        self._world = world
        self._logger = NodeLog(node)
        self._publishers = {name: _Publishers(node, name, camera) for name, camera in cameras.items()}
        self._snapshot = mujoco.MjData(world.twin.model)
        self._stamp_ns = 0
        self._wanted = threading.Event()
        self._taken = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._draw, name="cameras", daemon=True)
        self._thread.start()

    def tick(self) -> None:
        """Between two ticks of physics: copy the state if the drawing thread asks for one."""
        if self._wanted.is_set():
            self._wanted.clear()
            mujoco.mj_copyData(self._snapshot, self._world.twin.model, self._world.twin.data)
            self._stamp_ns = self._world.stamp_ns()
            self._taken.set()

    def close(self) -> None:
        """End the thread."""
        self._closing = True
        self._taken.set()
        self._thread.join(5.0)

    def _draw(self) -> None:
        """Life of the thread."""
        studio = Studio(self._world.twin.model, self._snapshot)
        try:
            self._draw_until_closed(studio)
        except InputError as error:
            self._logger.error(f"No images: {error}")
        finally:
            # Drawing surfaces belong to this thread: the last to hold them must be it.
            for publishers in self._publishers.values():
                publishers.forget_camera()

    def _draw_until_closed(self, studio: Studio) -> None:
        next_s = time.monotonic()
        while not self._closing:
            next_s = max(next_s + 1.0 / _RATE_HZ, time.monotonic())
            wanted = [publishers for publishers in self._publishers.values() if publishers.are_wanted()]
            if wanted:
                self._wanted.set()
                self._taken.wait()
                self._taken.clear()
            for publishers in wanted:
                publishers.publish(studio, self._stamp_ns)
            time.sleep(max(0.0, next_s - time.monotonic()))


class _Publishers:
    """The three topics of one camera."""

    def __init__(self, node: Any, name: str, camera: CameraTopic) -> None:
        self._name = name
        self._size = camera.width, camera.height
        self._camera: TwinCamera | None = None
        self._frame = f"{name}_optical"
        namespace = camera.topic.rpartition("/")[0]
        self._raw = node.create_publisher(Image, camera.topic, 1)
        self._compressed = node.create_publisher(CompressedImage, f"{camera.topic}/compressed", 1)
        self._info = node.create_publisher(CameraInfo, f"{namespace}/camera_info", 1)

    def are_wanted(self) -> bool:
        publishers = self._raw, self._compressed, self._info
        return any(publisher.get_subscription_count() for publisher in publishers)

    def publish(self, studio: Studio, stamp_ns: int) -> None:
        if self._camera is None:
            profile = VIDEO if self._name == _VIDEO else TRAINING
            self._camera = TwinCamera(studio, self._name, *self._size, profile)
        rgb = self._camera.read()
        if self._raw.get_subscription_count():
            self._raw.publish(self._stamped(_image(rgb), stamp_ns))
        if self._compressed.get_subscription_count():
            self._compressed.publish(self._stamped(_jpeg(rgb), stamp_ns))
        if self._info.get_subscription_count():
            field_of_view_rad = self._camera.vertical_field_of_view_rad
            self._info.publish(self._stamped(_camera_info(*self._size, field_of_view_rad), stamp_ns))

    def forget_camera(self) -> None:
        self._camera = None

    def _stamped(self, message: Any, stamp_ns: int) -> Any:
        message.header.stamp = to_time(stamp_ns)
        message.header.frame_id = self._frame
        return message


def _image(rgb: NDArray[np.uint8]) -> Image:
    height, width = rgb.shape[:2]
    return Image(height=height, width=width, encoding="rgb8", step=3 * width, data=array("B", rgb.tobytes()))


def _jpeg(rgb: NDArray[np.uint8]) -> CompressedImage:
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    # The format as image_transport's compressed plugin writes it.
    return CompressedImage(format="rgb8; jpeg compressed bgr8", data=array("B", data.tobytes()))


def _camera_info(width: int, height: int, vertical_field_of_view_rad: float) -> CameraInfo:
    """Intrinsics of a pinhole camera without distortion (REP-104)."""
    focal = 0.5 * height / float(np.tan(0.5 * vertical_field_of_view_rad))
    x, y = 0.5 * width, 0.5 * height
    return CameraInfo(
        height=height,
        width=width,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=[focal, 0.0, x, 0.0, focal, y, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[focal, 0.0, x, 0.0, 0.0, focal, y, 0.0, 0.0, 0.0, 1.0, 0.0],
    )
