import resource
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robot_env.assisted_env import AssistedEnv
from robot_env.episode_writer import EpisodeWriter
from robot_env.episodes import list_episodes, read_episode
from robot_env.fake import FakeRobot
from robot_env.recorded_env import RecordedEnv, _Episode
from robot_env.teleoperator import Event

ACTION = np.array([0.1, -0.2, 0.3, 1.0], np.float32)
CAMERAS = {"wrist": {"width": 6, "height": 4}}


class Hand:
    """Holds the device in every second step, and says what `say` holds."""

    say = ()

    def connect(self):
        pass

    def restart(self, state):
        self.step = 0

    def get_action(self, state, last_action):
        self.step += 1
        return -ACTION if self.step % 2 else None

    def get_events(self):
        said, self.say = self.say, ()
        return said

    def disconnect(self):
        pass


@pytest.fixture
def record(make_env, tmp_path):
    def make(hand=None, on_verdict=lambda *_: None, **changes):
        inner = make_env(FakeRobot(), **changes)
        metadata = {
            "task": {"name": "fake"},
            "robot": "fake",
            "state_names": inner.state_names,
            "action_size": 4,
            "provenance": "robot",
            "judge": "classifier",
        }
        env = AssistedEnv(inner, hand) if hand else inner
        return RecordedEnv(env, tmp_path, "actor-0", metadata, on_verdict)

    return make


def test_every_episode_is_a_file_with_what_was_seen_and_done(record, tmp_path):
    env = record(Hand(), cameras=CAMERAS)
    seen = [env.reset(seed=7)[0]]
    rewards, done = [], False
    while not done:
        observation, reward, terminated, truncated, _ = env.step(ACTION)
        seen.append(observation)
        rewards.append(reward)
        done = terminated or truncated
    env.close()
    (path,) = list_episodes(tmp_path)
    episode = read_episode(path)
    assert path.name == "actor-0-000000.mcap"
    for key in ("state", "wrist"):
        np.testing.assert_array_equal(episode.observations[key], np.stack([one[key] for one in seen]))
    np.testing.assert_array_equal(episode.rewards, rewards)
    np.testing.assert_array_equal(episode.intervened, [step % 2 == 0 for step in range(10)])
    np.testing.assert_array_equal(episode.actions[::2], np.broadcast_to(-ACTION, (5, 4)))
    assert episode.provenance.tolist() == ["human", "robot"] * 5
    assert (episode.metadata.seed, episode.metadata.judge) == (7, "classifier")
    assert episode.success is False


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(lengths=st.lists(st.integers(0, 12), min_size=1, max_size=5))
def test_broken_off_episodes_keep_their_steps_and_end_without_success(
    record, tmp_path_factory, monkeypatch, lengths
):
    folder = tmp_path_factory.mktemp("episodes")
    env = record()
    env._folder = folder
    for length in lengths:
        env.reset(seed=length)
        for _ in range(min(length, 10)):
            env.step(ACTION)
    env.close()
    steps = [len(read_episode(path).actions) for path in list_episodes(folder)]
    assert steps == [min(length, 10) for length in lengths if length]
    assert len(list(folder.iterdir())) == len(steps)


def test_numbers_go_on_behind_what_is_there_and_what_a_crash_left(record, tmp_path):
    (tmp_path / "actor-0-000004.mcap").touch()
    (tmp_path / "actor-0-000006.mcap.1a2b3c4d.partial").touch()
    (tmp_path / "actor-1-000009.mcap").touch()
    env = record()
    env.reset(seed=0)
    env.step(ACTION)
    env.close()
    assert read_episode(tmp_path / "actor-0-000007.mcap")


def test_episodes_of_the_policy_alone_are_not_recorded(record, tmp_path):
    env = record()
    env.reset(seed=0, options={"unaided": True})
    env.step(ACTION)
    env.reset(seed=1)
    env.step(ACTION)
    env.close()
    (path,) = list_episodes(tmp_path)
    assert read_episode(path).metadata.seed == 1


def test_a_verdict_is_told_with_the_episode_that_it_is_about(record):
    told = []
    hand = Hand()
    env = record(hand, lambda *about: told.append(about))
    env.reset(seed=0)
    env.step(ACTION)
    hand.say = (Event.SUCCESS,)
    env.step(ACTION)
    assert told == [("actor-0-000000.mcap", 2, Event.SUCCESS)]
    hand.say = (Event.FAILURE,)  # The person thinks again while the arm drives home.
    env.reset(seed=1)
    assert told[1:] == [("actor-0-000000.mcap", 2, Event.FAILURE)]
    env.step(ACTION)
    env.reset(seed=2)
    env.close()
    assert len(told) == 2


def test_nothing_is_made_before_there_is_something_to_record(record, tmp_path):
    tmp_path.rmdir()
    env = record()
    assert not tmp_path.exists()
    env.reset(seed=0)
    env.step(ACTION)
    env.close()
    assert len(list_episodes(tmp_path)) == 1


def test_what_cannot_be_written_is_said_once_and_the_robot_goes_on(record, tmp_path, capfd):
    env = record()
    tmp_path.rename(tmp_path.with_name("unplugged"))
    tmp_path.touch()  # No folder any more.
    env.reset(seed=0)
    for seed in range(3):
        for _ in range(10):
            _, _, _, truncated, _ = env.step(ACTION)
        assert truncated
        env.reset(seed=seed)
    env.close()
    assert capfd.readouterr().err.count("is not recorded") == 1


@pytest.mark.parametrize("room_bytes", [100, 5000, 9000, -300])
def test_a_full_disk_costs_the_episodes_it_does_not_take_and_nothing_else(
    record, tmp_path, capfd, room_bytes
):
    """No file may be larger than there is room for a while; the disk takes a part of what is too much.

    Less than 0: so much less than a whole episode needs, so that its last step is taken and its end is not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    env = record()
    for limited in (False, True, True, False):
        if limited and room_bytes < 0:
            room_bytes += (tmp_path / "actor-0-000000.mcap").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes if limited else soft, hard))
        try:
            env.reset(seed=0)
            for _ in range(10):
                _, _, _, truncated, _ = env.step(ACTION)
            assert truncated
            written = threading.Event()
            env._recorder._queue.put((_Episode(), written.set))
            assert written.wait(20.0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    env.close()
    kept = list_episodes(tmp_path)
    assert {path.name for path in kept} >= {"actor-0-000000.mcap", "actor-0-000003.mcap"}
    for path in kept:
        assert len(read_episode(path).actions) == 10
    assert len(kept) < 4
    assert capfd.readouterr().err.count("is not recorded") == 1
    assert sorted(tmp_path.iterdir()) == sorted(kept), "nothing half-written stays"


def test_a_disk_that_hangs_does_not_delay_the_robot(record, tmp_path, monkeypatch):
    hang, start = threading.Event(), EpisodeWriter.start

    def slow_start(self, *seen):
        hang.wait()
        start(self, *seen)

    monkeypatch.setattr(EpisodeWriter, "start", slow_start)
    monkeypatch.setattr("robot_env.recorded_env._LONGEST_QUEUE", 8)
    env = record()
    for _ in range(3):
        env.reset(seed=0)
        for _ in range(10):
            env.step(ACTION)
    hang.set()
    env.close()
    for path in list_episodes(tmp_path):
        assert len(read_episode(path).actions) == 10
