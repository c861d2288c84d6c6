"""Recorded sessions: bags of both storages, resampled to a task, and what is wrong with them."""

import random
import re
import shutil
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import yaml
from mcap.reader import make_reader
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from controllers.rotations import from_rotation_vector
from journeyman.episodes.formats.bag_mapping import BagMapping

STORE = get_typestore(Stores.ROS2_HUMBLE)
TYPES = STORE.types
START_NS = 1_700_000_000_000_000_000
STORAGES = [StoragePlugin.SQLITE3, StoragePlugin.MCAP]
MAPPING = {
    "pose": "/pose",
    "twist": "/twist",
    "joint_states": "/joint_states",
    "joint_names": ["a", "b"],
    "objects": {"goal": "/goal"},
    "action": {"kind": "target_pose", "topic": "/target"},
    "success": "/success",
}
QUARTER = from_rotation_vector(np.array([0.0, np.pi / 2, 0.0]))


def make(name, /, **fields):
    return TYPES[name](**fields)


def header(stamp_ns, frame="base"):
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    stamp = make("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
    return make("std_msgs/msg/Header", stamp=stamp, frame_id=frame)


def vector(kind, values):
    return make(f"geometry_msgs/msg/{kind}", **dict(zip("xyzw", map(float, values), strict=False)))


def pose(stamp_ns, position, quaternion=QUARTER, frame="base"):
    inner = make(
        "geometry_msgs/msg/Pose",
        position=vector("Point", position),
        orientation=vector("Quaternion", quaternion),
    )
    return make("geometry_msgs/msg/PoseStamped", header=header(stamp_ns, frame), pose=inner)


def bare_twist(linear, angular=(0, 0, 0)):
    return make(
        "geometry_msgs/msg/Twist", linear=vector("Vector3", linear), angular=vector("Vector3", angular)
    )


def twist(stamp_ns, linear):
    return make("geometry_msgs/msg/TwistStamped", header=header(stamp_ns), twist=bare_twist(linear))


def joints(stamp_ns, values, names=("gripper", "b", "a")):
    return make(
        "sensor_msgs/msg/JointState",
        header=header(stamp_ns, ""),
        name=list(names),
        position=np.asarray(values, float),
        velocity=np.asarray(values, float) * 2,
        effort=np.zeros(0),
    )


def flag(value):
    return make("std_msgs/msg/Bool", data=bool(value))


def number(value):
    return make("std_msgs/msg/Float64", data=float(value))


def position(t):
    """Where the arm is."""
    return np.array([0.5 + 0.05 * np.sin(t), 0.02 * t, 0.2])


def target(t):
    """Where it is told to go."""
    return position(t) + np.array([0.01, -0.005 * np.cos(t), 0.0])


def session(seconds=3.0, seed=0, jitter=0.002):
    """Messages as (topic, stamp, message), each topic at a rate of its own."""
    rng = np.random.default_rng(seed)
    found = []

    def add(topic, rate_hz, build):
        for k in range(int(seconds * rate_hz)):
            t = max(0.0, k / rate_hz + rng.uniform(-jitter, jitter))
            stamp_ns = START_NS + int(t * 1e9)
            found.append((topic, stamp_ns, build(stamp_ns, t)))

    add("/pose", 100, lambda ns, t: pose(ns, position(t)))
    add("/twist", 100, lambda ns, t: twist(ns, (np.cos(t), 0.02, 0)))
    add("/joint_states", 100, lambda ns, t: joints(ns, (0.04, t + 1, -t)))
    add("/goal", 20, lambda ns, t: pose(ns, (0.6, 0.1, 0.3)))
    add("/target", 50, lambda ns, t: pose(ns, target(t)))
    found.append(("/success", START_NS + int((seconds - 0.5) * 1e9), flag(True)))
    return found


def write_bag(path, messages, storage=StoragePlugin.MCAP, latency_ns=3_000_000):
    """In the order that they are given, as a recorder receives them."""
    with Writer(path, version=9, storage_plugin=storage) as writer:
        connections = {}
        now_ns = 0
        for topic, stamp_ns, message in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, message.__msgtype__, typestore=STORE)
            raw = STORE.serialize_cdr(message, message.__msgtype__)
            # A recorder's clock never runs back; a sender's may.
            now_ns = max(now_ns + 1, stamp_ns + latency_ns)
            writer.write(connections[topic], now_ns, raw)
    return path


