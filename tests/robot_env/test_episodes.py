import os
import random
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mcap.reader import make_reader
from mcap.writer import Writer
from mcap_ros2.decoder import DecoderFactory

from controllers.config import InputError
from controllers.state import RobotState
from robot_env.episode import PROVENANCES, START_RECORD
from robot_env.episodes import (
    EpisodeWriter,
    decode_episode,
    list_episodes,
    load_demonstrations,
    read_episode,
    read_episode_log,
)
from robot_env.mcap_file import MessageWriter, read_log

STATE_NAMES = ("ee_position.0", "ee_position.1", "goal")
ANY_FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
ANY_FLOAT64 = st.floats(allow_nan=False, allow_infinity=False)
TASK = {"name": "reach", "control_rate_hz": 10.0, "cameras": {}}


def robot_state(stamp_s, joints=2, **changes):
    sizes = {"ee_quaternion_xyzw": 4, "ee_wrench": 6}
    rng = np.random.default_rng(abs(hash(stamp_s)))
    values = {
        f: rng.normal(size=joints if f.startswith("joint") else sizes.get(f, 3))
        for f in RobotState.__struct_fields__
    }
    return RobotState(**{**values, "stamp_s": stamp_s, "gripper_width_m": float(rng.random()), **changes})


def observe(step=0, **images):
    return {"state": np.full(3, step, np.float32), **images}


def make_writer(path, **changes):
    given_ = {"task": TASK, "robot": "fake", "state_names": STATE_NAMES, "action_size": 2, **changes}
    return EpisodeWriter(path, **given_)


def record(path, steps=5, success=True, finish=True, images=None, **changes):
    """An episode whose observations are the step's number."""
    images = images or {}
    writer = make_writer(path, **changes)
    writer.start(observe(0, **images), robot_state(10.0))
    for step in range(1, steps + 1):
        action = np.array([step / steps, -0.5], np.float32)
        last = step == steps
        writer.step(
            action,
            -1.0,
            observe(step, **images),
            last and success,
            last and not success,
            robot_state(10.0 + step),
        )
    if finish:
        writer.finish(success)
    return writer


def partial_of(folder):
    (path,) = folder.glob("*.partial")
    return path


# What goes in comes out.


@settings(max_examples=20)
@given(data=st.data(), steps=st.integers(1, 6), success=st.booleans())
def test_every_value_comes_back_bit_for_bit(tmp_path_factory, data, steps, success):
    path = tmp_path_factory.mktemp("episode") / "0.mcap"
    image = arrays(np.uint8, (5, 7, 3))
    states = [data.draw(arrays(np.float32, 3, elements=ANY_FLOAT32)) for _ in range(steps + 1)]
    images = [data.draw(image) for _ in range(steps + 1)]
    actions = [data.draw(arrays(np.float32, 2, elements=st.floats(-1, 1, width=32))) for _ in range(steps)]
    rewards = [data.draw(ANY_FLOAT64) for _ in range(steps)]
    intervened = [data.draw(st.booleans()) for _ in range(steps)]
    wrenches = [data.draw(arrays(np.float64, 6, elements=ANY_FLOAT64)) for _ in range(steps + 1)]
    robots = [robot_state(3.0 + 0.05 * k, ee_wrench=wrenches[k]) for k in range(steps + 1)]
    end = data.draw(st.sampled_from([(True, False), (False, True), (False, False), (True, True)]))

    writer = make_writer(path, provenance="twin")
    writer.start({"state": states[0], "wrist": images[0]}, robots[0])
    for k in range(steps):
        ends = end if k == steps - 1 else (False, False)
        seen = {"state": states[k + 1], "wrist": images[k + 1]}
        writer.step(actions[k], rewards[k], seen, *ends, robots[k + 1], intervened=intervened[k])
    writer.finish(success)
    episode = read_episode(path)

    assert episode.observations["state"].tobytes() == np.stack(states).tobytes()
    assert episode.actions.tobytes() == np.stack(actions).tobytes()
    assert episode.rewards.tobytes() == np.array(rewards).tobytes()
    np.testing.assert_array_equal(episode.observations["wrist"], np.stack(images))
    assert episode.intervened.tolist() == intervened
    assert episode.provenance.tolist() == ["human" if i else "twin" for i in intervened]
    assert (episode.terminated[-1], episode.truncated[-1]) == end
    assert not episode.terminated[:-1].any()
    assert not episode.truncated[:-1].any()
    for name, values in episode.robot.items():
        assert values.tobytes() == np.stack([getattr(r, name) for r in robots]).tobytes(), name
    assert episode.robot.keys() | {"stamp_s"} == set(RobotState.__struct_fields__)
    np.testing.assert_allclose(episode.elapsed_s, 0.05 * np.arange(steps + 1), atol=1e-9)
    assert episode.success is success


