"""The topics of a recorded session as streams: stamps in order, and one value for each."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from journeyman.episodes.formats.bag_mapping import BagMapping
from journeyman.episodes.formats.libraries import library, refusing
from journeyman.episodes.formats.report import Report
from robot_env.message_reading import (
    Image,
    MessageError,
    fitted,
    image_of,
    joints_of,
    middle_part,
    pose_of,
    stamp_ns_of,
    twist_of,
    wrench_of,
)
from robot_env.task import CameraConfig

Array = NDArray[np.float64]
Value = Callable[[Any, BagMapping], Any]
# Header and recorder may differ by what a message takes to arrive, not by more.
_LARGEST_LATENCY_S = 1.0


@dataclass
class Stream:
    """One topic.

    Attributes:
        stamps_ns: When, in order, shape (N,).
        values: What, N of them; of an image when it was recorded, ns, by which `Bag.images` finds it.
    """

    stamps_ns: NDArray[np.int64]
    values: list[Any]


@dataclass
class _Found:
    """What a topic has, in the order of the recording."""

    stamps_ns: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    refused: int = 0
    why: str = ""


def _joints(message: Any, mapping: BagMapping) -> dict[str, Array]:
    """The measured ones of position, velocity and effort, by field of RobotState."""
    joints = joints_of(message, mapping.joint_names or tuple(message.name))
    if joints is None:
        raise MessageError(f"speaks of the joints {list(message.name)}, not of {list(mapping.joint_names)}")
    names = ("joint_position_rad", "joint_velocity_rad_s", "joint_effort_nm")
    return {name: values for name, values in zip(names, joints, strict=True) if values is not None}


def _pose(message: Any, mapping: BagMapping) -> dict[str, Array]:
    position_m, quaternion = pose_of(message, mapping.base_frame)
    return {"ee_position_m": position_m, "ee_quaternion_xyzw": quaternion}


def _twist(message: Any, mapping: BagMapping) -> dict[str, Array]:
    linear, angular = twist_of(message, "")
    return {"ee_linear_velocity_m_s": linear, "ee_angular_velocity_rad_s": angular}


def _bare_twist(message: Any, mapping: BagMapping) -> dict[str, Array]:
    parts = ((v.x, v.y, v.z) for v in (message.linear, message.angular))
    linear, angular = (np.array(part) for part in parts)
    return {"ee_linear_velocity_m_s": linear, "ee_angular_velocity_rad_s": angular}


def _wrench(message: Any, mapping: BagMapping) -> dict[str, Array]:
    force, torque, _ = wrench_of(message)
    return {"ee_wrench": np.concatenate([force, torque])}


def _first_position(message: Any, mapping: BagMapping) -> dict[str, Array]:
    if not len(message.position):
        raise MessageError("has no position")
    return {"gripper_width_m": np.array(message.position[0], np.float64)}


def _number(message: Any, mapping: BagMapping) -> dict[str, Array]:
    return {"gripper_width_m": np.array(message.data, np.float64)}


def _flag(message: Any, mapping: BagMapping) -> bool:
    return bool(message.data)


_WIDTHS: dict[str, Value] = {
    "sensor_msgs/msg/JointState": _first_position,
    "std_msgs/msg/Float64": _number,
    "std_msgs/msg/Float32": _number,
}
# What is wanted of a topic -> types it may have -> how they are read. Messages of other types are never decoded.
READERS: dict[str, dict[str, Value]] = {
    "joint_states": {"sensor_msgs/msg/JointState": _joints},
    "pose": {"geometry_msgs/msg/PoseStamped": _pose},
    "twist": {"geometry_msgs/msg/TwistStamped": _twist},
    "twist_command": {"geometry_msgs/msg/TwistStamped": _twist, "geometry_msgs/msg/Twist": _bare_twist},
    "wrench": {"geometry_msgs/msg/WrenchStamped": _wrench},
    "width": _WIDTHS,
    "flag": {"std_msgs/msg/Bool": _flag},
    "image": {
        "sensor_msgs/msg/Image": lambda message, _: None,
        "sensor_msgs/msg/CompressedImage": lambda message, _: None,
    },
}


class Bag:
    """A recorded session on disk: a folder with `metadata.yaml`, or one `*.mcap` or `*.db3` file.

    Messages are decoded by the definitions of ROS itself. The definitions that a bag carries are not used: the library
    turns such text into code.
    """

    def __init__(self, path: Path) -> None:
        """Look for it; `streams` opens it.

        Raises:
            InputError: The library is missing.
        """
        self._path = path
        self._announced: dict[str, int] = {}
        self._reader = library("rosbags.rosbag2").Reader
        typesys = library("rosbags.typesys")
        self._decode = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE).deserialize_cdr

    def streams(self, wanted: Mapping[str, str], mapping: BagMapping, report: Report) -> dict[str, Stream]:
        """The streams of topics.

        Args:
            wanted: Topic -> what it holds, a key of `READERS`.
            mapping: Which joints, frames and clock.
            report: Hears of messages that were put in order or left out.

        Raises:
            InputError: A topic is not there or of another type, nothing of it can be used, or the file is damaged.
        """
        found = {topic: _Found() for topic in wanted}
        for topic, type_name, recorded_ns, message in self._messages(wanted):
            _take(found[topic], READERS[wanted[topic]][type_name], recorded_ns, message, mapping)
        for topic, announced in self._announced.items():
            have = len(found[topic].values) + found[topic].refused
            if have != announced:
                report.drop(
                    f"messages of {topic}: the recording says that it has {announced}, but {have} can be read."
                )
        return {topic: _stream(topic, part, mapping, report) for topic, part in found.items()}

    def images(
        self, topics: Mapping[str, CameraConfig], chosen: Mapping[str, set[int]], report: Report
    ) -> dict[str, dict[int, Image]]:
        """Pictures by topic and when they were recorded, cut and scaled to what the task wants.

        Args:
            topics: Topic -> wanted size.
            chosen: Topic -> when those that are needed were recorded, ns.
            report: Hears of scaling.

        Raises:
            InputError: A picture cannot be decoded.
        """
        found: dict[str, dict[int, Image]] = {topic: {} for topic in topics}
        every = sorted(set().union(*chosen.values()))
        wanted = dict.fromkeys(topics, "image")
        for topic, type_name, recorded_ns, message in self._messages(wanted, every[0], every[-1] + 1):
            if recorded_ns in chosen[topic]:
                try:
                    image = image_of(message, type_name.endswith("CompressedImage"))
                except MessageError as error:
                    raise InputError(f"{self._path}: {topic} {error}; leave this camera out.") from None
                found[topic][recorded_ns] = _scaled(topic, image, topics[topic], report)
        return found

    def _messages(
        self, wanted: Mapping[str, str], start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[tuple[str, str, int, Any]]:
        """Topic, type, stamp of the recorder, and message, of a time if one is given."""
        with refusing(self._path, "the recording"), self._reader(self._path) as reader:
            connections = [one for one in reader.connections if one.topic in wanted]
            self._check_topics(wanted, reader.connections)
            self._announced = dict.fromkeys((one.topic for one in connections), 0)
            for one in connections:
                self._announced[one.topic] += one.msgcount
            for connection, recorded_ns, raw in reader.messages(connections, start_ns, stop_ns):
                message = self._decode(raw, connection.msgtype)
                yield connection.topic, connection.msgtype, int(recorded_ns), message

    def _check_topics(self, wanted: Mapping[str, str], connections: Any) -> None:
        types: dict[str, set[str]] = {}
        for one in connections:
            types.setdefault(one.topic, set()).add(one.msgtype)
        for topic, kind in wanted.items():
            if topic not in types:
                have = ", ".join(sorted(types)) or "nothing"
                raise InputError(f"{self._path}: there is no topic {topic}; the recording has {have}.")
            if not types[topic] <= READERS[kind].keys():
                found, needed = " and ".join(sorted(types[topic])), " or ".join(READERS[kind])
                raise InputError(f"{self._path}: {topic} is a {found}, but {needed} is needed there.")


def _take(found: _Found, read: Value, recorded_ns: int, message: Any, mapping: BagMapping) -> None:
    """Add a message, or count it as one that makes no sense."""
    try:
        value = read(message, mapping)
        if isinstance(value, dict) and not all(np.isfinite(part).all() for part in value.values()):
            raise MessageError("holds numbers that are not finite")
    except MessageError as error:
        found.refused, found.why = found.refused + 1, str(error)
        return
    header = getattr(message, "header", None)
    stamp_ns = 0 if header is None else stamp_ns_of(header)
    if stamp_ns and mapping.stamps == "header":
        found.latencies_s.append((recorded_ns - stamp_ns) * 1e-9)
        found.stamps_ns.append(stamp_ns)
    else:
        found.stamps_ns.append(recorded_ns)
    found.values.append(recorded_ns if value is None else value)


def _stream(topic: str, found: _Found, mapping: BagMapping, report: Report) -> Stream:
    """In the order of time, each instant once.

    Raises:
        InputError: There is nothing, or the clocks differ.
    """
    if found.refused:
        report.drop(f"{found.refused} messages of {topic}: the last of them {found.why}.")
    if not found.values:
        raise InputError(
            f"{topic} has no message that can be used{f': it {found.why}' if found.why else ''}."
        )
    if found.latencies_s and abs(np.median(found.latencies_s)) > _LARGEST_LATENCY_S:
        raise InputError(
            f"The headers of {topic} are {np.median(found.latencies_s):.1f} s from the recorder's clock, so topics "
            "cannot be put side by side in time; set stamps: recorder in the mapping."
        )
    stamps = np.array(found.stamps_ns, np.int64)
    late = int((np.diff(stamps) < 0).sum())
    if late:
        report.note(f"{topic}: {late} messages came after later ones; they were put in order.")
    order = np.argsort(stamps, kind="stable")
    # Of those with the same stamp the one that came last.
    last = np.append(np.diff(stamps[order]) > 0, True)
    if not last.all():
        report.note(
            f"{topic}: {int((~last).sum())} messages had the stamp of another; the one that came last was taken."
        )
    order = order[last]
    return Stream(stamps[order], [found.values[index] for index in order])


def _scaled(topic: str, image: Image, wanted: CameraConfig, report: Report) -> Image:
    height, width = image.shape[:2]
    size = wanted.width, wanted.height
    if (width, height) != size:
        report.note(
            f"{topic}: images are cut and scaled from {width} x {height} to {size[0]} x {size[1]} pixels."
        )
    return fitted(image, middle_part(width, height, wanted.width / wanted.height), size)
