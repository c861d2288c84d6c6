"""`journeyman episodes play`: on the twin the recording again, on an arm through its safety filter or not at all."""

import av
import msgspec
import numpy as np
import pytest

from agent.config import InputError
from journeyman.cli import main
from journeyman.config import compose
from journeyman.episodes.description import state_scales
from journeyman.episodes.playing import PlayOptions, configure, departures, play
from journeyman.recording import episode_metadata
from journeyman.wiring import make_env
from robot_env.contracts import ResetResult, Reward
from robot_env.env import RobotEnv
from robot_env.episodes import EpisodeWriter, list_episodes, read_episode
from robot_env.fake import FakeRobot
from robot_env.robot import RobotError
from robot_env.task import Task

RANDOMISED = "robot.config.randomisation={object_mass_kg: [0.02, 0.2], joint_damping_scale: [0.5, 2.0]}"
SMALL_CAMERA = "task.cameras={front: {width: 16, height: 16}}"


def record_on_twin(path, seed, *overrides, steps=12, lowest=-0.4):
    """Random actions, each entry within 0.8 from `lowest` on; returns how often the safety filter changed one."""
    config = compose(overrides)
    env = make_env(config)
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    writer = EpisodeWriter(path, **episode_metadata(env, config, seed))
    writer.start(observation, env.robot.observe())
    for step in range(1, steps + 1):
        action = rng.uniform(lowest, lowest + 0.8, env.task.action.size).astype(np.float32)
        observation, reward, terminated, _, info = env.step(action)
        last = terminated or step == steps
        executed = info["executed_action"]
        writer.step(executed, reward, observation, terminated, last and not terminated, env.robot.observe())
        if last:
            break
    writer.finish(terminated)
    return sum(env.robot.limit_hits.values())


def replayed(path, *overrides):
    """The recording, and every difference of its replay from it."""
    episode = read_episode(path)
    env = make_env(configure(episode, path, overrides))
    replay = play(env, episode, path, PlayOptions())
    return episode, replay, departures(episode, replay, state_scales(episode.metadata))


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("overrides", [["task=reach"], ["task=lift_cube"]], ids=["reach", "lift_cube"])
def test_on_the_twin_the_replay_is_the_recording_to_the_bit(tmp_path, overrides, seed):
    path = tmp_path / "0000.mcap"
    assert record_on_twin(path, seed, *overrides) == 0
    episode, replay, _ = replayed(path)
    again = np.stack([seen["state"] for seen in replay.observations])
    assert again.tobytes() == episode.observations["state"].tobytes()
    assert replay.rewards == episode.rewards.tolist()
    assert replay.success is episode.success


def test_its_pictures_are_the_same_too(tmp_path):
    path = tmp_path / "0000.mcap"
    record_on_twin(path, 5, "task=lift_cube", SMALL_CAMERA, steps=4)
    _, _, found = replayed(path)
    assert not found["camera front"].any()


def test_where_the_filter_had_to_change_commands_only_rounding_is_between_them(tmp_path):
    """Executed actions are stored as float32; what was asked for is not stored."""
    path = tmp_path / "0000.mcap"
    assert record_on_twin(path, 7, "task=lift_cube", lowest=0.2, steps=20) > 0
    episode, replay, found = replayed(path)
    assert max(apart.max() for apart in found.values()) < 1e-6
    assert replay.rewards == episode.rewards.tolist()


def test_a_randomised_twin_needs_the_same_randomisation(tmp_path):
    path = tmp_path / "0000.mcap"
    assert record_on_twin(path, 4, "task=lift_cube", RANDOMISED) == 0
    _, _, same = replayed(path, RANDOMISED)
    assert not any(apart.any() for apart in same.values())
    _, _, other = replayed(path)
    assert max(apart.max() for apart in other.values()) > 1e-4