def test_shapes_and_types_are_as_promised(tmp_path):
    record(tmp_path / "0.mcap", steps=4, images={"wrist": np.zeros((6, 8, 3), np.uint8)})
    episode = read_episode(tmp_path / "0.mcap")
    assert episode.observations["state"].shape == (5, 3)
    assert episode.observations["wrist"].shape == (5, 6, 8, 3)
    assert episode.actions.shape == (4, 2)
    assert episode.rewards.shape == episode.terminated.shape == episode.provenance.shape == (4,)
    types = [
        a.dtype for a in (episode.observations["state"], episode.actions, episode.rewards, episode.truncated)
    ]
    assert types == [np.float32, np.float32, np.float64, np.bool_]


def test_metadata_come_back(tmp_path):
    record(tmp_path / "0.mcap", joint_names=["a", "b"], operator="Ada", seed=7)
    metadata = read_episode(tmp_path / "0.mcap").metadata
    assert metadata.task == TASK
    assert (metadata.robot, metadata.operator, metadata.seed) == ("fake", "Ada", 7)
    assert (metadata.state_names, metadata.action_size) == (STATE_NAMES, 2)
    assert metadata.joint_names == ("a", "b")
    assert metadata.software["numpy"] == np.__version__


def test_plain_ros_tools_read_the_file(tmp_path):
    """Index, schemas and messages as any MCAP reader with a ROS 2 decoder sees them, in the order of time."""
    record(tmp_path / "0.mcap", steps=3, images={"wrist": np.zeros((6, 8, 3), np.uint8)})
    with (tmp_path / "0.mcap").open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True, decoder_factories=[DecoderFactory()])
        assert reader.get_header().profile == "ros2"
        summary = reader.get_summary()
        messages = list(reader.iter_decoded_messages())
    topics = {channel.topic: summary.schemas[channel.schema_id].name for channel in summary.channels.values()}
    assert topics == {
        "/joint_states": "sensor_msgs/msg/JointState",
        "/gripper/joint_states": "sensor_msgs/msg/JointState",
        "/current_pose": "geometry_msgs/msg/PoseStamped",
        "/current_twist": "geometry_msgs/msg/TwistStamped",
        "/wrench": "geometry_msgs/msg/WrenchStamped",
        "/observation/state": "std_msgs/msg/Float32MultiArray",
        "/observation/wrist/compressed": "sensor_msgs/msg/CompressedImage",
        "/action": "std_msgs/msg/Float32MultiArray",
        "/reward": "std_msgs/msg/Float64",
        "/terminated": "std_msgs/msg/Bool",
        "/truncated": "std_msgs/msg/Bool",
        "/intervened": "std_msgs/msg/Bool",
        "/provenance": "std_msgs/msg/String",
        "/success": "std_msgs/msg/Bool",
    }
    assert all("offered_qos_profiles" in channel.metadata for channel in summary.channels.values())
    assert all(channel.message_encoding == "cdr" for channel in summary.channels.values())
    poses = [m for _, channel, _, m in messages if channel.topic == "/current_pose"]
    np.testing.assert_array_equal(
        [poses[0].pose.position.x, poses[0].pose.orientation.w],
        [robot_state(10.0).ee_position_m[0], robot_state(10.0).ee_quaternion_xyzw[3]],
    )
    assert poses[0].header.frame_id == "base"
    stamps_s = [p.header.stamp.sec + p.header.stamp.nanosec * 1e-9 for p in poses]
    np.testing.assert_allclose(np.diff(stamps_s), 1.0, atol=1e-6)
    state = next(m for _, channel, _, m in messages if channel.topic == "/observation/state")
    assert (state.layout.dim[0].label, state.layout.dim[0].size) == ("state", 3)
    image = next(m for _, channel, _, m in messages if channel.topic == "/observation/wrist/compressed")
    assert image.format == "png"
    assert bytes(image.data).startswith(b"\x89PNG")


