"""A camera behind ROS 2. Images are decoded and scaled by the node's thread: the control loop only picks them up."""

from typing import Any, NamedTuple

import numpy as np

from robot_env.age import AgeStatistics
from robot_env.message_reading import Image, MessageError, fitted, image_of, middle_part, stamp_ns_of
from robot_env.robot import RobotUnavailableError
from robot_env.ros.description import CameraTopic
from robot_env.ros.ros2_robot import Ros2Robot
from robot_env.ros.ros_clock import FUTURE_S, RosClock
from robot_env.ros.runtime import subscribe
from robot_env.task import CameraConfig


class _Seen(NamedTuple):
    """What has come. Replaced as a whole, by one thread, so that the other needs no lock and never waits.

    Attributes:
        image: The newest that could be used.
        measured_s: When it was taken, on the robot's clock.
        complaint: What is wrong with a newer one; empty if nothing is.
    """

    image: Image | None = None
    measured_s: float = -np.inf
    complaint: str = ""


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
        self._crop = source.crop or middle_part(source.width, source.height, wanted.width / wanted.height)
        self._seen = _Seen()
        self._topic = ""
        self.ages = AgeStatistics()
        self.skew = AgeStatistics()

    def attach(self, node: Any, clock: RosClock) -> None:
        """Subscribe."""
        from sensor_msgs.msg import CompressedImage, Image

        self._clock = clock
        topic = self._source.topic
        if self._source.compressed:
            self._topic = subscribe(node, CompressedImage, f"{topic}/compressed", self._look_at)
        else:
            self._topic = subscribe(node, Image, topic, self._look_at)

    @property
    def measured_s(self) -> float:
        """When the newest frame that could be used was taken, on the robot's clock."""
        return self._seen.measured_s

    def read(self) -> Image:
        """The freshest frame, RGB, shape (height, width, 3).

        Raises:
            RobotUnavailableError: There is none, it is too old or from the future, or of another size or kind; the
                message names the topic.
        """
        image, measured_s, age_s = self._require()
        self.ages.add(age_s)
        if self._robot.last_state is not None:
            self.skew.add(abs(measured_s - self._robot.last_state.stamp_s))
        return image

    def news_s(self) -> float:
        """When the freshest frame was taken, on the robot's clock.

        Raises:
            RobotUnavailableError: As `read`.
        """
        return self._require()[1]

    def _require(self) -> tuple[Image, float, float]:
        """The freshest frame, when it was taken, and its age."""
        image, measured_s, complaint = self._seen
        topic = self._topic
        # Until a better one comes: the frame from before the bad message is of the past.
        if complaint:
            raise RobotUnavailableError(
                f"{topic} {complaint}: correct the robot's YAML or the camera's settings."
            )
        if image is None:
            raise RobotUnavailableError(f"No image has come on {topic}: start the camera {self._name!r}.")
        age_s = self._clock.now_s() - measured_s
        if age_s > self._source.max_age_s:
            raise RobotUnavailableError(
                f"{topic} is stale: its newest image is {age_s:.3f} s old, but at most {self._source.max_age_s:g} s is "
                f"allowed; see to the camera {self._name!r}."
            )
        if age_s < -FUTURE_S:
            raise RobotUnavailableError(
                f"{topic} is stamped {-age_s:.3f} s in the future: synchronise the machines' clocks (chrony)."
            )
        return image, measured_s, age_s

    def _look_at(self, message: Any) -> None:
        """Take the image of a message. On the node's thread."""
        try:
            self._seen = _Seen(self._convert(message), self._clock.local_s(stamp_ns_of(message.header)))
        except MessageError as error:
            self._seen = self._seen._replace(complaint=str(error))

    def _convert(self, message: Any) -> Image:
        rgb = image_of(message, self._source.compressed)
        height, width = rgb.shape[:2]
        source = self._source
        if (width, height) != (source.width, source.height):
            raise MessageError(
                f"sends images of {width} x {height} pixels, but {source.width} x {source.height} are expected"
            )
        return fitted(rgb, self._crop, self._size)
