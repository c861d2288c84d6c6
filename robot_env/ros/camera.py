"""A camera behind ROS 2."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from robot_env.age import AgeStatistics
from robot_env.robot import RobotUnavailableError
from robot_env.ros.description import CameraTopic
from robot_env.ros.messages import MessageError, stamp_ns_of
from robot_env.ros.ros2_robot import Ros2Robot
from robot_env.ros.ros_clock import RosClock
from robot_env.ros.runtime import Inbox
from robot_env.task import CameraConfig

Image = NDArray[np.uint8]

# Channels of the encodings that cameras send (sensor_msgs/image_encodings), and how to turn them to RGB.
_ENCODINGS: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
}


class Ros2Camera:
    """Implements `robot_env.contracts.Camera` and `robot_env.ros.ros2_robot.NodePart`.

    Args:
        name: As tasks call it.
        source: Where images come from.
        wanted: Size that the task wants; the middle of the image is cut to its shape, then scaled.
        robot: Whose state images are observed with.

    Attributes:
        ages: Of the images when they were read.
        skew: Distances in time between images and the joint states that they were observed with.
    """

    def __init__(self, name: str, source: CameraTopic, wanted: CameraConfig, robot: Ros2Robot) -> None:
        self._name = name
        self._robot = robot
        self._source = source
        self._size = wanted.width, wanted.height
        self._crop = source.crop or _middle(source.width, source.height, wanted.width / wanted.height)
        self._inbox: Inbox[Any] | None = None
        self._image: Image | None = None
        self.ages = AgeStatistics()
        self.skew = AgeStatistics()
        self.measured_s = -np.inf

    def attach(self, node: Any, clock: RosClock) -> None:
        """Subscribe."""
        from sensor_msgs.msg import CompressedImage, Image

        topic = self._source.topic
        if self._source.compressed:
            self._inbox = Inbox(node, CompressedImage, f"{topic}/compressed")
        else:
            self._inbox = Inbox(node, Image, topic)
        self._clock = clock

    def read(self) -> Image:
        """The freshest frame, RGB, shape (height, width, 3).

        Raises:
            RobotUnavailableError: There is none, it is too old, or of another size; the message names the topic.
        """
        assert self._inbox is not None  # The robot is connected before anything is read.
        for received in self._inbox.take():
            try:
                self._image = self._convert(received.message)
            except MessageError as error:
                raise RobotUnavailableError(
                    f"{self._inbox.topic} {error}: correct the robot's YAML or the camera's settings."
                ) from None
            self.measured_s = self._clock.local_s(stamp_ns_of(received.message.header))
        age_s = self._clock.now_s() - self.measured_s
        if self._image is None:
            raise RobotUnavailableError(
                f"No image has come on {self._inbox.topic}: start the camera {self._name!r}."
            )
        if age_s > self._source.max_age_s:
            raise RobotUnavailableError(
                f"{self._inbox.topic} is stale: its newest image is {age_s:.3f} s old, but at most "
                f"{self._source.max_age_s:g} s is allowed; see to the camera {self._name!r}."
            )
        self.ages.add(age_s)
        if self._robot.last_state is not None:
            self.skew.add(abs(self.measured_s - self._robot.last_state.stamp_s))
        return self._image

    def _convert(self, message: Any) -> Image:
        rgb = _decoded(message) if self._source.compressed else _pixels(message)
        height, width = rgb.shape[:2]
        source = self._source
        if (width, height) != (source.width, source.height):
            raise MessageError(
                f"sends images of {width} x {height} pixels, but {source.width} x {source.height} are expected"
            )
        left, top, wide, high = self._crop
        part = rgb[top : top + high, left : left + wide]
        if part.shape[1::-1] == self._size:
            return np.ascontiguousarray(part)
        return cv2.resize(part, self._size, interpolation=cv2.INTER_AREA)


def _middle(width: int, height: int, aspect: float) -> tuple[int, int, int, int]:
    """Left, top, width and height of the largest part in the middle with this width over height."""
    wide, high = min(width, round(height * aspect)), min(height, round(width / aspect))
    return (width - wide) // 2, (height - high) // 2, wide, high


def _decoded(message: Any) -> Image:
    data = np.frombuffer(message.data, np.uint8)
    bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if bgr is None:
        raise MessageError(f"sends {data.size} bytes of format {message.format!r} that are no image")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _pixels(message: Any) -> Image:
    if message.encoding not in _ENCODINGS:
        raise MessageError(
            f"sends images encoded as {message.encoding!r}; {', '.join(_ENCODINGS)} are understood"
        )
    channels, code = _ENCODINGS[message.encoding]
    data = np.frombuffer(message.data, np.uint8)
    if message.step < message.width * channels or data.size != message.step * message.height:
        raise MessageError(f"sends {data.size} bytes for {message.width} x {message.height} pixels")
    # Rows may be padded.
    rows = data.reshape(message.height, message.step)[:, : message.width * channels]
    image = rows.reshape(message.height, message.width, channels)
    return image if code is None else np.asarray(cv2.cvtColor(image, code), np.uint8)