# A crash.


def test_an_episode_appears_when_it_is_whole(tmp_path):
    writer = record(tmp_path / "0.mcap", finish=False)
    assert list_episodes(tmp_path) == []
    writer.finish(True)
    assert list_episodes(tmp_path) == [tmp_path / "0.mcap"]
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_discarded_leaves_nothing(tmp_path):
    writer = record(tmp_path / "0.mcap", finish=False)
    writer.discard()
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_an_episode_may_get_another_name_at_its_end_but_nobody_elses(tmp_path):
    elsewhere = tmp_path / "failures"
    elsewhere.mkdir()
    for taken in (False, True):
        writer = record(tmp_path / "0000.mcap", finish=False)
        if taken:
            with pytest.raises(InputError, match=r"0007\.mcap exists"):
                writer.finish(False, elsewhere / "0007.mcap")
        else:
            writer.finish(False, elsewhere / "0007.mcap")
        assert not (tmp_path / "0000.mcap").exists()
        assert not read_episode(elsewhere / "0007.mcap").success


def test_discard_after_finish_does_not_take_it_back(tmp_path):
    record(tmp_path / "0.mcap").discard()
    assert read_episode(tmp_path / "0.mcap").success


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_episodes import record
folder = Path({folder!r})
for number in range(3):
    record(folder / f"{{number}}.mcap", steps=number + 2)
record(folder / "3.mcap", steps=7, finish=False)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_recorder_loses_no_finished_episode_and_no_whole_step(tmp_path):
    script = KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [p.name for p in list_episodes(tmp_path)] == ["0.mcap", "1.mcap", "2.mcap"]
    assert [len(e.actions) for e in load_demonstrations(tmp_path, STATE_NAMES, 2)] == [2, 3, 4]
    left = read_episode(partial_of(tmp_path), allow_unfinished=True)
    assert left.success is None
    assert len(left.actions) == 7
    # The number is free again, and recording it does not destroy what is left of the crash.
    record(tmp_path / "3.mcap")
    assert len(list_episodes(tmp_path)) == 4
    assert partial_of(tmp_path).exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "0.mcap"
    record(path, steps=3, images={"wrist": np.zeros((4, 4, 3), np.uint8)})
    return path.read_bytes()


def offsets(data, count):
    return sorted(
        {0, 1, 7, 8, len(data) - 1, len(data) - 8, *random.Random(0).sample(range(len(data)), count)}
    )


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path, whole):
    path = tmp_path / "0.mcap"
    for length in offsets(whole, 100):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError) as caught:
            read_episode(path)
        assert str(path) in str(caught.value)
        assert "record" in str(caught.value)


def test_of_a_truncated_file_all_whole_steps_can_be_read(tmp_path, whole):
    path, previous = tmp_path / "0.mcap", 0
    for length in offsets(whole, 100):
        path.write_bytes(whole[:length])
        try:
            episode = read_episode(path, allow_unfinished=True)
        except InputError:
            assert previous == 0  # Not one whole step yet.
            continue
        steps = len(episode.actions)
        assert steps >= previous
        assert episode.success is None
        np.testing.assert_array_equal(episode.observations["state"][:, 0], np.arange(steps + 1))
        previous = steps
    assert previous == 3


def test_a_flipped_byte_is_noticed_or_harmless(tmp_path, whole):
    path, noticed = tmp_path / "0.mcap", 0
    path.write_bytes(whole)
    expected = read_episode(path)
    for position in offsets(whole, 100):
        damaged = bytearray(whole)
        damaged[position] ^= 0x41
        path.write_bytes(damaged)
        try:
            episode = read_episode(path)
        except InputError:
            noticed += 1
            continue
        assert episode.metadata == expected.metadata
        assert episode.actions.tobytes() == expected.actions.tobytes()
        assert episode.observations["state"].tobytes() == expected.observations["state"].tobytes()
        assert episode.robot["ee_wrench"].tobytes() == expected.robot["ee_wrench"].tobytes()
    assert noticed > 30


