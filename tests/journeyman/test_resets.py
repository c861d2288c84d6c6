"""The resets that a run may choose, wired to its task and robot."""

import msgspec
import numpy as np
import pytest

from agent.config import InputError as InputErrorOfAgent
from controllers.config import InputError
from journeyman.config import compose
from journeyman.help import make_file_operator, questions
from journeyman.resets import make_scripted
from journeyman.run_directory import RunDirectory
from journeyman.wiring import make_env
from robot_env.contracts import Activity, ResetAttempt
from robot_env.resets.chain import ResetChain


@pytest.fixture
def make(tmp_path, monkeypatch):
    """An environment of a run, whose person helps by what a test gives, as soon as they are asked."""

    def build(*overrides, help_=lambda env: None):
        env = make_env(compose(list(overrides)), run=RunDirectory(tmp_path))

        def keep_going(activity=Activity.RESETTING, why=""):
            said.append((activity, why))
            if activity is Activity.WAITING_FOR_HUMAN:
                help_(env)
                make_file_operator(tmp_path, "actor-0").done()

        said = []
        return env, {"keep_going": keep_going}, said

    return build


def tried(info):
    return [(attempt.policy, attempt.success) for attempt in info["reset_attempts"]]


@pytest.mark.parametrize("task", ["lift_cube", "reach"])
def test_the_arm_resets_by_itself_where_the_task_says_what_starts_where(make, task):
    env, options, said = make(f"task={task}", "reset=scripted")
    starts = env.task.scene_config["start"]
    env.action_space.seed(0)
    for seed in range(3):
        _, info = env.reset(seed=seed, options=options)
        assert info["reset_attempts"] == [ResetAttempt("scripted", True)]  # A reason would be shown.
        assert (env.state.ee_position_m >= np.array(starts["min_m"]) - 0.02).all()
        assert (env.state.ee_position_m <= np.array(starts["max_m"]) + 0.02).all()
        for _ in range(20):
            env.step(env.action_space.sample())
    assert {activity for activity, _ in said} == {Activity.RESETTING}


def test_the_twin_is_never_put_anywhere(make, monkeypatch):
    env, options, _ = make("reset=scripted")

    def refuse(*_):
        raise AssertionError("the state of the twin was written")

    monkeypatch.setattr(env.scene.twin, "reset", refuse)
    monkeypatch.setattr(env.scene.twin, "place", refuse)
    monkeypatch.setattr(env.scene, "reset", refuse)
    _, info = env.reset(seed=0, options=options)
    assert tried(info) == [("scripted", True)]


def test_when_the_cube_is_out_of_reach_a_person_is_asked_once_and_it_goes_on(make, tmp_path):
    upright = np.array([0.0, 0.0, 0.0, 1.0])

    def put(env, y_m):
        env.scene.twin.place("cube", np.array([0.5, y_m, 0.02]), upright)
        env.scene.twin.refresh()

    env, options, said = make("reset=scripted", help_=lambda env: put(env, 0.05))
    env.reset(seed=0, options=options)
    put(env, 0.5)
    said.clear()
    _, info = env.reset(options=options)
    policies = [policy for policy, _ in tried(info)]
    assert policies[:3] == ["scripted", "retreat", "operator"]
    assert tried(info)[-1][1]
    assert len({why for activity, why in said if activity is Activity.WAITING_FOR_HUMAN}) == 1
    order = list(dict.fromkeys(activity for activity, _ in said))
    assert order[:3] == [Activity.RESETTING, Activity.RECOVERING, Activity.WAITING_FOR_HUMAN]
    assert questions(tmp_path) == {}


def test_a_person_may_reset_before_every_episode(make):
    env, options, said = make("reset=operator")
    _, info = env.reset(seed=0, options=options)
    assert tried(info) == [("arm", True), ("operator", True)]
    assert said[-1] == (Activity.WAITING_FOR_HUMAN, "Put the scene into a start state.")


def test_the_robots_own_reset_stays_where_nothing_else_is_chosen(make):
    env, _, _ = make("reset=robot")
    assert env.reset_policy is env.scene


def test_parameters_reach_the_reset(make):
    env, options, _ = make(
        "reset=scripted",
        "reset.config.scripted.start={min_m: [0.5, 0.0, 0.2], max_m: [0.5, 0.0, 0.2]}",
        "reset.config.scripted.objects={}",
        "reset.config.verification.reward=false",
    )
    assert isinstance(env.reset_policy, ResetChain)
    env.reset(seed=0, options=options)
    np.testing.assert_allclose(env.state.ee_position_m, (0.5, 0.0, 0.2), atol=0.012)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["reset.config.sped=1"], "reset.config does not fit: Object contains unknown field `sped`"),
        (["reset.config.scripted.grasps=0"], "grasps 0"),
        (["reset.config.scripted.motion.speed_m_s=-1"], "speed_m_s -1"),
        (["reset.config.budget_s=0"], "budget_s 0"),
        (["reset.config.verification.tolerance_m=-1"], "tolerance_m -1"),
        (["reset.config.verification.cameras=[left]"], "cameras .'left'. are not the task's"),
        (["reset.config.scripted.start={min_m: [0,0,0], max_m: [1,1,1]}"], "leaves the task's workspace"),
        (["reset.factory=journeyman.resets.nothing"], "reset.factory"),
        (["reset.factory=builtins.print"], "makes no reset policy"),
    ],
)
def test_bad_configuration_is_one_sentence(overrides, words):
    with pytest.raises((InputError, InputErrorOfAgent), match=words):
        make_env(compose(["reset=scripted", *overrides]))


def test_a_task_that_does_not_say_where_it_starts_is_told_what_to_give():
    env = make_env(compose(["reset=robot"]))
    env.task = msgspec.structs.replace(env.task, scene_config={})
    with pytest.raises(InputError, match=r"reset\.config\.scripted\.start"):
        make_scripted(env, {}, make_file_operator(None, "actor-0"))
