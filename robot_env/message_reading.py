"""What ROS messages say, in the robot side's own words, whichever library decoded them. SI units on both sides."""

from collections.abc import Sequence
from math import hypot, isfinite
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

_SECOND_NS = 1_000_000_000
_UNIT_TOLERANCE = 1e-2

# Channels of the encodings that cameras send (sensor_msgs/image_encodings), and how to turn them to RGB.
_ENCODINGS: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
}

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_JPEG_TAIL = 1024  # Some cameras send more than the picture.


class MessageError(ValueError):
    """A message does not say what it should; the text follows the name of its topic."""


class Joints(NamedTuple):
    """What a JointState says of an arm, in the arm's order, shapes (N,); None for what it leaves out."""

    position_rad: Array
    velocity_rad_s: Array | None
    effort_nm: Array | None


def stamp_ns_of(header: Any) -> int:
    """The stamp of a header in nanoseconds; 0 if it was never set."""
    return int(header.stamp.sec) * _SECOND_NS + int(header.stamp.nanosec)


def joints_of(message: Any, names: Sequence[str]) -> Joints | None:
    """What a message says of the joints `names`, put into their order.

    Returns:
        None if it speaks of other joints only, as a gripper's does on the same topic.

    Raises:
        MessageError: Some of the joints are missing or twice, or there are fewer numbers than names.
    """
    given = list(message.name)
    known = [name for name in names if name in given]
    if not known:
        return None
    if len(known) < len(names):
        missing = [name for name in names if name not in given]
        raise MessageError(f"lacks the joints {missing}; it has {given}")
    if len(set(given)) < len(given):
        raise MessageError(f"names a joint twice: {given}")
    order = [given.index(name) for name in names]
    position, velocity, effort = message.position, message.velocity, message.effort
    if len(position) != len(given):
        raise MessageError(f"has {len(given)} names but {len(position)} positions")
    return Joints(
        _ordered(position, order), *(_optional(part, order, len(given)) for part in (velocity, effort))
    )


def pose_of(message: Any, frame: str) -> tuple[Array, Array]:
    """Position, shape (3,), and unit quaternion x, y, z, w, shape (4,).

    Raises:
        MessageError: It is in another frame than `frame` (an empty one accepts any), or its quaternion is not one.
    """
    check_frame(message.header, frame)
    q = message.pose.orientation
    length = hypot(q.x, q.y, q.z, q.w)
    if isfinite(length) and abs(length - 1.0) > _UNIT_TOLERANCE:
        raise MessageError(
            f"has the quaternion ({q.x:g}, {q.y:g}, {q.z:g}, {q.w:g}), whose length is {length:.3g}, not 1"
        )
    quaternion = np.array((q.x, q.y, q.z, q.w))
    # Drivers round; what is left of that is taken out here. A NaN passes through to the safety filter.
    return _xyz(message.pose.position), quaternion / length if isfinite(length) else quaternion


def twist_of(message: Any, frame: str) -> tuple[Array, Array]:
    """Linear velocity in m/s and angular velocity in rad/s, shapes (3,).

    Raises:
        MessageError: It is in another frame than `frame`.
    """
    check_frame(message.header, frame)
    return _xyz(message.twist.linear), _xyz(message.twist.angular)


def wrench_of(message: Any) -> tuple[Array, Array, str]:
    """Force in N and torque in Nm, shapes (3,), and the frame that they are in."""
    return _xyz(message.wrench.force), _xyz(message.wrench.torque), message.header.frame_id


def check_frame(header: Any, frame: str) -> None:
    """Refuse a message in a frame other than `frame`; an empty `frame` accepts any.

    Raises:
        MessageError: It is in another.
    """
    if frame and header.frame_id.lstrip("/") != frame:
        raise MessageError(f"is in frame {header.frame_id!r}, but {frame!r} is expected")


def _ordered(values: Sequence[float], order: list[int]) -> Array:
    return np.array([values[index] for index in order], np.float64)


def _optional(values: Sequence[float], order: list[int], size: int) -> Array | None:
    """None for what is not measured: an empty array, or as joint_state_broadcaster of ros2_control writes it, NaN."""
    ordered = _ordered(values, order) if len(values) == size else None
    return None if ordered is None or np.isnan(ordered).all() else ordered


def image_of(message: Any, compressed: bool) -> Image:
    """The pixels of an Image or CompressedImage, RGB, shape (height, width, 3).

    Raises:
        MessageError: They cannot be had.
    """
    return _decoded(message) if compressed else _pixels(message)


def middle_part(width: int, height: int, aspect: float) -> tuple[int, int, int, int]:
    """Left, top, width and height of the largest part in the middle with this width over height."""
    wide, high = min(width, round(height * aspect)), min(height, round(width / aspect))
    return (width - wide) // 2, (height - high) // 2, wide, high


def fitted(image: Image, crop: tuple[int, int, int, int], size: tuple[int, int]) -> Image:
    """The part `crop` (left, top, width, height) of an image, scaled to `size` (width, height)."""
    left, top, wide, high = crop
    part = image[top : top + high, left : left + wide]
    if part.shape[1::-1] == size:
        return np.ascontiguousarray(part)
    return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)


def _decoded(message: Any) -> Image:
    data = np.frombuffer(message.data, np.uint8)
    # Of a JPEG that was cut off, some versions of OpenCV make up the rest.
    is_whole = data[:2].tobytes() != _JPEG_START or _JPEG_END in data[-_JPEG_TAIL:].tobytes()
    bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size and is_whole else None
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


def _xyz(vector: Any) -> Array:
    return np.array((vector.x, vector.y, vector.z))


def values_of(status: Any) -> dict[str, str]:
    """What a DiagnosticStatus says beside its message, by key."""
    return {value.key: value.value for value in status.values}