def test_a_change_that_still_makes_sense_is_noticed(tmp_path, whole):
    assert whole.count(b'"fake"') == 1
    (tmp_path / "0.mcap").write_bytes(whole.replace(b'"fake"', b'"real"'))
    with pytest.raises(InputError, match="damaged"):
        read_episode(tmp_path / "0.mcap")


@pytest.mark.parametrize("content", [b"", b"hello", os.urandom(4096), b"\x89MCAP0\r\n"])
def test_what_is_no_episode_is_refused(tmp_path, content):
    (tmp_path / "0.mcap").write_bytes(content)
    with pytest.raises(InputError, match="is not an episode"):
        read_episode(tmp_path / "0.mcap")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_episode(tmp_path / "0.mcap")


# What may not be recorded.


@pytest.mark.parametrize(
    ("action", "reward", "seen", "state", "words"),
    [
        ([np.nan, 0.0], -1.0, observe(3), {}, "action[0] at step 2"),
        ([0.0, 1.5], -1.0, observe(3), {}, "action[1] at step 2 is 1.5, but must be within [-1, 1]"),
        ([0.0, np.inf], -1.0, observe(3), {}, "within [-1, 1]"),
        ([0.0], -1.0, observe(3), {}, "of shape [1], but must be of shape [2]"),
        ([0.0, 0.0], np.nan, observe(3), {}, "reward at step 2 is nan"),
        ([0.0, 0.0], -1.0, observe(np.nan), {}, "observation.state[0] at step 3 is nan"),
        ([0.0, 0.0], -1.0, observe(np.inf), {}, "observation.state[0] at step 3"),
        ([0.0, 0.0], -1.0, {"state": np.full(3, 1e300)}, {}, "observation.state[0] at step 3 is inf"),
        ([0.0, 0.0], -1.0, {"state": np.zeros(4, np.float32)}, {}, "of shape [4], but must be of shape [3]"),
        ([0.0, 0.0], -1.0, {}, {}, "observation at step 3 is []"),
        ([0.0, 0.0], -1.0, observe(3, front=np.zeros((4, 4, 3), np.uint8)), {}, "observation at step 3"),
        (
            [0.0, 0.0],
            -1.0,
            observe(3),
            {"ee_wrench": np.full(6, np.nan)},
            "robot_state.ee_wrench[0] at step 3",
        ),
        ([0.0, 0.0], -1.0, observe(3), {"ee_wrench": np.zeros(5)}, "robot_state.ee_wrench at step 3"),
        ([0.0, 0.0], -1.0, observe(3), {"joint_effort_nm": np.zeros(3)}, "robot_state.joint_effort_nm"),
        ([0.0, 0.0], -1.0, observe(3), {"stamp_s": np.nan}, "robot_state.stamp_s at step 3 is nan"),
        ([0.0, 0.0], -1.0, observe(3), {"stamp_s": 11.0}, "robot_state.stamp_s at step 3 is 11.0"),
        ([0.0, 0.0], -1.0, observe(3), {"gripper_width_m": np.inf}, "robot_state.gripper_width_m"),
    ],
)
def test_a_bad_value_ends_the_recording_and_leaves_nothing(tmp_path, action, reward, seen, state, words):
    writer = make_writer(tmp_path / "0.mcap")
    writer.start(observe(0), robot_state(10.0))
    for step in (1, 2):
        writer.step(np.zeros(2, np.float32), -1.0, observe(step), False, False, robot_state(10.0 + step))
    with pytest.raises(InputError) as caught:
        writer.step(np.array(action), reward, seen, False, False, robot_state(**{"stamp_s": 13.0, **state}))
    assert words in str(caught.value)
    assert str(tmp_path / "0.mcap") in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError):
        writer.finish(True)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)]
)
def test_what_is_no_image_is_not_recorded(tmp_path, image):
    with pytest.raises(InputError, match=r"observation\.wrist at step 0"):
        make_writer(tmp_path / "0.mcap").start(observe(0, wrist=image), robot_state(10.0))
    assert list(tmp_path.iterdir()) == []