def in_order(messages):
    return sorted(messages, key=lambda m: m[1])


@pytest.fixture
def mapping(tmp_path):
    def write(**changes):
        path = tmp_path / "mapping.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in {**MAPPING, **changes}.items() if v is not None}))
        return f"mapping={path}"

    return write


@pytest.fixture
def run(convert, mapping, tmp_path):
    def run_(
        messages,
        *words,
        storage=StoragePlugin.MCAP,
        task="reach",
        target="ours",
        changes=None,
        existing=None,
        **options,
    ):
        source = existing or write_bag(tmp_path / f"bag_{target}", messages, storage, **options)
        words = [
            word for word in (mapping(**(changes or {})), f"task={task}" if task else "", *words) if word
        ]
        return convert(source, tmp_path / target, "to=mcap", *words)

    return run_


def newest(messages, topic, tick_ns):
    """The oracle: by looking at every message."""
    return max((m for m in messages if m[0] == topic and m[1] <= tick_ns), key=lambda m: m[1])


def xyz(message):
    p = message[2].pose.position
    return np.array([p.x, p.y, p.z])


def check_against(found, messages, rate_hz=10):
    """Every number of an episode, from the messages."""
    starts = [
        min(m[1] for m in messages if m[0] == topic)
        for topic in ("/pose", "/twist", "/joint_states", "/goal", "/target")
    ]
    for k in range(len(found.actions) + 1):
        tick_ns = max(starts) + round(k * 1e9 / rate_hz)
        here = xyz(newest(messages, "/pose", tick_ns))
        np.testing.assert_allclose(found.observations["state"][k, :3], here / 0.3, rtol=1e-6)
        goal = np.array([0.6, 0.1, 0.3])
        np.testing.assert_allclose(
            found.observations["state"][k, -3:], (goal - here) / 0.1, rtol=1e-5, atol=1e-6
        )
        state = newest(messages, "/joint_states", tick_ns)[2]
        np.testing.assert_array_equal(found.robot["joint_position_rad"][k], state.position[[2, 1]])
        if k < len(found.actions):
            there = xyz(newest(messages, "/target", max(starts) + round((k + 1) * 1e9 / rate_hz)))
            np.testing.assert_allclose(found.actions[k], np.clip((there - here) / 0.03, -1, 1), atol=1e-6)