def test_the_command_reports_and_films(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    collect = ["collect", "task=reach", "demonstrations.episodes=1", "demonstrations.folder=demos"]
    assert main([*collect, "demonstrations.noise=0"]) == 0
    (path,) = list_episodes(tmp_path / "demos")
    capsys.readouterr()
    assert main(["episodes", "play", str(path), "video=made/film.mp4"]) == 0
    shown = capsys.readouterr().out
    steps = len(read_episode(path).actions)
    assert f"{steps} steps of reach: success, as recorded" in shown
    assert "ee_position" in shown
    with av.open("made/film.mp4") as film:
        assert sum(1 for _ in film.decode(video=0)) >= steps


def test_what_is_left_of_a_recording_can_be_played(tmp_path, capsys):
    path = tmp_path / "0000.mcap"
    record_on_twin(path, 1, "task=reach")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert main(["episodes", "play", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "to the bit" in shown
    assert "but recorded was unknown" in shown


# On an arm, for which a fake stands that does not start where it was told.


class Elsewhere:
    """A reset that leaves the arm at a given place."""

    def __init__(self, robot, position_m, quaternion_xyzw=(1.0, 0.0, 0.0, 0.0)):
        self._robot, self._position_m, self._quaternion = robot, position_m, quaternion_xyzw

    def reset(self, rng, keep_going):
        self._robot.place(self._position_m, self._quaternion)
        return ResetResult(True)


class NoScene:
    observables: dict[str, int] = {}

    def observe(self):
        return {}


class NeverDone:
    def reward(self, observation):
        return Reward(-1.0, False)


@pytest.fixture
def recorded(tmp_path, record):
    """An episode of an arm that began at (0.3, 0, 0.3) or near."""
    task = {
        "name": "poke",
        "scene": "none",
        "control_rate_hz": 10,
        "episode_length_s": 0.5,
        "action": {"translation_m": 0.03},
        "workspace": {"min_m": [0.0, -0.4, 0.0], "max_m": [0.8, 0.4, 0.6]},
        "observation": [{"name": "ee_position", "scale": 0.5}, {"name": "gripper_width", "scale": 0.08}],
    }
    record(tmp_path / "0000.mcap", task=task)
    return tmp_path / "0000.mcap"


def arm(episode, offset_m=(0.0, 0.0, 0.0), limit=None, **turned):
    robot = FakeRobot(joints=2, limit=limit)
    start_m = episode.robot["ee_position_m"][0] + np.array(offset_m)
    task = msgspec.convert(episode.metadata.task, Task, strict=False)
    env = RobotEnv(robot, task, NoScene(), NeverDone(), Elsewhere(robot, start_m, **turned))
    return env, robot


def test_every_action_goes_through_the_safety_filter(recorded):
    """The stand-in for it lets nothing move; so nothing moves."""
    episode = read_episode(recorded)
    seen = []

    def hold(command):
        seen.append(command)
        return msgspec.structs.replace(command, ee_position_m=episode.robot["ee_position_m"][0])

    env, robot = arm(episode, limit=hold)
    replay = play(env, episode, recorded, PlayOptions())
    assert len(seen) == len(robot.sent) == len(episode.actions)
    np.testing.assert_allclose(
        seen[0].ee_position_m - episode.robot["ee_position_m"][0], episode.actions[0][:3] * 0.03, atol=1e-6
    )
    assert np.ptp([o["state"][:3] for o in replay.observations], axis=0).max() == 0.0


@pytest.mark.parametrize(
    ("offset_m", "turned", "words"),
    [
        ((0.05, 0.0, 0.0), {}, "0.050 m"),
        ((0.0, 0.0, -0.021), {}, "0.021 m"),
        ((0.0, 0.0, 0.0), {"quaternion_xyzw": (0.995, 0.0998, 0.0, 0.0)}, "0.20 rad"),
    ],
)
def test_an_arm_that_starts_elsewhere_is_not_moved(recorded, offset_m, turned, words):
    episode = read_episode(recorded)
    env, robot = arm(episode, offset_m, **turned)
    with pytest.raises(RobotError, match="is not played") as caught:
        play(env, episode, recorded, PlayOptions())
    assert words in str(caught.value)
    assert robot.sent == []
    wider = PlayOptions(max_start_m=0.1, max_start_rad=0.5)
    assert len(play(env, episode, recorded, wider).rewards) == len(episode.actions)


def test_an_arm_of_other_joints_is_refused_where_joints_are_observed(recorded):
    episode = read_episode(recorded)
    env, robot = arm(episode)
    env.state_names = (*env.state_names, "joint_position.6")
    with pytest.raises(InputError, match="or other ones; play it on the robot"):
        play(env, episode, recorded, PlayOptions())
    assert "connect" not in robot.calls


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["poke.mcap"], "its task is not one of this program"),
        (["absent.mcap"], "cannot be read"),
        (["poke.mcap", "max_start_m=-1"], "must be positive"),
        (["poke.mcap", "learner.seed=1"], "no key 'learner'"),
        (["reach.mcap", "robot=c3po"], "c3po"),
    ],
)
def test_wrong_input_is_one_sentence(tmp_path, record, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    record(tmp_path / "poke.mcap")
    record_on_twin(tmp_path / "reach.mcap", 1, "task=reach", steps=2)
    assert main(["episodes", "play", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_recording_without_its_seed_starts_elsewhere_and_is_not_played(tmp_path, capsys):
    path = tmp_path / "0000.mcap"
    config = compose(["task=reach"])
    env = make_env(config)
    observation, _ = env.reset(seed=3)
    writer = EpisodeWriter(path, **{**episode_metadata(env, config, 3), "seed": None})
    writer.start(observation, env.robot.observe())
    observation, reward, *_ = env.step(np.zeros(3, np.float32))
    writer.step(np.zeros(3), reward, observation, False, True, env.robot.observe())
    writer.finish(False)
    assert main(["episodes", "play", str(path), "max_start_m=0.0001"]) == 3
    assert "recorded without a seed" in capsys.readouterr().err