def test_an_image_may_not_change_its_size(tmp_path):
    writer = make_writer(tmp_path / "0.mcap")
    writer.start(observe(0, wrist=np.zeros((4, 4, 3), np.uint8)), robot_state(10.0))
    seen = observe(1, wrist=np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(InputError, match=r"observation\.wrist at step 1"):
        writer.step(np.zeros(2, np.float32), 0.0, seen, False, False, robot_state(11.0))


@pytest.mark.parametrize("ends", [(True, False), (False, True)])
def test_nothing_follows_the_end(tmp_path, ends):
    writer = make_writer(tmp_path / "0.mcap")
    writer.start(observe(0), robot_state(10.0))
    writer.step(np.zeros(2, np.float32), 0.0, observe(1), *ends, robot_state(11.0))
    with pytest.raises(RuntimeError, match="has ended"):
        writer.step(np.zeros(2, np.float32), 0.0, observe(2), False, False, robot_state(12.0))


def test_calls_in_the_wrong_order_are_refused(tmp_path):
    writer = make_writer(tmp_path / "0.mcap")
    with pytest.raises(RuntimeError, match="start"):
        writer.finish(True)
    writer.start(observe(0), robot_state(10.0))
    with pytest.raises(RuntimeError, match="once"):
        writer.start(observe(0), robot_state(10.0))
    with pytest.raises(RuntimeError, match="first step"):
        writer.finish(True)


def test_an_episode_is_never_overwritten(tmp_path):
    path = tmp_path / "0.mcap"
    record(path)
    before = path.read_bytes()
    with pytest.raises(InputError, match="exists"):
        make_writer(path)
    path.unlink()
    writer = record(path, finish=False)
    path.write_bytes(before)  # Another recorder was faster.
    with pytest.raises(InputError, match="exists"):
        writer.finish(True)
    assert path.read_bytes() == before
    assert read_episode(partial_of(tmp_path)).success


@pytest.mark.parametrize(
    ("name", "changes"), [("0.bag", {}), ("0.mcap", {"provenance": "alien"}), ("absent/0.mcap", {})]
)
def test_what_cannot_be_written_is_refused(tmp_path, name, changes):
    with pytest.raises(InputError):
        make_writer(tmp_path / name, **changes).start(observe(0), robot_state(10.0))


# Demonstrations.


def test_demonstrations_come_in_the_order_of_their_names(tmp_path):
    for name, steps in (("b", 2), ("a", 3), ("c", 4)):
        record(tmp_path / f"{name}.mcap", steps=steps)
    assert [len(e.actions) for e in load_demonstrations(tmp_path, STATE_NAMES, 2)] == [3, 2, 4]


@pytest.mark.parametrize("folder", ["", "absent"])
def test_a_folder_without_episodes_is_refused(tmp_path, folder):
    assert list_episodes(tmp_path / folder) == []
    with pytest.raises(InputError, match="There are no episodes"):
        load_demonstrations(tmp_path / folder, STATE_NAMES, 2)


@pytest.mark.parametrize(
    ("state_names", "action_size", "image_shapes", "words"),
    [
        (STATE_NAMES, 4, {}, "actions of 2 entries, but the task's have 4"),
        (("ee_position.0", "goal", "ee_position.1"), 2, {}, "entry 1 is 'ee_position.1' instead of 'goal'"),
        (STATE_NAMES[:2], 2, {}, "it has 3 entries instead of 2"),
        (STATE_NAMES, 2, {"wrist": (4, 4, 3)}, "observation.wrist of shape [6, 8, 3]"),
        (STATE_NAMES, 2, {"front": (6, 8, 3)}, "no observation.front"),
    ],
)
def test_demonstrations_of_another_space_are_refused(tmp_path, state_names, action_size, image_shapes, words):
    record(tmp_path / "0.mcap", images={"wrist": np.zeros((6, 8, 3), np.uint8)})
    with pytest.raises(InputError) as caught:
        load_demonstrations(tmp_path, state_names, action_size, image_shapes)
    assert words in str(caught.value)
    assert str(tmp_path / "0.mcap") in str(caught.value)


def test_images_that_the_task_does_not_observe_do_no_harm(tmp_path):
    record(tmp_path / "0.mcap", images={"wrist": np.zeros((6, 8, 3), np.uint8)})
    assert load_demonstrations(tmp_path, STATE_NAMES, 2)
    assert load_demonstrations(tmp_path, STATE_NAMES, 2, {"wrist": (6, 8, 3)})


def test_one_damaged_demonstration_is_refused_by_name(tmp_path):
    record(tmp_path / "0.mcap")
    record(tmp_path / "1.mcap")
    (tmp_path / "1.mcap").write_bytes((tmp_path / "1.mcap").read_bytes()[:-20])
    with pytest.raises(InputError, match=r"1\.mcap"):
        load_demonstrations(tmp_path, STATE_NAMES, 2)


# Files that another program wrote: whole, but not what an episode may be.


def rewrite(path, edit, **start):
    """Copy the episode with every message passed through `edit`, which may return None to drop it."""
    log = read_log(path)
    path.unlink()
    writer = MessageWriter(path)
    for name, entries in log.metadata.items():
        writer.add_metadata(name, {**entries, **start} if name == START_RECORD else entries)
    for topic, messages in log.messages.items():
        for message in messages:
            content = edit(topic, message.sequence, message.content)
            if content is not None:
                writer.add(topic, message.type_name, content, message.stamp_ns, message.sequence)
    writer.finish()


def test_a_rewritten_episode_is_the_same(tmp_path):
    record(tmp_path / "0.mcap")
    before = read_episode(tmp_path / "0.mcap")
    rewrite(tmp_path / "0.mcap", lambda topic, step, message: message)
    after = read_episode(tmp_path / "0.mcap")
    assert after.metadata == before.metadata
    assert after.robot["ee_wrench"].tobytes() == before.robot["ee_wrench"].tobytes()


@pytest.mark.parametrize(
    ("topic", "step", "changes", "words"),
    [
        ("/action", 2, {"data": [np.nan, 0.0]}, "action[0] at step 1 is nan, but must be within [-1, 1]"),
        ("/action", 2, {"data": [0.0, 2.0]}, "action[1] at step 1 is 2.0, but must be within [-1, 1]"),
        ("/action", 2, {"data": [0.0]}, "/action at step 1 is of shape [1], but must be of shape [2]"),
        ("/reward", 2, {"data": np.inf}, "reward at step 1 is inf"),
        ("/observation/state", 2, {"data": [0.0, np.nan, 0.0]}, "observation.state[1] at step 2 is nan"),
        (
            "/observation/wrist/compressed",
            2,
            {"data": b"no image"},
            "/observation/wrist/compressed cannot be read",
        ),
        ("/joint_states", 0, {"effort": [0.0, -np.inf]}, "joint_effort_nm[1] at step 0 is -inf"),
        ("/gripper/joint_states", 2, {"position": []}, "/gripper/joint_states cannot be read"),
        ("/provenance", 2, {"data": "alien"}, "provenance at step 1 is 'alien'"),
        ("/terminated", 2, {"data": True}, "terminated or truncated at step 1 is true"),
        ("/truncated", 1, {"data": True}, "terminated or truncated at step 0 is true"),
        (
            "/intervened",
            3,
            None,
            "topic /intervened lacks one std_msgs/msg/Bool for each sequence number from 1 to 5",
        ),
        ("/joint_states", 5, None, "topic /joint_states lacks one sensor_msgs/msg/JointState"),
    ],
)
def test_what_no_learner_may_see_is_refused(tmp_path, topic, step, changes, words):
    def edit(topic_, step_, message):
        if (topic_, step_) != (topic, step):
            return message
        if changes is None:
            return None
        for name, value in changes.items():
            setattr(message, name, value)
        return message

    path = tmp_path / "0.mcap"
    record(path, images={"wrist": np.zeros((6, 8, 3), np.uint8)})
    rewrite(path, edit)
    with pytest.raises(InputError) as caught:
        read_episode(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ({"schema_version": "99"}, "schema version 99, but this program reads version 1"),
        ({"colour": '"red"'}, "unreadable metadata"),
        ({"state_names": "[3]"}, "unreadable metadata"),
        ({"action_size": "{"}, "unreadable metadata"),
        ({"action_size": "3"}, "action at step 0 is of shape [2], but must be of shape [3]"),
        ({"state_names": '["a"]'}, "observation.state at step 0 is of shape [3], but must be of shape [1]"),
        ({"joint_names": '["a"]'}, "joint_position_rad at step 0 is of shape [2]"),
    ],
)
def test_metadata_that_do_not_fit_are_refused(tmp_path, start, words):
    record(tmp_path / "0.mcap")
    rewrite(tmp_path / "0.mcap", lambda topic, step, message: message, **start)
    with pytest.raises(InputError) as caught:
        read_episode(tmp_path / "0.mcap")
    assert words in str(caught.value)


