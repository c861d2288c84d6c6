"""Standard ROS 2 messages, written and read without a ROS installation.

Quantities cross this border in SI units, quaternions x, y, z, w; stamps are nanoseconds since the Unix epoch.
A message is built as a plain dict; `encoder` turns it into the bytes (CDR) that ROS 2 itself would send.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np
from mcap_ros2._dynamic import generate_dynamic, serialize_dynamic
from numpy.typing import NDArray

Message = dict[str, Any]

_SEPARATOR = "=" * 80
_PARTS = {
    "builtin_interfaces/Time": "int32 sec\nuint32 nanosec",
    "std_msgs/Header": "builtin_interfaces/Time stamp\nstring frame_id",
    "geometry_msgs/Point": "float64 x\nfloat64 y\nfloat64 z",
    "geometry_msgs/Vector3": "float64 x\nfloat64 y\nfloat64 z",
    "geometry_msgs/Quaternion": "float64 x\nfloat64 y\nfloat64 z\nfloat64 w",
    "geometry_msgs/Pose": "geometry_msgs/Point position\ngeometry_msgs/Quaternion orientation",
    "geometry_msgs/Twist": "geometry_msgs/Vector3 linear\ngeometry_msgs/Vector3 angular",
    "geometry_msgs/Wrench": "geometry_msgs/Vector3 force\ngeometry_msgs/Vector3 torque",
    "std_msgs/MultiArrayDimension": "string label\nuint32 size\nuint32 stride",
    "std_msgs/MultiArrayLayout": "std_msgs/MultiArrayDimension[] dim\nuint32 data_offset",
}
_STAMPED = ("std_msgs/Header", "builtin_interfaces/Time")
_LAYOUT = ("std_msgs/MultiArrayLayout", "std_msgs/MultiArrayDimension")


def _definition(fields: str, *parts: str) -> str:
    """A message definition followed by those of its parts, as ROS 2 stores it beside recorded messages."""
    return "\n".join([fields, *(f"{_SEPARATOR}\nMSG: {part}\n{_PARTS[part]}" for part in parts)])


_VECTORS = ("geometry_msgs/Vector3", *_STAMPED)
_POSES = ("geometry_msgs/Pose", "geometry_msgs/Point", "geometry_msgs/Quaternion", *_STAMPED)

# Every type that is used, by its ROS 2 name.
DEFINITIONS: dict[str, str] = {
    "std_msgs/msg/Bool": _definition("bool data"),
    "std_msgs/msg/Float64": _definition("float64 data"),
    "std_msgs/msg/String": _definition("string data"),
    "std_msgs/msg/Float32MultiArray": _definition(
        "std_msgs/MultiArrayLayout layout\nfloat32[] data", *_LAYOUT
    ),
    "sensor_msgs/msg/JointState": _definition(
        "std_msgs/Header header\nstring[] name\nfloat64[] position\nfloat64[] velocity\nfloat64[] effort",
        *_STAMPED,
    ),
    "sensor_msgs/msg/CompressedImage": _definition(
        "std_msgs/Header header\nstring format\nuint8[] data", *_STAMPED
    ),
    "geometry_msgs/msg/PoseStamped": _definition("std_msgs/Header header\ngeometry_msgs/Pose pose", *_POSES),
    "geometry_msgs/msg/TwistStamped": _definition(
        "std_msgs/Header header\ngeometry_msgs/Twist twist", "geometry_msgs/Twist", *_VECTORS
    ),
    "geometry_msgs/msg/WrenchStamped": _definition(
        "std_msgs/Header header\ngeometry_msgs/Wrench wrench", "geometry_msgs/Wrench", *_VECTORS
    ),
}


def encoder(type_name: str) -> Callable[[Message], bytes]:
    """The function that turns messages of `type_name` (a key of `DEFINITIONS`) into CDR bytes."""
    return serialize_dynamic(type_name, DEFINITIONS[type_name])[type_name]


@cache
def decoder(type_name: str) -> Callable[[bytes], Any]:
    """The function that turns CDR bytes of `type_name` (a key of `DEFINITIONS`) into an object with its fields."""
    return generate_dynamic(type_name, DEFINITIONS[type_name])[type_name]


def joint_state(
    stamp_ns: int,
    names: Sequence[str],
    position: NDArray[np.float64] | None = None,
    velocity: NDArray[np.float64] | None = None,
    effort: NDArray[np.float64] | None = None,
) -> Message:
    """A JointState: rad, rad/s and Nm of turning joints; m, m/s and N of sliding ones. Shapes (N,)."""
    return {
        "header": _header(stamp_ns, ""),
        "name": list(names),
        "position": [] if position is None else position.tolist(),
        "velocity": [] if velocity is None else velocity.tolist(),
        "effort": [] if effort is None else effort.tolist(),
    }


def pose_stamped(
    stamp_ns: int, frame: str, position_m: NDArray[np.float64], quaternion_xyzw: NDArray[np.float64]
) -> Message:
    """A PoseStamped; shapes (3,) and (4,)."""
    orientation = dict(zip("xyzw", quaternion_xyzw.tolist(), strict=True))
    return {
        "header": _header(stamp_ns, frame),
        "pose": {"position": _vector(position_m), "orientation": orientation},
    }


def twist_stamped(
    stamp_ns: int, frame: str, linear_m_s: NDArray[np.float64], angular_rad_s: NDArray[np.float64]
) -> Message:
    """A TwistStamped; shapes (3,)."""
    twist = {"linear": _vector(linear_m_s), "angular": _vector(angular_rad_s)}
    return {"header": _header(stamp_ns, frame), "twist": twist}


def wrench_stamped(stamp_ns: int, frame: str, wrench: NDArray[np.float64]) -> Message:
    """A WrenchStamped of force in N, then torque in Nm, shape (6,)."""
    parts = {"force": _vector(wrench[:3]), "torque": _vector(wrench[3:])}
    return {"header": _header(stamp_ns, frame), "wrench": parts}


def float32_array(label: str, values: NDArray[np.float32]) -> Message:
    """A Float32MultiArray of one dimension, shape (N,). Every float32 comes back bit for bit."""
    dimension = {"label": label, "size": values.size, "stride": values.size}
    return {"layout": {"dim": [dimension], "data_offset": 0}, "data": values.tolist()}


def compressed_image(stamp_ns: int, frame: str, rgb: NDArray[np.uint8]) -> Message:
    """A CompressedImage holding `rgb`, shape (height, width, 3), without loss as PNG."""
    return {"header": _header(stamp_ns, frame), "format": "png", "data": png_of(rgb)}


def png_of(rgb: NDArray[np.uint8]) -> bytes:
    """An image, shape (height, width, 3), as PNG."""
    _, png = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return png.tobytes()


def rgb_of(image: Any) -> NDArray[np.uint8]:
    """The pixels of a decoded CompressedImage, RGB, shape (height, width, 3).

    Raises:
        ValueError: The data are no image.
    """
    return decoded_rgb(bytes(image.data))


def decoded_rgb(encoded: bytes) -> NDArray[np.uint8]:
    """The pixels of a PNG, JPEG or the like, RGB, shape (height, width, 3).

    Raises:
        ValueError: The data are no image.
    """
    data = np.frombuffer(encoded, np.uint8)
    try:
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error as error:  # For example more pixels than OpenCV allows.
        raise ValueError(f"the data are no image: {error.err}") from None
    if bgr is None:
        raise ValueError("the data are no image")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def stamp_ns_of(header: Any) -> int:
    """The stamp of a decoded header, in nanoseconds since the Unix epoch."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def _header(stamp_ns: int, frame: str) -> Message:
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    return {"stamp": {"sec": seconds, "nanosec": nanoseconds}, "frame_id": frame}


def _vector(values: NDArray[np.float64]) -> Message:
    return dict(zip("xyz", values.tolist(), strict=True))
