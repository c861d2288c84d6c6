"""Which task comes next, and what an episode of one of several tasks is made of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.config import InputError
from robot_env.contracts import ResetResult, Reward
from robot_env.practice import PracticeEnv, PracticeTask, StayReset, TaskGraph
from robot_env.robot import RobotError, RobotUnavailableError

PAIR = {"there": PracticeTask(("back", "there")), "back": PracticeTask(("there", "back"))}


class Judge:
    """Success as a test says; with `needs` looks in a row before it believes it, as a classifier does."""

    def __init__(self, done=False, needs=1):
        self.done, self.needs, self.seen, self.restarts = done, needs, 0, 0

    def restart(self):
        self.seen = 0
        self.restarts += 1

    def reward(self, observation):
        self.seen += self.done
        success = self.seen >= self.needs
        return Reward(float(success), success)


@pytest.fixture
def fake_env(make_env):
    return make_env()


def practice(env, looks=1, graph=PAIR, truths=None, **judges):
    env.reset_policy = StayReset(env.robot)
    return PracticeEnv(env, judges, truths or {}, TaskGraph(graph), looks)


@pytest.mark.parametrize(
    ("before", "there", "back", "expected"),
    [
        (None, False, True, "there"),
        (None, True, False, "back"),
        (None, False, False, "there"),
        ("there", True, False, "back"),
        ("back", False, True, "there"),
        ("there", False, True, "there"),  # It failed, and nothing was moved: once more.
        ("there", False, False, "back"),  # Lost in between: whoever's turn it is fetches it.
        ("there", True, True, None),
    ],
)
def test_a_pair_alternates_but_nobody_begins_what_is_done(before, there, back, expected):
    assert TaskGraph(PAIR).choose(before, {"there": there, "back": back}) == expected


def test_a_task_waits_for_what_it_requires():
    graph = TaskGraph(
        {
            "open": PracticeTask(("fill", "close")),
            "fill": PracticeTask(("empty",), requires=("open",)),
            "empty": PracticeTask(("close", "fill"), requires=("open",)),
            "close": PracticeTask(("open",)),
        }
    )
    nothing = dict.fromkeys(graph.names, False)
    assert graph.choose("open", nothing) == "close"
    assert graph.choose("open", nothing | {"open": True}) == "fill"
    assert graph.choose("fill", nothing | {"fill": True}) is None


@given(st.data())
def test_what_is_chosen_is_never_done_and_always_allowed(data):
    names = ["a", "b", "c", "d"]
    some = st.lists(st.sampled_from(names), max_size=3, unique=True).map(tuple)
    tasks = {
        name: PracticeTask(data.draw(some.filter(len), label="next"), data.draw(some, label="requires"))
        for name in names
    }
    achieved = {name: data.draw(st.booleans(), label=name) for name in names}
    before = data.draw(st.sampled_from([None, *names]))
    chosen = TaskGraph(tasks).choose(before, achieved)
    possible = [
        name
        for name in (names if before is None else tasks[before].next)
        if not achieved[name] and all(achieved[other] for other in tasks[name].requires)
    ]
    assert chosen == (possible[0] if possible else None)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({}, "is empty: name at least one"),
        ({"a": PracticeTask(("b",))}, r"practice.tasks.a names b, which is no task; choose from a\."),
        ({"a": PracticeTask(("a",), requires=("z",))}, "names z"),
        ({"a": PracticeTask(())}, "has no next"),
    ],
)
def test_a_graph_that_leads_nowhere_is_refused(tasks, message):
    with pytest.raises(InputError, match=message):
        TaskGraph(tasks)


def test_an_episode_is_paid_by_the_task_whose_turn_it_is(fake_env):
    there, back, truth = Judge(), Judge(done=True), Judge()
    env = practice(fake_env, there=there, back=back, truths={"there": truth})
    _, info = env.reset(seed=0)
    assert (info["agent"], info["achieved"]) == ("there", {"there": False, "back": True})
    assert fake_env.truth is truth
    assert truth.restarts == 1
    _, reward, terminated, truncated, step = env.step(np.zeros(4, np.float32))
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert not step["true_success"]
    there.done, back.done = True, False
    _, reward, terminated, *_ = env.step(np.zeros(4, np.float32))
    assert (reward, terminated) == (1.0, True)
    _, info = env.reset()
    assert info["agent"] == "back"
    assert fake_env.truth is None
    _, reward, terminated, *_ = env.step(np.zeros(4, np.float32))
    assert (reward, terminated) == (0.0, False)


def test_the_arm_is_where_the_last_episode_left_it_and_holds_the_same_orientation(fake_env):
    env = practice(fake_env, there=Judge(), back=Judge())
    env.reset(seed=0)
    straight = fake_env.state.ee_quaternion_xyzw.copy()
    for _ in range(20):
        for _ in range(3):
            env.step(np.array([0.3, 0.1, 0.0, 1.0], np.float32))
        position_m = fake_env.state.ee_position_m.copy()
        # Contact turned the hand a little.
        turned = np.array([0.02, 0.0, 0.0, 1.0])
        fake_env.robot.place(position_m, turned / np.linalg.norm(turned))
        fake_env.robot.observe()
        env.reset()
        np.testing.assert_allclose(fake_env.state.ee_position_m, position_m)
        env.step(np.zeros(4, np.float32))
        np.testing.assert_allclose(fake_env.robot.sent[-1].ee_quaternion_xyzw, straight, atol=1e-9)


class Rearranges:
    """Counts how often it is asked to."""

    def __init__(self, robot):
        self.robot, self.count = robot, 0

    def reset(self, rng, keep_going):
        self.robot.observe()
        self.count += 1
        return ResetResult(True)


def test_after_failures_in_a_row_the_arm_rearranges_the_scene(fake_env):
    fake_env.reset_policy = usual = StayReset(fake_env.robot)
    there, rearrange = Judge(), Rearranges(fake_env.robot)
    graph = TaskGraph({"there": PracticeTask(("there",))})
    env = PracticeEnv(fake_env, {"there": there}, {}, graph, rearrange=rearrange, failures=2)

    def episode(success=False):
        _, info = env.reset(seed=0)
        done = False
        while not done:
            there.done = success
            *_, terminated, truncated, _ = env.step(np.zeros(4, np.float32))
            done = terminated or truncated
        there.done = False
        return info["rearranged"]

    assert [episode() for _ in range(6)] == [False, False, True, False, True, False]
    assert rearrange.count == 2
    assert fake_env.reset_policy is usual
    episode(success=True)
    # Success ends the row.
    assert [episode(), episode(), episode()] == [False, False, True]


def test_a_classifier_that_wants_several_frames_is_shown_them_before_a_task_is_chosen(fake_env):
    env = practice(fake_env, looks=3, there=Judge(), back=Judge(done=True, needs=3))
    _, info = env.reset(seed=0)
    assert info["achieved"] == {"there": False, "back": True}
    blind = practice(fake_env, looks=2, there=Judge(), back=Judge(done=True, needs=3))
    assert blind.reset(seed=0)[1]["achieved"] == {"there": False, "back": False}


def test_where_nothing_can_be_done_the_robot_is_not_moved_and_a_human_is_told(fake_env):
    env = practice(fake_env, there=Judge(done=True), back=Judge(done=True))
    with pytest.raises(RobotError, match=r"there, back is seen to be done. Change the scene by hand"):
        env.reset(seed=0)
    assert fake_env.robot.sent == []


def test_a_robot_that_is_gone_is_not_taken_for_reset(fake_env, monkeypatch):
    env = practice(fake_env, there=Judge(), back=Judge())
    env.reset(seed=0)

    def gone():
        raise RobotUnavailableError("The robot is gone.")

    monkeypatch.setattr(fake_env.robot, "observe", gone)
    with pytest.raises(RobotUnavailableError, match="gone"):
        env.reset()


def test_who_pauses_is_heard_between_two_episodes(fake_env):
    env = practice(fake_env, there=Judge(), back=Judge())

    def pause(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        env.reset(seed=0, options={"keep_going": pause})