def test_an_episode_that_lost_its_last_step_is_refused(tmp_path):
    record(tmp_path / "0.mcap")
    rewrite(tmp_path / "0.mcap", lambda topic, step, message: None if step == 5 else message)
    with pytest.raises(InputError, match="4 of its 5 steps"):
        read_episode(tmp_path / "0.mcap")


def test_a_bag_of_other_messages_is_no_episode(tmp_path):
    writer = MessageWriter(tmp_path / "0.mcap")
    writer.add("/reward", "std_msgs/msg/Float64", {"data": 1.0}, 0, 0)
    writer.finish()
    with pytest.raises(InputError, match="is not an episode"):
        read_episode(tmp_path / "0.mcap")


def test_provenances_are_the_ones_that_learners_know():
    from agent.transition import Provenance

    assert tuple(member.name.lower() for member in Provenance) == PROVENANCES


# What MCAP's own checksums leave open.


def test_metadata_of_a_file_without_its_end_are_protected_too(tmp_path, whole):
    path = tmp_path / "0.mcap"
    path.write_bytes(whole.replace(b'"fake"', b'"real"')[:-20])
    with pytest.raises(InputError, match=r"metadata record .journeyman\.episode. does not fit"):
        read_episode(path, allow_unfinished=True)


def test_a_file_without_checksums_of_its_metadata_is_read(tmp_path):
    """As earlier versions wrote it, and as other programs do."""
    path = tmp_path / "0.mcap"
    record(path)
    expected = read_episode(path)
    with path.open("rb") as source:
        reader = make_reader(source)
        messages, metadata = list(reader.iter_messages()), list(reader.iter_metadata())
    with path.open("wb") as target:
        copy_plain(target, messages, [m for m in metadata if m.name != "journeyman.counts"])
    episode = read_episode(path)
    assert episode.metadata == expected.metadata
    assert episode.robot["ee_wrench"].tobytes() == expected.robot["ee_wrench"].tobytes()


