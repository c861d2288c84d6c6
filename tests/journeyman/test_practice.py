"""Practice without resets as a run: agents, folders, rewards, and a whole run that nobody writes the state of."""

import itertools
import json
import threading

import mujoco
import numpy as np
import pytest

from agent.actor import Actor
from agent.config import InputError as InputErrorOfAgent
from agent.record_log import RecordLog
from controllers.config import InputError
from journeyman.acting import make_acting_env
from journeyman.checks import check
from journeyman.collect import record_demonstrations
from journeyman.config import compose
from journeyman.demonstrations import demonstration_folder, read_demonstrations
from journeyman.learner import record_missing_demonstrations
from journeyman.practice import practise
from journeyman.report import write_report
from journeyman.run_directory import RunDirectory
from journeyman.wiring import agent_address, make_actor, make_env, make_learners, make_spec, task_description
from robot_env.contracts import Reward
from robot_env.episodes import list_episodes, read_episode
from robot_env.practice import StayReset
from robot_env.resets.chain import ResetChain
from sim.twin import Twin

PAIR = ("task=relocate", "practice=forward_backward")
TINY = (
    "learner.start_steps=40",
    "learner.checkpoint_every=50",
    "actor.random_steps=40",
    "actor.evaluate_every=100",
    "actor.evaluation_episodes=1",
    "demonstrations.episodes=2",
    "evaluation.episodes=1",
    "evaluation.video_episodes=0",
    "task.episode_length_s=5.0",
    "algorithm.config.compile=false",
    "algorithm.config.hidden_sizes=[32,32]",
    "algorithm.config.batch_size=32",
)


@pytest.fixture
def no_state_writes(monkeypatch):
    """Once the twin is made, nothing but forces moves it."""

    def forbidden(*_):
        raise AssertionError("the state of the twin was written")

    def forbid():
        for name in ("reset", "place"):
            monkeypatch.setattr(Twin, name, forbidden)
        for name in ("mj_resetData", "mj_resetDataKeyframe", "mj_setState", "mj_copyData"):
            monkeypatch.setattr(mujoco, name, forbidden)

    return forbid


class Blind:
    """A learned reward that never sees success."""

    def __init__(self, env, config):
        self.config = config

    def reward(self, observation):
        return Reward(-0.5, False)


def test_a_run_has_an_agent_for_each_task_or_one_without_a_name():
    assert compose(["task=relocate"]).practice.agents == ("",)
    config = compose(PAIR)
    assert config.practice.agents == ("there", "back")
    there, back = (task_description(config, name) for name in config.practice.agents)
    assert {key for key in there if there[key] != back[key]} == {"agent"}
    assert task_description(compose(["task=relocate"])).keys().isdisjoint({"agent"})


def test_one_task_is_practised_as_before():
    config = compose(["task=relocate"])
    env = make_env(config)
    assert practise(env, config) is env
    assert env.reset(seed=0)[1].keys() == {"reset_attempts"}


@pytest.mark.parametrize(
    ("reset", "expected"), [((), ResetChain), (("reset=arm",), ResetChain), (("reset=none",), StayReset)]
)
def test_by_default_an_episode_begins_with_what_the_arm_does_alone(reset, expected):
    assert isinstance(make_env(compose([*PAIR, *reset])).reset_policy, expected)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task=lift_cube", "practice=forward_backward"], r"'lift_cube' has no goals that the twin knows"),
        ([*PAIR, "practice.tasks.there.next=[home]"], r"practice.tasks.there names home, which is no task"),
        ([*PAIR, "practice.tasks.there.next=[]"], r"practice.tasks.there has no next"),
        (
            [*PAIR, "practice.tasks.up.next=[there]"],
            r"names up, but task 'relocate' has the goals there, back",
        ),
        ([*PAIR, "practice.factory=null"], r"Nothing judges practice.tasks.there"),
        ([*PAIR, "practice.factory=os.getcwd"], r"practice.factory 'os.getcwd' cannot be called"),
        ([*PAIR, "practice.tasks.back.reward.factory=os.nothing"], r"os.nothing"),
        ([*PAIR, "practice.looks=0"], r"practice.looks 0 must be at least 1"),
        ([*PAIR, "practice.rearrange_after=-1"], r"rearrange_after -1 must not be negative"),
        ([*PAIR, "practice.tasks={a-b: {next: [a-b]}}"], r"'a-b'.* must be named by letters"),
        ([*PAIR, "practice.task=3"], r"no key 'practice.task'.*Did you mean 'tasks'"),
        ([*PAIR, "reset=none", "reset.config.speed=1"], r"reset=none: leave it out"),
        ([*PAIR, "demonstrations.folder=absent"], r"absent"),
    ],
)
def test_what_cannot_be_practised_is_refused_in_a_sentence(overrides, message):
    with pytest.raises((InputError, InputErrorOfAgent), match=message):
        check(compose(overrides))