@pytest.mark.parametrize("storage", STORAGES)
def test_a_session_becomes_an_episode(run, read_folder, tmp_path, storage):
    messages = in_order(session())
    outcome = run(messages, "robot=franka", storage=storage)
    assert outcome.code == 0
    assert not outcome.lines("dropped")
    (found,) = read_folder(tmp_path / "ours")
    assert 25 <= len(found.actions) <= 29
    check_against(found, messages)
    assert found.success
    assert found.terminated[-1]
    assert found.rewards.tolist() == [-1.0] * (len(found.actions) - 1) + [0.0]
    assert found.metadata.task["name"] == "reach"
    assert found.metadata.joint_names == ("a", "b")
    assert found.metadata.state_names[:4] == (
        "ee_position.0",
        "ee_position.1",
        "ee_position.2",
        "ee_linear_velocity.0",
    )
    assert "joint_effort_nm" not in found.robot
    np.testing.assert_allclose(found.elapsed_s, np.arange(len(found.elapsed_s)) / 10, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_disorder_and_duplicates_change_nothing_but_are_said(run, read_folder, tmp_path, seed):
    messages = in_order(session(seed=seed))
    rng = np.random.default_rng(seed)
    shuffled = list(messages)
    for _ in range(40):
        i = rng.integers(len(shuffled) - 20)
        shuffled.insert(i, shuffled.pop(i + int(rng.integers(1, 20))))
    doubled = [m for m in shuffled for _ in range(1 + (m[0] == "/pose" and rng.random() < 0.1))]
    outcome = run(doubled)
    assert outcome.code == 0
    notes = " ".join(outcome.lines("note"))
    assert "were put in order" in notes
    assert "/pose: " in notes
    assert "the one that came last was taken" in notes
    (found,) = read_folder(tmp_path / "ours")
    check_against(found, messages)


def test_a_gap_is_cut_out_and_said(run, read_folder, tmp_path):
    messages = [
        m for m in in_order(session(6.0)) if m[0] != "/pose" or not 2.0 < (m[1] - START_NS) * 1e-9 < 3.0
    ]
    outcome = run(messages)
    assert outcome.code == 1
    (dropped,) = outcome.lines("dropped")
    assert "/pose was silent" in dropped
    first, second = read_folder(tmp_path / "ours")
    check_against(first, messages)
    assert len(first.actions) == 22
    assert 27 <= len(second.actions) <= 30
    # No action and no observation reaches across.
    assert np.abs(np.diff(second.observations["state"][:, 0])).max() < 0.1


def test_short_pieces_are_dropped(run):
    messages = [
        m for m in in_order(session(2.0)) if m[0] != "/target" or not 0.3 < (m[1] - START_NS) * 1e-9 < 1.0
    ]
    outcome = run(messages, changes={"min_steps": 8})
    assert outcome.code == 1
    assert any("fewer than min_steps 8" in line for line in outcome.lines("dropped"))


def test_episodes_and_interventions_by_topics_of_bool(run, read_folder, tmp_path):
    messages = session(6.0)
    for seconds, topic, value in (
        (0.0, "/on", False), (1.0, "/on", True), (2.0, "/on", False), (3.0, "/on", True), (3.1, "/on", True),
        (0.1, "/help", False), (1.45, "/help", True), (5.0, "/help", False),
    ):  # fmt: skip
        messages.append((topic, START_NS + int(seconds * 1e9), flag(value)))
    outcome = run(in_order(messages), changes={"episodes": "/on", "intervened": "/help"})
    assert outcome.code == 0
    assert any("was not ended" in note for note in outcome.lines("note"))
    first, second = read_folder(tmp_path / "ours")
    assert len(first.actions) == 10
    assert first.success is False
    # The help began during the fifth step, and this topic has no header: the recorder's clock is a little late.
    assert first.intervened.tolist() == [False] * 4 + [True] * 6
    assert second.success is True
    assert second.intervened[:19].all()
    assert not second.intervened[-5:].any()


def test_twists_images_and_a_gripper(run, read_folder, tmp_path):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (60, 96, 128, 3), np.uint8)
    messages = [m for m in session(3.0) if m[0] != "/target"]
    for k in range(60):
        ns = START_NS + int(k / 20 * 1e9)
        raw = make(
            "sensor_msgs/msg/Image", header=header(ns), height=96, width=128, encoding="bgr8", is_bigendian=0,
            step=384, data=pictures[k, :, :, ::-1].reshape(-1),
        )  # fmt: skip
        small = np.ascontiguousarray(
            cv2.resize(pictures[k], (64, 64), interpolation=cv2.INTER_AREA)[..., ::-1]
        )
        png = cv2.imencode(".png", small)[1].ravel()
        compressed = make("sensor_msgs/msg/CompressedImage", header=header(ns), format="png", data=png)
        messages += [
            ("/front", ns, raw),
            ("/wrist", ns, compressed),
            ("/cube", ns, pose(ns, (0.5, 0.0, 0.02))),
        ]
        messages += [("/command", ns, bare_twist((0.1, -0.6, 0.0))), ("/width", ns, number(0.04))]
    changes = {
        "action": {"kind": "twist", "topic": "/command", "gripper": "/width", "max_gripper_width_m": 0.08},
        "cameras": {"front": "/front", "wrist": "/wrist"},
        "objects": {"cube": "/cube"},
        "gripper": "/width",
    }
    outcome = run(in_order(messages), "success=true", task="lift_cube_pixels", changes=changes)
    assert outcome.code == 0
    assert any("cut and scaled from 128 x 96 to 64 x 64" in note for note in outcome.lines("note"))
    assert any("cut off there" in note for note in outcome.lines("note"))
    (found,) = read_folder(tmp_path / "ours")
    np.testing.assert_allclose(
        found.actions, np.tile([1 / 3, -1.0, 0.0, 0.0], (len(found.actions), 1)), atol=1e-6
    )
    np.testing.assert_allclose(found.robot["gripper_width_m"], 0.04)
    middle = [cv2.resize(p[:, 16:112], (64, 64), interpolation=cv2.INTER_AREA) for p in pictures]
    for image in found.observations["front"]:
        assert any((image == wanted).all() for wanted in middle)
    assert found.observations["wrist"].shape == (len(found.actions) + 1, 64, 64, 3)