def copy_plain(target, messages, metadata, chunked=True):
    """Write with the plain MCAP library; metadata lose their checksums."""
    writer = Writer(target, use_chunking=chunked)
    writer.start(profile="ros2")
    channels = {}
    for schema, channel, message in messages:
        if channel.topic not in channels:
            number = writer.register_schema(schema.name, schema.encoding, schema.data)
            channels[channel.topic] = writer.register_channel(channel.topic, "cdr", number)
        stamps = message.log_time, message.publish_time
        writer.add_message(channels[channel.topic], stamps[0], message.data, stamps[1], message.sequence)
    for one in metadata:
        writer.add_metadata(one.name, {k: v for k, v in one.metadata.items() if k != "crc32"})
    writer.finish()


def test_messages_that_nothing_protects_are_not_believed(tmp_path):
    path = tmp_path / "0.mcap"
    record(path)
    with path.open("rb") as source:
        reader = make_reader(source)
        messages, metadata = list(reader.iter_messages()), list(reader.iter_metadata())
    with path.open("wb") as target:
        copy_plain(target, messages, metadata, chunked=False)
    with pytest.raises(InputError, match="outside of a chunk"):
        read_episode(path)


@pytest.mark.parametrize("lost", ["/observation/wrist/compressed", "/success"])
def test_a_topic_that_is_gone_altogether_is_missed(tmp_path, lost):
    path = tmp_path / "0.mcap"
    record(path, images={"wrist": np.zeros((6, 8, 3), np.uint8)})
    with path.open("rb") as source:
        reader = make_reader(source)
        messages = [m for m in reader.iter_messages() if m[1].topic != lost]
        metadata = list(reader.iter_metadata())
    with path.open("wb") as target:
        copy_plain(target, messages, metadata)
    with pytest.raises(InputError, match=f"topic {lost} has 0 of its"):
        read_episode(path)
    if lost == "/success":  # Said twice, so that nothing else is missing.
        assert len(read_episode(path, allow_unfinished=True).actions) == 5
    else:
        with pytest.raises(InputError, match=f"topic {lost} lacks one"):
            read_episode(path, allow_unfinished=True)