@pytest.mark.slow
def test_a_scene_in_which_nothing_succeeds_is_rearranged_by_the_arm(no_state_writes):
    config = compose([*PAIR, "task.episode_length_s=0.5", "practice.rearrange_after=2"])
    env = make_env(config)
    practice = practise(env, config)
    cube_m = []
    no_state_writes()
    for seed in range(6):
        _, info = practice.reset(seed=seed)
        assert info["agent"] == "there"
        assert all(attempt.success for attempt in info["reset_attempts"])
        cube_m.append(env.scene.cube_m.copy())
        done = False
        while not done:
            *_, terminated, truncated, _ = practice.step(np.array([0.0, 0.0, 0.0, 1.0], np.float32))
            done = terminated or truncated
    moved = [float(np.linalg.norm(b - a)) > 0.002 for a, b in itertools.pairwise(cube_m)]
    assert moved == [False, True, False, True, False]


def test_a_task_may_have_a_reward_of_its_own_beside_the_truth(monkeypatch):
    monkeypatch.setattr("sim.practice.Blind", Blind, raising=False)
    config = compose([*PAIR, "practice.tasks.back.reward={factory: sim.practice.Blind, config: {a: 1}}"])
    env = make_env(config)
    practice = practise(env, config)
    _, info = practice.reset(seed=0)
    # It cannot be seen that the cube is in the left bin already; the preferred one begins all the same.
    assert info["achieved"] == {"there": False, "back": False}
    assert info["agent"] == "there"
    assert env.truth is None
    _, info = practice.reset(seed=0)
    assert info["agent"] == "back"
    *_, reward, _, _, step = practice.step(np.zeros(4, np.float32))
    assert reward == -0.5
    assert step["true_success"]  # The twin knows better.


@pytest.mark.parametrize(
    ("address", "second"),
    [
        ("tcp://127.0.0.1:5488", "tcp://127.0.0.1:5489"),
        ("ipc:///tmp/learner", "ipc:///tmp/learner-1"),
        ("tcp://127.0.0.1:*", "tcp://127.0.0.1:*"),
    ],
)
def test_the_learners_listen_beside_each_other(address, second):
    assert agent_address(address, 0) == address
    assert agent_address(address, 1) == second


def test_an_address_that_cannot_be_counted_on_from_is_refused():
    with pytest.raises(InputErrorOfAgent, match="'inproc://learner' must end in a port"):
        agent_address("inproc://learner", 1)


def test_demonstrations_of_both_are_recorded_in_one_stream(tmp_path, monkeypatch, no_state_writes):
    config = compose([*PAIR, "demonstrations.episodes=2", f"demonstrations.folder={tmp_path}"])
    env = make_env(config)
    no_state_writes()
    monkeypatch.setattr("journeyman.collect.make_env", lambda _: env)
    record_demonstrations(config, tmp_path, 2)
    for name in ("there", "back"):
        folder = demonstration_folder(config, None, name)
        records = read_demonstrations(folder, config, env, make_spec(env))
        assert records["terminated"].sum() == 2
        assert len(list_episodes(folder)) in (2, 3)


@pytest.mark.slow
def test_a_whole_run_without_a_single_write_of_the_twins_state(tmp_path, monkeypatch, no_state_writes):
    monkeypatch.chdir(tmp_path)
    config = compose([*PAIR, *TINY, "learner.max_environment_steps=240"])
    check(config)
    directory = RunDirectory.create(config)
    record_missing_demonstrations(config, directory)
    address = f"ipc://{tmp_path}/learner"
    learner, servers = make_learners(config, directory, address)
    env, robot_env = make_acting_env(config, directory.episodes, directory)
    no_state_writes()
    spools = {name: directory.agent(name).spool("actor-0") for name in config.practice.agents}
    actor, clients = make_actor(config, env, robot_env, spools, address)
    assert isinstance(actor, Actor)
    errors = []

    def act():
        try:
            actor.run()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=act)
    thread.start()
    try:
        assert learner.run()
    finally:
        actor.request_stop()
        thread.join(60)
        clients.close()
        for server in servers:
            server.close()
            server._record_log.close()  # As the end of the process does; the report opens it again.
        env.close()
    assert not errors, errors
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    stored = 0
    for name in config.practice.agents:
        log = RecordLog.open(directory.agent(name).replay_log, make_spec(robot_env).dtype)
        stored += log.record_count
        log.close()
    assert stored >= 240
    episodes = [read_episode(path) for path in list_episodes(directory.episodes)]
    assert sum(len(episode.actions) for episode in episodes) == stored
    text = write_report(config, directory)
    summary = json.loads((directory.report / "summary.json").read_text())
    assert summary["transitions_sent"] == summary["transitions_stored"] == stored
    assert "there" in summary["agents"]
    assert "there: " in text