def with_messages(*extra, drop=()):
    return in_order([m for m in session() if m[0] not in drop] + list(extra))


@pytest.mark.parametrize(
    ("messages", "changes", "words", "expected"),
    [
        (with_messages(), {}, {"task": ""}, "needs task=NAME"),
        (with_messages(drop=["/pose"]), {}, {}, "no topic /pose"),
        (with_messages(), {"pose": "/twist"}, {}, "/twist as pose and as twist"),
        (with_messages(), {"pose": "/joint_states", "joint_states": None}, {}, "needed there"),
        (
            with_messages(),
            {"pose": "/twist", "twist": None},
            {},
            "/twist is a geometry_msgs/msg/TwistStamped",
        ),
        (with_messages(), {"joint_names": ["elbow"]}, {}, "not of ['elbow']"),
        (with_messages(), {"joint_names": ["a", "c"]}, {}, "lacks the joints ['c']"),
        (with_messages(), {"base_frame": "world"}, {}, "'world' is expected"),
        (with_messages(), {"objects": {}}, {}, "observes goal_position"),
        (with_messages(), {"twist": None}, {}, "observes ee_linear_velocity"),
        (with_messages(), {"success": None}, {}, "success=true or success=false"),
        (with_messages(), {"speed": 3}, {}, "speed"),
        (with_messages(), {"max_gap_s": 0}, {}, "max_gap_s"),
        (with_messages(), {"action": {"kind": "wish", "topic": "/target"}}, {}, "wish"),
        (with_messages(), {}, {"latency_ns": 5_000_000_000}, "stamps: recorder"),
        (with_messages(), {}, {"task": "lift_cube_pixels"}, "observes camera front"),
        (with_messages(), {"objects": {"cube": "/goal"}}, {"task": "lift_cube"}, "action.gripper"),
        (with_messages(), {}, {"task": "juggle"}, "juggle"),
    ],
)
def test_what_does_not_fit_is_said(run, messages, changes, words, expected):
    outcome = run(messages, changes=changes, **words)
    assert outcome.code == 2
    assert expected in outcome.out + outcome.err


def test_by_the_recorders_clock(run, read_folder, tmp_path):
    outcome = run(with_messages(), changes={"stamps": "recorder"}, latency_ns=5_000_000_000)
    assert outcome.code == 0
    assert len(read_folder(tmp_path / "ours")) == 1


def test_messages_that_make_no_sense_are_left_out_and_said(run, read_folder, tmp_path):
    clean = with_messages()
    ns = START_NS + 1_005_000_000
    bad = [pose(ns, (np.nan, 0, 0)), pose(ns, (0, 0, 0), (0, 0, 0, 2)), pose(ns, (9, 9, 9), (0, 0, 0, 0.5))]
    messages = in_order(clean + [("/pose", ns, message) for message in bad])
    outcome = run(messages)
    assert outcome.code == 1
    assert "3 messages of /pose" in outcome.lines("dropped")[0]
    (found,) = read_folder(tmp_path / "ours")
    check_against(found, clean)