def test_data_whose_end_is_not_marked_are_not_whole(tmp_path, whole):
    """One flipped bit turns the record of the data's checksum into one that readers pass over."""
    data_end = bytes([0x0F]) + (4).to_bytes(8, "little")
    assert whole.count(data_end) == 1
    (tmp_path / "0.mcap").write_bytes(whole.replace(data_end, bytes([0x1F]) + data_end[1:]))
    with pytest.raises(InputError, match="its data have no end"):
        read_episode(tmp_path / "0.mcap")


def test_a_file_that_would_unpack_to_more_than_it_can_hold_is_not_unpacked(tmp_path, monkeypatch):
    with (tmp_path / "0.mcap").open("wb") as stream:
        writer = Writer(stream, chunk_size=2**30)
        writer.start()
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
        channel = writer.register_channel("/large", "cdr", schema)
        writer.add_message(channel, 0, bytes(2**25), 0)
        writer.finish()
    assert (tmp_path / "0.mcap").stat().st_size < 2**14
    monkeypatch.setattr(zstandard, "decompress", lambda *_: pytest.fail("it was unpacked"))
    log = read_log(tmp_path / "0.mcap")
    assert "more than a recording of this length can hold" in log.damage


def test_messages_of_unknown_types_do_no_harm(tmp_path):
    path = tmp_path / "0.mcap"
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start()
        schema = writer.register_schema("acme_msgs/msg/Odd", "ros2idl", b"not to be parsed")
        writer.add_message(writer.register_channel("/odd", "cdr", schema), 5, b"anything", 5, 3)
        writer.finish()
    log = read_log(path)
    assert log.messages == {"/odd": [("acme_msgs/msg/Odd", 3, 5, None)]}
    assert log.damage == ""


def test_time_that_runs_backwards_is_refused(tmp_path):
    def edit(topic, step, message):
        if (topic, step) == ("/joint_states", 3):
            message.header.stamp.sec -= 2
        return message

    record(tmp_path / "0.mcap")
    rewrite(tmp_path / "0.mcap", edit)
    with pytest.raises(InputError, match="elapsed_s at step 3 is"):
        read_episode(tmp_path / "0.mcap")


def test_a_picture_of_absurd_size_is_refused(tmp_path):
    """OpenCV refuses to decode it, with an error of its own kind."""

    def edit(topic, step, message):
        if topic == "/observation/wrist/compressed" and step == 1:
            data = bytearray(bytes(message.data))
            data[16:24] = (2**20).to_bytes(4, "big") * 2
            data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
            message.data = bytes(data)
        return message

    record(tmp_path / "0.mcap", images={"wrist": np.zeros((6, 8, 3), np.uint8)})
    rewrite(tmp_path / "0.mcap", edit)
    with pytest.raises(InputError, match="/observation/wrist/compressed cannot be read"):
        read_episode(tmp_path / "0.mcap")


def test_an_episode_can_be_had_without_its_images(tmp_path):
    path = tmp_path / "0.mcap"
    record(path, images={"wrist": np.zeros((6, 8, 3), np.uint8)})
    episode = decode_episode(str(path), read_episode_log(path), images=False)
    assert list(episode.observations) == ["state"]
    assert episode.actions.tobytes() == read_episode(path).actions.tobytes()