def test_a_session_needs_its_mapping(convert, tmp_path):
    source = write_bag(tmp_path / "bag", with_messages())
    outcome = convert(source, tmp_path / "ours", "to=mcap", "task=reach")
    assert outcome.code == 2
    assert "mapping=FILE" in outcome.err
    outcome = convert(source, tmp_path / "ours", "to=mcap", "task=reach", "mapping=absent.yaml")
    assert "absent.yaml" in outcome.err


def spoilt(data, rng):
    """Bytes with a flipped bit, a hole, noise, or an early end."""
    data, start = bytearray(data), rng.randrange(len(data))
    kind = rng.choice(["flip", "hole", "noise", "end"])
    if kind == "flip":
        data[start] ^= 1 << rng.randrange(8)
    elif kind == "end":
        del data[start:]
    else:
        end = min(len(data), start + rng.randint(1, 64))
        data[start:end] = rng.randbytes(end - start) if kind == "noise" else b""
    return bytes(data)


def with_checksums(bag):
    """The same as one file as `ros2 bag record` writes it: in chunks with checksums, which rosbags leaves out."""
    (source,) = bag.glob("*.mcap")
    target = bag.with_suffix(".mcap")
    with source.open("rb") as stream, target.open("wb") as out:
        writer, channels = McapWriter(out, chunk_size=8192), {}
        writer.start(profile="ros2")
        for schema, channel, message in make_reader(stream).iter_messages():
            if channel.id not in channels:
                number = writer.register_schema(schema.name, schema.encoding, schema.data)
                channels[channel.id] = writer.register_channel(
                    channel.topic, channel.message_encoding, number, channel.metadata
                )
            stamps = message.log_time, message.data, message.publish_time
            writer.add_message(channels[channel.id], *stamps)
        writer.finish()
    return target


COPIES = 35


@pytest.mark.slow
@pytest.mark.parametrize("storage", STORAGES)
def test_a_damaged_bag_is_refused_or_harmless(convert, mapping, read_folder, tmp_path, storage):
    source = write_bag(tmp_path / "bag", in_order(session(0.9)), storage)
    if storage is StoragePlugin.MCAP:
        source = with_checksums(source)
    words = ["to=mcap", "task=reach", mapping()]
    assert convert(source, tmp_path / "whole", *words).code == 0
    (whole,) = read_folder(tmp_path / "whole")
    rng, codes = random.Random(0), []
    for number in range(COPIES):
        copy, target = tmp_path / f"copy{number}{source.suffix}", tmp_path / f"target{number}"
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copy)
        victim = sorted(copy.iterdir())[number % 2] if copy.is_dir() else copy
        victim.write_bytes(spoilt(victim.read_bytes(), rng))
        codes.append(convert(copy, target, *words).code)
        # SQLite has no checksums, and a changed number there cannot be told.
        if codes[-1] == 0 and storage is StoragePlugin.MCAP:
            (found,) = read_folder(target)
            assert found.actions.tobytes() == whole.actions.tobytes()
            assert found.observations["state"].tobytes() == whole.observations["state"].tobytes()
    assert codes.count(0) < 0.85 * COPIES


def test_messages_that_are_announced_and_not_there_are_said(run, tmp_path):
    outcome = run(in_order(session()))
    assert outcome.code == 0
    path = tmp_path / "bag_ours/metadata.yaml"
    text = path.read_text()
    path.write_text(text.replace("message_count: 300", "message_count: 301"))
    assert path.read_text() != text
    outcome = run(in_order(session()), target="again", existing=path.parent)
    assert outcome.code == 1
    assert "says that it has 301, but 300 can be read" in outcome.lines("dropped")[0]


def test_the_mapping_in_the_documentation_is_one():
    page = (Path(__file__).parents[4] / "docs/episodes.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    mapping = msgspec.convert(yaml.safe_load(block), BagMapping, strict=False)
    assert mapping.action.kind == "target_pose"
    assert len(mapping.joint_names) == 7
